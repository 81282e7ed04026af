package check

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/pg"
	"redoubt/internal/storage"
)

func backedUp() Timeline {
	at := time.Now()
	return Timeline{
		Tenant: "prod", Timeline: "main", Major: 17,
		WAL: WAL{Segments: 9, Bytes: 9 << 24, First: "000000010000000000000001", Newest: "000000010000000000000009", NewestAt: &at, End: 10 << 24},
		Snapshots: []Snapshot{
			{Name: "mon", From: 1 << 24, To: 1<<24 + 100, Control: true, Checksums: true},
			{Name: "tue", From: 5 << 24, To: 5<<24 + 100, Control: true, Checksums: true},
		},
		Spans: []pg.Range{{From: 1 << 24, To: 5<<24 + 100}},
	}
}

func TestJudge(t *testing.T) {
	for name, c := range map[string]struct {
		change  func(*Timeline)
		reasons []string
		proves  []string
		cannot  []string
		problem []string // nil: none
	}{
		"whole": {proves: []string{"000000010000000000000001 and 000000010000000000000009", "pages at 0/5000064 by replay from 0/1000000 (64 MiB of WAL)"},
			cannot: []string{"pages after 0/5000064 (snapshot tue): 80 MiB of WAL", "snapshot mon at 0/1000000 is right itself"}},
		"no WAL":         {change: func(t *Timeline) { t.WAL = WAL{} }, cannot: []string{"there is no segment"}, problem: []string{"no WAL segments", "archived"}},
		"no backup":      {change: func(t *Timeline) { t.Spans, t.Snapshots = nil, nil }, reasons: []string{"no snapshot: nothing to compare"}, cannot: []string{"no snapshot"}, problem: []string{"no base backup", "backups"}},
		"one backup":     {change: func(t *Timeline) { t.Spans, t.Snapshots = nil, t.Snapshots[:1] }, problem: []string{"one base backup, mon", "second one"}},
		"two, no span":   {change: func(t *Timeline) { t.Spans = nil }, reasons: []string{"of different clusters"}, cannot: []string{"of different clusters"}, problem: []string{"no two base backups"}},
		"no checksums":   {change: func(t *Timeline) { t.Snapshots[1].Checksums = false }, cannot: []string{"data checksums are off in tue"}},
		"no control yet": {change: func(t *Timeline) { t.Snapshots[0].Control = false }, cannot: []string{"checksums are on in mon"}},
		"18":             {change: func(t *Timeline) { t.Major = 18 }, cannot: []string{"PostgreSQL 18: it was proven against servers of 15 and 17"}},
		"13":             {change: func(t *Timeline) { t.Major = 13 }, cannot: []string{"13 is not supported"}, problem: []string{"13", "14 to 18"}},
		"strays":         {change: func(t *Timeline) { t.WAL.Others = 3 }, cannot: []string{"3 objects"}},
	} {
		t.Run(name, func(t *testing.T) {
			tl := backedUp()
			if c.change != nil {
				c.change(&tl)
			}
			tl.Judge(c.reasons)
			for _, w := range c.proves {
				if !strings.Contains(strings.Join(tl.Proves, "\n"), w) {
					t.Errorf("nothing proves %q: %q", w, tl.Proves)
				}
			}
			for _, w := range c.cannot {
				if !strings.Contains(strings.Join(tl.CannotProve, "\n"), w) {
					t.Errorf("%q is not said: %q", w, tl.CannotProve)
				}
			}
			p := tl.Problem()
			if (p != nil) != (c.problem != nil) {
				t.Fatalf("problem: %+v", p)
			}
			if p != nil {
				want(t, *p, Failed, c.problem...)
			}
		})
	}
	broken := backedUp()
	broken.Snapshots = append(broken.Snapshots, Snapshot{Name: "wed", Broken: "read pg_control: it is cut"})
	want(t, broken.Broken()[0], Failed, "it is cut", "take a new one")
	want(t, broken.Summary(), OK, "PostgreSQL 17, 9 WAL segments", "1 spans")
}

// TestProvenIsDocumented holds the majors of proven against the document that
// says how each was.
func TestProvenIsDocumented(t *testing.T) {
	b, err := os.ReadFile("../../docs/support.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, line := range strings.Split(string(b), "\n") {
		if !strings.HasPrefix(line, "| resource manager | redo |") {
			continue
		}
		for m := oldestMajor; m <= newestMajor; m++ {
			documented := strings.Contains(line, fmt.Sprintf("| %d |", m))
			said := strings.Contains(majors(proven), fmt.Sprint(m))
			if documented != said {
				t.Errorf("docs/support.md has a column for %d: %v; check calls it proven: %v", m, documented, said)
			}
		}
		return
	}
	t.Error("docs/support.md has no table of resource managers")
}

func TestCure(t *testing.T) {
	for _, c := range []struct {
		err  error
		word string
	}{
		{&storage.Error{Op: "open", Err: storage.ErrNotExist}, "the directory, or the bucket"},
		{fmt.Errorf("list: %w", storage.ErrPermission), "list and read it"},
		{fmt.Errorf("list: %w", context.DeadlineExceeded), "--timeout"},
		{errors.New("api error RequestTimeTooSkewed: x"), "clock is wrong"},
		{errors.New("anything else"), "try again"},
	} {
		if got := Cure(c.err); !strings.Contains(got, c.word) {
			t.Errorf("%v: %s", c.err, got)
		}
	}
}

func TestReport(t *testing.T) {
	var r Report
	r.Add(ok("a", "b", "c"), warning("a", "b", "c", "d"))
	if r.Verdict != finding.Clean {
		t.Errorf("%+v", r)
	}
	r.Add(failed("a", "b", errors.New("c"), "d"), ok("a", "b", "c"))
	if r.Verdict != finding.Inconclusive {
		t.Errorf("%+v", r)
	}
}

func TestLedger(t *testing.T) {
	path := filepath.Join(t.TempDir(), "data", "ledger.db")
	now := time.Now()
	one := func() Item {
		t.Helper()
		items := Ledger(t.Context(), path, now)
		if len(items) != 1 {
			t.Fatalf("%+v", items)
		}
		return items[0]
	}
	want(t, one(), OK, "will be made")
	if _, err := os.Stat(filepath.Dir(path)); err == nil {
		t.Error("it was made")
	}
	l, err := ledger.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	if err := l.StartRun(t.Context(), ledger.RunStart{RunID: "r1", Job: "nightly", StartedAt: now.Add(time.Hour)}); err != nil {
		t.Fatal(err)
	}
	items := Ledger(t.Context(), path, now)
	want(t, items[0], OK, "schema version", "to be resumed: nightly")
	want(t, items[1], Failed, "newest run", "in the future")
	if err := l.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(strings.Repeat("no database ", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	want(t, one(), Failed, "no ledger")
}
