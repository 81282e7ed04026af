package wal_test

import (
	"bytes"
	"encoding/binary"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// ref builds the header and payload of one block reference.
type ref struct {
	id, fork        uint8
	flags           uint8 // WILL_INIT 0x40, SAME_REL 0x80
	data            []byte
	image           []byte
	imageInfo       uint8
	holeAt, holeLen uint16
	compressed      bool // a hole's length is stored
	rel             pg.RelFileLocator
	number          pg.BlockNumber
}

func (f ref) header() []byte {
	flags := f.flags | f.fork
	if f.data != nil {
		flags |= 0x20
	}
	if f.image != nil {
		flags |= 0x10
	}
	h := []byte{f.id, flags}
	h = binary.LittleEndian.AppendUint16(h, uint16(len(f.data)))
	if f.image != nil {
		h = binary.LittleEndian.AppendUint16(h, uint16(len(f.image)))
		h = binary.LittleEndian.AppendUint16(h, f.holeAt)
		h = append(h, f.imageInfo)
		if f.compressed {
			h = binary.LittleEndian.AppendUint16(h, f.holeLen)
		}
	}
	if f.flags&0x80 == 0 {
		for _, v := range []pg.OID{f.rel.Spc, f.rel.DB, f.rel.Rel} {
			h = binary.LittleEndian.AppendUint32(h, uint32(v))
		}
	}
	return binary.LittleEndian.AppendUint32(h, uint32(f.number))
}

// body assembles what follows a record's header.
func body(refs []ref, extra, main []byte) []byte {
	var b []byte
	for _, f := range refs {
		b = append(b, f.header()...)
	}
	b = append(b, extra...)
	switch {
	case len(main) > 255:
		b = binary.LittleEndian.AppendUint32(append(b, 254), uint32(len(main)))
	case len(main) > 0:
		b = append(b, 255, byte(len(main)))
	}
	for _, f := range refs {
		b = append(append(b, f.image...), f.data...)
	}
	return append(b, main...)
}

var (
	relA = pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}
	relB = pg.RelFileLocator{Spc: 1664, DB: 0, Rel: 1260}
)

func one(t *testing.T, major int, rmgr pg.RmgrID, content []byte) (wal.Record, error) {
	t.Helper()
	b := newBuilder(major, pg.MinSegmentSize)
	b.add(rmgr, 0x10, 99, content)
	var rec wal.Record
	err := wal.NewReader(inMemory(b.start, b.bytes()), b.config()).Next(&rec)
	if err != nil && !isEnd(err, wal.EndBadRecordContent, b.lsns[0]) && !isEnd(err, wal.EndBadRecordHeader, b.lsns[0]) {
		t.Fatalf("%v, want an invalid record at %s", err, b.lsns[0])
	}
	return rec, err
}

func TestBlockReferences(t *testing.T) {
	page := pattern(pg.BlockSize)
	refs := []ref{
		{id: 0, rel: relA, number: 7, data: []byte("data of block 0")},
		{id: 1, flags: 0x80 | 0x40, number: 8, fork: 2, image: page[:8000], imageInfo: 1, holeAt: 100},
		{id: 3, rel: relB, number: pg.InvalidBlock - 1, image: page, data: []byte{1}},
		{id: 32, flags: 0x80, number: 0},
	}
	extra := []byte{253, 0x34, 0x12, 252, 4, 3, 2, 1}
	main := pattern(300)
	for major := pg.MinMajor; major <= pg.MaxMajor; major++ {
		apply := uint8(0x02)
		if major == 14 {
			apply = 0x04
		}
		refs[1].imageInfo = 1 | apply
		rec, err := one(t, major, pg.RmgrHeap, body(refs, extra, main))
		if err != nil {
			t.Fatal(err)
		}
		if rec.Origin != 0x1234 || rec.TopXID != 0x01020304 || rec.XID != 99 || !bytes.Equal(rec.Main, main) || len(rec.Blocks) != 4 {
			t.Fatalf("PostgreSQL %d: %+v", major, rec)
		}
		b0, b1, b3, b32 := rec.Block(0), rec.Block(1), rec.Block(3), rec.Block(32)
		if b0.RelFileLocator != relA || b1.RelFileLocator != relA || b3.RelFileLocator != relB || b32.RelFileLocator != relB || rec.Block(2) != nil {
			t.Errorf("PostgreSQL %d: relations differ", major)
		}
		if string(b0.Data) != "data of block 0" || b0.HasImage || b1.HasData || b1.Data != nil || !b1.WillInit || b1.Fork != pg.VMFork || b3.Number != 0xFFFFFFFE {
			t.Errorf("PostgreSQL %d: flags or data differ", major)
		}
		if !b1.Image.Apply || b1.Image.HoleLength != 192 || b3.Image.Apply || b3.Image.HoleLength != 0 || !bytes.Equal(b3.Image.Bytes, page) {
			t.Errorf("PostgreSQL %d: images differ", major)
		}
		restored := make([]byte, pg.BlockSize)
		if err := b1.Image.Restore(restored); err != nil || !bytes.Equal(restored[:100], page[:100]) ||
			!bytes.Equal(restored[100:292], make([]byte, 192)) || !bytes.Equal(restored[292:], page[100:8000]) {
			t.Errorf("PostgreSQL %d: the hole is not restored: %v", major, err)
		}
	}
}

