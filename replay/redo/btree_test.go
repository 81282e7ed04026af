package redo_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// tid is a heap TID as it lies in an index tuple: block in two halves, offset number.
type tid struct{ block, off int }

func (t tid) bytes() []byte {
	b := binary.LittleEndian.AppendUint16(nil, uint16(t.block>>16))
	b = binary.LittleEndian.AppendUint16(b, uint16(t.block))
	return binary.LittleEndian.AppendUint16(b, uint16(t.off))
}

// plain is a leaf tuple or, with off 0, a pivot: TID, t_info, key of eight bytes.
func plain(at tid, key string) []byte {
	b := binary.LittleEndian.AppendUint16(at.bytes(), 16)
	return append(b, (key + "........")[:8]...)
}

// posting is a tuple with a posting list: its TID says where the list is and how long.
func posting(key string, tids ...tid) []byte {
	t := plain(tid{16, 0x2000 | len(tids)}, key)
	for _, at := range tids {
		t = append(t, at.bytes()...)
	}
	t = append(t, make([]byte, -len(t)&7)...)
	binary.LittleEndian.PutUint16(t[6:], 0x2000|uint16(len(t)))
	return t
}

// btreePage is a btree page with these items; prev and next are its siblings.
func btreePage(t testing.TB, prev, next pg.BlockNumber, level uint32, flags uint16, items ...[]byte) page.Page {
	t.Helper()
	p := emptyPage()
	p.SetSpecial(pg.BlockSize - page.BtreeSpecialSize)
	p.SetUpper(p.Special())
	s, _ := p.BtreeSpecial()
	s.SetPrev(prev)
	s.SetNext(next)
	s.SetLevel(level)
	s.SetFlags(flags)
	for i, item := range items {
		at := p.Upper() - len(item)
		copy(p[at:], item)
		p.SetUpper(at)
		p.SetLower(p.Lower() + page.ItemIDSize)
		p.SetItemID(i+1, page.MakeItemID(at, page.LPNormal, len(item)))
	}
	return p
}

// leaf is a leaf between blocks 3 and 5: a high key, three tuples, a posting
// list of four and a last tuple.
func leaf(t testing.TB) page.Page {
	t.Helper()
	p := btreePage(t, 3, 5, 0, page.BtreeLeaf|page.BtreeHasGarbage, plain(tid{0, 0}, "zzz"),
		plain(tid{1, 1}, "a"), plain(tid{2, 2}, "b"), plain(tid{3, 3}, "c"),
		posting("d", tid{10, 1}, tid{10, 3}, tid{20, 1}, tid{20, 9}), plain(tid{30, 1}, "e"))
	s, _ := p.BtreeSpecial()
	s.SetCycleID(77)
	return p
}

// describeBtree writes a page as text: links around its level, flags, vacuum
// cycle, pd_lower and pd_upper, and the items in the order of their line pointers.
func describeBtree(p page.Page) string {
	s, ok := p.BtreeSpecial()
	if !ok {
		return "no btree page"
	}
	var b strings.Builder
	fmt.Fprintf(&b, "%d<%d>%d flags %#x cycle %d, %d to %d:", s.Prev(), s.Level(), s.Next(), s.Flags(), s.CycleID(), p.Lower(), p.Upper())
	for n := 1; n <= p.NumItems(); n++ {
		b.WriteByte(' ')
		b.WriteString(describeItem(p.Item(n)))
	}
	return b.String()
}

func describeItem(item []byte) string {
	if len(item) < 8 {
		return fmt.Sprintf("%x", item)
	}
	at := func(b []byte) string {
		block := int(binary.LittleEndian.Uint16(b))<<16 | int(binary.LittleEndian.Uint16(b[2:]))
		return fmt.Sprintf("%d/%d", block, binary.LittleEndian.Uint16(b[4:]))
	}
	info, off := binary.LittleEndian.Uint16(item[6:]), binary.LittleEndian.Uint16(item[4:])
	key := strings.TrimRight(string(item[8:min(len(item), 16)]), ".")
	if info&0x2000 == 0 || off&0x2000 == 0 {
		return key + "=" + at(item)
	}
	var tids []string
	for i := range int(off & 0x0FFF) {
		tids = append(tids, at(item[16+6*i:]))
	}
	return key + "={" + strings.Join(tids, " ") + "}"
}

