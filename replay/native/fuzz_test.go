package native

import (
	"bytes"
	"encoding/gob"
	"math/rand/v2"
	"os"
	"path/filepath"
	"runtime"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// realRecord is a record that PostgreSQL wrote, and the page before it of one
// of its blocks (realCase of replay/redo).
type realRecord struct {
	Name   string
	Record wal.Record
	Ref    int
	Before []byte
}

// realRecords are one or two of each operation of each resource manager.
func realRecords(t testing.TB) (all []realRecord) {
	t.Helper()
	files, err := filepath.Glob("../redo/testdata/*.gob.zst")
	if err != nil || len(files) < 12 {
		t.Fatalf("%d files of real records, %v", len(files), err)
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			t.Fatal(err)
		}
		z, err := zstd.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		var cases []realRecord
		if err := gob.NewDecoder(z).Decode(&cases); err != nil {
			t.Fatal(err)
		}
		z.Close()
		_ = f.Close()
		seen := map[string]bool{}
		for _, c := range cases { // one of each operation and block: "Btree DELETE block 0 changed, …"
			op, _, _ := strings.Cut(c.Name, ", ")
			if !seen[op] {
				all = append(all, c)
			}
			seen[op] = true
		}
	}
	return all
}

// change is what a fuzzer does to a record: bytes of its main data and of its
// blocks' data (two for where, one for what), or another length.
type change struct {
	info, major uint8
	block       uint32 // XOR of the first reference's number
	flags       uint8  // the second's fork, images, WILL_INIT
	main, data  []byte
	cut         uint16 // main data's length if it is less
}

func patched(b, patch []byte) []byte {
	b = bytes.Clone(b)
	for ; len(patch) >= 3 && len(b) > 0; patch = patch[3:] {
		b[(int(patch[0])<<8|int(patch[1]))%len(b)] = patch[2]
	}
	return b
}

// of is the record after the change.
func (c *change) of(rec *wal.Record, before []byte) (main []byte, refs []wal.BlockRef) {
	main = patched(rec.Main, c.main)
	main = main[:min(len(main), int(c.cut))]
	refs = slices.Clone(rec.Blocks)
	for i := range refs {
		refs[i].Data = patched(refs[i].Data, c.data)
	}
	if len(refs) == 0 {
		return main, refs
	}
	first := &refs[0]
	first.Number ^= pg.BlockNumber(c.block)
	if c.flags&1 != 0 {
		first.WillInit = !first.WillInit
	}
	if c.flags&6 != 0 && before != nil {
		first.HasImage, first.Image = true, wal.Image{Bytes: patched(before, c.data), Apply: c.flags&2 != 0}
	}
	if last := &refs[len(refs)-1]; c.flags&8 != 0 {
		last.Fork = pg.ForkNumber(c.flags >> 4 & 3)
	}
	return main, refs
}

// FuzzReplay puts a changed record of any resource manager into the middle of
// a span: it ends in an error that says where, or in pages of which each that
// could not be redone says by which record. No panic, nothing that takes long,
// no memory that the input does not account for.
func FuzzReplay(f *testing.F) {
	records := realRecords(f)
	for i := range records {
		for _, block := range []uint32{0, 1 << 31} {
			f.Add(uint16(i), records[i].Record.Info, uint8(records[i].Record.Major-pg.MinMajor), block, uint8(0), []byte{}, []byte{}, ^uint16(0))
		}
	}
	f.Fuzz(func(t *testing.T, which uint16, info, major uint8, block uint32, flags uint8, main, data []byte, cut uint16) {
		watchdog := time.AfterFunc(20*time.Second, func() { panic("hang") })
		defer watchdog.Stop()
		replayChanged(t, &records[int(which)%len(records)], change{info, major % 5, block, flags, main, data, cut})
	})
}

