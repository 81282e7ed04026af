package wal_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"reflect"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// FuzzReader reads any bytes as a segment: no panic, an error with a position,
// and the same records whatever the source's chunks are.
func FuzzReader(f *testing.F) {
	small := newBuilder(16, pg.MinSegmentSize)
	small.noop(100)
	small.fill(16)
	small.noop(9000)
	f.Add(small.data, uint16(0), false)
	f.Add(small.data, uint16(3000), true)
	cut := overwritten(same, pg.RmgrXLOG, 0xD0)
	f.Add(cut.data, uint16(0), false)
	f.Add(victim().data[:3*wal.PageSize], uint16(40), false)
	f.Add([]byte{}, uint16(24), true)
	f.Fuzz(func(t *testing.T, data []byte, start uint16, find bool) {
		data = data[:min(len(data), pg.MinSegmentSize)]
		data = append(data, make([]byte, -len(data)&(wal.PageSize-1))...)
		cfg := wal.Config{Start: pg.MinSegmentSize + pg.LSN(start), FindFirst: find, SegmentSize: pg.MinSegmentSize}
		var first []wal.Record
		var firstErr error
		for i, chunk := range []int{pg.MinSegmentSize, wal.PageSize} {
			recs, err := read(wal.NewReader(pagesOf(pg.MinSegmentSize, data, pg.MinSegmentSize, chunk), cfg))
			var end *wal.EndError
			var missing *wal.MissingError
			if !errors.As(err, &end) && !errors.As(err, &missing) && start%8 == 0 {
				t.Fatalf("the error has no position: %v", err)
			}
			for i := range recs {
				checkRecord(t, &recs[i])
			}
			if i == 0 {
				first, firstErr = recs, err
			} else if !reflect.DeepEqual(recs, first) || err.Error() != firstErr.Error() {
				t.Fatalf("chunks of a page: %d records, then %v; of a segment: %d, then %v", len(recs), err, len(first), firstErr)
			}
		}
	})
}

// checkRecord decodes all of a record; what it is given must add up.
func checkRecord(t *testing.T, r *wal.Record) {
	t.Helper()
	total := len(r.Main)
	page := make([]byte, pg.BlockSize)
	for i := range r.Blocks {
		b := &r.Blocks[i]
		total += len(b.Data) + len(b.Image.Bytes)
		if b.HasData != (len(b.Data) > 0) || !b.HasImage && b.Image.Bytes != nil || i > 0 && b.ID <= r.Blocks[i-1].ID {
			t.Fatalf("block reference %+v", b)
		}
		if b.HasImage && b.Image.Restore(page) == nil && len(b.Image.Bytes) == 0 && b.Image.HoleLength != pg.BlockSize {
			t.Fatalf("a page out of nothing: %+v", b)
		}
	}
	if total > int(r.Length) || r.End < r.LSN+pg.LSN(r.Length) {
		t.Fatalf("%d bytes in a record of %d, from %s to %s", total, r.Length, r.LSN, r.End)
	}
	if _, err := decoded(r); err != nil && !errors.Is(err, wal.ErrDialect) {
		t.Fatalf("%s: %v", r, err)
	}
}

// FuzzRecord puts any bytes behind a record header, with the right CRC.
func FuzzRecord(f *testing.F) {
	page := pattern(pg.BlockSize)
	f.Add(uint8(10), uint8(0), uint8(15), body([]ref{{id: 0, rel: relA, data: pattern(9)}, {id: 1, flags: 0x80, number: 3}}, nil, pattern(14)))
	f.Add(uint8(0), uint8(0xB0), uint8(14), body([]ref{{id: 0, rel: relA, image: page[:100], imageInfo: 7, holeAt: 9, holeLen: 4000, compressed: true}}, nil, nil))
	f.Add(uint8(0), uint8(0xB0), uint8(18), body([]ref{{id: 0, rel: relA, image: page[:100], imageInfo: 0x13, holeAt: 9, holeLen: 4000, compressed: true}}, nil, nil))
	f.Add(uint8(1), uint8(0), uint8(17), body(nil, []byte{253, 1, 0, 252, 1, 2, 3, 4}, pattern(300)))
	f.Fuzz(func(t *testing.T, rmgr, info, major uint8, content []byte) {
		b := newBuilder(pg.MinMajor+int(major)%5, pg.MinSegmentSize)
		lsn := b.add(pg.RmgrID(rmgr), info, 1, content[:min(len(content), 100_000)])
		var rec wal.Record
		err := wal.NewReader(inMemory(b.start, b.pages()), b.config()).Next(&rec)
		switch {
		case err == nil:
			checkRecord(t, &rec)
		case !isEnd(err, wal.EndBadRecordContent, lsn) && !isEnd(err, wal.EndBadRecordHeader, lsn):
			t.Fatalf("record at %s: %v", lsn, err)
		}
	})
}