// btreeRecord is a Btree record of PostgreSQL 17; its block reference 0 is
// heapBlock, the others follow it.
func btreeRecord(op uint8, main, data []byte, more ...wal.BlockRef) *wal.Record {
	rec := record(pg.RmgrBtree, op, 17, main, data)
	rec.Blocks[0].WillInit = false
	rec.Blocks = append(rec.Blocks, more...)
	return rec
}

// initRef is a reference to a block that redo makes from nothing.
func initRef(id uint8, block pg.BlockNumber, data []byte) wal.BlockRef {
	r := heapRef(id, block)
	r.WillInit, r.Data, r.HasData = true, data, len(data) > 0
	return r
}

// btreeRedo is a record, the block reference to redo, the page before and after.
type btreeRedo struct {
	rec   *wal.Record
	ref   uint8
	page  page.Page
	want  string
	lower bool // the page may be of the record's own making
}

func u16s(v ...int) (b []byte) {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint16(b, uint16(n))
	}
	return b
}

func u32s(v ...int) (b []byte) {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return b
}

func join(parts ...[]byte) []byte { return bytes.Join(parts, nil) }

// metaData is xl_btree_metadata: version 4, root 7 at level 2, fast root 5 at
// level 1, 3 deleted pages, deduplication allowed.
func metaData() []byte { return append(u32s(4, 7, 2, 5, 1, 3), 1, 0, 0, 0) }

