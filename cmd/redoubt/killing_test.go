package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"io"
	"maps"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"redoubt/internal/pg/datadir"
)

// kills is how often something is killed: $REDOUBT_KILLS times, or fifty times.
func kills() int {
	if n, err := strconv.Atoi(os.Getenv("REDOUBT_KILLS")); err == nil && n > 0 {
		return n
	}
	return 50
}

// small is a bucket with the demo's timeline acme/main and its first snapshot,
// of which what no WAL touches is gone: two databases of three. For what is run
// very often. Nobody changes a file in it.
func small(t testing.TB) (bucket string) {
	t.Helper()
	from := filepath.Join(pristine(t), "acme", "main")
	smallOnce.Do(func() {
		to := filepath.Join(shared, "small", "acme", "main")
		link(t, filepath.Join(from, "wal"), filepath.Join(to, "wal"))
		shrink(t, filepath.Join(from, "snapshots", "nightly-1"), filepath.Join(to, "snapshots", "nightly-1"))
	})
	return filepath.Join(shared, "small")
}

var smallOnce sync.Once

// shrink copies a snapshot without the template databases.
func shrink(t testing.TB, from, to string) {
	t.Helper()
	must(t, os.MkdirAll(to, 0o700))
	spare := func(name string) bool {
		return strings.HasPrefix(name, "base/1/") || strings.HasPrefix(name, "base/4/")
	}
	var out bytes.Buffer
	r, w := tar.NewReader(bytes.NewReader(loadedBase(t, from))), tar.NewWriter(&out)
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			break
		}
		must(t, err)
		if !spare(h.Name) {
			must(t, w.WriteHeader(h))
			_, err := io.Copy(w, r)
			must(t, err)
		}
	}
	must(t, w.Close())
	put(t, filepath.Join(to, "base.tar"), out.Bytes())
	m, err := datadir.ParseManifest(read(t, filepath.Join(from, "backup_manifest")))
	must(t, err)
	maps.DeleteFunc(m.Files, func(name string, _ datadir.ManifestFile) bool { return spare(name) })
	manifest, err := m.Encode(time.Unix(0, 0))
	must(t, err)
	put(t, filepath.Join(to, "backup_manifest"), manifest)
}
