package wal_test

import (
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// btreeRecord is a Btree record with one block reference.
func btreeRecord(op uint8, major int, main, data []byte) *wal.Record {
	return &wal.Record{Rmgr: pg.RmgrBtree, Info: op, Major: major, Main: main,
		Blocks: []wal.BlockRef{{HasData: len(data) > 0, Data: data}}}
}

// describeBtree decodes all that a Btree record says and writes it as text;
// operations without a body are empty.
func describeBtree(r *wal.Record) (string, error) {
	b := &r.Blocks[0]
	switch r.Op() {
	case wal.BtreeInsertLeaf, wal.BtreeInsertUpper, wal.BtreeInsertMeta, wal.BtreeInsertPost:
		off, err := wal.DecodeBtreeInsert(r)
		return fmt.Sprintf("at %d", off), err
	case wal.BtreeSplitL, wal.BtreeSplitR:
		s, err := wal.DecodeBtreeSplit(r)
		return fmt.Sprintf("level %d, first right %d, new %d, posting %d", s.Level, s.FirstRight, s.NewItem, s.PostingOffset), err
	case wal.BtreeDedup:
		v, err := wal.DecodeBtreeDedup(r, b)
		var s strings.Builder
		for i := range v.Len() {
			fmt.Fprintf(&s, "%d+%d;", v.At(i).Base, v.At(i).Items)
		}
		return s.String(), err
	case wal.BtreeDelete, wal.BtreeVacuum:
		return describeDeletion(r, b)
	case wal.BtreeMarkPageHalfdead:
		h, err := wal.DecodeBtreeHalfdead(r)
		return fmt.Sprintf("parent's %d, leaf %d, left %d, right %d, top %d", h.ParentOffset, h.Leaf, h.Left, h.Right, h.TopParent), err
	case wal.BtreeUnlinkPage, wal.BtreeUnlinkPageMeta:
		u, err := wal.DecodeBtreeUnlink(r)
		return fmt.Sprintf("left %d, right %d, level %d, xid %d, leaf %d %d %d", u.Left, u.Right, u.Level, u.SafeXID, u.LeafLeft, u.LeafRight, u.LeafTopParent), err
	case wal.BtreeNewroot:
		level, err := wal.DecodeBtreeNewroot(r)
		return fmt.Sprintf("level %d", level), err
	case wal.BtreeMetaCleanup:
		m, err := wal.DecodeBtreeMeta(r, b)
		return fmt.Sprintf("version %d, root %d at %d, fast %d at %d, deleted %d, equal %t",
			m.Version, m.Root, m.Level, m.FastRoot, m.FastLevel, m.LastCleanupNumDelPages, m.AllEqualImage), err
	}
	return "", nil
}

func describeDeletion(r *wal.Record, b *wal.BlockRef) (string, error) {
	d, err := wal.DecodeBtreeDeletion(r, b)
	if err != nil {
		return "", err
	}
	var s strings.Builder
	for i := range d.Deleted.Len() {
		fmt.Fprintf(&s, "-%d", d.Deleted.At(i))
	}
	for i := range d.Updated.Len() {
		positions, ok := d.NextUpdate()
		if !ok {
			return "", fmt.Errorf("update %d is cut", i)
		}
		fmt.Fprintf(&s, " %d:", d.Updated.At(i))
		for j := range positions.Len() {
			fmt.Fprintf(&s, "-%d", positions.At(j))
		}
	}
	if n := d.Unread(); n != 0 {
		return "", fmt.Errorf("%d bytes are left", n)
	}
	return s.String(), nil
}

// btreeCase is an operation's body and what it says.
type btreeCase struct {
	name   string
	op     uint8
	majors []int
	main   []byte
	data   []byte
	want   string
}

func btreeCases(t testing.TB) []btreeCase {
	t.Helper()
	all := []int{14, 15, 16, 17, 18}
	u16 := func(v ...uint16) []byte { return words(t, v) }
	u32 := func(v ...uint32) []byte { return words(t, v) }
	// Two items go, two posting lists lose heap TIDs: of item 3 two, of item 7 one.
	deletion := u16(1, 4, 3, 7, 2, 0, 5, 1, 9)
	const said = "-1-4 3:-0-5 7:-9"
	return []btreeCase{
		{"INSERT_LEAF", wal.BtreeInsertLeaf, all, u16(7), nil, "at 7"},
		{"INSERT_UPPER", wal.BtreeInsertUpper, all, u16(300), nil, "at 300"},
		{"INSERT_META", wal.BtreeInsertMeta, all, u16(1), nil, "at 1"},
		{"INSERT_POST", wal.BtreeInsertPost, all, u16(2), nil, "at 2"},
		{"SPLIT_L", wal.BtreeSplitL, all, words(t, u32(1), u16(20, 30, 0)), nil, "level 1, first right 20, new 30, posting 0"},
		{"SPLIT_R", wal.BtreeSplitR, all, words(t, u32(0), u16(20, 30, 5)), nil, "level 0, first right 20, new 30, posting 5"},
		{"DEDUP", wal.BtreeDedup, all, u16(2), u16(2, 3, 5, 40), "2+3;5+40;"},
		{"DELETE", wal.BtreeDelete, []int{14, 15}, words(t, u32(777), u16(2, 2)), deletion, said},
		{"DELETE of 16", wal.BtreeDelete, []int{16, 17, 18}, words(t, u32(777), u16(2, 2), uint8(1)), deletion, said},
		{"DELETE of nothing", wal.BtreeDelete, []int{17}, words(t, u32(777), u16(0, 0), uint8(0)), nil, ""},
		{"VACUUM", wal.BtreeVacuum, all, u16(2, 2), deletion, said},
		{"MARK_PAGE_HALFDEAD", wal.BtreeMarkPageHalfdead, all, words(t, u16(9, 0xFFFF), u32(1, 2, 3, pg4)), nil,
			"parent's 9, leaf 1, left 2, right 3, top 4294967295"},
		{"UNLINK_PAGE", wal.BtreeUnlinkPage, all, words(t, u32(1, 2, 3, 0xFFFFFFFF), uint64(1<<32+5), u32(4, 5, 6)), nil,
			"left 1, right 2, level 3, xid 4294967301, leaf 4 5 6"},
		{"UNLINK_PAGE_META", wal.BtreeUnlinkPageMeta, all, words(t, u32(1, 2, 0, 0), uint64(5), u32(4, 5, 6)), nil,
			"left 1, right 2, level 0, xid 5, leaf 4 5 6"},
		{"NEWROOT", wal.BtreeNewroot, all, u32(3, 1), nil, "level 1"},
		{"META_CLEANUP", wal.BtreeMetaCleanup, all, nil, words(t, u32(4, 3, 1, 2, 0, 9), uint8(1), []byte{1, 2, 3}),
			"version 4, root 3 at 1, fast 2 at 0, deleted 9, equal true"},
	}
}

// pg4 is four bytes of ones: InvalidBlockNumber.
const pg4 = uint32(pg.InvalidBlock)

// TestBtreeDecode has each operation's body as each major writes it. A byte
// more or less anywhere is an error, and never another value.
func TestBtreeDecode(t *testing.T) {
	for _, tc := range btreeCases(t) {
		for _, major := range tc.majors {
			got, err := describeBtree(btreeRecord(tc.op, major, tc.main, tc.data))
			if err != nil || got != tc.want {
				t.Errorf("%s, %d: %q, error %v; want %q", tc.name, major, got, err, tc.want)
			}
			for what, rec := range map[string]*wal.Record{
				"main data with a byte more":  btreeRecord(tc.op, major, append(tc.main[:len(tc.main):len(tc.main)], 0), tc.data),
				"main data with a byte less":  btreeRecord(tc.op, major, tc.main[:max(len(tc.main)-1, 0)], tc.data),
				"block data with a byte more": btreeRecord(tc.op, major, tc.main, append(tc.data[:len(tc.data):len(tc.data)], 0)),
				"block data with a byte less": btreeRecord(tc.op, major, tc.main, tc.data[:max(len(tc.data)-1, 0)]),
			} {
				same := len(rec.Main) == len(tc.main) && len(rec.Blocks[0].Data) == len(tc.data)
				main, data := strings.HasPrefix(what, "main"), len(tc.data) > 0
				if same || main && len(tc.main) == 0 || !main && !data {
					continue // such a part does not exist, or is not this decoder's
				}
				if got, err := describeBtree(rec); err == nil {
					t.Errorf("%s, %d, %s: %q and no error", tc.name, major, what, got)
				}
			}
		}
	}
}

// TestBtreeDecodeByMajor has the one body that changed its length, and an
// error that names record and reason.
func TestBtreeDecodeByMajor(t *testing.T) {
	for major, size := range map[int]int{15: 9, 16: 8} {
		rec := btreeRecord(wal.BtreeDelete, major, make([]byte, size), nil)
		if _, err := wal.DecodeBtreeDeletion(rec, &rec.Blocks[0]); err == nil {
			t.Errorf("DELETE of %d with %d bytes: no error", major, size)
		}
	}
	rec := btreeRecord(wal.BtreeVacuum, 17, words(t, uint16(65535), uint16(65535)), []byte{1, 0})
	_, err := wal.DecodeBtreeDeletion(rec, &rec.Blocks[0])
	if want := "Btree VACUUM record of 4 bytes main data: 65535 deletions and 65535 updates in 2 bytes"; err == nil || err.Error() != want {
		t.Errorf("error %v, want %s", err, want)
	}
}

// TestBtreeArraysBeyondTheirEnd: an index that is not there is zero.
func TestBtreeArraysBeyondTheirEnd(t *testing.T) {
	v := wal.BtreeIntervals(words(t, uint16(2), uint16(3), uint8(9)))
	if v.Len() != 1 || v.At(0) != (wal.BtreeInterval{Base: 2, Items: 3}) || v.At(1) != (wal.BtreeInterval{}) || v.At(-1) != (wal.BtreeInterval{}) {
		t.Errorf("intervals %v", v)
	}
	rec := btreeRecord(wal.BtreeVacuum, 17, words(t, uint16(0), uint16(2)), words(t, []uint16{3, 7, 1, 0, 4, 1}))
	d, err := wal.DecodeBtreeDeletion(rec, &rec.Blocks[0])
	if err != nil {
		t.Fatal(err)
	}
	for i, want := range []bool{true, false, false} {
		if _, ok := d.NextUpdate(); ok != want {
			t.Errorf("update %d: %t", i, ok)
		}
	}
}

// FuzzBtreeDecode gives any bytes to the decoders: an error, or values that
// took no more than the input.
func FuzzBtreeDecode(f *testing.F) {
	for _, tc := range btreeCases(f) {
		f.Add(tc.op, uint8(tc.majors[0]-pg.MinMajor), tc.main, tc.data)
	}
	f.Fuzz(func(t *testing.T, op, major uint8, main, data []byte) {
		rec := btreeRecord(op, pg.MinMajor+int(major)%5, main, data)
		text, err := describeBtree(rec)
		if err != nil {
			if !strings.Contains(err.Error(), "Btree") && !strings.Contains(err.Error(), "update") && !strings.Contains(err.Error(), "left") {
				t.Fatalf("the error names no record: %v", err)
			}
			return
		}
		if len(text) > 200+20*(len(main)+len(data)) {
			t.Fatalf("%d bytes give %d of text", len(main)+len(data), len(text))
		}
	})
}
