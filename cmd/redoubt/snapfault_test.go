package main

import (
	"archive/tar"
	"bytes"
	"errors"
	"fmt"
	"os"
	"path"
	"path/filepath"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/demo"
	"redoubt/internal/finding"
	"redoubt/internal/pg/page"
)

// loadedBase is the base.tar of a snapshot, decompressed; do not change it.
var loadedBase = func() func(testing.TB, string) []byte {
	var mu sync.Mutex
	loaded := make(map[string][]byte)
	return func(t testing.TB, snapshot string) []byte {
		t.Helper()
		mu.Lock()
		defer mu.Unlock()
		if loaded[snapshot] == nil {
			d, err := zstd.NewReader(nil)
			must(t, err)
			defer d.Close()
			loaded[snapshot], err = d.DecodeAll(read(t, filepath.Join(snapshot, "base.tar.zst")), nil)
			must(t, err)
		}
		return loaded[snapshot]
	}
}()

// change is done to one file of a base backup; nil takes the file away.
type change func(content []byte) []byte

// changed writes a backup as a directory with base.tar and, if so wanted, the
// manifest as it was. What is not changed is copied as it is.
func changed(t testing.TB, snapshot string, manifest bool, file string, do change) (dir string) {
	t.Helper()
	dir = t.TempDir()
	whole := loadedBase(t, snapshot)
	b := bytes.NewReader(whole)
	r := tar.NewReader(b)
	for at := 0; ; { // where the member's header begins
		h, err := r.Next()
		must(t, err)
		begin := len(whole) - b.Len() // tar.Reader reads headers only, and nothing ahead
		end := begin + int(h.Size)
		if h.Name != file {
			at = (end + 511) / 512 * 512
			continue
		}
		out := bytes.NewBuffer(bytes.Clone(whole[:at]))
		if content := do(bytes.Clone(whole[begin:end])); content != nil {
			h.Size = int64(len(content))
			w := tar.NewWriter(out)
			must(t, w.WriteHeader(h))
			_, err = w.Write(content)
			must(t, errors.Join(err, w.Flush()))
		}
		out.Write(whole[(end+511)/512*512:])
		put(t, filepath.Join(dir, "base.tar"), out.Bytes())
		break
	}
	if manifest {
		must(t, os.Link(filepath.Join(snapshot, "backup_manifest"), filepath.Join(dir, "backup_manifest")))
	}
	return dir
}

func gone([]byte) []byte { return nil }

func replaced(old, with string) change {
	return func(b []byte) []byte {
		if !bytes.Contains(b, []byte(old)) {
			panic(fmt.Sprintf("%q is not in %q", old, b))
		}
		return bytes.ReplaceAll(b, []byte(old), []byte(with))
	}
}

func flipped(at int) change {
	return func(b []byte) []byte {
		b[at] ^= 0x10
		return b
	}
}

func cut(n int) change { return func(b []byte) []byte { return b[:len(b)-n] } }

func zeroed(from, to int) change {
	return func(b []byte) []byte {
		clear(b[from:to])
		return b
	}
}

const table = "base/5/16384" // accounts: written by the span's WAL

// TestVerifyDamagedBackup: whichever side is damaged, with the backup's own
// manifest and without it, the answer is never "clean" and never a panic.
func TestVerifyDamagedBackup(t *testing.T) {
	t.Parallel()
	bucket := pristine(t)
	s := spanIn(bucket, "acme", "main", "nightly-1", "nightly-2")
	quiet, hole := untouched(t, s)
	globex := loadedBase(t, filepath.Join(bucket, "globex", "main", "snapshots", "nightly-1"))
	foreignControl, err := demo.File(globex, "global/pg_control")
	must(t, err)
	foreign := func([]byte) []byte { return bytes.Clone(foreignControl) }

	const usage, found, unsure = exitUsage, exitFindings, exitInconclusive
	for _, c := range []struct {
		name           string
		file           string
		do             change
		base, official int // exit code without a manifest, by the side that is damaged
		word           string
	}{
		{"no label", "backup_label", gone, unsure, unsure, "backup_label"},
		{"a label of nonsense", "backup_label", func([]byte) []byte { return []byte("nonsense\n") }, unsure, unsure, "backup_label"},
		{"an empty label", "backup_label", func([]byte) []byte { return []byte{} }, unsure, unsure, "backup_label"},
		{"no control file", "global/pg_control", gone, unsure, unsure, "global/pg_control"},
		{"a control file of zeros", "global/pg_control", zeroed(0, 8192), unsure, unsure, "pg_control"},
		{"a flipped bit in the control file", "global/pg_control", flipped(70), unsure, unsure, "pg_control"},
		{"a cut control file", "global/pg_control", cut(8100), unsure, unsure, "pg_control"},
		{"another cluster's control file", "global/pg_control", foreign, usage, unsure, ""},
		{"no version", "PG_VERSION", gone, unsure, unsure, "PG_VERSION"},
		{"another version", "PG_VERSION", replaced("17", "16"), unsure, unsure, "16"},
		{"no version at all", "PG_VERSION", replaced("17", "seventeen"), unsure, unsure, "PG_VERSION"},
		{"a table missing", table, gone, found, found, table},
		{"a quiet table missing", quiet, gone, found, found, quiet},
		{"a quiet table's page zeroed", quiet, zeroed(0, 8192), found, found, quiet},
		{"a flipped bit in a quiet page", quiet, flipped(8100), found, found, quiet},
		{"a flipped bit in a quiet page's hole", quiet, flipped(hole), exitClean, found, ""}, // what the base has there, the official side need not
		{"a table cut by a block", table, cut(8192), found, found, table},
		{"a table cut within a block", table, cut(1000), found, found, table},
		{"a quiet table cut by a block", quiet, cut(8192), found, found, quiet},
	} {
		for _, side := range []string{"base", "official"} {
			// The manifest, where there is one, says too what is damaged.
			for _, manifest := range []bool{false, true}[:1+strings.Count(side, "official")] {
				t.Run(fmt.Sprintf("%s/%s/manifest=%v", c.name, side, manifest), func(t *testing.T) {
					t.Parallel()
					s, code := s, c.base
					if side == "base" {
						s.base = changed(t, s.base, manifest, c.file, c.do)
					} else {
						code, s.official = c.official, changed(t, s.official, manifest, c.file, c.do)
					}
					o := redoubt(t, s.args()...)
					o.want(t, code, c.word)
					if code == usage {
						return
					}
					v := o.verification(t)
					if (v.Verdict == finding.Clean) != (code == exitClean) || manifest && len(v.Reasons) == 0 {
						t.Errorf("verdict %s, reasons %q", v.Verdict, v.Reasons)
					}
					for _, d := range v.Discrepancies {
						t.Logf("%s, blame %s: %s", d.Kind, d.Blame, d.Explanation)
					}
				})
			}
		}
	}
}