// btreeCases is what each operation does to each kind of its blocks, by name.
func btreeCases(t testing.TB) map[string]btreeRedo {
	t.Helper()
	innerPage := func(next pg.BlockNumber) page.Page {
		items := [][]byte{plain(tid{4, 0}, ""), plain(tid{6, 0}, "g"), plain(tid{8, 0}, "m"), plain(tid{9, 0}, "p")}
		if next != 0 {
			items = append([][]byte{plain(tid{0, 0}, "zz")}, items...)
		}
		return btreePage(t, 0, next, 1, page.BtreeIncompleteSplit, items...)
	}
	const (
		start    = "3<0>5 flags 0x41 cycle 77, 48 to 8056: zzz=0/0 a=1/1 b=2/2 c=3/3 d={10/1 10/3 20/1 20/9} e=30/1"
		highKey  = "mmm"
		leftLink = "40000<0>0 "
	)
	insert := func(op uint8, off int, item []byte, more ...wal.BlockRef) *wal.Record {
		return btreeRecord(op, u16s(off), item, more...)
	}
	split := func(op uint8, level, right, item, list int, left, rightItems []byte) *wal.Record {
		return btreeRecord(op, join(u32s(level), u16s(right, item, list)), left, initRef(1, 41000, rightItems), heapRef(2, 5), heapRef(3, 12))
	}
	hk := plain(tid{0, 0}, highKey)
	unlink := func(level int) *wal.Record {
		r := btreeRecord(wal.BtreeUnlinkPage, join(u32s(3, 5, level, 0), []byte{9, 0, 0, 0, 1, 0, 0, 0}, u32s(2, 6, 11)), nil,
			heapRef(1, 3), heapRef(2, 5), initRef(3, 50, nil), initRef(4, 0, metaData()))
		r.Blocks[0].WillInit = true
		return r
	}
	halfdead := btreeRecord(wal.BtreeMarkPageHalfdead, join(u16s(2, 0), u32s(40000, 3, 5, 11)), nil, heapRef(1, 12))
	halfdead.Blocks[0].WillInit = true
	newroot := func(level int, data []byte) *wal.Record {
		r := btreeRecord(wal.BtreeNewroot, u32s(40000, level), data, heapRef(1, 3), initRef(2, 0, metaData()))
		r.Blocks[0].WillInit = true
		return r
	}
	const meta = "0<0>0 flags 0x8 cycle 0, 72 to 8176:"
	all := map[string]btreeRedo{
		"insert in the middle": {rec: insert(wal.BtreeInsertLeaf, 3, plain(tid{9, 9}, "aa")), page: leaf(t),
			want: "3<0>5 flags 0x41 cycle 77, 52 to 8040: zzz=0/0 a=1/1 aa=9/9 b=2/2 c=3/3 d={10/1 10/3 20/1 20/9} e=30/1"},
		"insert at the end": {rec: insert(wal.BtreeInsertLeaf, 7, plain(tid{9, 9}, "f")), page: leaf(t),
			want: "3<0>5 flags 0x41 cycle 77, 52 to 8040: zzz=0/0 a=1/1 b=2/2 c=3/3 d={10/1 10/3 20/1 20/9} e=30/1 f=9/9"},
		"insert a downlink": {rec: insert(wal.BtreeInsertUpper, 4, plain(tid{70, 0}, "k"), heapRef(1, 6)), page: innerPage(20),
			want: "0<1>20 flags 0x80 cycle 0, 48 to 8080: zz=0/0 =4/0 g=6/0 k=70/0 m=8/0 p=9/0"},
		"insert into a posting list": {rec: insert(wal.BtreeInsertPost, 6, join(u16s(2), plain(tid{15, 5}, "d"))), page: leaf(t),
			want: "3<0>5 flags 0x41 cycle 77, 52 to 8040: zzz=0/0 a=1/1 b=2/2 c=3/3 d={10/1 10/3 15/5 20/1} d=20/9 e=30/1"},
		"insert before a posting list's last": {rec: insert(wal.BtreeInsertPost, 6, join(u16s(3), plain(tid{20, 5}, "d"))), page: leaf(t),
			want: "3<0>5 flags 0x41 cycle 77, 52 to 8040: zzz=0/0 a=1/1 b=2/2 c=3/3 d={10/1 10/3 20/1 20/5} d=20/9 e=30/1"},
		"child of an insertion": {rec: insert(wal.BtreeInsertUpper, 4, plain(tid{70, 0}, "k"), heapRef(1, 6)), ref: 1, page: innerPage(20),
			want: "0<1>20 flags 0x0 cycle 0, 44 to 8096: zz=0/0 =4/0 g=6/0 m=8/0 p=9/0"},
		"metapage of an insertion": {rec: insert(wal.BtreeInsertMeta, 4, plain(tid{70, 0}, "k"), heapRef(1, 6), initRef(2, 0, metaData())), ref: 2,
			page: leaf(t), want: meta},

		"split, new item left": {rec: split(wal.BtreeSplitL, 0, 4, 3, 0, join(plain(tid{9, 9}, "aa"), hk), nil), page: leaf(t),
			want: "3<0>41000 flags 0x81 cycle 0, 40 to 8112: mmm=0/0 a=1/1 aa=9/9 b=2/2"},
		"split, new item last on the left": {rec: split(wal.BtreeSplitL, 0, 4, 4, 0, join(plain(tid{9, 9}, "bb"), hk), nil), page: leaf(t),
			want: "3<0>41000 flags 0x81 cycle 0, 40 to 8112: mmm=0/0 a=1/1 b=2/2 bb=9/9"},
		"split, new item first on the left": {rec: split(wal.BtreeSplitL, 0, 4, 2, 0, join(plain(tid{0, 9}, "A"), hk), nil), page: leaf(t),
			want: "3<0>41000 flags 0x81 cycle 0, 40 to 8112: mmm=0/0 A=0/9 a=1/1 b=2/2"},
		"split, new item right": {rec: split(wal.BtreeSplitR, 0, 4, 6, 0, hk, nil), page: leaf(t),
			want: "3<0>41000 flags 0x81 cycle 0, 36 to 8128: mmm=0/0 a=1/1 b=2/2"},
		"split of inner page without high key": {rec: split(wal.BtreeSplitR, 1, 3, 4, 0, hk, nil), page: innerPage(0),
			want: "0<1>41000 flags 0x80 cycle 0, 36 to 8128: mmm=0/0 =4/0 g=6/0"},
		"split with posting list, new item left": {rec: split(wal.BtreeSplitL, 0, 7, 6, 1, join(plain(tid{10, 2}, "d"), hk), nil), page: leaf(t),
			want: "3<0>41000 flags 0x81 cycle 0, 52 to 8040: mmm=0/0 a=1/1 b=2/2 c=3/3 d={10/1 10/2 10/3 20/1} d=20/9 e=30/1"},
		"split between posting list and new item": {rec: split(wal.BtreeSplitR, 0, 6, 6, 1, join(plain(tid{10, 2}, "d"), hk), nil), page: leaf(t),
			want: "3<0>41000 flags 0x81 cycle 0, 44 to 8072: mmm=0/0 a=1/1 b=2/2 c=3/3 d={10/1 10/2 10/3 20/1}"},
		"right page of a split": {rec: split(wal.BtreeSplitR, 0, 4, 6, 0, hk, join(plain(tid{3, 3}, "c"), plain(tid{0, 0}, "zzz"))), ref: 1, page: leaf(t),
			want: "40000<0>5 flags 0x1 cycle 0, 32 to 8144: zzz=0/0 c=3/3"},
		"right page of the last page's split": {rec: btreeRecord(wal.BtreeSplitR, join(u32s(0), u16s(4, 6, 0)), hk, initRef(1, 41000, plain(tid{3, 3}, "c"))), ref: 1,
			page: leaf(t), want: leftLink + "flags 0x1 cycle 0, 28 to 8160: c=3/3"},
		"old right sibling of a split": {rec: split(wal.BtreeSplitR, 0, 4, 6, 0, hk, nil), ref: 2, page: leaf(t), want: "41000" + start[1:]},
		"child of a split": {rec: split(wal.BtreeSplitR, 1, 4, 6, 0, hk, nil), ref: 3, page: innerPage(0),
			want: "0<1>0 flags 0x0 cycle 0, 40 to 8112: =4/0 g=6/0 m=8/0 p=9/0"},

		"dedup": {rec: btreeRecord(wal.BtreeDedup, u16s(2), u16s(2, 2, 5, 2)), page: leaf(t),
			want: "3<0>5 flags 0x1 cycle 77, 40 to 8064: zzz=0/0 a={1/1 2/2} c=3/3 d={10/1 10/3 20/1 20/9 30/1}"},
		"dedup of nothing": {rec: btreeRecord(wal.BtreeDedup, u16s(0), nil), page: leaf(t),
			want: "3<0>5 flags 0x1 cycle 77, 48 to 8056: zzz=0/0 a=1/1 b=2/2 c=3/3 d={10/1 10/3 20/1 20/9} e=30/1"},
		"dedup of the last page": {rec: btreeRecord(wal.BtreeDedup, u16s(1), u16s(1, 3)), want: "3<0>0 flags 0x1 cycle 0, 28 to 8136: a={1/1 2/2 3/3}",
			page: btreePage(t, 3, 0, 0, page.BtreeLeaf, plain(tid{1, 1}, "a"), plain(tid{2, 2}, "a"), plain(tid{3, 3}, "a"))},

		"delete one":   {rec: btreeRecord(wal.BtreeVacuum, u16s(1, 0), u16s(4)), page: leaf(t), want: "3<0>5 flags 0x1 cycle 77, 44 to 8072: zzz=0/0 a=1/1 b=2/2 d={10/1 10/3 20/1 20/9} e=30/1"},
		"delete two":   {rec: btreeRecord(wal.BtreeVacuum, u16s(2, 0), u16s(2, 4)), page: leaf(t), want: "3<0>5 flags 0x1 cycle 77, 40 to 8088: zzz=0/0 b=2/2 d={10/1 10/3 20/1 20/9} e=30/1"},
		"delete three": {rec: btreeRecord(wal.BtreeVacuum, u16s(3, 0), u16s(2, 4, 6)), page: leaf(t), want: "3<0>5 flags 0x1 cycle 77, 36 to 8104: zzz=0/0 b=2/2 d={10/1 10/3 20/1 20/9}"},
		"delete all":   {rec: btreeRecord(wal.BtreeDelete, append(join(u32s(1), u16s(5, 0)), 0), u16s(2, 3, 4, 5, 6)), page: leaf(t), want: "3<0>5 flags 0x1 cycle 77, 28 to 8160: zzz=0/0"},
		"shrink a posting list": {rec: btreeRecord(wal.BtreeVacuum, u16s(0, 1), u16s(5, 2, 0, 2)), page: leaf(t),
			want: "3<0>5 flags 0x1 cycle 77, 48 to 8064: zzz=0/0 a=1/1 b=2/2 c=3/3 d={10/3 20/9} e=30/1"},
		"shrink a posting list to one, delete others": {rec: btreeRecord(wal.BtreeDelete, append(join(u32s(1), u16s(3, 1)), 1), join(u16s(2, 3, 6, 5), u16s(3, 0, 1, 3))), page: leaf(t),
			want: "3<0>5 flags 0x1 cycle 77, 36 to 8128: zzz=0/0 c=3/3 d=20/1"},

		"half-dead leaf": {rec: halfdead, page: leaf(t), want: "3<0>5 flags 0x11 cycle 0, 28 to 8168: =11/0"},
		"parent of a half-dead leaf": {rec: halfdead, ref: 1, page: innerPage(20),
			want: "0<1>20 flags 0x80 cycle 0, 40 to 8112: zz=0/0 =6/0 m=8/0 p=9/0"},
		"unlinked leaf":       {rec: unlink(0), page: leaf(t), want: "3<0>5 flags 0x105 cycle 0, 32 to 8176: 000000"},
		"unlinked inner page": {rec: unlink(1), page: leaf(t), want: "3<1>5 flags 0x104 cycle 0, 32 to 8176: 000000"},
		"left sibling":        {rec: unlink(1), ref: 1, page: leaf(t), want: start},
		"right sibling":       {rec: unlink(1), ref: 2, page: leaf(t), want: start},
		"leaf of the branch":  {rec: unlink(1), ref: 3, page: leaf(t), want: "2<0>6 flags 0x11 cycle 0, 28 to 8168: =11/0"},
		"metapage of unlink":  {rec: unlink(0), ref: 4, page: leaf(t), want: meta},

		"first root": {rec: newroot(0, nil), page: leaf(t), want: "0<0>0 flags 0x3 cycle 0, 24 to 8176:"},
		"higher root": {rec: newroot(1, join(plain(tid{41, 0}, "n"), plain(tid{40, 0}, ""))), page: leaf(t),
			want: "0<1>0 flags 0x2 cycle 0, 32 to 8144: =40/0 n=41/0"},
		"left child of a root": {rec: newroot(1, nil), ref: 1, page: innerPage(0), want: "0<1>0 flags 0x0 cycle 0, 40 to 8112: =4/0 g=6/0 m=8/0 p=9/0"},
		"metapage of a root":   {rec: newroot(1, nil), ref: 2, page: leaf(t), want: meta},
		"meta cleanup":         {rec: btreeRecord(wal.BtreeMetaCleanup, nil, metaData()), page: leaf(t), want: meta},
	}
	for name, c := range all {
		c.lower = strings.Contains(name, "unlinked")
		if c.want == meta {
			c.rec.Blocks[c.ref].WillInit = true
		}
		all[name] = c
	}
	return all
}

