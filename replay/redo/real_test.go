package redo_test

import (
	"bytes"
	"crypto/sha256"
	"encoding/gob"
	"errors"
	"flag"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

var update = flag.Bool("update", false, "rewrite testdata from the servers that the proofs start")

// realCase is what a record of a server did to one of its blocks; a proof has
// found the page equal to PostgreSQL's.
type realCase struct {
	Name   string
	Record wal.Record // without images
	Ref    int        // of Record.Blocks; 0 where the record is kept for itself
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

func realCasesPath(name string) string {
	return filepath.Join("testdata", strings.ToLower(name)+".gob.zst")
}

// realCases reads the cases of a resource manager. One proof's run on
// PostgreSQL 17 wrote them, one for each operation, block, outcome and variant;
// those that 16 and older write otherwise are of 15 and in a file of their own:
// go test ./replay/redo -run Proof -update.
func realCases(t testing.TB, rmgr pg.RmgrID) []realCase {
	t.Helper()
	cases := readCases(t, rmgr.String())
	if older := rmgr.String() + olderCases; fileExists(realCasesPath(older)) {
		cases = append(cases, readCases(t, older)...)
	}
	return cases
}

// olderCases ends the names of files with records of PostgreSQL 15.
const olderCases = "-15"

func fileExists(path string) bool {
	_, err := os.Stat(path)
	return err == nil
}

func readCases(t testing.TB, name string) []realCase {
	t.Helper()
	f, err := os.Open(realCasesPath(name))
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
	files := map[string][]realCase{}
	for _, name := range slices.Sorted(maps.Keys(p.kept)) {
		c := p.kept[name]
		file := c.Record.Rmgr.String()
		switch {
		case c.After == [sha256.Size]byte{}:
			file = "others"
		case c.Record.Major < 17:
			file += olderCases
		}
		files[file] = append(files[file], c)
	}
	for file, cases := range files {
		if err := writeCases(realCasesPath(file), cases); err != nil {
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

// keep remembers a case unless there is one of that name. Pages of 15 only
// where 17 has no such record.
func (p *proof) keep(name string, rec *wal.Record, ref *wal.BlockRef, before []byte, after page.Page) {
	if _, ok := p.kept[name]; ok || p.kept == nil || rec.Major < 17 && !onlyOlder(rec) {
		return
	}
	c := copyCase(name, rec, ref)
	c.After = sha256.Sum256(after)
	if !ref.WillInit {
		c.Before = bytes.Clone(before)
	}
	p.kept[name] = c
}

// onlyOlder says whether 17 writes another record in place of this one.
func onlyOlder(rec *wal.Record) bool {
	switch rec.Op() {
	case wal.OpHeap2Prune, wal.OpHeap2Vacuum, wal.OpHeap2FreezePage:
		return rec.Rmgr == pg.RmgrHeap2
	}
	return false
}

// keepOther remembers a record of a resource manager whose pages no proof
// compares, the first of each operation; the proof of heaps sees the most.
func (p *proof) keepOther(rec *wal.Record) {
	own := rec.Rmgr != pg.RmgrXLOG && p.env.Supported(rec)
	if p.kept == nil || own || rec.Major < 17 || !slices.Contains(p.rmgrs, pg.RmgrHeap) {
		return
	}
	if name := opOf(rec); p.kept[name].Name == "" {
		p.kept[name] = copyCase(name, rec, &wal.BlockRef{ID: ^uint8(0)})
	}
}

func copyCase(name string, rec *wal.Record, ref *wal.BlockRef) realCase {
	c := realCase{Name: name, Record: *rec}
	c.Record.Main = bytes.Clone(rec.Main)
	c.Record.Blocks = slices.Clone(rec.Blocks)
	for i := range c.Record.Blocks {
		b := &c.Record.Blocks[i]
		b.Data, b.HasImage, b.Image = bytes.Clone(b.Data), false, wal.Image{}
		if b.ID == ref.ID {
			c.Ref = i
		}
	}
	return c
}