// FuzzBodies gives any main data to the body decoders: an ErrDialect or a
// value that took no more than the input.
func FuzzBodies(f *testing.F) {
	for _, c := range bodyCases() {
		f.Add(uint8(c.rmgr), c.info, uint8(c.majors[0]-pg.MinMajor), c.main)
	}
	f.Fuzz(func(t *testing.T, rmgr, info, major uint8, main []byte) {
		r := wal.Record{Rmgr: pg.RmgrID(rmgr), Info: info, Major: pg.MinMajor + int(major)%5, Main: main, Length: uint32(len(main) + 24)}
		v, err := decoded(&r)
		if err != nil && !errors.Is(err, wal.ErrDialect) {
			t.Fatalf("%s: %v", &r, err)
		}
		switch v := v.(type) {
		case wal.Xact:
			if 4*len(v.SubXIDs)+12*len(v.DroppedRels)+12*v.DroppedStats+16*v.Invalidations+len(v.GID) > len(main) {
				t.Fatalf("%d bytes give %+v", len(main), v)
			}
		case wal.Prepare:
			if 4*len(v.SubXIDs)+12*len(v.CommitRels)+12*len(v.AbortRels)+len(v.GID)+len(v.State) > len(main) {
				t.Fatalf("%d bytes give %+v", len(main), v)
			}
		case wal.MultiXactCreate:
			if 8*len(v.Members) > len(main) {
				t.Fatalf("%d bytes give %+v", len(main), v)
			}
		}
	})
}

// FuzzRestore decompresses any bytes by any method.
func FuzzRestore(f *testing.F) {
	for method, b := range compress(f, bytes.Repeat([]byte("some page "), 700)) {
		f.Add(b, uint8(method), uint16(50), uint16(1192))
	}
	f.Add([]byte{0b100, 'a', 'b', 0x0F, 2, 10}, uint8(wal.PGLZ), uint16(1), uint16(8162))
	f.Fuzz(func(t *testing.T, b []byte, method uint8, at, length uint16) {
		img := wal.Image{Bytes: b, Compression: wal.Compression(method % 5), HoleOffset: at, HoleLength: length}
		page := make([]byte, pg.BlockSize+8)
		binary.LittleEndian.PutUint64(page[pg.BlockSize:], 0x1122334455667788)
		if img.Restore(page[:pg.BlockSize]) == nil && length > 0 && !bytes.Equal(page[at:int(at)+int(length)], make([]byte, length)) {
			t.Fatal("the hole is not zero")
		}
		if binary.LittleEndian.Uint64(page[pg.BlockSize:]) != 0x1122334455667788 {
			t.Fatal("bytes behind the page were written")
		}
	})
}

// FuzzParseHistory checks that what parses is a way without gaps.
func FuzzParseHistory(f *testing.F) {
	f.Add(uint32(3), []byte("1\t0/3000148\tno recovery target specified\n\n2\t0/5000000\tbefore\n"))
	f.Fuzz(func(t *testing.T, target uint32, file []byte) {
		h, err := wal.ParseHistory(pg.TLI(target), file)
		if err != nil {
			return
		}
		for i := 1; i < len(h); i++ {
			if h[i].TLI <= h[i-1].TLI || h[i].Range.From != h[i-1].Range.To {
				t.Fatalf("history %v", h)
			}
		}
		if h[len(h)-1].TLI != pg.TLI(target) || h[0].Range.From != 0 {
			t.Fatalf("history %v", h)
		}
	})
}

// FuzzParseFileName checks that a name that parses is what PostgreSQL would write.
func FuzzParseFileName(f *testing.F) {
	for _, s := range []string{"000000010000000000000002", "000000010000000000000002.partial", "000000010000000000000002.00000028.backup", "00000002.history"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		const size = 16 << 20
		n, err := wal.ParseFileName(s, size)
		if err != nil {
			return
		}
		want := pg.SegmentName(n.TLI, n.Segment, size)
		switch n.Kind {
		case wal.PartialFile:
			want += ".partial"
		case wal.BackupHistoryFile:
			want += "." + pg.SegmentName(0, pg.SegmentNo(n.Offset), 1<<30)[16:] + ".backup"
		case wal.HistoryFile:
			want = wal.HistoryFileName(n.TLI)
		}
		if n.Kind != wal.BackupHistoryFile && s != want {
			t.Fatalf("%q parses as %+v, which is %q", s, n, want)
		}
	})
}
