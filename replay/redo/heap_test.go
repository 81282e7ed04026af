package redo_test

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

const (
	heapBlock = pg.BlockNumber(40_000) // its bits are on page 1 of the map
	before    = pg.LSN(0x1000)
	after     = pg.LSN(0x2000)
)

var heapRel = pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}}

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

// emptyPage is PageInit without a special area.
func emptyPage() page.Page {
	p := make(page.Page, pg.BlockSize)
	p.SetLower(page.HeaderSize)
	p.SetUpper(pg.BlockSize)
	p.SetSpecial(pg.BlockSize)
	p.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
	p.SetLSN(before)
	return p
}

// record is a record of transaction 900 that changes heapBlock.
func record(rmgr pg.RmgrID, info uint8, major int, main, data []byte) *wal.Record {
	return &wal.Record{LSN: after - 0x80, End: after, XID: 900, Rmgr: rmgr, Info: info, Major: major, Main: main,
		Blocks: []wal.BlockRef{{Block: pg.Block{RelFork: heapRel, Number: heapBlock}, WillInit: info&wal.HeapInitPage != 0,
			HasData: len(data) > 0, Data: data}}}
}

// tupleData is the block data of an insert: two columns, no nulls.
func tupleData(t testing.TB, body string) []byte {
	t.Helper()
	return words(t, uint16(2), uint16(0x0802), uint8(24), []byte("\x00"+body))
}

func insertRecord(t testing.TB, off int, body string) *wal.Record {
	t.Helper()
	return record(pg.RmgrHeap, wal.OpHeapInsert, 17, words(t, uint16(off), uint8(0)), tupleData(t, body))
}

// heapPage has three tuples.
func heapPage(t testing.TB) page.Page {
	t.Helper()
	p := emptyPage()
	for i, body := range []string{"first tuple", "second", "the third one"} {
		mustApply(t, insertRecord(t, i+1, body), p)
		p.SetLSN(before)
	}
	return p
}

var hintsLogged = redo.Env{HintBitsLogged: true}

func mustApply(t testing.TB, rec *wal.Record, p page.Page) redo.Outcome {
	t.Helper()
	o, err := redo.Apply(&hintsLogged, rec, &rec.Blocks[0], p)
	if err != nil {
		t.Fatal(err)
	}
	return o
}