// TestChangedRecords does the same with changes by chance. A fuzzer is slow
// here, for it counts the branches of all that the tests link; this is not.
func TestChangedRecords(t *testing.T) {
	rounds := 2 // of each record
	if os.Getenv("REDOUBT_PROVE") == "1" {
		rounds = 1000
	}
	n := 0
	for i, c := range realRecords(t) {
		rnd := rand.New(rand.NewPCG(7, uint64(i)))
		some := func(n int) []byte {
			b := make([]byte, 3*rnd.IntN(n))
			for j := range b {
				b[j] = byte(rnd.Uint32())
			}
			for j := 0; j+2 < len(b); j += 3 { // most fields are at the beginning
				b[j] >>= rnd.IntN(9)
				b[j+2] = [...]byte{0, 1, 0x7F, 0xFF, b[j+2], b[j+2]}[rnd.IntN(6)]
			}
			return b
		}
		for range rounds {
			by := change{info: c.Record.Info, major: uint8(c.Record.Major - pg.MinMajor), main: some(4), data: some(4), cut: ^uint16(0)}
			switch rnd.IntN(5) {
			case 0:
				by.info = byte(rnd.Uint32())
			case 1:
				by.cut = uint16(rnd.IntN(len(c.Record.Main) + 1))
			case 2:
				by.flags = byte(rnd.Uint32())
			case 3:
				by.major, by.block = uint8(rnd.IntN(5)), rnd.Uint32()
			}
			t.Run("", func(t *testing.T) { replayChanged(t, &c, by) })
			if t.Failed() {
				t.Fatalf("%s changed by %+v", c.Name, by)
			}
			n++
		}
	}
	t.Logf("%d changed records", n)
}

func replayChanged(t *testing.T, c *realRecord, by change) {
	t.Helper()
	base := newMemory()
	for i := range c.Record.Blocks {
		b := c.Record.Blocks[i].Block
		base.sizes[b.RelFork] = 3
		for n := range pg.BlockNumber(3) {
			base.pages[pg.Block{RelFork: b.RelFork, Number: n}] = filled(byte(n) + 1)
		}
	}
	s := &script{t: t}
	target := tableA
	if len(c.Record.Blocks) > 0 && c.Before != nil {
		ref := c.Record.Blocks[c.Ref]
		target = ref.RelFork
		ref.HasImage, ref.WillInit, ref.Data, ref.HasData = true, false, nil, false
		ref.Image = wal.Image{Bytes: c.Before, Apply: true}
		s.add(pg.RmgrXLOG, 0xB0, nil, ref)
	}
	for range 2 {
		body, refs := by.of(&c.Record, c.Before)
		ids := slices.Clone(refs)
		rec := s.add(c.Record.Rmgr, by.info, body, refs...)
		for i := range rec.Blocks { // add numbers them
			rec.Blocks[i].ID = ids[i].ID
		}
		rec.Major = pg.MinMajor + int(by.major)
	}
	s.insert(target, 1, 2, "on the next block")
	copied := pg.OID(77777)
	s.add(pg.RmgrDatabase, 0x00, u32(int(copied), int(target.Spc), int(target.DB), int(target.Spc)))
	s.truncate(target, 2)

	var before, after runtime.MemStats
	runtime.ReadMemStats(&before)
	res, err := s.try(Config{Workers: 2, Memory: 1 << 20}, base)
	runtime.ReadMemStats(&after)
	if n := after.TotalAlloc - before.TotalAlloc; n > 64<<20 {
		t.Fatalf("%d bytes allocated for %s", n, c.Name)
	}
	if err != nil {
		if strings.Contains(err.Error(), "panic") {
			t.Fatal(err)
		}
		if !strings.Contains(err.Error(), "0/") {
			t.Fatalf("the error does not say where: %v", err)
		}
		return
	}
	checkPages(t, res)
	s.playOnDemand(Config{Workers: 2, Memory: 1 << 20}, base, res)
}

// checkPages reads every page that a replay touched.
func checkPages(t *testing.T, res *Result) {
	t.Helper()
	var buf [pg.BlockSize]byte
	for _, fork := range res.Forks() {
		err := res.EachTouched(fork.RelFork, func(b pg.BlockNumber) error {
			p, err := res.Page(fork.RelFork, b, buf[:])
			if p.Failed != nil && !strings.Contains(p.Failed.Error(), "0/") {
				t.Fatalf("%s block %d: the error does not say where: %v", fork.RelFork, b, p.Failed)
			}
			if p.Tainted && p.Last.LSN == 0 {
				t.Fatalf("%s block %d is tainted by no record", fork.RelFork, b)
			}
			return err
		})
		if err != nil {
			t.Fatal(err)
		}
	}
}
