package wal_test

import (
	"encoding/binary"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// words is values as they lie in a record: uint8, uint16, uint32 or bytes.
func words(t testing.TB, values ...any) []byte {
	t.Helper()
	var b []byte
	for _, v := range values {
		var err error
		if b, err = binary.Append(b, binary.LittleEndian, v); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

func bytesOf(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(s)
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// heapRecord is a record with one block reference.
func heapRecord(rmgr pg.RmgrID, info uint8, major int, main, data []byte) *wal.Record {
	return &wal.Record{Rmgr: rmgr, Info: info, Major: major, Main: main,
		Blocks: []wal.BlockRef{{HasData: len(data) > 0, Data: data}}}
}

// TestHeapMainLength has every operation's main data in the length that stock
// PostgreSQL writes; a byte more or less, or a flag nobody knows, is a dialect.
func TestHeapMainLength(t *testing.T) {
	fixed := func(n int, set ...byte) func() []byte {
		return func() []byte { return append(make([]byte, n-len(set)), set...) }
	}
	counted := func(n, at int, count byte) func() []byte {
		return func() []byte { b := make([]byte, n); b[at] = count; return b }
	}
	all := []int{14, 15, 16, 17, 18}
	cases := []struct {
		name   string
		rmgr   pg.RmgrID
		info   uint8
		majors []int
		main   func() []byte
	}{
		{"INSERT", pg.RmgrHeap, wal.OpHeapInsert, all, fixed(3, 0x3F)},
		{"DELETE", pg.RmgrHeap, wal.OpHeapDelete, all, fixed(8, 0x19)},
		{"UPDATE", pg.RmgrHeap, wal.OpHeapUpdate, all, fixed(14)},
		{"HOT_UPDATE", pg.RmgrHeap, wal.OpHeapHotUpdate, all, fixed(14)},
		{"TRUNCATE", pg.RmgrHeap, wal.OpHeapTruncate, all, counted(20, 4, 2)},
		{"CONFIRM", pg.RmgrHeap, wal.OpHeapConfirm, all, fixed(2)},
		{"LOCK", pg.RmgrHeap, wal.OpHeapLock, all, fixed(8, 0x1F, 0x01)},
		{"INPLACE", pg.RmgrHeap, wal.OpHeapInplace, []int{14, 15, 16, 17}, fixed(2)},
		{"INPLACE of 18", pg.RmgrHeap, wal.OpHeapInplace, []int{18}, counted(52, 16, 2)},
		{"PRUNE", pg.RmgrHeap2, wal.OpHeap2Prune, []int{14, 15}, fixed(8)},
		{"PRUNE of 16", pg.RmgrHeap2, wal.OpHeap2Prune, []int{16}, fixed(9)},
		{"VACUUM", pg.RmgrHeap2, wal.OpHeap2Vacuum, []int{14, 15, 16}, fixed(2)},
		{"FREEZE_PAGE", pg.RmgrHeap2, wal.OpHeap2FreezePage, []int{14, 15}, fixed(6)},
		{"FREEZE_PAGE of 16", pg.RmgrHeap2, wal.OpHeap2FreezePage, []int{16}, fixed(7)},
		{"PRUNE_ON_ACCESS", pg.RmgrHeap2, wal.OpHeap2PruneOnAccess, []int{17, 18}, fixed(2)},
		{"PRUNE with horizon", pg.RmgrHeap2, wal.OpHeap2PruneVacuumScan, []int{17, 18}, counted(6, 1, 0x08)},
		{"VISIBLE", pg.RmgrHeap2, wal.OpHeap2Visible, all, fixed(5, 0x03)},
		{"VISIBLE of a catalog", pg.RmgrHeap2, wal.OpHeap2Visible, []int{16, 17, 18}, fixed(5, 0x07)},
		{"MULTI_INSERT", pg.RmgrHeap2, wal.OpHeap2MultiInsert, all, counted(10, 2, 3)},
		{"MULTI_INSERT+INIT", pg.RmgrHeap2, wal.OpHeap2MultiInsert | wal.HeapInitPage, all, counted(4, 2, 3)},
		{"LOCK_UPDATED", pg.RmgrHeap2, wal.OpHeap2LockUpdated, all, fixed(8)},
		{"NEW_CID", pg.RmgrHeap2, wal.OpHeap2NewCID, all, fixed(34)},
		{"REWRITE", pg.RmgrHeap2, wal.OpHeap2Rewrite, all, counted(76, 24, 1)},
	}
	for _, tc := range cases {
		for _, major := range tc.majors {
			check := func(main []byte) error { return wal.CheckHeap(heapRecord(tc.rmgr, tc.info, major, main, nil)) }
			main := tc.main()
			if err := check(main); err != nil {
				t.Errorf("%s, %d: %v", tc.name, major, err)
			}
			for _, bad := range [][]byte{main[:len(main)-1], append(slices.Clone(main), 0), nil} {
				if err := check(bad); !errors.Is(err, wal.ErrDialect) {
					t.Errorf("%s, %d, %d bytes: error %v", tc.name, major, len(bad), err)
				}
			}
		}
	}
	for name, rec := range map[string]*wal.Record{
		"flag of INSERT":   heapRecord(pg.RmgrHeap, wal.OpHeapInsert, 17, []byte{1, 0, 0x40}, nil),
		"flag of LOCK":     heapRecord(pg.RmgrHeap, wal.OpHeapLock, 17, []byte{1, 0, 0, 0, 1, 0, 0, 2}, nil),
		"infobits":         heapRecord(pg.RmgrHeap, wal.OpHeapLock, 17, []byte{1, 0, 0, 0, 1, 0, 0x20, 0}, nil),
		"catalog in 15":    heapRecord(pg.RmgrHeap2, wal.OpHeap2Visible, 15, []byte{1, 0, 0, 0, 7}, nil),
		"init bit":         heapRecord(pg.RmgrHeap, wal.OpHeapLock|wal.HeapInitPage, 17, make([]byte, 8), nil),
		"init bit, Heap2":  heapRecord(pg.RmgrHeap2, wal.OpHeap2NewCID|wal.HeapInitPage, 17, make([]byte, 34), nil),
		"flag of PRUNE":    heapRecord(pg.RmgrHeap2, wal.OpHeap2PruneOnAccess, 17, []byte{0, 1}, nil),
		"missing old key":  heapRecord(pg.RmgrHeap, wal.OpHeapDelete, 17, []byte{1, 0, 0, 0, 1, 0, 0, 0x04}, nil),
		"old key cut":      heapRecord(pg.RmgrHeap, wal.OpHeapDelete, 17, []byte{1, 0, 0, 0, 1, 0, 0, 0x04, 1, 0, 0, 0, 24}, nil),
		"old key's t_hoff": heapRecord(pg.RmgrHeap, wal.OpHeapDelete, 17, []byte{1, 0, 0, 0, 1, 0, 0, 0x04, 1, 0, 0, 0, 23, 0}, nil),
		"huge count":       heapRecord(pg.RmgrHeap, wal.OpHeapTruncate, 17, slices.Concat(make([]byte, 4), []byte{255, 255, 255, 255}, make([]byte, 4)), nil),
	} {
		if err := wal.CheckHeap(rec); !errors.Is(err, wal.ErrDialect) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// describePlans writes plans as text.
func describePlans(f wal.FreezePlans) (s string) {
	for {
		p, ok := f.Next()
		if !ok {
			return s
		}
		s += fmt.Sprintf("xmax %d masks %#x %#x flags %d at", p.XMax, p.Infomask, p.Infomask2, p.Flags)
		for i := range p.Offsets.Len() {
			s += fmt.Sprintf(" %d", p.Offsets.At(i))
		}
		s += "; "
	}
}

func TestDecodeHeapPrune(t *testing.T) {
	u16, u32 := func(v int) uint16 { return uint16(v) }, func(v int) uint32 { return uint32(v) }
	plans17 := words(t, u16(2), u16(0), u32(0), u16(3), u16(0x0B00), uint8(0), uint8(0), u16(2),
		u32(77), u16(2), u16(0x0300), uint8(wal.InvalidXVac), uint8(0), u16(1))
	items17 := words(t, u16(1), u16(5), u16(6), u16(2), u16(7), u16(8), u16(1), u16(9))
	cases := []struct {
		name       string
		op         uint8
		major      int
		main, data []byte
		want       string
	}{
		{"PRUNE", wal.OpHeap2Prune, 15, words(t, u32(9), u16(1), u16(2)), words(t, u16(1), u16(2), u16(3), u16(4), u16(5), u16(6)),
			"[0100 0200] [0300 0400] [0500 0600]  true true"},
		{"PRUNE of 16", wal.OpHeap2Prune, 16, words(t, u32(9), u16(0), u16(1), uint8(1)), words(t, u16(3)), "[] [0300] []  true true"},
		{"VACUUM", wal.OpHeap2Vacuum, 14, words(t, u16(2)), words(t, u16(5), u16(6)), "[] [] [0500 0600]  true false"},
		{"FREEZE_PAGE", wal.OpHeap2FreezePage, 15, words(t, u32(9), u16(2)),
			words(t, u32(0), u16(4), u16(3), u16(0x0B00), uint8(0), uint8(0), u32(8), u16(5), u16(3), u16(0x0100), uint8(2), uint8(0)),
			"[] [] [] xmax 0 masks 0xb00 0x3 flags 0 at 4; xmax 8 masks 0x100 0x3 flags 2 at 5;  false false"},
		{"FREEZE_PAGE of 16", wal.OpHeap2FreezePage, 16, words(t, u32(9), u16(1), uint8(0)),
			words(t, u32(0), u16(3), u16(0x0B00), uint8(0), uint8(0), u16(2), u16(4), u16(5)),
			"[] [] [] xmax 0 masks 0xb00 0x3 flags 0 at 4 5;  false false"},
		{"all of 17", wal.OpHeap2PruneVacuumScan, 17, []byte{1, 0xFE, 0, 0, 0, 0}, slices.Concat(plans17, items17, words(t, u16(10), u16(11), u16(12))),
			"[0500 0600] [0700 0800] [0900] xmax 0 masks 0xb00 0x3 flags 0 at 10 11; xmax 77 masks 0x300 0x2 flags 4 at 12;  true true"},
		{"items of 18", wal.OpHeap2PruneVacuumCleanup, 18, []byte{2, 0x80}, words(t, u16(2), u16(3), u16(4)), "[] [] [0300 0400]  true false"},
	}
	for _, tc := range cases {
		rec := heapRecord(pg.RmgrHeap2, tc.op, tc.major, tc.main, tc.data)
		p, err := wal.DecodeHeapPrune(rec, &rec.Blocks[0])
		if err != nil {
			t.Errorf("%s: %v", tc.name, err)
			continue
		}
		got := fmt.Sprintf("%s %s %s %s %t %t", offsets(p.Redirected), offsets(p.NowDead), offsets(p.NowUnused), describePlans(p.Freeze), p.Prune, p.Repair)
		if got != tc.want {
			t.Errorf("%s:\n got %s\nwant %s", tc.name, got, tc.want)
		}
		for _, bad := range [][]byte{tc.data[:len(tc.data)-1], append(slices.Clone(tc.data), 0)} {
			rec.Blocks[0].Data = bad
			if _, err := wal.DecodeHeapPrune(rec, &rec.Blocks[0]); !errors.Is(err, wal.ErrDialect) {
				t.Errorf("%s with %d bytes of data: error %v", tc.name, len(bad), err)
			}
		}
	}
}

func offsets(o wal.Offsets) string {
	var s []string
	for i := range o.Len() {
		s = append(s, hex.EncodeToString(o[2*i:2*i+2]))
	}
	return fmt.Sprint(s)
}

// FuzzHeapDecode asks every decoder for whatever the record claims to be.
func FuzzHeapDecode(f *testing.F) {
	f.Add(false, uint8(wal.OpHeapInsert), uint8(17), []byte{1, 0, 0}, []byte{3, 0, 1, 8, 24, 0, 1, 2})
	f.Add(false, uint8(wal.OpHeapUpdate), uint8(15), make([]byte, 14), []byte{3, 0, 1, 8, 24, 0, 1, 2})
	f.Add(true, uint8(wal.OpHeap2MultiInsert), uint8(16), []byte{0, 0, 1, 0, 1, 0}, []byte{3, 0, 3, 0, 0, 8, 24, 0, 1, 2})
	f.Add(true, uint8(wal.OpHeap2PruneVacuumScan), uint8(17), []byte{1, 0xF6}, make([]byte, 40))
	f.Add(true, uint8(wal.OpHeap2FreezePage), uint8(16), []byte{9, 0, 0, 0, 1, 0, 0}, []byte{0, 0, 0, 0, 3, 0, 0, 11, 0, 0, 1, 0, 4, 0})
	f.Fuzz(func(t *testing.T, heap2 bool, info, major uint8, main, data []byte) {
		rmgr := pg.RmgrHeap
		if heap2 {
			rmgr = pg.RmgrHeap2
		}
		rec := heapRecord(rmgr, info, pg.MinMajor+int(major)%(pg.MaxMajor-pg.MinMajor+1), main, data)
		checked := wal.CheckHeap(rec)
		ref := &rec.Blocks[0]
		for _, err := range decodeAll(rec, ref) {
			if err != nil && !errors.Is(err, wal.ErrDialect) {
				t.Fatalf("error %v is no dialect", err)
			}
			if checked != nil && err == nil {
				t.Fatalf("a decoder took what CheckHeap refuses: %v", checked)
			}
		}
		_, body, err := wal.DecodeHeapTuple(rec, ref)
		if err == nil && len(body) > len(data) {
			t.Fatal("a tuple is longer than its record")
		}
	})
}

// decodeAll runs the decoders that ask CheckHeap.
func decodeAll(rec *wal.Record, ref *wal.BlockRef) []error {
	_, e1 := wal.DecodeHeapInsert(rec)
	_, e2 := wal.DecodeHeapDelete(rec)
	u, e3 := wal.DecodeHeapUpdate(rec)
	_, e4 := wal.DecodeHeapLock(rec)
	_, e5 := wal.DecodeHeapOffset(rec)
	_, e6 := wal.DecodeHeapVisible(rec)
	m, e7 := wal.DecodeHeapMultiInsert(rec)
	p, e8 := wal.DecodeHeapPrune(rec, ref)
	if _, err := wal.DecodeHeapUpdateTuple(rec, ref, u.Flags); err != nil {
		_ = err.Error()
	}
	tuples := wal.DecodeMultiInsertTuples(rec, ref)
	for range m.Count {
		if _, _, err := tuples.Next(); err != nil {
			break
		}
	}
	_ = tuples.End()
	_ = describePlans(p.Freeze)
	return []error{e1, e2, e3, e4, e5, e6, e7, e8}
}
