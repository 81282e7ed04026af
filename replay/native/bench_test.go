package native

import (
	"fmt"
	"testing"
)

// BenchmarkScan is the first pass over the demo's WAL: decoding with CRC, and
// noting which blocks it touches.
func BenchmarkScan(b *testing.B) {
	w := demoSpan(b)
	b.SetBytes(int64(w.span.Bytes()))
	b.ReportAllocs()
	for b.Loop() {
		if _, err := New(Config{}, w.wal, Span{Range: w.span}).Scan(b.Context()); err != nil {
			b.Fatal(err)
		}
	}
	b.ReportMetric(float64(len(w.starts))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
}

// BenchmarkReplay is the second pass: decoding and redo.
func BenchmarkReplay(b *testing.B) {
	w := demoSpan(b)
	for _, workers := range []int{1, 2} {
		b.Run(fmt.Sprintf("workers=%d", workers), func(b *testing.B) {
			b.SetBytes(int64(w.span.Bytes()))
			b.ReportAllocs()
			for b.Loop() {
				b.StopTimer()
				e := New(Config{Workers: workers}, w.wal, Span{Range: w.span})
				if _, err := e.Scan(b.Context()); err != nil {
					b.Fatal(err)
				}
				if err := w.base.walk(e); err != nil {
					b.Fatal(err)
				}
				e.SetBase(Base{Checksums: true})
				b.StartTimer()
				if _, err := e.Replay(b.Context()); err != nil {
					b.Fatal(err)
				}
				b.StopTimer()
				if err := e.Close(); err != nil {
					b.Fatal(err)
				}
				b.StartTimer()
			}
			b.ReportMetric(float64(len(w.starts))*float64(b.N)/b.Elapsed().Seconds(), "records/s")
		})
	}
}