// heapRecords is one record of each operation that fits heapPage, by name.
func heapRecords(t testing.TB) map[string]*wal.Record {
	t.Helper()
	u16, u32 := func(v int) uint16 { return uint16(v) }, func(v int) uint32 { return uint32(v) }
	heap := func(op uint8, main, data []byte) *wal.Record { return record(pg.RmgrHeap, op, 17, main, data) }
	update := func(op uint8, flags int, data []byte) *wal.Record {
		return heap(op, words(t, u32(900), u16(1), uint8(0), uint8(flags), u32(0), u16(4)), data)
	}
	header := words(t, u16(2), u16(0x2802), uint8(24), uint8(0))
	all := map[string]*wal.Record{
		"INSERT":             insertRecord(t, 4, "fourth"),
		"INSERT+INIT":        record(pg.RmgrHeap, wal.OpHeapInsert|wal.HeapInitPage, 17, words(t, u16(1), uint8(0)), tupleData(t, "only")),
		"DELETE":             heap(wal.OpHeapDelete, words(t, u32(900), u16(2), uint8(0x10), uint8(1)), nil),
		"DELETE speculative": heap(wal.OpHeapDelete, words(t, u32(900), u16(2), uint8(0), uint8(wal.DeleteIsSuper)), nil),
		"DELETE moved":       heap(wal.OpHeapDelete, words(t, u32(900), u16(2), uint8(0), uint8(wal.DeleteIsPartitionMove)), nil),
		"UPDATE":             update(wal.OpHeapUpdate, 0, append(bytes.Clone(header), "new tuple"...)),
		"HOT_UPDATE": update(wal.OpHeapHotUpdate, wal.UpdatePrefixFromOld|wal.UpdateSuffixFromOld,
			append(words(t, u16(5), u16(6), header), " new "...)),
		"CONFIRM":      heap(wal.OpHeapConfirm, words(t, u16(3)), nil),
		"LOCK":         heap(wal.OpHeapLock, words(t, u32(901), u16(3), uint8(wal.InfobitXMaxLockOnly|wal.InfobitXMaxKeyShrLock), uint8(1)), nil),
		"INPLACE":      heap(wal.OpHeapInplace, words(t, u16(2)), []byte("SECOND")),
		"LOCK_UPDATED": record(pg.RmgrHeap2, wal.OpHeap2LockUpdated, 17, words(t, u32(901), u16(3), uint8(wal.InfobitXMaxIsMulti), uint8(0)), nil),
		"MULTI_INSERT": record(pg.RmgrHeap2, wal.OpHeap2MultiInsert, 17, words(t, uint8(0), uint8(0), u16(2), u16(4), u16(5)),
			words(t, u16(4), u16(2), u16(0x0802), uint8(24), []byte("\x00abc"), uint8(0), u16(2), u16(2), u16(0x0802), uint8(24), []byte("\x00d"))),
		"PRUNE": record(pg.RmgrHeap2, wal.OpHeap2PruneOnAccess, 17, []byte{0, 0xE4},
			words(t, u16(1), u16(1), u16(3), u16(0), u16(1), u16(2))),
		"FREEZE": record(pg.RmgrHeap2, wal.OpHeap2PruneVacuumScan, 17, []byte{1, 0x10},
			words(t, u16(1), u16(0), u32(0), u16(2), u16(0x0B02), uint8(0), uint8(0), u16(2), u16(1), u16(3))),
		"PRUNE of 15": record(pg.RmgrHeap2, wal.OpHeap2Prune, 15, words(t, u32(9), u16(0), u16(1)), words(t, u16(1), u16(3))),
	}
	return all
}

// TestHeapRedoTwice: redo is a function of page and record; the second time
// the page's LSN says that it is there already.
func TestHeapRedoTwice(t *testing.T) {
	for name, rec := range heapRecords(t) {
		p := heapPage(t)
		want := redo.Changed
		if rec.Blocks[0].WillInit {
			want = redo.Initialised
		}
		if got := mustApply(t, rec, p); got != want || p.LSN() != after {
			t.Errorf("%s: outcome %d, LSN %s", name, got, p.LSN())
		}
		once := bytes.Clone(p)
		second := mustApply(t, rec, p)
		if second != redo.Skipped && second != redo.Initialised || !bytes.Equal(once, p) {
			t.Errorf("%s: the second time is outcome %d and changes the page: %t", name, second, !bytes.Equal(once, p))
		}
	}
}

// describeTuple writes a tuple's header and data.
func describeTuple(p page.Page, n int) string {
	tup, ok := p.HeapTuple(n)
	if !ok {
		return fmt.Sprintf("%d: %c", n, "unrd"[p.ItemID(n).Flags()])
	}
	block, off := tup.Ctid()
	return fmt.Sprintf("%d: xmin %d xmax %d ctid %d,%d masks %04x %04x %q", n, tup.Xmin(), tup.Xmax(), block, off,
		tup.Infomask(), tup.Infomask2(), tup[tup.Hoff():])
}