// TestBtreeRedo has what each operation does, as text, and that a second time
// changes nothing. That it is right is proven by PostgreSQL in TestIndexProof.
func TestBtreeRedo(t *testing.T) {
	for name, c := range btreeCases(t) {
		want := redo.Changed
		if c.rec.Blocks[c.ref].WillInit {
			want = redo.Initialised
		}
		outcome, err := redo.Apply(&hintsLogged, c.rec, &c.rec.Blocks[c.ref], c.page)
		if err != nil || outcome != want {
			t.Errorf("%s: outcome %d, error %v", name, outcome, err)
			continue
		}
		got := describeBtree(c.page)
		if c.lower { // behind the header lies a full transaction id, not line pointers
			got = got[:strings.Index(got, ":")+1] + " 000000"
			if v := binary.LittleEndian.Uint64(c.page[page.HeaderSize:]); v != 1<<32+9 {
				t.Errorf("%s: safe xid %d", name, v)
			}
		}
		if strings.HasSuffix(c.want, "72 to 8176:") {
			checkMetaPage(t, name, c.page)
			got = got[:strings.Index(got, ":")+1]
		}
		if got != c.want || c.page.LSN() != after {
			t.Errorf("%s:\n got %s\nwant %s", name, got, c.want)
		}
		once := bytes.Clone(c.page)
		second, err := redo.Apply(&hintsLogged, c.rec, &c.rec.Blocks[c.ref], c.page)
		if err != nil || second != redo.Skipped && want == redo.Changed || !bytes.Equal(once, c.page) {
			t.Errorf("%s: the second time is outcome %d, error %v, the same page: %t", name, second, err, bytes.Equal(once, c.page))
		}
	}
}

