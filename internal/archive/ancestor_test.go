package archive

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

// family is an archive with a timeline, and another made from it at the middle
// of segment 3, on TLI 2. The ancestor has gone on, on both TLIs.
func family(t *testing.T, link string) *storage.Store {
	t.Helper()
	s := mem(t)
	put(t, s, "a/old/wal/", 1, 1, 6)
	put(t, s, "a/old/wal/", 2, 5, 6)
	storagetest.Put(t, s, "a/old/wal/00000002.history", []byte("1\t0/500000\tits own\n"))
	put(t, s, "a/new/wal/", 2, 3, 4)
	storagetest.Put(t, s, "a/new/wal/00000002.history", []byte("1\t0/380000\trecovered\n"))
	if link != "" {
		storagetest.Put(t, s, "a/new/"+AncestorKey, []byte(link))
	}
	return s
}

func newSource(t *testing.T, s *storage.Store) (*Source, error) {
	t.Helper()
	a, err := Open(context.Background(), s, Redoubt, quick)
	if err != nil {
		t.Fatal(err)
	}
	all, strays, err := a.Timelines(context.Background())
	if err != nil || len(all) == 0 || len(strays) != 0 {
		t.Fatalf("timelines %v, strays %q: %v", all, strays, err)
	}
	tl, err := a.Timeline(context.Background(), "a", "new")
	if err != nil {
		t.Fatal(err)
	}
	return tl.Source(context.Background(), 0)
}

const link = `{"tenant_id": "a", "timeline_id": "old", "tli": 1, "lsn": "0/380000"}`

// TestAncestor reads WAL across the LSN at which a timeline left its ancestor.
func TestAncestor(t *testing.T) {
	src, err := newSource(t, family(t, link))
	if err != nil {
		t.Fatal(err)
	}
	st, err := src.Open(context.Background(), 0x100000)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = st.Close() }()
	for n := pg.SegmentNo(1); n <= 4; n++ {
		tli := pg.TLI(1)
		if n >= 3 {
			tli = 2 // the new timeline's own, which holds a copy of what came before
		}
		want := segment(tli, n, testSysid)
		for at := n.Start(testSize); at < (n + 1).Start(testSize); {
			p, err := st.ReadPages(at)
			if err != nil {
				t.Fatalf("at %s: %v", at, err)
			}
			off := int(at - n.Start(testSize))
			if string(p) != string(want[off:off+len(p)]) {
				t.Fatalf("at %s: not the WAL of TLI %d", at, tli)
			}
			at += pg.LSN(len(p))
		}
	}
	var missing *wal.MissingError
	if _, err := st.ReadPages(0x500000); !errors.As(err, &missing) { // the ancestor's TLI 2 is another one
		t.Errorf("behind the end: %v", err)
	}
}

// TestNoAncestor has no link, one to nowhere, and such as are no links: WAL
// from before is missing, or it is an error, but never taken from elsewhere.
func TestNoAncestor(t *testing.T) {
	for what, c := range map[string]struct{ link, want string }{
		"none":             {"", ""},
		"gone":             {strings.Replace(link, "old", "gone", 1), ""},
		"too low":          {strings.Replace(link, "0/380000", "0/100000", 1), ""},
		"no JSON":          {"x", "invalid character"},
		"empty":            {"{}", "names no tenant"},
		"another place":    {strings.Replace(link, `"old"`, `"../old"`, 1), "names no tenant"},
		"round in circles": {strings.Replace(link, "old", "new", 1), "round in circles"},
	} {
		src, err := newSource(t, family(t, c.link))
		if err == nil && c.want == "" {
			var missing *wal.MissingError
			st, oerr := src.Open(context.Background(), 0x100000)
			if oerr != nil {
				t.Fatal(oerr)
			}
			if _, err := st.ReadPages(0x100000); !errors.As(err, &missing) {
				t.Errorf("%s: %v", what, err)
			}
			_ = st.Close()
			continue
		}
		if err == nil || c.want == "" || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
	s := family(t, link)
	other := mem(t)
	for n := pg.SegmentNo(1); n <= 2; n++ {
		storagetest.Put(t, other, fmt.Sprintf("a/old/wal/%s", name(1, n)), segment(1, n, testSysid+1))
	}
	put(t, other, "a/new/wal/", 2, 3, 4)
	storagetest.Put(t, other, "a/new/"+AncestorKey, storagetest.Get(t, s, "a/new/"+AncestorKey))
	if _, err := newSource(t, other); err == nil || !strings.Contains(err.Error(), "another cluster") {
		t.Errorf("an ancestor of another cluster: %v", err)
	}
}
