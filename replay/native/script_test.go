package native

import (
	"bytes"
	"context"
	"encoding/binary"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// script is a span of records made by hand.
type script struct {
	t    testing.TB
	recs []wal.Record
}

var tableA = pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}}

func ref(f pg.RelFork, b pg.BlockNumber) wal.BlockRef {
	return wal.BlockRef{Block: pg.Block{RelFork: f, Number: b}}
}

// add appends a record of PostgreSQL 17; its block references are numbered.
func (s *script) add(rmgr pg.RmgrID, info uint8, main []byte, refs ...wal.BlockRef) *wal.Record {
	lsn := pg.LSN(0x10000 + 0x100*len(s.recs))
	for i := range refs {
		refs[i].ID = uint8(i)
	}
	s.recs = append(s.recs, wal.Record{LSN: lsn, End: lsn + 0x100, Length: 100, XID: 900, Rmgr: rmgr, Info: info, Major: 17, Main: main, Blocks: refs})
	return &s.recs[len(s.recs)-1]
}

// filled is a heap page with one item of that byte.
func filled(b byte) page.Page {
	p := make(page.Page, pg.BlockSize)
	p.SetLower(page.HeaderSize + page.ItemIDSize)
	p.SetUpper(pg.BlockSize - 64)
	p.SetSpecial(pg.BlockSize)
	p.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
	p.SetItemID(1, page.MakeItemID(pg.BlockSize-64, page.LPNormal, 64))
	for i := pg.BlockSize - 64; i < pg.BlockSize; i++ {
		p[i] = b
	}
	return p
}

// image logs a block's full page.
func (s *script) image(f pg.RelFork, b pg.BlockNumber, fill byte) *wal.Record {
	r := ref(f, b)
	r.HasImage, r.Image = true, wal.Image{Bytes: filled(fill), Apply: true}
	return s.add(pg.RmgrXLOG, 0xB0, nil, r)
}

// insert adds a heap tuple at an offset number; the record builds on the page.
func (s *script) insert(f pg.RelFork, b pg.BlockNumber, off int, body string) *wal.Record {
	r := ref(f, b)
	r.HasData, r.Data = true, append([]byte{1, 0, 2, 8, 24, 0}, body...)
	return s.add(pg.RmgrHeap, wal.OpHeapInsert, append(u16(off), 0), r)
}

// dropped is the main data of a COMMIT that drops relations.
func dropped(rels ...pg.RelFork) []byte {
	main := make([]byte, 8)
	main = append(main, u32(1<<2, len(rels))...)
	for _, r := range rels {
		main = append(main, u32(int(r.Spc), int(r.DB), int(r.Rel))...)
	}
	return main
}

func u16(v ...int) (b []byte) {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint16(b, uint16(n))
	}
	return b
}

func u32(v ...int) (b []byte) {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint32(b, uint32(n))
	}
	return b
}

func (s *script) create(f pg.RelFork) {
	s.add(pg.RmgrStorage, 0x11, u32(int(f.Spc), int(f.DB), int(f.Rel), int(f.Fork)))
}

func (s *script) truncate(f pg.RelFork, blocks int) {
	s.add(pg.RmgrStorage, 0x21, append(u32(blocks), u32(int(f.Spc), int(f.DB), int(f.Rel), 7)...))
}

// feed hands the records out in batches.
func (s *script) feed(_ context.Context, fn func(*batch) error) error {
	for i := 0; i < len(s.recs); i += 50 {
		if err := fn(&batch{recs: s.recs[i:min(i+50, len(s.recs))]}); err != nil {
			return err
		}
	}
	return nil
}

// play replays the script over a base.
func (s *script) play(cfg Config, base *memory) *Result {
	s.t.Helper()
	if base == nil {
		base = newMemory()
	}
	res, err := s.try(cfg, base)
	if err != nil {
		s.t.Fatal(err)
	}
	if cfg.Filter == nil {
		s.playOnDemand(cfg, base, res)
	}
	return res
}

// try plays the script; the error is that of a record.
func (s *script) try(cfg Config, base *memory) (*Result, error) {
	cfg.Scratch = s.t.TempDir()
	e := New(cfg, nil, Span{Range: pg.Range{From: 0x10000, To: 0x90000000}})
	s.t.Cleanup(func() {
		if err := e.Close(); err != nil {
			s.t.Error(err)
		}
	})
	if err := e.scan(context.Background(), s.feed, &Scanned{}); err != nil {
		return nil, err
	}
	if err := base.walk(e); err != nil {
		return nil, err
	}
	e.SetBase(Base{CommitTs: true})
	return e.replay(context.Background(), s.feed, func(*batch) {})
}

// table is a base with one relation, block i filled with byte i+1.
func table(f pg.RelFork, blocks int) *memory {
	m := newMemory()
	m.addTable(f, blocks)
	return m
}

func (m *memory) addTable(f pg.RelFork, blocks int) {
	m.sizes[f] = pg.BlockNumber(blocks)
	for i := range blocks {
		m.pages[pg.Block{RelFork: f, Number: pg.BlockNumber(i)}] = filled(byte(i + 1))
	}
}

// wantFork compares what a replay says of a fork.
func wantFork(t testing.TB, res *Result, f pg.RelFork, size, baseBlocks pg.BlockNumber, created bool) {
	t.Helper()
	if got, ok := res.Fork(f); !ok || got.Size != size || got.BaseBlocks != baseBlocks || got.Created != created {
		t.Errorf("fork %s: %+v, %t; want %d blocks, %d of the base, created %t", f, got, ok, size, baseBlocks, created)
	}
}

// pageOf is one block after a replay.
func pageOf(t testing.TB, res *Result, f pg.RelFork, b pg.BlockNumber) Page {
	t.Helper()
	p, err := res.Page(f, b, make([]byte, pg.BlockSize))
	if err != nil {
		t.Fatal(err)
	}
	return p
}

// wantFill: the page is filled(b) with another LSN.
func wantFill(t testing.TB, p Page, b byte) {
	t.Helper()
	if p.Bytes == nil || !bytes.Equal(p.Bytes[8:], filled(b)[8:]) {
		t.Errorf("the page is not the one filled with %d", b)
	}
}
