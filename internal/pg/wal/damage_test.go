package wal_test

import (
	"bytes"
	"errors"
	"reflect"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// victim is WAL with records of all shapes: within a page, across one, across
// several, with a split header, with images, behind a SWITCH.
func victim() *builder {
	b := newBuilder(15, pg.MinSegmentSize)
	page := pattern(pg.BlockSize)
	b.add(pg.RmgrHeap, 0x00, 700, body([]ref{{id: 0, rel: relA, number: 1, data: pattern(20)}}, nil, pattern(3)))
	b.add(pg.RmgrXLOG, 0xB0, 0, body([]ref{{id: 0, rel: relA, number: 2, image: page[:900], imageInfo: 3, holeAt: 90}}, nil, nil))
	b.add(pg.RmgrTransaction, 0x00, 700, body(nil, []byte{253, 1, 0, 252, 1, 2, 0, 0}, pattern(8)))
	b.fill(16)
	b.add(pg.RmgrHeap, 0x20, 701, body([]ref{{id: 0, rel: relA, number: 1, data: pattern(9)}, {id: 1, flags: 0x80, number: 2}}, nil, pattern(14)))
	b.add(pg.RmgrGeneric, 0x00, 702, body([]ref{{id: 0, rel: relB, number: 0, image: page}}, nil, pattern(5)))
	b.add(pg.RmgrXLOG, 0x40, 0, nil)
	b.data = b.bytes()
	b.add(pg.RmgrHeap, 0x10, 703, body([]ref{{id: 0, rel: relA, number: 1}}, nil, pattern(8)))
	b.add(128, 0x70, 703, body([]ref{{id: 5, rel: relA, number: 1}}, nil, pattern(260)))
	return b
}

// written is the parts of the victim that are not the zeros behind the SWITCH.
func (b *builder) written() []pg.Range {
	end := b.pos()
	second := b.start + pg.LSN(b.segment)
	last := b.lsns[len(b.lsns)-3] // the SWITCH
	return []pg.Range{{From: b.start, To: last + 24}, {From: second, To: end}}
}

// readDamaged reads data and checks what must hold of any damage: the records
// are a prefix of the good ones, and an error says where it ended.
func readDamaged(t *testing.T, b *builder, data []byte, good []wal.Record) (int, error) {
	t.Helper()
	cfg := b.config()
	cfg.History = wal.NewHistory(1)
	recs, err := read(wal.NewReader(pagesOf(b.start, data, b.segment, len(data)), cfg))
	if len(recs) > len(good) {
		t.Fatalf("%d records out of damaged WAL, %d were written", len(recs), len(good))
	}
	for i := range recs {
		if !reflect.DeepEqual(recs[i], good[i]) {
			t.Fatalf("record %d is silently different:\n%+v\n%+v", i, recs[i], good[i])
		}
	}
	var missing *wal.MissingError
	var end *wal.EndError
	if !errors.As(err, &end) && !errors.As(err, &missing) {
		t.Fatalf("the error has no position: %v", err)
	}
	return len(recs), err
}

// TestEveryFlippedByte flips each byte of the WAL: by turns one bit of it, or all.
func TestEveryFlippedByte(t *testing.T) {
	t.Parallel()
	b := victim()
	good := b.readAll(t, pg.MinSegmentSize)
	data := b.pages()
	bodies := 0
	for _, part := range b.written() {
		for at := part.From; at < part.To; at++ {
			mask := byte(0xFF)
			if at%2 == 0 {
				mask = 1 << (at / 2 % 8)
			}
			data[at-b.start] ^= mask
			n, err := readDamaged(t, b, data, good)
			data[at-b.start] ^= mask
			if i := ownerOf(good, at); i >= 0 {
				bodies++
				var end *wal.EndError
				missing := !errors.As(err, &end) // a length that reaches beyond the WAL there is
				if n != i || !missing && end.LSN != good[i].LSN || missing && at >= good[i].LSN+4 {
					t.Fatalf("byte %s of record %d flipped by %02X: %d records, then %v", at, i, mask, n, err)
				}
			}
		}
	}
	t.Logf("%d flips of records found", bodies)
}

// ownerOf is the record that the byte at l belongs to, -1 if it is in a page
// header or in padding.
func ownerOf(recs []wal.Record, l pg.LSN) int {
	off := l % wal.PageSize
	if off < wal.ShortHeaderSize || l%pg.MinSegmentSize < wal.LongHeaderSize {
		return -1
	}
	for i := range recs {
		r := &recs[i]
		if l < r.LSN || l >= r.End {
			continue
		}
		if pages := l/wal.PageSize - r.LSN/wal.PageSize; l >= r.LSN+pg.LSN(r.Length)+pages*wal.ShortHeaderSize {
			return -1
		}
		return i
	}
	return -1
}

// TestEveryCut ends the WAL at every byte: zeros behind it, as in a
// preallocated segment, or nothing, as in a short file.
func TestEveryCut(t *testing.T) {
	t.Parallel()
	b := victim()
	good := b.readAll(t, pg.MinSegmentSize)
	whole, cut := b.pages(), b.pages()
	parts := b.written()
	slices.Reverse(parts)
	for _, part := range parts {
		clear(cut[part.To-b.start:])
		for at := part.To - 1; at >= part.From; at-- {
			cut[at-b.start] = 0
			complete := 0
			for complete < len(good) && lastByte(&good[complete]) < at {
				complete++
			}
			n, err := readDamaged(t, b, cut, good)
			if n != complete && !unchanged(b, good, complete, cut, whole) {
				t.Fatalf("cut at %s: %d records, then %v, want %d", at, n, err, complete)
			}
			if at%wal.PageSize == 0 {
				n, err := readDamaged(t, b, whole[:at-b.start], good)
				var missing *wal.MissingError
				if n != complete || !errors.As(err, &missing) {
					t.Fatalf("nothing from %s on: %d records, then %v", at, n, err)
				}
			}
		}
	}
}

// unchanged reports whether the zeros only replaced zeros at record i's end.
func unchanged(b *builder, good []wal.Record, i int, cut, whole []byte) bool {
	if i >= len(good) {
		return false
	}
	from, to := good[i].LSN-b.start, good[i].End-b.start
	return bytes.Equal(cut[from:to], whole[from:to])
}

// lastByte is the LSN of a record's last byte.
func lastByte(r *wal.Record) pg.LSN {
	l := r.LSN
	left := r.Length
	for {
		n := wal.PageSize - uint32(l%wal.PageSize)
		if left <= n {
			return l + pg.LSN(left) - 1
		}
		left -= n
		l += pg.LSN(n)
		if l%pg.MinSegmentSize == 0 {
			l += wal.LongHeaderSize
		} else {
			l += wal.ShortHeaderSize
		}
	}
}

// TestLyingLength checks that a record's length alone sizes nothing: a record
// that says it is a gigabyte long costs no more than the bytes that are there.
func TestLyingLength(t *testing.T) {
	b := newBuilder(15, pg.MinSegmentSize)
	r := b.record(pg.RmgrHeap, 0, 1, make([]byte, 100))
	r[3] = 0x3F // a gigabyte
	b.write(r)
	data := b.bytes()
	result := testing.Benchmark(func(tb *testing.B) {
		for tb.Loop() {
			var rec wal.Record
			if err := wal.NewReader(inMemory(b.start, data), b.config()).Next(&rec); !isEnd(err, wal.EndTorn, b.lsns[0]) {
				tb.Fatal(err)
			}
		}
	})
	if got := result.AllocedBytesPerOp(); got > 2*int64(len(data)) {
		t.Errorf("%d bytes allocated for %d bytes of WAL", got, len(data))
	}
}
