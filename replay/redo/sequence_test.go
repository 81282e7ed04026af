package redo_test

import (
	"bytes"
	"encoding/binary"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// sequenceRecord is SEQ_LOG with a tuple of that many bytes.
func sequenceRecord(size int) *wal.Record {
	rec := record(pg.RmgrSequence, 0, 17, join(u32s(1663, 5, 16384), bytes.Repeat([]byte{7}, size)), nil)
	rec.Blocks[0].Number, rec.Blocks[0].WillInit = 0, true
	return rec
}

// TestSequence: the page is built from nothing, whatever it held and however
// new it was.
func TestSequence(t *testing.T) {
	p := heapPage(t)
	p.SetLSN(after + 800)
	for range 2 {
		if o := mustApply(t, sequenceRecord(41), p); o != redo.Initialised || p.LSN() != after {
			t.Fatalf("outcome %d, LSN %s", o, p.LSN())
		}
		if p.NumItems() != 1 || p.ItemID(1) != page.MakeItemID(8136, page.LPNormal, 41) || !bytes.Equal(p.Item(1), bytes.Repeat([]byte{7}, 41)) {
			t.Errorf("item %x", p.Item(1))
		}
		if p.Special() != 8184 || binary.LittleEndian.Uint32(p[8184:]) != 0x1717 {
			t.Errorf("special area at %d: % x", p.Special(), p[8176:])
		}
	}
}

func TestSequenceRefuses(t *testing.T) {
	unknown := sequenceRecord(41)
	unknown.Info = 0x10
	short := sequenceRecord(41)
	short.Main = short.Main[:12]
	for name, rec := range map[string]*wal.Record{"unknown operation": unknown, "no tuple": short, "tuple too long": sequenceRecord(8160)} {
		if _, err := redo.Apply(&hintsLogged, rec, &rec.Blocks[0], emptyPage()); err == nil {
			t.Errorf("%s: no error", name)
		}
	}
}

// TestHintImages: FPI_FOR_HINT without its image changes nothing and moves no
// LSN; any other XLOG record must carry its image.
func TestHintImages(t *testing.T) {
	p := heapPage(t)
	once := bytes.Clone(p)
	hint := record(pg.RmgrXLOG, 0xA0, 17, nil, nil)
	hint.Blocks[0].WillInit = false
	if o := mustApply(t, hint, p); o != redo.NoChange || !bytes.Equal(once, p) || hint.LSNEffect(&hint.Blocks[0]) != wal.MaySetLSN {
		t.Errorf("outcome %d", o)
	}
	fpi := record(pg.RmgrXLOG, 0xB0, 17, nil, nil)
	fpi.Blocks[0].WillInit = false
	if _, err := redo.Apply(&hintsLogged, fpi, &fpi.Blocks[0], p); err == nil || fpi.LSNEffect(&fpi.Blocks[0]) != wal.SetsLSN {
		t.Errorf("FPI without an image: error %v", err)
	}
}
