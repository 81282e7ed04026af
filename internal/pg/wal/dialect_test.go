package wal_test

import (
	"errors"
	"fmt"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// neonRecord is a record of Neon's PostgreSQL.
func neonRecord(rmgr pg.RmgrID, info uint8, major int, main, data []byte) *wal.Record {
	r := heapRecord(rmgr, info, major, main, data)
	r.Dialect = wal.Neon
	return r
}

// TestNeonRecords decodes records that Neon's PostgreSQL 15 wrote under
// pgbench: t_cid is in the main data of one and in the tuples of the others.
// None of them can be stock PostgreSQL's.
func TestNeonRecords(t *testing.T) {
	insert := neonRecord(pg.RmgrHeap, wal.OpHeapInsert|wal.HeapInitPage, 15, bytesOf(t, "010008"), bytesOf(t, "030001080400000018030100000000000000"))
	update := neonRecord(pg.RmgrHeap, wal.OpHeapUpdate, 15, bytesOf(t, "040400000400006000000000000000000600"), bytesOf(t, "040010000700010806000000181f00"))
	multi := neonRecord(pg.RmgrHeap2, wal.OpHeap2MultiInsert, 15, bytesOf(t, "000001004400"),
		bytesOf(t, "1a00070000080000000000001800eb0400000040000000000000370a000098080000000000006e"))
	h, body, err := wal.DecodeHeapTuple(insert, &insert.Blocks[0])
	if err != nil || h != (wal.TupleHeader{Infomask2: 3, Infomask: 0x0801, CID: 4, Hoff: 24}) || len(body) != 9 {
		t.Errorf("INSERT: %+v with %d bytes, error %v", h, len(body), err)
	}
	u, err := wal.DecodeHeapUpdate(update)
	if want := (wal.HeapUpdate{OldXMax: 0x404, OldOffset: 4, Flags: 0x60, NewOffset: 6}); err != nil || u != want {
		t.Errorf("UPDATE: %+v, error %v, want %+v", u, err, want)
	}
	tuples := wal.DecodeMultiInsertTuples(multi, &multi.Blocks[0])
	h, body, err = tuples.Next()
	if err != nil || h != (wal.TupleHeader{Infomask2: 7, Infomask: 0x0800, Hoff: 24}) || len(body) != 26 || tuples.End() != nil {
		t.Errorf("MULTI_INSERT: %+v with %d bytes, error %v, %v", h, len(body), err, tuples.End())
	}
	for _, r := range []*wal.Record{insert, update, multi} {
		if got := r.Dialects(); got != wal.OnlyNeon {
			t.Errorf("%s: dialects %b, want Neon's only", r, got)
		}
		r.Dialect = wal.Postgres
		if got := r.Dialects(); got != wal.OnlyNeon {
			t.Errorf("%s read as PostgreSQL's: dialects %b, want Neon's only", r, got)
		}
	}
	_, err = wal.DecodeHeapUpdate(update)
	want := "Heap UPDATE record: main data is 18 bytes long, want 14: the WAL is not in the format of PostgreSQL 15"
	if err == nil || err.Error() != want || !errors.Is(err, wal.ErrDialect) {
		t.Errorf("UPDATE read as PostgreSQL's: error %v, want %s", err, want)
	}
}

// tupleOf is block data of INSERT: two columns, no nulls, 8 bytes of data; cid
// is left out if it is nil.
func tupleOf(t *testing.T, cid any) []byte {
	parts := []any{uint16(2), uint16(0x0802)}
	if cid != nil {
		parts = append(parts, cid)
	}
	return words(t, append(parts, uint8(24), uint8(0), []byte("contents"))...)
}

// neonChanges are the records of Neon whose fields stand elsewhere than stock
// PostgreSQL's, by hand from the published definitions, and what they say.
func neonChanges(t *testing.T) map[string]struct {
	rec  *wal.Record
	want any
} {
	const xmax, cid = uint32(700), uint32(0x01020304)
	garbage := uint16(0xFFFF) // the padding before an aligned t_cid
	ins := tupleOf(t, cid)
	type entry = struct {
		rec  *wal.Record
		want any
	}
	cases := map[string]entry{}
	for _, major := range []int{14, 15} {
		add := func(name string, rec *wal.Record, want any) {
			cases[fmt.Sprintf("%d %s", major, name)] = entry{rec, want}
		}
		add("INSERT", neonRecord(pg.RmgrHeap, wal.OpHeapInsert, major, words(t, uint16(5), uint8(1)), ins), wal.HeapInsert{Offset: 5, Flags: 1})
		add("DELETE", neonRecord(pg.RmgrHeap, wal.OpHeapDelete, major, words(t, xmax, uint16(5), garbage, cid, uint8(0x30), uint8(1)), nil),
			wal.HeapDelete{XMax: 700, Offset: 5, Infobits: 0x30, Flags: 1, CID: cid})
		add("DELETE with its old tuple", neonRecord(pg.RmgrHeap, wal.OpHeapDelete, major,
			words(t, xmax, uint16(5), garbage, cid, uint8(0x10), uint8(0x02), ins), nil),
			wal.HeapDelete{XMax: 700, Offset: 5, Infobits: 0x10, Flags: 2, CID: cid})
		add("UPDATE", neonRecord(pg.RmgrHeap, wal.OpHeapUpdate, major,
			words(t, xmax, uint16(5), uint8(0x20), uint8(1), cid, uint32(9), uint16(6)), ins),
			wal.HeapUpdate{OldXMax: 700, OldOffset: 5, OldInfobits: 0x20, Flags: 1, NewXMax: 9, NewOffset: 6, CID: cid})
		add("LOCK", neonRecord(pg.RmgrHeap, wal.OpHeapLock, major, words(t, xmax, uint16(5), garbage, cid, uint8(0x06), uint8(1)), nil),
			wal.HeapLock{XMax: 700, Offset: 5, Infobits: 6, Flags: 1, CID: cid})
		add("MULTI_INSERT", neonRecord(pg.RmgrHeap2, wal.OpHeap2MultiInsert, major, words(t, uint8(1), uint8(0), uint16(2), uint16(3), uint16(4)),
			words(t, uint16(4), uint16(2), uint16(0x0802), garbage, cid, uint8(24), []byte("abcd"), uint8(0),
				uint16(3), uint16(2), uint16(0x0802), garbage, cid, uint8(24), []byte("abc"))), 2)
	}
	for _, major := range []int{16, 17, 18} {
		add := func(name string, rec *wal.Record, want any) {
			cases[fmt.Sprintf("%d %s", major, name)] = entry{rec, want}
		}
		add("INSERT", neonRecord(pg.RmgrNeon, wal.OpNeonInsert, major, words(t, uint16(5), uint8(1)), ins), wal.HeapInsert{Offset: 5, Flags: 1})
		add("DELETE", neonRecord(pg.RmgrNeon, wal.OpNeonDelete, major, words(t, xmax, uint16(5), uint8(0x30), uint8(1), cid), nil),
			wal.HeapDelete{XMax: 700, Offset: 5, Infobits: 0x30, Flags: 1, CID: cid})
		add("DELETE with its old tuple", neonRecord(pg.RmgrNeon, wal.OpNeonDelete, major,
			words(t, xmax, uint16(5), uint8(0x10), uint8(0x02), cid, ins), nil),
			wal.HeapDelete{XMax: 700, Offset: 5, Infobits: 0x10, Flags: 2, CID: cid})
		add("UPDATE", neonRecord(pg.RmgrNeon, wal.OpNeonHotUpdate, major,
			words(t, xmax, uint16(5), uint8(0x20), uint8(1), cid, uint32(9), uint16(6)), ins),
			wal.HeapUpdate{OldXMax: 700, OldOffset: 5, OldInfobits: 0x20, Flags: 1, NewXMax: 9, NewOffset: 6, CID: cid})
		add("LOCK", neonRecord(pg.RmgrNeon, wal.OpNeonLock, major, words(t, xmax, cid, uint16(5), uint8(0x06), uint8(1)), nil),
			wal.HeapLock{XMax: 700, Offset: 5, Infobits: 6, Flags: 1, CID: cid})
		add("MULTI_INSERT", neonRecord(pg.RmgrNeon, wal.OpNeonMultiInsert, major, words(t, uint8(1), uint8(0), uint16(2), cid, uint16(3), uint16(4)),
			words(t, uint16(4), uint16(2), uint16(0x0802), uint8(24), []byte("abcd"), uint8(0),
				uint16(3), uint16(2), uint16(0x0802), uint8(24), []byte("abc"))), 2)
	}
	return cases
}

// TestNeonChanges decodes each of Neon's records, tells them from stock
// PostgreSQL's, and finds a byte more or less.
func TestNeonChanges(t *testing.T) {
	for name, c := range neonChanges(t) {
		if got := c.rec.Dialects(); got != wal.OnlyNeon {
			t.Errorf("%s: dialects %b, want Neon's only", name, got)
		}
		if got, err := decodeChange(c.rec); err != nil || got != c.want {
			t.Errorf("%s: %+v, error %v, want %+v", name, got, err, c.want)
		}
		if name[3:] == "DELETE with its old tuple" {
			continue // its end is the tuple's, which may be longer
		}
		for _, bad := range [][]byte{c.rec.Main[:len(c.rec.Main)-1], append(slices.Clone(c.rec.Main), 0)} {
			r := *c.rec
			r.Main = bad
			if _, err := decodeChange(&r); !errors.Is(err, wal.ErrDialect) {
				t.Errorf("%s with %d bytes of main data: error %v", name, len(bad), err)
			}
		}
	}
}

// decodeChange decodes a heap change and its tuples, each of which must have
// the command id 0x01020304.
func decodeChange(r *wal.Record) (any, error) {
	ref := &r.Blocks[0]
	if d := r.Dialects(); d == 0 {
		return nil, errors.Join(wal.CheckHeap(r), wal.ErrDialect)
	}
	wrong := func(h wal.TupleHeader, err error) error {
		if err == nil && (h.CID != 0x01020304 || h.Hoff != 24) {
			return fmt.Errorf("tuple header %+v", h)
		}
		return err
	}
	switch r.HeapChange() {
	case wal.HeapInserts:
		v, err := wal.DecodeHeapInsert(r)
		h, _, herr := wal.DecodeHeapTuple(r, ref)
		return v, errors.Join(err, wrong(h, herr))
	case wal.HeapDeletes:
		return wal.DecodeHeapDelete(r)
	case wal.HeapUpdates, wal.HeapHotUpdates:
		v, err := wal.DecodeHeapUpdate(r)
		u, herr := wal.DecodeHeapUpdateTuple(r, ref, v.Flags)
		return v, errors.Join(err, wrong(u.Header, herr))
	case wal.HeapLocks:
		return wal.DecodeHeapLock(r)
	}
	v, err := wal.DecodeHeapMultiInsert(r)
	if err != nil {
		return nil, err
	}
	tuples := wal.DecodeMultiInsertTuples(r, ref)
	for range v.Count {
		h, _, err := tuples.Next()
		if v.CID != 0 {
			h.CID = v.CID
		}
		if err := wrong(h, err); err != nil {
			return nil, err
		}
	}
	return v.Offsets.Len(), tuples.End()
}

// TestDialectsInCommon has records that say nothing of their dialect, and
// some that fit none.
func TestDialectsInCommon(t *testing.T) {
	both := words(t, uint16(2), uint16(0x0802), uint8(24), uint8(0), uint16(0), uint8(24), []byte("contents")) // t_cid 24, or t_hoff 24 twice
	zero := &wal.Record{Rmgr: pg.RmgrXLOG, Info: 0xB0, Major: 17, Blocks: []wal.BlockRef{{HasImage: true, Image: wal.Image{HoleLength: pg.BlockSize, Apply: true}}}}
	for name, c := range map[string]struct {
		rec  *wal.Record
		want wal.Dialects
	}{
		"INSERT with its image only":      {heapRecord(pg.RmgrHeap, wal.OpHeapInsert, 15, []byte{1, 0, 0}, nil), wal.AnyDialect},
		"INSERT that fits both":           {heapRecord(pg.RmgrHeap, wal.OpHeapInsert, 15, []byte{1, 0, 0}, both), wal.AnyDialect},
		"the same since 16":               {heapRecord(pg.RmgrHeap, wal.OpHeapInsert, 16, []byte{1, 0, 0}, both), wal.OnlyPostgres},
		"INSERT of PostgreSQL":            {heapRecord(pg.RmgrHeap, wal.OpHeapInsert, 14, []byte{1, 0, 0}, tupleOf(t, nil)), wal.OnlyPostgres},
		"INSERT that fits none":           {heapRecord(pg.RmgrHeap, wal.OpHeapInsert, 14, []byte{1, 0, 0}, make([]byte, 40)), 0},
		"LOCK that fits none":             {heapRecord(pg.RmgrHeap, wal.OpHeapLock, 15, make([]byte, 9), nil), 0},
		"CONFIRM":                         {heapRecord(pg.RmgrHeap, wal.OpHeapConfirm, 15, make([]byte, 2), nil), wal.AnyDialect},
		"CONFIRM that fits none":          {heapRecord(pg.RmgrHeap, wal.OpHeapConfirm, 15, make([]byte, 3), nil), 0},
		"VISIBLE":                         {heapRecord(pg.RmgrHeap2, wal.OpHeap2Visible, 17, make([]byte, 5), nil), wal.AnyDialect},
		"another resource manager's":      {heapRecord(pg.RmgrBtree, 0x70, 17, make([]byte, 5), nil), wal.AnyDialect},
		"an extension's":                  {heapRecord(133, 0x70, 17, make([]byte, 5), nil), wal.AnyDialect},
		"an extension's of Neon's number": {heapRecord(pg.RmgrNeon, 0x70, 15, make([]byte, 5), nil), wal.AnyDialect},
		"Neon's unknown operation":        {heapRecord(pg.RmgrNeon, 0x60, 17, make([]byte, 5), nil), 0},
		"the image of an all-zero page":   {zero, wal.OnlyNeon},
	} {
		if c.rec.Blocks[0].Data == nil && c.rec.HeapChange() == wal.HeapInserts {
			c.rec.Blocks[0].HasImage = true
		}
		if got := c.rec.Dialects(); got != c.want {
			t.Errorf("%s: dialects %b, want %b", name, got, c.want)
		}
	}
}

// TestZeroPageImage reads the image that Neon logs of a page of zeros: its
// hole is the whole page. Stock PostgreSQL's holes begin behind the header.
func TestZeroPageImage(t *testing.T) {
	const fpi, hasHole, apply = 0xB0, 0x01, 0x02
	header := func(length, hole uint16, flags uint8) []byte {
		return words(t, uint8(0), uint8(0x10), uint16(0), length, hole, flags, uint32(1663), uint32(5), uint32(16384), uint32(7), make([]byte, length))
	}
	for _, c := range []struct {
		name string
		body []byte
		ok   bool
	}{
		{"all hole", header(0, 0, hasHole|apply), true},
		{"all hole, unsaid", header(0, 0, apply), false},
		{"all hole, not at the start", header(0, 8, hasHole|apply), false},
		{"nearly all hole", header(8, 0, hasHole|apply), false},
	} {
		b := newBuilder(17, pg.DefaultSegmentSize)
		b.add(pg.RmgrXLOG, fpi, 0, c.body)
		recs, err := read(wal.NewReader(pagesOf(b.start, b.bytes(), b.segment, wal.PageSize), b.config()))
		if c.ok != (len(recs) == 1) {
			t.Errorf("%s: %d records, then %v", c.name, len(recs), err)
		}
		if len(recs) == 0 {
			continue
		}
		page := slices.Repeat([]byte{1}, pg.BlockSize)
		if err := recs[0].Blocks[0].Image.Restore(page); err != nil || !slices.Equal(page, make([]byte, pg.BlockSize)) {
			t.Errorf("%s: the restored page is not all zeros, error %v", c.name, err)
		}
		if recs[0].Dialects() != wal.OnlyNeon {
			t.Errorf("%s: dialects %b, want Neon's only", c.name, recs[0].Dialects())
		}
	}
}

func TestParseDialect(t *testing.T) {
	for _, d := range []wal.Dialect{wal.Postgres, wal.Neon} {
		if got, err := wal.ParseDialect(d.String()); err != nil || got != d {
			t.Errorf("%s parses as %s, error %v", d, got, err)
		}
	}
	if _, err := wal.ParseDialect("aurora"); err == nil {
		t.Error("aurora is a dialect")
	}
}

// FuzzDialects asks what any heap record can be, and takes it at its word.
func FuzzDialects(f *testing.F) {
	f.Add(uint8(0), uint8(0x10), uint8(1), make([]byte, 14), []byte{})
	f.Add(uint8(0), uint8(0), uint8(0), []byte{1, 0, 0}, []byte{3, 0, 1, 8, 4, 0, 0, 0, 24, 0, 1, 2})
	f.Add(uint8(1), uint8(0x50), uint8(1), []byte{0, 0, 1, 0, 1, 0}, []byte{3, 0, 3, 0, 0, 8, 0, 0, 4, 0, 0, 0, 24, 0, 1, 2})
	f.Add(uint8(2), uint8(0x50), uint8(3), []byte{0, 0, 1, 0, 4, 0, 0, 0, 1, 0}, []byte{3, 0, 3, 0, 0, 8, 24, 0, 1, 2})
	f.Fuzz(func(t *testing.T, rmgr, info, major uint8, main, data []byte) {
		r := heapRecord([]pg.RmgrID{pg.RmgrHeap, pg.RmgrHeap2, pg.RmgrNeon}[rmgr%3], info, pg.MinMajor+int(major)%5, main, data)
		s := r.Dialects()
		for _, d := range []wal.Dialect{wal.Postgres, wal.Neon} {
			r.Dialect = d
			if r.Dialects() != s {
				t.Fatalf("read as %s the record can be %b, else %b", d, r.Dialects(), s)
			}
			for _, err := range decodeAll(r, &r.Blocks[0]) {
				if err != nil && !errors.Is(err, wal.ErrDialect) {
					t.Fatalf("error %v is no dialect", err)
				}
			}
			extension := r.Rmgr == pg.RmgrNeon && !r.IsNeon()
			if err := wal.CheckHeap(r); s.Has(d) && !extension && err != nil {
				t.Fatalf("a record that can be %s's is not: %v", d, err)
			}
		}
	})
}
