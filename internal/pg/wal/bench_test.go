package wal_test

import (
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// BenchmarkReader decodes WAL in memory: small records as OLTP writes them,
// and full-page images, nearly all of which cross pages.
func BenchmarkReader(b *testing.B) {
	page := pattern(pg.BlockSize)
	shapes := []struct {
		name string
		add  func(w *builder)
	}{
		{"small", func(w *builder) {
			w.add(pg.RmgrHeap, 0x40, 700, body([]ref{{id: 0, rel: relA, number: 1, data: page[:60]}}, nil, page[:14]))
			w.add(pg.RmgrBtree, 0x00, 700, body([]ref{{id: 0, rel: relB, number: 2, data: page[:24]}}, nil, page[:2]))
			w.add(pg.RmgrHeap, 0x00, 700, body([]ref{{id: 0, rel: relA, number: 3, data: page[:120]}}, nil, page[:3]))
			w.add(pg.RmgrTransaction, 0x00, 700, body(nil, nil, page[:8]))
		}},
		{"mixed", func(w *builder) {
			for range 12 {
				w.add(pg.RmgrHeap, 0x40, 700, body([]ref{{id: 0, rel: relA, number: 1, data: page[:60]}}, nil, page[:14]))
			}
			w.add(pg.RmgrHeap, 0x00, 700, body([]ref{{id: 0, rel: relA, number: 9, image: page[:6000], imageInfo: 3, holeAt: 200}}, nil, page[:3]))
		}},
		{"images", func(w *builder) {
			w.add(pg.RmgrHeap, 0x00, 700, body([]ref{{id: 0, rel: relA, number: 9, image: page[:7900], imageInfo: 3, holeAt: 200}}, nil, page[:3]))
		}},
	}
	for _, s := range shapes {
		w := newBuilder(15, pg.DefaultSegmentSize)
		for len(w.data) < 15<<20 {
			s.add(w)
		}
		data := w.bytes()
		b.Run(s.name, func(b *testing.B) {
			b.SetBytes(int64(len(w.data)))
			b.ReportAllocs()
			var rec wal.Record
			n := 0
			for b.Loop() {
				r := wal.NewReader(inMemory(w.start, data), w.config())
				for r.Next(&rec) == nil {
					n++
				}
				if r.Last() != w.prev {
					b.Fatalf("ended at %s", r.Last())
				}
			}
			b.ReportMetric(float64(n)/b.Elapsed().Seconds(), "records/s")
		})
	}
}

// BenchmarkRestore restores images by each method.
func BenchmarkRestore(b *testing.B) {
	stored := make([]byte, 7000)
	for i := range stored {
		stored[i] = byte(i * i >> 7)
	}
	dst := make([]byte, pg.BlockSize)
	for method, data := range compress(b, stored) {
		img := wal.Image{Bytes: data, Compression: method, HoleOffset: 100, HoleLength: 1192}
		b.Run(method.String(), func(b *testing.B) {
			b.SetBytes(pg.BlockSize)
			b.ReportAllocs()
			for b.Loop() {
				if err := img.Restore(dst); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
