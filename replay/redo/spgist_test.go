package redo

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// spgTestPage is a page of the tree with dead tuples of these states.
func spgTestPage(states ...uint32) page.Page {
	p := make(page.Page, pg.BlockSize)
	pageInit(p, spgSpecialSize)
	o := spgOpaque(p[pg.BlockSize-spgSpecialSize:])
	o.set(spgPageID, spgistPageID)
	for i, s := range states {
		t := spgDeadTuple(s, 500, spgLink{9, 9})
		if _, err := pageAddItem(p, t[:], i+1, false, false); err != nil {
			panic(err)
		}
		switch s {
		case spgRedirect:
			o.setRedirects(o.redirects() + 1)
		case spgPlaceholder:
			o.setPlaceholders(o.placeholders() + 1)
		}
	}
	return p
}

// describeSPG writes the counters and the states of a page's tuples.
func describeSPG(p page.Page) string {
	o := spgOpaque(p[pg.BlockSize-spgSpecialSize:])
	var b strings.Builder
	fmt.Fprintf(&b, "%d redirects, %d placeholders:", o.redirects(), o.placeholders())
	for n := 1; n <= p.NumItems(); n++ {
		t := p.Item(n)
		fmt.Fprintf(&b, " %s", [...]string{"live", "redirect", "dead", "placeholder"}[t[0]&spgStateMask])
		if t[0]&spgStateMask == spgRedirect {
			fmt.Fprintf(&b, ">%d/%d", tidBlock(t[spgPointer:]), binary.LittleEndian.Uint16(t[spgPointer+tidOffsetAt:]))
		}
	}
	return b.String()
}

func spgU16(v ...uint16) (b []byte) {
	for _, n := range v {
		b = binary.LittleEndian.AppendUint16(b, n)
	}
	return b
}

// spgTestLeaf is a leaf tuple of the smallest size, alone in its chain.
func spgTestLeaf() []byte {
	t := make([]byte, 16)
	binary.LittleEndian.PutUint32(t, 16<<spgTupleSize)
	return t
}

func spgTestRecord(op uint8, major int, main []byte) *wal.Record {
	r := &wal.Record{End: 100, Rmgr: pg.RmgrSPGist, Info: op, Major: major, Main: main}
	for id := range uint8(4) {
		r.Blocks = append(r.Blocks, wal.BlockRef{ID: id, Block: pg.Block{Number: pg.BlockNumber(50 + id)}})
	}
	return r
}

// TestVacuumRedirectOfMajors: since 16 the record says whether the index is a
// catalog's, and what follows moves by two bytes.
func TestVacuumRedirectOfMajors(t *testing.T) {
	for major := pg.MinMajor; major <= pg.MaxMajor; major++ {
		main := append(spgU16(1, 2), 1, 0, 0, 0)
		if major >= 16 {
			main = append(main, 1, 0)
		}
		main = append(main, spgU16(3)...)
		rec := spgTestRecord(wal.SPGistVacuumRedirect, major, main)
		p := spgTestPage(spgDead, spgPlaceholder, spgRedirect)
		if _, err := Apply(&Env{}, rec, &rec.Blocks[0], p); err != nil || describeSPG(p) != "0 redirects, 0 placeholders: dead" {
			t.Errorf("PostgreSQL %d: %s, error %v", major, describeSPG(p), err)
		}
	}
}

// TestBuildLeavesPlaceholders: while an index is built nobody searches it, so
// that nothing is redirected.
func TestBuildLeavesPlaceholders(t *testing.T) {
	for _, build := range []byte{0, 1} {
		main := append(spgU16(2, 0, 0, 1, 0, 0, 0, 0), build, 0, 0, 0) // two moves, xid 0
		main = append(main, spgU16(3, 2, 4, 5, 6)...)
		main = append(main, append(append(spgTestLeaf(), spgTestLeaf()...), spgTestLeaf()...)...)
		rec := spgTestRecord(wal.SPGistMoveLeafs, 17, main)
		p := spgTestPage(spgDead, spgDead, spgDead)
		want := []string{"1 redirects, 1 placeholders: dead placeholder redirect>51/6", "0 redirects, 2 placeholders: dead placeholder placeholder"}[build]
		if _, err := Apply(&Env{}, rec, &rec.Blocks[0], p); err != nil || describeSPG(p) != want {
			t.Errorf("build %d: %s, error %v", build, describeSPG(p), err)
		}
	}
}

// TestSPGistMisfits: a record that does not fit its page is an error that
// names record, LSN and block.
func TestSPGistMisfits(t *testing.T) {
	addLeaf := func(v ...uint16) []byte { return append(spgU16(v...), spgTestLeaf()...) }
	for name, c := range map[string]struct {
		op   uint8
		main []byte
		ref  int
		init bool
		want string
	}{
		"a live tuple in the way":  {wal.SPGistAddLeaf, addLeaf(0, 1, 0, 0, 0), 0, false, "to be replaced, has state 2"},
		"a new page without init":  {wal.SPGistAddLeaf, addLeaf(1, 1, 0, 0, 0), 0, false, "initialised: true"},
		"an init without new page": {wal.SPGistAddLeaf, addLeaf(0, 1, 0, 0, 0), 0, true, "initialised: false"},
		"no such chain":            {wal.SPGistAddLeaf, addLeaf(0, 4, 9, 0, 0), 0, false, "no live leaf tuple at offset number 9"},
		"no such parent":           {wal.SPGistAddLeaf, addLeaf(0, 4, 0, 1, 0), 1, false, "no live inner tuple"},
		"an unchanged parent":      {wal.SPGistAddLeaf, addLeaf(0, 4, 0, 0, 0), 1, false, "unexpected block reference 1"},
		"a cut tuple":              {wal.SPGistAddLeaf, addLeaf(0, 4, 0, 0, 0)[:20], 0, false, "parts do not add up"},
		"a gap":                    {wal.SPGistAddLeaf, addLeaf(0, 6, 0, 0, 0), 0, false, "beyond the first free line pointer"},
		"too few redirects":        {wal.SPGistVacuumRedirect, append(spgU16(1, 0, 0, 0, 0), spgU16(2)...), 0, false, "1 redirects become placeholders, the page counts 0"},
		"twice the same":           {wal.SPGistVacuumRoot, append(spgU16(2, 0, 0, 0, 0, 0), spgU16(1, 1)...), 0, false, "twice or out of order"},
		"no such block reference":  {wal.SPGistVacuumRoot, append(spgU16(1, 0, 0, 0, 0, 0), spgU16(1)...), 1, false, "unexpected block reference 1"},
		"an exchange with nothing": {wal.SPGistVacuumLeaf, append(spgU16(0, 0, 1, 0, 0, 0, 0, 0), spgU16(1, 9)...), 0, false, "exchange items 1 and 9 of 3"},
		"an inner tuple that ends": {wal.SPGistSplitTuple, append(spgU16(1, 2, 0), make([]byte, 16)...), 0, false, "parts do not add up"},
	} {
		rec := spgTestRecord(c.op, 17, c.main)
		rec.Blocks[c.ref].WillInit = c.init
		_, err := Apply(&Env{}, rec, &rec.Blocks[c.ref], spgTestPage(spgDead, spgDead, spgDead))
		if err == nil || !strings.Contains(err.Error(), c.want) || !strings.Contains(err.Error(), "SPGist") {
			t.Errorf("%s: error %v, want %q", name, err, c.want)
		}
	}
}
