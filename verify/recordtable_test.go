package verify_test

import (
	"bufio"
	"bytes"
	"cmp"
	"encoding/json"
	"flag"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
)

var update = flag.Bool("update", false, "rewrite docs/records.md from what the proofs of make prove left")

// neverWritten are kinds of records that PostgreSQL has a name for and that no
// server can be made to write, or not here.
var neverWritten = map[string]string{
	"XLOG NOOP":            "no PostgreSQL of 14 to 18 writes it",
	"Gist ASSIGN_LSN":      "written with wal_level = minimal only, whose WAL is no archive's; no page effect",
	"Heap HOT_UPDATE+INIT": "none can: the page of a HOT update holds the old row, too, and is never a new one",
}

// TestRecordTable holds docs/records.md to account: it has a row for every
// operation that PostgreSQL has a name for, and the operations that no proof has
// seen are those that it lists. With -update it is written anew.
func TestRecordTable(t *testing.T) {
	root, err := pgtest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	path := filepath.Join(root, "docs", "records.md")
	if *update {
		if err := os.WriteFile(path, recordTable(t, readProofs(t)), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	doc, err := os.ReadFile(path)
	if err != nil {
		t.Fatal(err)
	}
	unseen := make(map[string]bool)
	lines := strings.Split(string(doc), "\n")
	for _, k := range kinds() {
		row := slices.IndexFunc(lines, func(l string) bool { return strings.HasPrefix(l, "| "+k.name+" |") })
		if row < 0 {
			t.Errorf("docs/records.md has no row for %s", k.name)
			continue
		}
		lacking := k.lacking(func(major int) bool {
			return strings.TrimSpace(strings.Split(lines[row], "|")[2+major-pgtest.Majors[0]]) != "0"
		})
		unseen[k.name] = len(lacking) == len(k.in)
		if line := notOn(k.name, lacking); line != "" && !unseen[k.name] && !slices.Contains(lines, line) {
			t.Errorf("docs/records.md lacks the line %q", line)
		}
	}
	for name := range neverWritten {
		if !unseen[name] {
			t.Errorf("%s is said to be written by no server, but a proof has seen it", name)
		}
	}
	for name, never := range unseen {
		if never && !strings.Contains(string(doc), "\n- "+name+": ") {
			t.Errorf("no proof has seen %s, and docs/records.md does not list it", name)
		}
	}
}

// recordKind is an operation of a resource manager and the majors that have it.
type recordKind struct {
	name string
	in   map[int]bool
}

// lacking are the majors that have the operation and on which it was not seen.
func (k recordKind) lacking(seen func(major int) bool) []int {
	return slices.DeleteFunc(slices.Clone(pgtest.Majors), func(major int) bool { return !k.in[major] || seen(major) })
}

// notOn is the line on an operation that was seen on some majors only.
func notOn(name string, lacking []int) string {
	if len(lacking) == 0 {
		return ""
	}
	return "- " + name + ": not on " + strings.Trim(strings.ReplaceAll(fmt.Sprint(lacking), " ", ", "), "[]")
}

// kinds are all operations of all majors.
func kinds() []recordKind {
	var all []recordKind
	at := make(map[string]int)
	for rmgr := pg.RmgrID(0); rmgr.BuiltIn(); rmgr++ {
		for op := range 16 {
			for _, major := range pgtest.Majors {
				name := kind(rmgr, uint8(op<<4), major)
				if strings.Contains(name, "UNKNOWN") {
					continue
				}
				if _, ok := at[name]; !ok {
					at[name] = len(all)
					all = append(all, recordKind{name, make(map[int]bool)})
				}
				all[at[name]].in[major] = true
			}
		}
	}
	return all
}

func readProofs(t *testing.T) []proof {
	t.Helper()
	raw, err := os.ReadFile(proofsPath(t))
	if err != nil {
		t.Fatalf("read what make prove left: %v", err)
	}
	var all []proof
	s := bufio.NewScanner(bytes.NewReader(raw))
	s.Buffer(nil, 1<<20)
	for s.Scan() {
		var p proof
		if err := json.Unmarshal(s.Bytes(), &p); err != nil {
			t.Fatal(err)
		}
		// The last run of a proof counts.
		all = slices.DeleteFunc(all, func(o proof) bool { return o.Name == p.Name && o.Server == p.Server })
		all = append(all, p)
	}
	slices.SortStableFunc(all, func(a, b proof) int { return cmp.Or(cmp.Compare(a.Major, b.Major), cmp.Compare(a.Name, b.Name)) })
	return all
}

// recordTable is docs/records.md.
func recordTable(t *testing.T, proofs []proof) []byte {
	t.Helper()
	var b bytes.Buffer
	b.WriteString(recordsHead)
	seen := make(map[int]map[string]int64)
	for _, p := range proofs {
		fmt.Fprintf(&b, "| %s | %s | %s | %s | %s | %s |\n", p.Server, strings.ReplaceAll(p.Name, "_", " "), grouped(p.Records), grouped(p.Bytes>>20), grouped(p.Images), grouped(p.Blocks))
		if seen[p.Major] == nil {
			seen[p.Major] = make(map[string]int64)
		}
		for name, n := range p.Seen {
			seen[p.Major][name] += n
		}
	}
	b.WriteString("\n## Records\n\nBy resource manager and operation, all these proofs together. –: PostgreSQL of that major has no such operation.\n\n| operation |")
	for _, major := range pgtest.Majors {
		fmt.Fprintf(&b, " %d |", major)
	}
	b.WriteString("\n|---|" + strings.Repeat("---:|", len(pgtest.Majors)) + "\n")
	known := make(map[string]bool)
	var unseen, partly []string
	for _, k := range kinds() {
		known[k.name] = true
		fmt.Fprintf(&b, "| %s |", k.name)
		total := int64(0)
		for _, major := range pgtest.Majors {
			cell := "–"
			if k.in[major] {
				cell = grouped(seen[major][k.name])
			}
			total += seen[major][k.name]
			fmt.Fprintf(&b, " %s |", cell)
		}
		b.WriteString("\n")
		if total == 0 {
			unseen = append(unseen, k.name)
		} else if line := notOn(k.name, k.lacking(func(major int) bool { return seen[major][k.name] > 0 })); line != "" {
			partly = append(partly, line)
		}
	}
	for major, of := range seen {
		for name := range maps.Keys(of) {
			if !known[name] {
				t.Errorf("a server of %d wrote %s, which has no name", major, name)
			}
		}
	}
	b.WriteString("\n## Never seen\n\n")
	for _, name := range unseen {
		fmt.Fprintf(&b, "- %s: %s.\n", name, cmp.Or(neverWritten[name], "no proof of verify has seen it"))
	}
	b.WriteString("\n## Not seen on every major\n\nOf these operations the proofs above have seen records on other majors only. The proofs H and X of\n[support.md](support.md) want those of heaps and indexes on each major, L on 15 and 17 those of changed settings and recovery.\n\n")
	for _, line := range partly {
		b.WriteString(line + "\n")
	}
	return b.Bytes()
}

const recordsHead = `# Records that the proofs have seen

Written by ` + "`make prove`" + `, after which ` + "`go test ./verify -run TestRecordTable -update`" + ` makes this file; not meant to be edited.
Each proof is a base backup, the workload, a clean stop, and a verification that has to find nothing: every image of
` + "`wal_consistency_checking`" + ` (in the proofs that have them) is what redo makes of its record, every block of the stopped
server is the replayed one, nothing is tainted.

| server | proof | records | WAL, MiB | images | blocks compared |
|---|---|---:|---:|---:|---:|
`

// grouped writes a number with commas: 1,234,567.
func grouped(n int64) string {
	s := fmt.Sprint(n)
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return s
}