func checkMetaPage(t *testing.T, name string, p page.Page) {
	t.Helper()
	m, ok := p.BtreeMeta()
	want := page.BtreeMetaPage{Magic: page.BtreeMagic, Version: 4, Root: 7, Level: 2, FastRoot: 5, FastLevel: 1, LastCleanupNumDelPages: 3, AllEqualImage: true}
	if !ok || m != want {
		t.Errorf("%s: metapage %+v, %t", name, m, ok)
	}
	if v := binary.LittleEndian.Uint64(p[page.HeaderSize+32:]); v != 0xBFF0000000000000 { // -1 as a float8
		t.Errorf("%s: btm_last_cleanup_num_heap_tuples is %#x", name, v)
	}
}

// TestSiblingLinks: unlinking a page joins its siblings.
func TestSiblingLinks(t *testing.T) {
	rec := btreeRecord(wal.BtreeUnlinkPage, join(u32s(30, 50, 1, 0), make([]byte, 8), u32s(2, 6, 11)), nil, heapRef(1, 30), heapRef(2, 50))
	for ref, want := range map[int][2]pg.BlockNumber{1: {3, 50}, 2: {30, 5}} {
		p := leaf(t)
		if _, err := redo.Apply(&hintsLogged, rec, &rec.Blocks[ref], p); err != nil {
			t.Fatal(err)
		}
		if s, _ := p.BtreeSpecial(); s.Prev() != want[0] || s.Next() != want[1] {
			t.Errorf("block reference %d: links %d and %d, want %v", ref, s.Prev(), s.Next(), want)
		}
	}
}

