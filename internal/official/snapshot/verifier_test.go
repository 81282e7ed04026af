package snapshot

import (
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pg/datadir"
)

// problemPaths are the paths that problems were found with.
func problemPaths(s *Snapshot) []string {
	m := map[string]bool{}
	for _, p := range s.Problems() {
		m[p.Path] = true
	}
	return slices.Sorted(maps.Keys(m))
}

// damages change a directory behind its manifest's back; each is found at its
// path, in every form of the backup.
var damages = []struct {
	path   string
	detail string
	change func(p string) error
}{
	{"base/5/16384", "damaged", func(p string) error { return flipAt(p, 9000) }},
	{"base/5/16384.1", "is missing", os.Remove},
	{"base/5/16390", "bytes, backup_manifest says", func(p string) error { return os.WriteFile(p, make([]byte, 8192), 0o600) }},
	{"base/5/16392", "damaged", func(p string) error { return flipAt(p, 8192+50) }}, // in its torn tail
	{"base/5/20000", "is not in backup_manifest", func(p string) error { return os.WriteFile(p, nil, 0o600) }},
	{"pg_xact/0000", "damaged", func(p string) error { return flipAt(p, 0) }},
	{"postgresql.conf", "damaged", func(p string) error { return flipAt(p, 2) }},
	{"base/5/pg_internal.init", "is missing", os.Remove},
}

func flipAt(p string, at int64) error {
	b, err := os.ReadFile(p)
	if err != nil {
		return err
	}
	b[at] ^= 1
	return os.WriteFile(p, b, 0o600)
}

func TestManifestFindsDamage(t *testing.T) {
	for a := datadir.ChecksumNone; a <= datadir.ChecksumSHA512; a++ {
		t.Run(a.String(), func(t *testing.T) {
			dir := smallDir(t, datadir.InProduction, testLabel)
			writeManifest(t, dir, filepath.Join(dir, "backup_manifest"), a)
			write(t, filepath.Join(dir, "notes.txt"), []byte("not in the manifest, and no matter"))
			if s, _ := mustRead(t, dir); !s.Manifest() || s.Info().EndLSN != 0xA00100 {
				t.Fatalf("manifest %t, end %s", s.Manifest(), s.Info().EndLSN)
			}
			var want []string
			for _, d := range damages {
				if err := d.change(filepath.Join(dir, d.path)); err != nil {
					t.Fatal(err)
				}
				if a != datadir.ChecksumNone || d.detail != "damaged" {
					want = append(want, d.path)
				}
			}
			slices.Sort(want)
			inside := filepath.Join(t.TempDir(), "b.tar.zst")
			packTar(t, dir, inside) // the manifest is an entry, in front of most files
			last := filepath.Join(t.TempDir(), "b.tar")
			packTar(t, dir, last, lastly(t, dir, "backup_manifest")...)
			beside := filepath.Join(t.TempDir(), "tars")
			if err := os.Mkdir(beside, 0o700); err != nil {
				t.Fatal(err)
			}
			packTar(t, dir, filepath.Join(beside, "base.tar.gz"))
			if err := os.Link(filepath.Join(dir, "backup_manifest"), filepath.Join(beside, "backup_manifest")); err != nil {
				t.Fatal(err)
			}
			for _, loc := range []string{dir, inside, last, beside} {
				s, _, err := read(t, loc)
				if err != nil {
					t.Fatal(err)
				}
				if got := problemPaths(s); !slices.Equal(got, want) {
					t.Errorf("%s: problems with %q, want %q", loc, got, want)
				}
				for _, d := range damages {
					i := slices.IndexFunc(s.Problems(), func(p Problem) bool { return p.Path == d.path })
					if i >= 0 && !strings.Contains(s.Problems()[i].Detail, d.detail) {
						t.Errorf("%s: %s, want %q", loc, s.Problems()[i], d.detail)
					}
				}
				if err := s.Walk(t.Context(), newCollector()); err != nil || !slices.Equal(problemPaths(s), want) {
					t.Errorf("%s, again: %v, %q", loc, err, problemPaths(s))
				}
			}
		})
	}
}

// lastly lists the files of a directory with one of them at the end.
func lastly(t *testing.T, dir, last string) (order []string) {
	t.Helper()
	for p := range load(t, dir).files {
		if p != last {
			order = append(order, p)
		}
	}
	slices.Sort(order)
	return append(order, last)
}

// TestBrokenManifest: files are not checked against a manifest that is damaged itself, and that is said.
func TestBrokenManifest(t *testing.T) {
	dir := smallDir(t, datadir.InProduction, testLabel)
	p := filepath.Join(dir, "backup_manifest")
	writeManifest(t, dir, p, datadir.ChecksumCRC32C)
	if err := flipAt(p, 100); err != nil {
		t.Fatal(err)
	}
	to := filepath.Join(t.TempDir(), "b.tar")
	packTar(t, dir, to)
	for _, loc := range []string{dir, to} {
		s, _, err := read(t, loc)
		if err != nil || s.Manifest() || len(s.Problems()) != 1 || !strings.Contains(s.Problems()[0].String(), "backup_manifest can't be used") {
			t.Errorf("%s: %v, %v", loc, err, s.Problems())
		}
	}
}

// TestForeignManifests: a manifest that stayed behind from the backup a
// cluster was made from says nothing about today's files.
func TestForeignManifests(t *testing.T) {
	for name, c := range map[string]struct {
		state datadir.DBState
		label string
		used  bool
	}{
		"stopped cluster": {datadir.ShutDown, "", false},
		"later backup":    {datadir.InProduction, strings.NewReplacer("0/A000", "0/4000", "00000002)", "00000001)").Replace(testLabel), false},
		"own":             {datadir.InProduction, testLabel, true},
		"damaged label":   {datadir.InProduction, strings.ReplaceAll(testLabel, "0/A00028", "0/A00020"), true},
	} {
		dir := smallDir(t, c.state, c.label)
		writeManifest(t, dir, filepath.Join(dir, "backup_manifest"), datadir.ChecksumCRC32C)
		if err := flipAt(filepath.Join(dir, "base/5/16384"), 5); err != nil {
			t.Fatal(err)
		}
		to := filepath.Join(t.TempDir(), "b.tar")
		packTar(t, dir, to)
		tars := t.TempDir()
		packTar(t, dir, filepath.Join(tars, "base.tar"), lastly(t, dir, "global/pg_control")...)
		write(t, filepath.Join(tars, "backup_manifest"), load(t, dir).files["backup_manifest"])
		for _, loc := range []string{dir, to, tars} {
			s, _, err := read(t, loc)
			if err != nil {
				t.Fatalf("%s: %v", name, err)
			}
			if s.Manifest() != c.used || (len(s.Problems()) > 0) != c.used || (s.Info().EndLSN != 0) != c.used {
				t.Errorf("%s, %s: used %t, end %s, problems %v", name, loc, s.Manifest(), s.Info().EndLSN, s.Problems())
			}
		}
	}
}

func TestLabelOfAnotherCluster(t *testing.T) {
	for label, want := range map[string]string{
		strings.Replace(testLabel, "00000002)", "00000001)", 1):                               "another cluster",
		strings.NewReplacer("0/A000", "0/20000", "00000002)", "00000008)").Replace(testLabel): "older than the backup",
	} {
		if _, _, err := read(t, smallDir(t, datadir.InProduction, label)); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%v, want %q", err, want)
		}
	}
}
