package redo_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"flag"
	"maps"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

var update = flag.Bool("update", false, "rewrite testdata from the servers that the proofs start")

// realCase is what a record of a server did to one of its blocks; a proof has
// found the page equal to PostgreSQL's.
type realCase struct {
	Name   string
	Record wal.Record // without images
	Ref    int        // of Record.Blocks
	Before []byte     // the page before, nil if the record builds it
	After  [sha256.Size]byte
}

// block is the block reference that the case is about.
func (c *realCase) block() *wal.BlockRef { return &c.Record.Blocks[c.Ref] }

// page is a copy of the page before.
func (c *realCase) page() page.Page {
	p := make(page.Page, pg.BlockSize)
	copy(p, c.Before)
	return p
}

func realCasesPath(rmgr pg.RmgrID) string {
	return filepath.Join("testdata", strings.ToLower(rmgr.String())+".gob.zst")
}

// realCases reads the cases of a resource manager. One proof's run on
// PostgreSQL 17 wrote them, one for each operation, block, outcome and variant:
// go test ./replay/redo -run Proof -update.
func realCases(t testing.TB, rmgr pg.RmgrID) []realCase {
	t.Helper()
	f, err := os.Open(realCasesPath(rmgr))
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	z, err := zstd.NewReader(f)
	if err != nil {
		t.Fatal(err)
	}
	defer z.Close()
	var cases []realCase
	if err := gob.NewDecoder(z).Decode(&cases); err != nil {
		t.Fatal(err)
	}
	return cases
}

// keepCases writes the cases that a proof has kept.
func (p *proof) keepCases() {
	if !*update || len(p.kept) == 0 || p.unequal > 0 {
		return
	}
	for _, rmgr := range p.rmgrs {
		var cases []realCase
		for _, name := range slices.Sorted(maps.Keys(p.kept)) {
			if p.kept[name].Record.Rmgr == rmgr {
				cases = append(cases, p.kept[name])
			}
		}
		if err := writeCases(realCasesPath(rmgr), cases); err != nil {
			p.t.Error(err)
		}
	}
}

func writeCases(path string, cases []realCase) error {
	var b bytes.Buffer
	z, err := zstd.NewWriter(&b, zstd.WithEncoderLevel(zstd.SpeedBestCompression))
	if err != nil {
		return err
	}
	if err := errors.Join(gob.NewEncoder(z).Encode(cases), z.Close()); err != nil {
		return err
	}
	return os.WriteFile(path, b.Bytes(), 0o644)
}

// keep remembers a case unless there is one of that name.
func (p *proof) keep(name string, rec *wal.Record, ref *wal.BlockRef, before []byte, after page.Page) {
	if _, ok := p.kept[name]; ok || p.kept == nil {
		return
	}
	c := realCase{Name: name, Record: *rec, After: sha256.Sum256(after)}
	c.Record.Main = bytes.Clone(rec.Main)
	c.Record.Blocks = slices.Clone(rec.Blocks)
	for i := range c.Record.Blocks {
		b := &c.Record.Blocks[i]
		b.Data, b.HasImage, b.Image = bytes.Clone(b.Data), false, wal.Image{}
		if b.ID == ref.ID {
			c.Ref = i
		}
	}
	if !ref.WillInit {
		c.Before = bytes.Clone(before)
	}
	p.kept[name] = c
}

// replayCases redoes the cases of a resource manager.
func replayCases(t *testing.T, rmgr pg.RmgrID) {
	t.Helper()
	for _, c := range realCases(t, rmgr) {
		p := c.page()
		if _, err := redo.Apply(&hintsLogged, &c.Record, c.block(), p); err != nil {
			t.Errorf("%s: %v", c.Name, err)
		} else if sha256.Sum256(p) != c.After {
			t.Errorf("%s: the page is not the one that PostgreSQL makes", c.Name)
		}
		if outcome, err := redo.Apply(&hintsLogged, &c.Record, c.block(), p); err != nil || outcome != redo.Skipped && outcome != redo.NoChange && !c.block().WillInit {
			t.Errorf("%s once more: outcome %d, error %v", c.Name, outcome, err)
		}
	}
}

// mutateCases redoes the cases with changes in record and page, which must
// end in an error or a page, and writes nothing outside of it.
func mutateCases(t *testing.T, rmgr pg.RmgrID, rounds int) {
	t.Helper()
	rnd := rand.New(rand.NewPCG(1, uint64(rmgr)))
	failed := 0
	for _, c := range realCases(t, rmgr) {
		for range rounds {
			rec := c.Record
			rec.Blocks = slices.Clone(rec.Blocks)
			ref := &rec.Blocks[c.Ref]
			p := c.page()
			for range 1 + rnd.IntN(3) {
				switch rnd.IntN(6) {
				case 0:
					p = mutate(rnd, p, 24)
				case 1:
					p = mutate(rnd, p, pg.BlockSize)
				case 2, 3:
					rec.Main = mutate(rnd, rec.Main, 40)
				case 4:
					ref.Data = mutate(rnd, ref.Data, len(ref.Data))
				case 5:
					rec.Main = rec.Main[:rnd.IntN(len(rec.Main)+1)]
				}
			}
			if !applyInside(t, &rec, ref, p) {
				failed++
			}
		}
	}
	if failed == 0 {
		t.Error("no change was noticed")
	}
}

// mutate changes a byte of a copy of b, within its first bytes.
func mutate(rnd *rand.Rand, b []byte, within int) []byte {
	b = bytes.Clone(b)
	if n := min(len(b), within); n > 0 {
		b[rnd.IntN(n)] = [...]byte{0, 1, 0x7F, 0xFF, byte(rnd.Uint32()), byte(rnd.Uint32())}[rnd.IntN(6)]
	}
	return b
}
