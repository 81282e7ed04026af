package redo_test

import (
	"bytes"
	"fmt"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/replay/redo"
)

// neonTwin redoes the proof's records as Neon's PostgreSQL would have written
// them, beside the proof: the same consistency images, the same stopped
// cluster. What must come out of it besides is the command ids.
type neonTwin struct {
	*proof
	cids  int            // command ids found on the page where the record put them
	kinds map[string]int // records translated, by operation
}

// withNeon adds a twin to the proof.
func (p *proof) withNeon() {
	t := &neonTwin{kinds: map[string]int{}}
	q := *p
	q.twin, q.pages, q.cut, q.copied = nil, map[pg.Block]page.Page{}, map[pg.RelFork]pg.BlockNumber{}, map[pg.OID]bool{}
	q.applied, q.compared, q.unmasked = map[string]int{}, map[string]int{}, map[string]int{}
	q.noBase, q.special = map[string]int{}, map[string]int{}
	t.proof = &q
	p.twin = t
}

// cidOf is the command id that a record is given: never 0, with all its bytes.
func cidOf(rec *wal.Record) uint32 { return uint32(rec.LSN)*2654435761 | 1<<24 | 1 }

func (n *neonTwin) redoNeon(stock *wal.Record) {
	rec := pgtest.Neonised(stock, cidOf(stock), stock.LSN%16 == 0)
	if change := rec.HeapChange(); change != wal.NoHeapChange {
		n.kinds[opOf(&rec)]++
		tells, err := rec.CheckDialect()
		if err != nil || tells == wal.SaysNothing && rec.Blocks[0].HasData {
			n.failf("%s at %s as Neon's: says %d, error %v", opOf(&rec), rec.LSN, tells, err)
		}
		if s := stock.Dialects(); !s.Has(wal.Postgres) || tells == wal.TellsDialect && s.Has(wal.Neon) && stock.Major >= 16 {
			n.failf("%s at %s can be of dialects %b", opOf(stock), stock.LSN, s)
		}
	}
	n.record(&rec)
	for _, at := range changedTuples(&rec) {
		n.checkCID(&rec, at)
	}
}

// changedTuples are the tuples to which a record gives its command id.
func changedTuples(rec *wal.Record) (out []int) {
	switch rec.HeapChange() {
	case wal.HeapInserts:
		r, _ := wal.DecodeHeapInsert(rec)
		out = append(out, int(r.Offset))
	case wal.HeapDeletes:
		r, _ := wal.DecodeHeapDelete(rec)
		out = append(out, int(r.Offset))
	case wal.HeapUpdates, wal.HeapHotUpdates:
		r, _ := wal.DecodeHeapUpdate(rec)
		out = append(out, int(r.NewOffset))
		if rec.Block(1) == nil || rec.Block(1).Fork != pg.MainFork {
			out = append(out, int(r.OldOffset))
		}
	case wal.HeapLocks:
		r, _ := wal.DecodeHeapLock(rec)
		out = append(out, int(r.Offset))
	case wal.HeapMultiInserts:
		r, _ := wal.DecodeHeapMultiInsert(rec)
		for i := range r.Count {
			off := i + 1
			if !rec.InitsPage() {
				off = int(r.Offsets.At(i))
			}
			out = append(out, off)
		}
	}
	return out
}

// checkCID looks for the command id on the page that the record just changed.
func (n *neonTwin) checkCID(rec *wal.Record, at int) {
	p := n.pages[rec.Blocks[0].Block]
	if rec.Blocks[0].HasImage && rec.Blocks[0].Image.Apply || p == nil || p.LSN() != rec.End {
		return
	}
	t, ok := p.HeapTuple(at)
	if !ok {
		n.failf("%s at %s: no tuple %d", opOf(rec), rec.LSN, at)
		return
	}
	if t.Field3() != cidOf(rec) {
		n.failf("%s at %s: tuple %d has command id %#x, want %#x", opOf(rec), rec.LSN, at, t.Field3(), cidOf(rec))
	}
	inserts := rec.HeapChange() == wal.HeapInserts || rec.HeapChange() == wal.HeapMultiInserts
	updates := rec.HeapChange() == wal.HeapUpdates || rec.HeapChange() == wal.HeapHotUpdates
	if combo := t.Infomask()&page.HeapComboCID != 0; !updates && combo != (!inserts && rec.LSN%16 == 0) {
		n.failf("%s at %s: tuple %d has a combined command id: %t", opOf(rec), rec.LSN, at, combo)
	}
	n.cids++
}

