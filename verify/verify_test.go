package verify_test

import (
	"context"
	"encoding/json"
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pgtest"
	"redoubt/replay/native"
	"redoubt/verify"
)

// pick is all with REDOUBT_PROVE=1, and otherwise what a test can take time for
// each time: every setting is seen at least once.
func pick[T any](some, all T) T {
	if pgtest.Prove() {
		return all
	}
	return some
}

var majors = pgtest.Thorough()

// history is a cluster's life: a base backup, a workload, a clean stop.
type history struct {
	*pgtest.Cluster
	base, wal, scratch string
}

func live(t *testing.T, major int, work func(*pgtest.Cluster), opts ...pgtest.Option) history {
	t.Helper()
	return liveOn(pgtest.Server(t, major, opts...), work)
}

// liveOn is live for a cluster that runs already.
func liveOn(c *pgtest.Cluster, work func(*pgtest.Cluster)) history {
	h := history{Cluster: c, base: filepath.Join(c.Dir("backups"), "base"), wal: c.Dir("wal"), scratch: c.Dir("scratch")}
	c.BaseBackup(h.base)
	work(c)
	c.Stop(pgtest.Fast)
	c.CollectWAL(h.wal)
	return h
}

func (h history) options() verify.Options {
	return verify.Options{
		Base: dirSnap{h.base}, Official: dirSnap{h.Data}, WAL: dirWAL{h.wal, h.SegmentSize}, Timeline: "test",
		Native: native.Config{Scratch: h.scratch},
	}
}

func mustVerify(t *testing.T, o verify.Options) *finding.Verification {
	t.Helper()
	v, err := verify.Run(context.Background(), o)
	if err != nil {
		t.Fatal(err)
	}
	return v
}

// describe is a verification as a reader of a failed test wants it.
func describe(v *finding.Verification) string {
	var b strings.Builder
	fmt.Fprintf(&b, "reasons: %q\ncounts: %+v\n", v.Reasons, v.DiscrepancyCounts)
	for i, d := range v.Discrepancies {
		if i == 20 {
			break
		}
		block := int64(-1)
		if d.Block != nil {
			block = *d.Block
		}
		fmt.Fprintf(&b, "%s %s %s block %d, blame %s, last %+v: %s\n", d.Severity, d.Kind, d.File, block, d.Blame, d.LastRecord, d.Explanation)
	}
	for _, l := range v.LostWrites[:min(20, len(v.LostWrites))] {
		fmt.Fprintf(&b, "lost write: %+v\n", l)
	}
	return b.String()
}

// wantClean is the proof: nothing differs and nothing is tainted.
func wantClean(t *testing.T, v *finding.Verification) {
	t.Helper()
	if v.Verdict != finding.Clean {
		t.Errorf("verdict %s, want clean:\n%s", v.Verdict, describe(v))
	}
	t.Logf("%s: %d records, %d MB of WAL, %d images checked, LSNs of %d, %d blocks compared (%d untouched), %d benign, %.0f MB/s",
		v.Span, v.WAL.Records, v.WAL.Bytes>>20, v.Consistency.ImagesChecked, v.Audit.ImagesChecked, v.Coverage.BlocksCompared,
		v.Coverage.BlocksUntouchedCompared, v.DiscrepancyCounts.Benign, v.Timing.WALMBPerSecond)
}

// settings of a cluster under test.
type settings struct {
	major                     int
	checksums, fullPageWrites bool
	consistency               bool // wal_consistency_checking = all
}

func (s settings) String() string {
	return fmt.Sprintf("%d checksums=%v full_page_writes=%v consistency=%v", s.major, s.checksums, s.fullPageWrites, s.consistency)
}

func (s settings) options() []pgtest.Option {
	o := []pgtest.Option{pgtest.Checksums(s.checksums), pgtest.FullPageWrites(s.fullPageWrites)}
	if s.checksums { // in half of the runs
		o = append(o, pgtest.Conf("track_commit_timestamp", "on"))
	}
	if s.consistency {
		o = append(o, pgtest.ConsistencyChecking())
	}
	return o
}

