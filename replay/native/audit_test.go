package native

import (
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// imageOf logs the full page of a block as it was at an LSN.
func (s *script) imageOf(f pg.RelFork, b pg.BlockNumber, was pg.LSN, apply bool) *wal.Record {
	r := s.image(f, b, 1)
	p := filled(1)
	p.SetLSN(was)
	r.Blocks[0].Image = wal.Image{Bytes: p, Apply: apply}
	return r
}

// TestAudit: images that are older than what the primary had logged of their
// block, whichever worker they are for.
func TestAudit(t *testing.T) {
	s := &script{t: t}
	var lost []*wal.Record
	for b := range pg.BlockNumber(10) {
		first := s.imageOf(tableA, b, 0x500, true)
		second := s.insert(tableA, b, 2, "kept")
		s.imageOf(tableA, b, second.End, b%2 == 0)
		lost = append(lost, s.imageOf(tableA, b, first.End, b%2 == 1))
	}
	s.imageOf(tableA, 0, 0x80000000, true) // of another history
	res := s.play(Config{Workers: 3}, table(tableA, 10))
	a := res.Audit
	if a.LostWrites != 10 || len(a.Listed) != 10 || a.Images != 31 || a.Checked != 21 || a.Newer != 1 || a.FirstNewer == nil {
		t.Fatalf("%+v", a)
	}
	for i, f := range a.Listed {
		if f.At != lost[i].LSN || f.Expected != lost[i].LSN || f.ImageLSN != lost[i].LSN-0x200 || f.Last.LSN != lost[i].LSN-0x100 {
			t.Errorf("%+v, want one at %s", f, lost[i].LSN)
		}
	}
	if few := s.play(Config{Workers: 3, MaxFindings: 4}, table(tableA, 10)).Audit; few.LostWrites != 10 || len(few.Listed) != 4 {
		t.Errorf("%+v", few)
	}
}

// TestAuditForgets what a drop, a truncation or a copy makes another block.
func TestAuditForgets(t *testing.T) {
	s := &script{t: t}
	other := tableA
	other.Rel++
	for _, f := range []pg.RelFork{tableA, other} {
		for b := range pg.BlockNumber(2) {
			s.imageOf(f, b, 0x500, true)
		}
	}
	s.truncate(tableA, 1)
	s.add(pg.RmgrTransaction, 0x80, dropped(other))
	s.create(other)
	s.imageOf(tableA, 1, 0x600, true)
	s.imageOf(other, 0, 0x600, true)
	s.add(pg.RmgrDatabase, 0x00, copyDatabase(6, tableA.DB))
	copied := tableA
	copied.DB = 6
	s.imageOf(copied, 0, 0x700, true)
	s.imageOf(tableA, 0, 0x700, true)
	res := s.play(Config{Workers: 2}, nil)
	if a := res.Audit; a.LostWrites != 1 || a.Listed[0].Block != (pg.Block{RelFork: tableA}) || a.Checked != 1 {
		t.Errorf("%+v", a)
	}
}

// TestAuditOfImagesWithHoles reads the LSN out of what redo restores.
func TestAuditOfImagesWithHoles(t *testing.T) {
	s := &script{t: t}
	first := s.imageOf(tableA, 0, 0x500, true)
	r := s.imageOf(tableA, 0, 0, true)
	p := page.Page(make([]byte, page.HeaderSize)) // all but the header is a hole
	copy(p, filled(1)[:page.HeaderSize])
	p.SetLSN(first.End)
	r.Blocks[0].Image = wal.Image{Bytes: p, HoleOffset: page.HeaderSize, HoleLength: pg.BlockSize - page.HeaderSize, Apply: true}
	if a := s.play(Config{Workers: 1}, nil).Audit; a.LostWrites != 0 || a.Checked != 1 {
		t.Errorf("%+v", a)
	}
}