// equals compares the twin's pages with those that redo of the stock records
// made: they differ in command ids and nothing else.
func (n *neonTwin) equals(p *proof) {
	a, b := make(page.Page, pg.BlockSize), make(page.Page, pg.BlockSize)
	same, ids := 0, 0
	for block, stock := range p.pages {
		neon := n.pages[block]
		if bytes.Equal(stock, neon) {
			same++
			continue
		}
		if len(neon) != pg.BlockSize || page.KindOf(stock, block.Fork) != page.KindHeap {
			n.failf("%s is not the same", block)
			continue
		}
		copy(a, stock)
		copy(b, neon)
		clearCIDs(a)
		clearCIDs(b)
		if !bytes.Equal(a, b) {
			n.failf("%s differs in more than command ids: %s", block, differences(b, a, block.Fork))
		}
		ids++
	}
	if len(n.pages) != len(p.pages) || ids == 0 {
		n.failf("%d pages, the stock records' redo has %d; %d differ in command ids", len(n.pages), len(p.pages), ids)
	}
	p.t.Logf("as Neon's: %d differences; %d pages the same, %d but for their command ids, %d of which were checked; records: %v",
		n.unequal, same, ids, n.cids, n.kinds)
}

// clearCIDs makes a heap page's command ids those of stock redo, and takes
// what tuples that were moved left in the hole and between the others.
func clearCIDs(p page.Page) {
	clear(p[p.Lower():max(p.Lower(), p.Upper())])
	for i := 1; i <= p.NumItems(); i++ {
		t, ok := p.HeapTuple(i)
		if !ok {
			continue
		}
		t.SetField3(0)
		t.SetInfomask(t.Infomask() &^ page.HeapComboCID)
		id := p.ItemID(i)
		clear(p[id.Offset()+id.Len() : min(id.Offset()+(id.Len()+7)&^7, pg.BlockSize)])
	}
}

// finish judges the twin as the proof was judged.
func (n *neonTwin) finish(p *proof, data string) {
	n.compareDirectory(data)
	n.equals(p)
	images, stock := 0, 0
	for _, c := range n.compared {
		images += c
	}
	for _, c := range p.compared {
		stock += c
	}
	if images != stock || n.lastClean != p.lastClean {
		n.failf("%d images and %d pages of the stopped cluster are equal, with the stock records %d and %d", images, n.lastClean, stock, p.lastClean)
	}
	for _, op := range []string{"INSERT", "INSERT+INIT", "DELETE", "UPDATE", "UPDATE+INIT", "HOT_UPDATE", "LOCK", "MULTI_INSERT", "MULTI_INSERT+INIT"} {
		if n.kinds["neon "+op]+n.kinds["Heap "+op]+n.kinds["Heap2 "+op] == 0 {
			n.failf("no %s was redone as Neon's", op)
		}
	}
	if n.unequal > 0 {
		p.t.Errorf("%d differences as Neon's", n.unequal)
	}
}