// combinations are the settings that a proof runs with: each of them on one
// major or, to prove all, on each.
func combinations(some []settings) []settings {
	if !pgtest.Prove() {
		return some
	}
	var all []settings
	for _, major := range pgtest.Majors {
		for _, s := range some {
			s.major = major
			if !slices.Contains(all, s) {
				all = append(all, s)
			}
		}
	}
	return all
}

// TestPgbench verifies a base backup and the WAL of pgbench against the data
// directory that PostgreSQL left when it was stopped cleanly.
func TestPgbench(t *testing.T) {
	for _, s := range combinations([]settings{
		{15, true, true, false}, {17, false, false, false}, {15, false, true, true}, {17, true, true, true},
	}[:pick(2, 4)]) {
		t.Run(s.String(), func(t *testing.T) {
			scale := pick("4", "20")
			if s.consistency {
				scale = "4" // each record carries its pages
			}
			h := live(t, s.major, func(c *pgtest.Cluster) {
				c.Pgbench("-i", "-s", scale, "-q", "postgres")
				c.Pgbench("-c", "4", "-t", pick("500", "1500"), "-n", "postgres")
			}, s.options()...)
			if p := h.prove(t); s.consistency && p.Images == 0 {
				t.Error("not one consistency image was checked")
			}
		})
	}
}

// TestMixed is the same for concurrent DML on heaps, sequences and indexes of
// all methods, with crashes in the middle. PostgreSQL 17.10 itself cannot
// recover from a crash with consistency checking on and full-page writes off,
// so these two are not combined.
func TestMixed(t *testing.T) {
	for _, s := range combinations(pick([]settings{{15, true, true, true}, {17, true, false, false}}, []settings{
		{15, true, true, true}, {15, false, false, false}, {17, false, true, true}, {17, true, false, false},
	})) {
		t.Run(s.String(), func(t *testing.T) {
			mixed(t, s, pgtest.Mixed{Seed: 1, Crashes: 2, Clients: 3, Rounds: pick(1, 3), Tablespace: true})
		})
	}
}

// TestOtherMajors is a short TestMixed on the majors that TestMixed leaves out
// unless all is to be proven. They may carry their own defaults: 18 has checksums.
func TestOtherMajors(t *testing.T) {
	for _, major := range pgtest.Majors {
		if slices.Contains(pgtest.Thorough(), major) {
			continue
		}
		s := settings{major, major == 18, true, true}
		t.Run(s.String(), func(t *testing.T) { mixed(t, s, pgtest.Mixed{Seed: 1, Crashes: 1, Clients: 1, Rounds: 1}) })
	}
}

// mixed fails if an index method is missing in the WAL, or one of ops.
func mixed(t *testing.T, s settings, m pgtest.Mixed, ops ...string) {
	t.Helper()
	h := live(t, s.major, m.Run, s.options()...)
	h.prove(t).want(t, slices.Concat(indexOps, ops)...)
	h.sameStreamed(t)
}

// sameStreamed: a base whose pages are read on demand and one that is streamed
// give the same verification.
func (h history) sameStreamed(t *testing.T) {
	t.Helper()
	o := h.options()
	demanded := mustVerify(t, o)
	o.Base = streamed{o.Base}
	if got, want := withoutTime(t, demanded), withoutTime(t, mustVerify(t, o)); got != want {
		t.Errorf("with pages on demand:\n%s\nwith a base that is streamed:\n%s", got, want)
	}
}

// withoutTime is a verification as text, but for how long it took.
func withoutTime(t *testing.T, v *finding.Verification) string {
	t.Helper()
	c := *v
	c.Timing = finding.Timing{}
	b, err := json.MarshalIndent(&c, "", " ")
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}
