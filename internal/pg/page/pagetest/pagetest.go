// Package pagetest holds real pages for tests: each as a cleanly stopped
// PostgreSQL left it, with data checksums on, and as PostgreSQL's own recovery
// of a base backup made it. compare's tests write them (-make-pages).
package pagetest

import (
	"compress/gzip"
	"embed"
	"fmt"
	"io"
	"path"
	"regexp"
	"slices"
	"strconv"
	"strings"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

//go:embed testdata
var files embed.FS

// Pair is one page twice.
type Pair struct {
	Name               string // "heap-hints-pg17-block0"
	Scenario           string // "heap-hints"
	Major              int
	Fork               pg.ForkNumber
	Block              pg.BlockNumber // within the fork
	Official, Replayed page.Page
}

// T is what Load needs of testing.TB.
type T interface {
	Helper()
	Fatal(args ...any)
}

var nameForm = regexp.MustCompile(`^(.+)-pg(\d+)-block(\d+)\.gz$`)

// Load returns fresh copies of all pairs whose scenario starts with prefix,
// in the order of their names. None is a failure of the test.
func Load(t T, prefix string) []Pair {
	t.Helper()
	entries, err := files.ReadDir("testdata")
	if err != nil {
		t.Fatal(err)
	}
	var out []Pair
	for _, e := range entries {
		p, err := load(e.Name())
		if err != nil {
			t.Fatal(err)
		}
		if strings.HasPrefix(p.Scenario, prefix) {
			out = append(out, p)
		}
	}
	if len(out) == 0 {
		t.Fatal("no fixture " + prefix)
	}
	slices.SortFunc(out, func(a, b Pair) int { return strings.Compare(a.Name, b.Name) })
	return out
}

func load(file string) (p Pair, err error) {
	m := nameForm.FindStringSubmatch(file)
	if m == nil {
		return p, fmt.Errorf("fixture %s: want SCENARIO-pgMAJOR-blockN.gz", file)
	}
	major, _ := strconv.Atoi(m[2])
	block, _ := strconv.ParseUint(m[3], 10, 32)
	f, err := files.Open(path.Join("testdata", file))
	if err != nil {
		return p, err
	}
	defer func() { _ = f.Close() }()
	z, err := gzip.NewReader(f)
	if err != nil {
		return p, err
	}
	b, err := io.ReadAll(io.LimitReader(z, 2*pg.BlockSize+1))
	if err != nil {
		return p, err
	}
	if len(b) != 2*pg.BlockSize {
		return p, fmt.Errorf("fixture %s: %d bytes, not two pages", file, len(b))
	}
	p = Pair{
		Name: strings.TrimSuffix(file, ".gz"), Scenario: m[1], Major: major, Block: pg.BlockNumber(block),
		Official: b[:pg.BlockSize:pg.BlockSize], Replayed: b[pg.BlockSize:],
	}
	if p.Scenario == "vm" {
		p.Fork = pg.VMFork
	}
	return p, nil
}