// TestVacuumOf18 clears the cycle id, as 18's btree_xlog_vacuum does.
func TestVacuumOf18(t *testing.T) {
	for major, want := range map[int]uint16{17: 77, 18: 0} {
		rec := btreeRecord(wal.BtreeVacuum, u16s(1, 0), u16s(4))
		rec.Major = major
		p := leaf(t)
		mustApply(t, rec, p)
		if s, _ := p.BtreeSpecial(); s.CycleID() != want {
			t.Errorf("%d: cycle id %d", major, s.CycleID())
		}
	}
}

// TestBtreeRedoRefuses has records that do not fit their page.
func TestBtreeRedoRefuses(t *testing.T) {
	hk := plain(tid{0, 0}, "mmm")
	split := func(op uint8, right, item, list int, data []byte) *wal.Record {
		return btreeRecord(op, join(u32s(0), u16s(right, item, list)), data, initRef(1, 41000, nil))
	}
	vacuum := func(deleted, updated int, data ...int) *wal.Record {
		return btreeRecord(wal.BtreeVacuum, u16s(deleted, updated), u16s(data...))
	}
	wrongSize := plain(tid{1, 1}, "a")
	binary.LittleEndian.PutUint16(wrongSize[6:], 800)
	zeroSize := plain(tid{1, 1}, "a")
	binary.LittleEndian.PutUint16(zeroSize[6:], 0)
	longList := posting("d", tid{10, 1}, tid{10, 2})
	binary.LittleEndian.PutUint16(longList[4:], 0x2FFF)
	all := map[string]*wal.Record{
		"insert beyond the page":                  btreeRecord(wal.BtreeInsertLeaf, u16s(9), plain(tid{9, 9}, "x")),
		"insert nothing":                          btreeRecord(wal.BtreeInsertLeaf, u16s(2), nil),
		"insert too much":                         btreeRecord(wal.BtreeInsertLeaf, u16s(2), make([]byte, 8100)),
		"posting insert without an item":          btreeRecord(wal.BtreeInsertPost, u16s(6), []byte{1}),
		"posting insert of half an item":          btreeRecord(wal.BtreeInsertPost, u16s(6), join(u16s(1), make([]byte, 7))),
		"posting insert before the first":         btreeRecord(wal.BtreeInsertPost, u16s(6), join(u16s(0), plain(tid{9, 9}, "d"))),
		"posting insert behind the last":          btreeRecord(wal.BtreeInsertPost, u16s(6), join(u16s(4), plain(tid{9, 9}, "d"))),
		"posting insert into a plain tuple":       btreeRecord(wal.BtreeInsertPost, u16s(5), join(u16s(1), plain(tid{9, 9}, "d"))),
		"posting insert at the first offset":      btreeRecord(wal.BtreeInsertPost, u16s(1), join(u16s(1), plain(tid{9, 9}, "d"))),
		"posting insert at no offset":             btreeRecord(wal.BtreeInsertPost, u16s(0), join(u16s(1), plain(tid{9, 9}, "d"))),
		"leaf insert with a child":                btreeRecord(wal.BtreeInsertLeaf, u16s(2), plain(tid{9, 9}, "x"), heapRef(1, 3)),
		"upper insert with a metapage":            btreeRecord(wal.BtreeInsertUpper, u16s(2), plain(tid{9, 9}, "x"), initRef(2, 0, metaData())),
		"split without a high key":                split(wal.BtreeSplitR, 4, 6, 0, nil),
		"split without a new item":                split(wal.BtreeSplitL, 4, 3, 0, hk),
		"split with bytes left":                   split(wal.BtreeSplitR, 4, 6, 0, join(hk, hk)),
		"split with an item beyond its data":      split(wal.BtreeSplitR, 4, 6, 0, wrongSize),
		"split with an item without size":         split(wal.BtreeSplitR, 4, 6, 0, zeroSize),
		"split behind the last item":              split(wal.BtreeSplitR, 8, 8, 0, hk),
		"split before the first item":             split(wal.BtreeSplitR, 1, 3, 0, hk),
		"split loses the new left item":           split(wal.BtreeSplitL, 4, 5, 0, join(plain(tid{9, 9}, "x"), hk)),
		"split with the new item as high key":     split(wal.BtreeSplitL, 4, 1, 0, join(plain(tid{9, 9}, "x"), hk)),
		"split loses the posting list":            split(wal.BtreeSplitR, 4, 6, 1, join(plain(tid{9, 9}, "d"), hk)),
		"split of a posting list that is none":    split(wal.BtreeSplitR, 4, 4, 1, join(plain(tid{9, 9}, "d"), hk)),
		"split with block 4":                      btreeRecord(wal.BtreeSplitR, join(u32s(0), u16s(4, 6, 0)), hk, heapRef(4, 9)),
		"dedup beyond the page":                   btreeRecord(wal.BtreeDedup, u16s(1), u16s(5, 3)),
		"dedup of the high key":                   btreeRecord(wal.BtreeDedup, u16s(1), u16s(1, 2)),
		"dedup of no items":                       btreeRecord(wal.BtreeDedup, u16s(1), u16s(2, 0)),
		"dedup out of order":                      btreeRecord(wal.BtreeDedup, u16s(2), u16s(4, 2, 2, 2)),
		"dedup of what is merged already":         btreeRecord(wal.BtreeDedup, u16s(2), u16s(2, 3, 3, 2)),
		"vacuum beyond the page":                  vacuum(1, 0, 7),
		"vacuum of offset number 0":               vacuum(1, 0, 0),
		"vacuum of three, one beyond":             vacuum(3, 0, 2, 3, 7),
		"vacuum of three out of order":            vacuum(3, 0, 4, 3, 2),
		"vacuum of the same thrice":               vacuum(3, 0, 4, 4, 4),
		"update of a plain tuple":                 vacuum(0, 1, 2, 1, 0),
		"update that leaves no heap TID":          vacuum(0, 1, 5, 4, 0, 1, 2, 3),
		"update beyond the list":                  vacuum(0, 1, 5, 1, 4),
		"update out of order":                     vacuum(0, 1, 5, 2, 2, 0),
		"update cut short":                        vacuum(0, 1, 5, 2, 0),
		"update of no item":                       vacuum(0, 1, 9, 1, 0),
		"update with bytes left":                  vacuum(0, 1, 5, 1, 0, 7),
		"half-dead leaf's parent without a child": btreeRecord(wal.BtreeMarkPageHalfdead, join(u16s(6, 0), u32s(1, 2, 3, 4)), nil),
		"reuse with a block":                      btreeRecord(wal.BtreeReusePage, make([]byte, 24), nil),
		"unknown operation":                       btreeRecord(0xF0, nil, nil),
		"meta cleanup without data":               btreeRecord(wal.BtreeMetaCleanup, nil, nil),
	}
	ref := map[string]int{"leaf insert with a child": 1, "upper insert with a metapage": 1, "split with block 4": 1}
	for name, rec := range all {
		p := leaf(t)
		if strings.HasPrefix(name, "half-dead") {
			rec.Blocks[0].ID = 1
		}
		wantRefused(t, name, rec, &rec.Blocks[ref[name]], p)
	}
	for name, broken := range map[string]func(p page.Page){
		"heap page":                   func(p page.Page) { p.SetSpecial(pg.BlockSize) },
		"pd_upper beyond pd_special":  func(p page.Page) { p.SetUpper(8180) },
		"posting list beyond its end": func(p page.Page) { copy(p.Item(5), longList[:8]) },
		"item outside of the page":    func(p page.Page) { p.SetItemID(5, page.MakeItemID(8190, page.LPNormal, 40)) },
		"item below pd_upper":         func(p page.Page) { p.SetItemID(5, page.MakeItemID(64, page.LPNormal, 40)) },
		"item not aligned":            func(p page.Page) { p.SetItemID(5, page.MakeItemID(8060, page.LPNormal, 40)) },
		"item that is not there":      func(p page.Page) { p.SetItemID(5, 0) },
	} {
		p := leaf(t)
		broken(p)
		rec := vacuum(1, 1, 5, 5, 1, 0)
		wantRefused(t, name, rec, &rec.Blocks[0], p)
	}
}

