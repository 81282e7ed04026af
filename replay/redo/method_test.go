package redo_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// caseOf is a copy of the first case whose name begins so.
func caseOf(t *testing.T, rmgr pg.RmgrID, name string) realCase {
	t.Helper()
	for _, c := range realCases(t, rmgr) {
		if strings.HasPrefix(c.Name, name) {
			return c
		}
	}
	t.Fatalf("no case %q", name)
	return realCase{}
}

// TestOlderMethodRecords: up to 15 two records were shaped differently, which
// the same change of the same page shows.
func TestOlderMethodRecords(t *testing.T) {
	for _, c := range []struct {
		rmgr  pg.RmgrID
		name  string
		older func(main []byte) []byte
	}{
		// An int instead of a uint16, a bool and padding: nothing moves.
		{pg.RmgrHash, "Hash VACUUM_ONE_PAGE block 0", func(m []byte) []byte { m[6], m[7] = 0, 0; return m }},
		{pg.RmgrHash, "Hash VACUUM_ONE_PAGE block 1", func(m []byte) []byte { m[6], m[7] = 0, 0; return m }},
		{pg.RmgrGist, "Gist DELETE block 0", func(m []byte) []byte { return append(m[:6:6], m[8:]...) }},
	} {
		old := caseOf(t, c.rmgr, c.name)
		old.Record.Major = 15
		old.Record.Main = c.older(bytes.Clone(old.Record.Main))
		p := old.page()
		if _, err := redo.Apply(&hintsLogged, &old.Record, old.block(), p); err != nil || sha256.Sum256(p) != old.After {
			t.Errorf("%s as 15 writes it: %v, right page %t", c.name, err, sha256.Sum256(p) == old.After)
		}
		old.Record.Major = 16
		if c.rmgr == pg.RmgrGist {
			if _, err := redo.Apply(&hintsLogged, &old.Record, old.block(), old.page()); err == nil {
				t.Errorf("%s: 16 takes the record of 15", c.name)
			}
		}
	}
}

// TestSqueezeWithoutChange: a page that gets no items and is not linked anew
// does not get the record's LSN since 17; before, it does.
func TestSqueezeWithoutChange(t *testing.T) {
	c := caseOf(t, pg.RmgrHash, "Hash SQUEEZE_PAGE block 1 changed")
	ref := c.block()
	main := bytes.Clone(c.Record.Main)
	copy(main[8:], []byte{0, 0, 1, 0}) // no items, primary bucket, not the previous page
	c.Record.Main, ref.Data = main, nil
	for major, want := range map[int]redo.Outcome{14: redo.Changed, 16: redo.Changed, 17: redo.NoChange, 18: redo.NoChange} {
		c.Record.Major = major
		p := c.page()
		was := p.LSN()
		got, err := redo.Apply(&hintsLogged, &c.Record, ref, p)
		if err != nil || got != want || (p.LSN() == was) != (want == redo.NoChange) {
			t.Errorf("%d: outcome %d, %v, LSN %s", major, got, err, p.LSN())
		}
	}
}

// TestChangedAfterImage: redo goes on with these pages after it restored them.
func TestChangedAfterImage(t *testing.T) {
	imaged := func(c realCase, id uint8) (*wal.Record, *wal.BlockRef) {
		rec := c.Record
		for i := range rec.Blocks {
			if ref := &rec.Blocks[i]; ref.ID == id {
				ref.HasImage, ref.Image = true, wal.Image{Bytes: c.page(), Apply: true}
				return &rec, ref
			}
		}
		t.Fatalf("%s has no block reference %d", c.Name, id)
		return nil, nil
	}
	for _, c := range []struct {
		rmgr pg.RmgrID
		name string
		id   uint8
	}{
		{pg.RmgrGist, "Gist PAGE_UPDATE block 1 changed", 1},
		{pg.RmgrHash, "Hash SPLIT_ALLOCATE_PAGE block 0 changed", 0},
		{pg.RmgrHash, "Hash SPLIT_COMPLETE block 0 changed", 0},
		{pg.RmgrHash, "Hash SPLIT_COMPLETE block 1 changed", 1},
	} {
		real := caseOf(t, c.rmgr, c.name)
		rec, ref := imaged(real, c.id)
		p := make(page.Page, pg.BlockSize)
		if got, err := redo.Apply(&hintsLogged, rec, ref, p); err != nil || got != redo.Restored || sha256.Sum256(p) != real.After {
			t.Errorf("%s: outcome %d, %v, right page %t", c.name, got, err, sha256.Sum256(p) == real.After)
		}
		rec.Main = nil // what follows the image is not there
		if _, err := redo.Apply(&hintsLogged, rec, ref, p); c.rmgr == pg.RmgrHash && err == nil {
			t.Errorf("%s without main data is no error", c.name)
		}
	}
}

// TestExtensionRedo: redo of an extension's resource manager is the extension's.
func TestExtensionRedo(t *testing.T) {
	const id = pg.RmgrID(130)
	rec := record(id, 0x10, 17, []byte{7}, nil)
	ref := &rec.Blocks[0]
	ref.WillInit = false
	if _, err := redo.Apply(&hintsLogged, rec, ref, emptyPage()); !errors.Is(err, redo.ErrUnsupported) {
		t.Errorf("without a redo: %v", err)
	}
	broken := errors.New("does not fit")
	x := redo.Extension{Redo: func(rec *wal.Record, _ *wal.BlockRef, p page.Page) (bool, error) {
		if len(rec.Main) == 0 {
			return false, broken
		}
		p[5000] = rec.Main[0]
		return rec.Main[0] != 0, nil
	}}
	env := redo.Env{Extensions: redo.Extensions{id: x, pg.RmgrXLOG: x}}
	of := func(id pg.RmgrID) *wal.Record { return &wal.Record{Rmgr: id, Major: 17} }
	if env.Supported(of(131)) || !env.Supported(of(id)) {
		t.Error("only the registered resource manager is supported")
	}
	p := emptyPage()
	if got, err := redo.Apply(&env, rec, ref, p); err != nil || got != redo.Changed || p[5000] != 7 || p.LSN() != rec.End {
		t.Errorf("outcome %d, %v", got, err)
	}
	if got, err := redo.Apply(&env, rec, ref, p); err != nil || got != redo.Skipped {
		t.Errorf("once more: outcome %d, %v", got, err)
	}
	rec.Main = []byte{0}
	p = emptyPage()
	if got, err := redo.Apply(&env, rec, ref, p); err != nil || got != redo.NoChange || p.LSN() != before {
		t.Errorf("without a change: outcome %d, %v, LSN %s", got, err, p.LSN())
	}
	rec.Main = nil
	var e *redo.Error
	if _, err := redo.Apply(&env, rec, ref, p); !errors.As(err, &e) || !errors.Is(err, broken) || e.LSN != rec.LSN || e.Block != ref.Block {
		t.Errorf("an error of the extension: %v", err)
	}
}