func TestCompressionFlags(t *testing.T) {
	for _, c := range []struct {
		major int
		info  uint8
		want  wal.Compression
	}{
		{14, 0x02, wal.PGLZ}, {15, 0x04, wal.PGLZ}, {16, 0x04, wal.PGLZ}, {15, 0x08, wal.LZ4}, {18, 0x10, wal.Zstd},
	} {
		for _, hole := range []uint16{0, 50} {
			f := ref{id: 0, rel: relA, image: pattern(40), imageInfo: c.info, holeAt: hole, holeLen: hole, compressed: hole > 0}
			if hole > 0 {
				f.imageInfo |= 1
			}
			rec, err := one(t, c.major, pg.RmgrXLOG, body([]ref{f}, nil, nil))
			if err != nil {
				t.Fatal(err)
			}
			if img := rec.Blocks[0].Image; img.Compression != c.want || img.HoleLength != hole || img.Apply {
				t.Errorf("PostgreSQL %d, flags %02X: %+v", c.major, f.imageInfo, img)
			}
		}
	}
}

// TestBadContent checks records whose CRC fits but which no PostgreSQL writes.
func TestBadContent(t *testing.T) {
	page := pattern(pg.BlockSize)
	a := ref{id: 0, rel: relA}
	for _, c := range []struct {
		name  string
		major int
		rmgr  pg.RmgrID
		body  []byte
		want  string
	}{
		{"block ids go back", 15, 10, body([]ref{a, {id: 0, rel: relA}}, nil, nil), "follows"},
		{"first names the relation before", 15, 10, body([]ref{{id: 0, flags: 0x80}}, nil, nil), "the relation before"},
		{"fork", 15, 10, body([]ref{{id: 0, fork: 4, rel: relA}}, nil, nil), "fork 4"},
		{"id 33", 15, 10, []byte{33}, "id 33"},
		{"id 251", 15, 10, []byte{251}, "id 251"},
		{"data flag without data", 15, 10, body([]ref{{id: 0, flags: 0x20, rel: relA}}, nil, nil), "data flag"},
		{"main data too long", 15, 10, []byte{255, 4, 1, 2, 3}, "add up"},
		{"main data too short", 15, 10, []byte{255, 2, 1, 2, 3}, "add up"},
		{"long main data cut", 15, 10, []byte{254, 4, 1}, "add up"},
		{"long main data huge", 15, 10, []byte{254, 0xff, 0xff, 0xff, 0xff, 1}, "add up"},
		{"half a reference", 15, 10, []byte{0, 0}, "add up"},
		{"hole without flag", 15, 0, body([]ref{{id: 0, rel: relA, image: page[:100], holeAt: 9}}, nil, nil), "hole"},
		{"flag without hole", 15, 0, body([]ref{{id: 0, rel: relA, image: page, imageInfo: 1, holeAt: 9}}, nil, nil), "hole"},
		{"hole at 0", 15, 0, body([]ref{{id: 0, rel: relA, image: page[:100], imageInfo: 1}}, nil, nil), "hole"},
		{"hole beyond the page", 15, 0, body([]ref{{id: 0, rel: relA, image: page[:100], imageInfo: 1, holeAt: 101}}, nil, nil), "hole"},
		{"image larger than a page", 15, 0, body([]ref{{id: 0, rel: relA, image: pattern(8193)}}, nil, nil), "hole"},
		{"two methods", 15, 0, body([]ref{{id: 0, rel: relA, image: page[:100], imageInfo: 0x0C}}, nil, nil), "flags 0C"},
		{"zstd in 14", 14, 0, body([]ref{{id: 0, rel: relA, image: page[:100], imageInfo: 0x10}}, nil, nil), "flags 10"},
		{"compressed to a page", 15, 0, body([]ref{{id: 0, rel: relA, image: page, imageInfo: 0x04}}, nil, nil), "compressed to"},
		{"resource manager 22", 15, 22, []byte{255, 1, 1}, "resource manager 22"},
		{"custom resource manager in 14", 14, 128, []byte{255, 1, 1}, "resource manager 128"},
	} {
		if _, err := one(t, c.major, c.rmgr, c.body); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", c.name, err, c.want)
		}
	}
	if _, err := one(t, 15, 128, []byte{255, 1, 1}); err != nil {
		t.Errorf("custom resource manager in 15: %v", err)
	}
	if rec, err := one(t, 15, 10, nil); err != nil || rec.Main != nil || len(rec.Blocks) != 0 {
		t.Errorf("a record of nothing: %v", err)
	}
}
