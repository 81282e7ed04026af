package snapshot

import (
	"bytes"
	"net/url"
	"path"
	"path/filepath"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/storage"
)

// memBucket is a bucket in memory that holds files below a prefix.
func memBucket(t *testing.T, prefix string, files map[string][]byte) *bucketTree {
	t.Helper()
	b, err := openBucket(t.Context(), "mem://")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = b.close() })
	for name, content := range files {
		if err := b.store.Put(t.Context(), path.Join(prefix, name), bytes.NewReader(content), storage.PutOptions{}); err != nil {
			t.Fatal(err)
		}
	}
	return b
}

// TestBucket reads a directory and a tar directory, objects by objects, from a bucket behind gocloud.
func TestBucket(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	write(t, filepath.Join(dir, "pg_tblspc/16385/PG_17_202406281/5/30000"), make([]byte, 8192))
	for name, m := range map[string]*memTree{"directory": load(t, dir), "tars": tarDir(t, ".tar.zst")} {
		_, want, err := readMem(t, m, "")
		if err != nil {
			t.Fatal(err)
		}
		b := memBucket(t, "night/one", m.files)
		sub, err := b.sub("night/one")
		if err != nil {
			t.Fatal(err)
		}
		s, err := openTree(t.Context(), sub, "", name, &Options{})
		if err != nil {
			t.Fatal(err)
		}
		got := newCollector()
		if err := s.Walk(t.Context(), got); err != nil || len(s.Problems()) > 0 {
			t.Fatalf("%s: %v, %v", name, err, s.Problems())
		}
		sameFiles(t, got.files, want.files)
		n := 0
		for blk, page := range want.pages {
			err := s.Fetch(t.Context(), []pg.Block{blk}, func(_ pg.Block, p []byte) error {
				n++
				if !bytes.Equal(p, page) {
					t.Errorf("%s: %s differs", name, blk)
				}
				return nil
			})
			if err != nil {
				t.Fatal(err)
			}
		}
		if n != len(want.pages) {
			t.Errorf("%s: %d of %d blocks", name, n, len(want.pages))
		}
		gone := pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}}}
		if err := s.Fetch(t.Context(), []pg.Block{gone}, nil); err != nil {
			t.Errorf("%s: a block of no relation: %v", name, err)
		}
	}
}

// TestBucketMisses: an empty bucket and a missing object.
func TestBucketMisses(t *testing.T) {
	b := memBucket(t, "", nil)
	entries, err := b.list(t.Context(), "")
	if err != nil || len(entries) != 0 {
		t.Errorf("an empty bucket: %v, %v", entries, err)
	}
	if _, err := b.open(t.Context(), "none", 0); err == nil {
		t.Error("a missing object is opened")
	}
}

func TestTarLocations(t *testing.T) {
	for loc, want := range map[string][2]string{
		"s3://b/x/base.tar.zst?region=eu": {"s3://b/x/?region=eu", "base.tar.zst"},
		"s3://b/one.tar":                  {"s3://b/", "one.tar"},
		"s3://b/x/y":                      {"s3://b/x/y", ""},
		"s3://b":                          {"s3://b", ""},
	} {
		u, err := url.Parse(loc)
		if err != nil {
			t.Fatal(err)
		}
		if dir, name := splitTar(u); dir != want[0] || name != want[1] {
			t.Errorf("%s: %s, %s", loc, dir, name)
		}
	}
	for _, c := range [][3]string{
		{"s3://b/x?region=eu", "one.tar", "s3://b/x/one.tar?region=eu"}, {"s3://b", "d", "s3://b/d"},
		{"/srv/b", "d", "/srv/b/d"}, {"file:///srv/b/", "d e", "file:///srv/b/d%20e"},
	} {
		if got := below(c[0], c[1]); got != c[2] {
			t.Errorf("below(%s, %s) = %s, want %s", c[0], c[1], got, c[2])
		}
	}
}