// TestHeapRedo has what single records do, as text. That it is right is
// proven by PostgreSQL in TestHeapProof; this says it in a form to read.
func TestHeapRedo(t *testing.T) {
	records := heapRecords(t)
	for name, want := range map[string]string{
		"DELETE":             `2: xmin 900 xmax 900 ctid 40000,2 masks 0002 2002 "second"`,
		"DELETE speculative": `2: xmin 0 xmax 0 ctid 40000,2 masks 0002 0002 "second"`,
		"DELETE moved":       `2: xmin 900 xmax 900 ctid 4294967295,65533 masks 0002 0002 "second"`,
		"HOT_UPDATE":         `1: xmin 900 xmax 900 ctid 40000,4 masks 0002 4002 "first tuple"; 4: xmin 900 xmax 0 ctid 40000,4 masks 2802 0002 "first new  tuple"`,
		"UPDATE":             `1: xmin 900 xmax 900 ctid 40000,4 masks 0002 0002 "first tuple"; 4: xmin 900 xmax 0 ctid 40000,4 masks 2802 0002 "new tuple"`,
		"LOCK":               `3: xmin 900 xmax 901 ctid 40000,3 masks 0092 0002 "the third one"`,
		"LOCK_UPDATED":       `3: xmin 900 xmax 901 ctid 40000,3 masks 1002 0002 "the third one"`,
		"INPLACE":            `2: xmin 900 xmax 0 ctid 40000,2 masks 0802 0002 "SECOND"`,
		"MULTI_INSERT": `4: xmin 900 xmax 0 ctid 40000,4 masks 0802 0002 "abc"; ` +
			`5: xmin 900 xmax 0 ctid 40000,5 masks 0802 0002 "d"`,
		"FREEZE": `1: xmin 900 xmax 0 ctid 40000,1 masks 0b02 0002 "first tuple"; 3: xmin 900 xmax 0 ctid 40000,3 masks 0b02 0002 "the third one"`,
		"PRUNE":  `1: r; 2: u; 3: xmin 900 xmax 0 ctid 40000,3 masks 0802 0002 "the third one"`,
	} {
		start, p := heapPage(t), heapPage(t)
		mustApply(t, records[name], p)
		got := ""
		for n := 1; n <= p.NumItems(); n++ {
			if d := describeTuple(p, n); d != describeTuple(start, n) {
				if got != "" {
					got += "; "
				}
				got += d
			} else if name == "PRUNE" {
				got += "; " + d
			}
		}
		if got != want {
			t.Errorf("%s:\n got %s\nwant %s", name, got, want)
		}
	}
}

// TestUpdateAcrossPages redoes the two halves of an update on their own.
func TestUpdateAcrossPages(t *testing.T) {
	rec := heapRecords(t)["UPDATE"]
	rec.Main = words(t, uint32(900), uint16(1), uint8(0), uint8(0), uint32(0), uint16(1)) // new tuple is the first
	rec.Info |= wal.HeapInitPage
	rec.Blocks[0].WillInit = true
	rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: 1, Block: pg.Block{RelFork: heapRel, Number: 7}})
	oldPage, newPage := heapPage(t), make(page.Page, pg.BlockSize)
	for i, p := range []page.Page{newPage, oldPage} {
		if _, err := redo.Apply(&hintsLogged, rec, &rec.Blocks[i], p); err != nil {
			t.Fatal(err)
		}
	}
	if got, want := describeTuple(oldPage, 1), `1: xmin 900 xmax 900 ctid 40000,1 masks 0002 0002 "first tuple"`; got != want {
		t.Errorf("old page has %s, want %s", got, want)
	}
	if got, want := describeTuple(newPage, 1), `1: xmin 900 xmax 0 ctid 40000,1 masks 2802 0002 "new tuple"`; got != want || newPage.NumItems() != 1 {
		t.Errorf("new page has %s, want %s", got, want)
	}
}