func wantRefused(t *testing.T, name string, rec *wal.Record, ref *wal.BlockRef, p page.Page) {
	t.Helper()
	var e *redo.Error
	if _, err := redo.Apply(&hintsLogged, rec, ref, p); !errors.As(err, &e) {
		t.Errorf("%s: error %v", name, err)
	} else if !strings.HasPrefix(err.Error(), "redo Btree ") || e.LSN != rec.LSN {
		t.Errorf("%s: the error does not name the record: %v", name, err)
	}
}

// TestBtreeImage: an image replaces the page and gets the record's LSN; the
// record is not redone on top of it.
func TestBtreeImage(t *testing.T) {
	rec := btreeRecord(wal.BtreeInsertLeaf, u16s(2), plain(tid{9, 9}, "aa"))
	image := leaf(t)
	rec.Blocks[0].HasImage = true
	rec.Blocks[0].Image = wal.Image{Bytes: bytes.Clone(image), Apply: true}
	p := make(page.Page, pg.BlockSize)
	if o := mustApply(t, rec, p); o != redo.Restored || p.LSN() != after {
		t.Errorf("outcome %d, LSN %s", o, p.LSN())
	}
	image.SetLSN(after)
	if !bytes.Equal(p, image) {
		t.Errorf("page %s", describeBtree(p))
	}
}
