package demo

import (
	"bytes"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/pg"
)

func TestPlantLostWrite(t *testing.T) {
	shared, f := bucket(t)
	l := f.LostWrite
	dir := t.TempDir()
	rel := filepath.Join(l.Tenant, l.Timeline, "snapshots")
	for _, name := range []string{l.Previous, l.Snapshot} {
		if err := os.CopyFS(filepath.Join(dir, rel, name), os.DirFS(filepath.Join(shared, rel, name))); err != nil {
			t.Fatal(err)
		}
	}
	clean := readMaybeZstd(t, filepath.Join(dir, rel, l.Snapshot, "base.tar.zst"))
	got, err := f.PlantLostWrite(dir)
	if err != nil || got != l {
		t.Fatalf("planted %+v, %v", got, err)
	}
	spoilt := readMaybeZstd(t, filepath.Join(dir, rel, l.Snapshot, "base.tar.zst"))
	page, err := Block(spoilt, l.Path, l.Block)
	if err != nil || page.LSN() != l.OldLSN {
		t.Fatalf("block has LSN %s: %v", page.LSN(), err)
	}
	want, err := Block(clean, l.Path, l.Block)
	if err != nil || want.LSN() != l.NewLSN || bytes.Equal(want, page) {
		t.Fatalf("clean block has LSN %s: %v", want.LSN(), err)
	}
	copy(page, want) // page aliases spoilt
	if !bytes.Equal(spoilt, clean) {
		t.Error("more than the block was changed")
	}
	if _, err := f.PlantLostWrite(dir); err == nil {
		t.Error("planted twice")
	}
}

// TestLostWritePlace checks what the demo's outcome rests on: no snapshot's own
// WAL overwrites the page, and it is in the last snapshot, the base of no span.
func TestLostWritePlace(t *testing.T) {
	_, f := bucket(t)
	l := f.LostWrite
	i := slices.IndexFunc(f.Timelines, func(tl Timeline) bool { return tl.Tenant == l.Tenant && tl.Timeline == l.Timeline })
	if i < 0 {
		t.Fatalf("no timeline %s/%s", l.Tenant, l.Timeline)
	}
	s := f.Timelines[i].Snapshots
	if s[1].Name != l.Previous || s[2].Name != l.Snapshot || l.OldLSN >= s[1].Start || l.NewLSN <= s[1].Stop || l.NewLSN >= s[2].Start {
		t.Errorf("lost write %+v does not fit snapshots %+v", l, s)
	}
	if rel, err := l.Relation(); err != nil || rel.Spc != pg.DefaultTablespaceOID {
		t.Errorf("relation %v: %v", rel, err)
	}
}

func TestRemoveSegment(t *testing.T) {
	shared, f := bucket(t)
	r := f.Removed
	dir := t.TempDir()
	rel := filepath.Join(r.Tenant, r.Timeline, "wal")
	if err := os.CopyFS(filepath.Join(dir, rel), os.DirFS(filepath.Join(shared, rel))); err != nil {
		t.Fatal(err)
	}
	if got, err := f.RemoveSegment(dir); err != nil || got != r {
		t.Fatalf("removed %+v: %v", got, err)
	}
	left, err := os.ReadDir(filepath.Join(dir, rel))
	i := slices.IndexFunc(f.Timelines, func(tl Timeline) bool { return tl.Tenant == r.Tenant && tl.Timeline == r.Timeline })
	if err != nil || i < 0 {
		t.Fatal(err, i)
	}
	tl := f.Timelines[i]
	at := slices.Index(tl.Segments, r.Segment)
	if len(left) != len(tl.Segments)-1 || at < 0 || r.From <= tl.Snapshots[0].Stop || r.To > tl.Snapshots[1].Start {
		t.Errorf("%d segments left of %d, %+v taken, snapshots %+v", len(left), len(tl.Segments), r, tl.Snapshots)
	}
	if _, err := f.RemoveSegment(dir); err == nil {
		t.Error("removed twice")
	}
}