// untouched is the file of a table of at least three blocks that no WAL of the
// span touches, so that it is the same in both backups, and a byte of its
// first page that is neither a line pointer's nor a tuple's.
func untouched(t testing.TB, s span) (file string, hole int) {
	t.Helper()
	a, b := loadedBase(t, s.base), loadedBase(t, s.official)
	r := tar.NewReader(bytes.NewReader(a))
	for {
		h, err := r.Next()
		must(t, err)
		if !strings.HasPrefix(h.Name, "base/5/") || h.Size < 3*8192 || strings.Contains(path.Base(h.Name), "_") {
			continue
		}
		before, err := demo.File(a, h.Name)
		must(t, err)
		after, err := demo.File(b, h.Name)
		must(t, err)
		p := page.Page(before[:8192])
		if bytes.Equal(before, after) && p.Special() == 8192 && p.Upper()-p.Lower() > 8 && p.Upper() < 8000 {
			return h.Name, p.Lower() + 4
		}
	}
}

// TestVerifyCutBackup: a base backup of which a part did not arrive, or that
// was damaged in its compressed form, is never verified against.
func TestVerifyCutBackup(t *testing.T) {
	t.Parallel()
	bucket := pristine(t)
	s := spanIn(bucket, "acme", "main", "nightly-1", "nightly-2")
	whole, packed := loadedBase(t, s.official), read(t, filepath.Join(s.official, "base.tar.zst"))
	type fault struct {
		name    string
		file    string
		content []byte
	}
	var faults []fault
	for _, n := range append([]int{0, 1, 512, 5000, 1 << 20, len(whole) - 1536, len(whole) - 1024, len(whole) - 700}, boundaries(t, whole)...) {
		faults = append(faults, fault{fmt.Sprintf("cut at %d", n), "base.tar", whole[:n]})
	}
	for _, n := range []int{0, 3, 100000, len(packed) / 2, len(packed) - 4, len(packed) - 1} {
		faults = append(faults, fault{fmt.Sprintf("compressed, cut at %d", n), "base.tar.zst", packed[:n]})
	}
	for _, n := range []int{0, 7, 70000, len(packed) / 3, len(packed) - 3} {
		faults = append(faults, fault{fmt.Sprintf("compressed, flip at %d", n), "base.tar.zst", flipped(n)(bytes.Clone(packed))})
	}
	for i, f := range faults {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := s
			path := filepath.Join(t.TempDir(), f.file)
			put(t, path, f.content)
			s.official = path
			o := redoubt(t, s.args()...)
			o.want(t, exitInconclusive, f.file)
			if v := o.verification(t); v.Verdict != finding.Inconclusive || len(v.Reasons) == 0 {
				t.Errorf("verdict %s, %q", v.Verdict, v.Reasons)
			}
			if i%3 > 0 {
				return
			}
			s.base, s.official = path, filepath.Join(bucket, "acme", "main", "snapshots", "nightly-3")
			redoubt(t, s.args()...).want(t, exitInconclusive, f.file)
		})
	}
}

// boundaries are a few places in a tar where a member begins: a tar cut there
// is one that just lacks its end.
func boundaries(t testing.TB, archive []byte) (out []int) {
	t.Helper()
	b := bytes.NewReader(archive)
	r := tar.NewReader(b)
	for i := 0; ; i++ {
		if _, err := r.Next(); err != nil {
			return out
		}
		if i%200 == 150 {
			out = append(out, len(archive)-b.Len()-512)
		}
	}
}