// TestNeonRedo redoes each of Neon's changes once, by hand: the command ids
// land in the tuples, and the bit for a combined one in the old tuple's.
func TestNeonRedo(t *testing.T) {
	const cid = uint32(0x0A0B0C0D)
	for _, major := range []int{14, 15, 16, 17, 18} {
		for _, combo := range []bool{false, true} {
			t.Run(fmt.Sprint(major, combo), func(t *testing.T) {
				stock, neon := heapPage(t), heapPage(t)
				for i, rec := range []*wal.Record{
					insertRecord(t, 4, "fourth"),
					record(pg.RmgrHeap, wal.OpHeapDelete, major, words(t, uint32(900), uint16(1), uint8(0), uint8(0)), nil),
					record(pg.RmgrHeap, wal.OpHeapLock, major, words(t, uint32(901), uint16(2), uint8(6), uint8(0)), nil),
					record(pg.RmgrHeap, wal.OpHeapHotUpdate, major, words(t, uint32(902), uint16(3), uint8(0), uint8(wal.UpdatePrefixFromOld), uint32(0), uint16(5)),
						slices.Concat(words(t, uint16(4)), tupleData(t, "!"))),
					record(pg.RmgrHeap2, wal.OpHeap2MultiInsert, major, words(t, uint8(0), uint8(0), uint16(1), uint16(6)),
						slices.Concat(words(t, uint16(6)), tupleData(t, "multi"))),
				} {
					rec.Major = major
					rec.End += pg.LSN(i) * 8
					n := pgtest.Neonised(rec, cid, combo)
					if tells, err := n.CheckDialect(); err != nil || tells != wal.TellsDialect {
						t.Fatalf("%s says %d, error %v", &n, tells, err)
					}
					mustApply(t, rec, stock)
					mustApply(t, &n, neon)
				}
				combined := map[int]bool{1: combo, 2: combo, 3: combo}
				for at := 1; at <= 6; at++ {
					tup, ok := neon.HeapTuple(at)
					if !ok || tup.Field3() != cid || (tup.Infomask()&page.HeapComboCID != 0) != combined[at] {
						t.Errorf("tuple %d: command id %#x, infomask %#x", at, tup.Field3(), tup.Infomask())
					}
				}
				clearCIDs(neon)
				if !bytes.Equal(stock, neon) {
					t.Errorf("more than command ids differ: %s", differences(neon, stock, pg.MainFork))
				}
			})
		}
	}
}

// TestNeonVisibilityMap: Neon's records clear bits of the map as the stock ones do.
func TestNeonVisibilityMap(t *testing.T) {
	for _, major := range []int{14, 17} {
		for _, rec := range []*wal.Record{
			record(pg.RmgrHeap, wal.OpHeapDelete, major, words(t, uint32(900), uint16(1), uint8(0), uint8(wal.DeleteAllVisibleCleared)), nil),
			record(pg.RmgrHeap, wal.OpHeapLock, major, words(t, uint32(900), uint16(1), uint8(6), uint8(wal.LockAllFrozenCleared)), nil),
			record(pg.RmgrHeap, wal.OpHeapUpdate, major, words(t, uint32(900), uint16(1), uint8(0), uint8(wal.UpdateOldAllVisibleCleared), uint32(0), uint16(2)), tupleData(t, "x")),
			record(pg.RmgrHeap2, wal.OpHeap2MultiInsert, major, words(t, uint8(wal.InsertAllVisibleCleared), uint8(0), uint16(1), uint16(6)), slices.Concat(words(t, uint16(6)), tupleData(t, "multi"))),
		} {
			n := pgtest.Neonised(rec, 7, false)
			want, err := redo.VMClears(rec, nil)
			if err != nil || len(want) != 1 {
				t.Fatalf("%s: %v, error %v", rec, want, err)
			}
			if got, err := redo.VMClears(&n, nil); err != nil || !slices.Equal(got, want) {
				t.Errorf("%s: %v, error %v, want %v", &n, got, err, want)
			}
		}
	}
}

// TestNeonMask: images of Neon's records are masked as those of Heap.
func TestNeonMask(t *testing.T) {
	a, b := heapPage(t), heapPage(t)
	tup, _ := a.HeapTuple(1)
	tup.SetField3(77)
	if !mask.MaskConsistency(a, pg.RmgrNeon, pg.MainFork, heapBlock) || !mask.MaskConsistency(b, pg.RmgrHeap, pg.MainFork, heapBlock) || !bytes.Equal(a, b) {
		t.Error("the masks differ")
	}
}