// TestHeapRedoRefuses has records that do not fit their page.
func TestHeapRedoRefuses(t *testing.T) {
	cases := map[string]func(rec map[string]*wal.Record, p *page.Page) *wal.Record{
		"page of zeros": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			*p = make(page.Page, pg.BlockSize)
			return r["INSERT"]
		},
		"number in use": func(r map[string]*wal.Record, _ *page.Page) *wal.Record { return insertRecord(t, 2, "x") },
		"number too high": func(r map[string]*wal.Record, _ *page.Page) *wal.Record {
			return insertRecord(t, 5, "x")
		},
		"number 0": func(r map[string]*wal.Record, _ *page.Page) *wal.Record { return insertRecord(t, 0, "x") },
		"no room": func(r map[string]*wal.Record, _ *page.Page) *wal.Record {
			return insertRecord(t, 4, string(make([]byte, 8100)))
		},
		"tuple too long": func(r map[string]*wal.Record, _ *page.Page) *wal.Record {
			return insertRecord(t, 4, string(make([]byte, 9000)))
		},
		"dead tuple": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			p.SetItemID(2, page.MakeItemID(0, page.LPDead, 0))
			return r["DELETE"]
		},
		"tuple outside of the page": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			p.SetItemID(2, page.MakeItemID(8190, page.LPNormal, 30))
			return r["DELETE"]
		},
		"tuple shorter than its header": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			p.SetItemID(2, page.MakeItemID(8000, page.LPNormal, 22))
			return r["DELETE"]
		},
		"prefix longer than the old tuple": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			binary.LittleEndian.PutUint16(r["HOT_UPDATE"].Blocks[0].Data, 12)
			return r["HOT_UPDATE"]
		},
		"suffix longer than the old tuple": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			binary.LittleEndian.PutUint16(r["HOT_UPDATE"].Blocks[0].Data[2:], 60000)
			return r["HOT_UPDATE"]
		},
		"prefix across pages": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			rec := r["HOT_UPDATE"]
			rec.Info = wal.OpHeapUpdate
			rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: 1, Block: pg.Block{RelFork: heapRel, Number: 7}})
			return rec
		},
		"HOT update across pages": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			rec := r["HOT_UPDATE"]
			rec.Blocks = append(rec.Blocks, wal.BlockRef{ID: 1, Block: pg.Block{RelFork: heapRel, Number: 7}})
			return rec
		},
		"another length in place": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			r["INPLACE"].Blocks[0].Data = []byte("longer than before")
			return r["INPLACE"]
		},
		"init without WILL_INIT": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			r["INSERT+INIT"].Blocks[0].WillInit = false
			return r["INSERT+INIT"]
		},
		"WILL_INIT without init": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			r["DELETE"].Blocks[0].WillInit = true
			return r["DELETE"]
		},
		"unknown block id": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			r["DELETE"].Blocks[0].ID = 4
			return r["DELETE"]
		},
		"prune beyond the page": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			return record(pg.RmgrHeap2, wal.OpHeap2PruneOnAccess, 17, []byte{0, 0x84}, words(t, uint16(1), uint16(4)))
		},
		"redirect without cleanup lock": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			r["PRUNE"].Main[1] &^= 0x04
			return r["PRUNE"]
		},
		"prune of a broken page": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			p.SetItemID(1, page.MakeItemID(30, page.LPNormal, 40))
			p.SetItemID(3, page.MakeItemID(40, page.LPNormal, 40))
			return r["PRUNE"]
		},
		"freeze of no tuple": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			p.SetItemID(3, 0)
			return r["FREEZE"]
		},
		"pd_upper beyond pd_special": func(r map[string]*wal.Record, p *page.Page) *wal.Record {
			p.SetUpper(9000)
			return r["INSERT"]
		},
	}
	for name, c := range cases {
		p := heapPage(t)
		rec := c(heapRecords(t), &p)
		var e *redo.Error
		if _, err := redo.Apply(&hintsLogged, rec, &rec.Blocks[0], p); !errors.As(err, &e) {
			t.Errorf("%s: error %v", name, err)
		}
	}
}

// TestDialectIsFound: callers tell a dialect from a page that does not fit.
func TestDialectIsFound(t *testing.T) {
	rec := insertRecord(t, 4, "fourth")
	rec.Main = append(rec.Main, 0)
	_, err := redo.Apply(&hintsLogged, rec, &rec.Blocks[0], heapPage(t))
	var d *wal.DialectError
	if !errors.Is(err, wal.ErrDialect) || !errors.As(err, &d) || d.Record != "Heap INSERT" {
		t.Errorf("Apply: error %v", err)
	}
	if _, err := redo.VMClears(rec, nil); !errors.Is(err, wal.ErrDialect) {
		t.Errorf("VMClears: error %v", err)
	}
}
