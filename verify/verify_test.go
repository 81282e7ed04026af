package verify_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pgtest"
	"redoubt/replay/native"
	"redoubt/verify"
)

var majors = []int{15, 17}

// history is a cluster's life: a base backup, a workload, a clean stop.
type history struct {
	*pgtest.Cluster
	base, wal string
}

func live(t *testing.T, major int, work func(*pgtest.Cluster), opts ...pgtest.Option) history {
	t.Helper()
	c := pgtest.Server(t, major, opts...)
	h := history{Cluster: c, base: filepath.Join(c.Dir("backups"), "base"), wal: c.Dir("wal")}
	c.BaseBackup(h.base)
	work(c)
	c.Stop(pgtest.Fast)
	c.CollectWAL(h.wal)
	return h
}

func (h history) options() verify.Options {
	return verify.Options{
		Base: dirSnap{h.base}, Official: dirSnap{h.Data}, WAL: dirWAL{h.wal, h.SegmentSize}, Timeline: "test",
		Native: native.Config{Scratch: h.Dir("scratch")},
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
	return b.String()
}

// wantClean is the proof: nothing differs and nothing is tainted.
func wantClean(t *testing.T, v *finding.Verification) {
	t.Helper()
	if v.Verdict != finding.Clean {
		t.Errorf("verdict %s, want clean:\n%s", v.Verdict, describe(v))
	}
	t.Logf("%s: %d records, %d MB of WAL, %d images checked, %d blocks compared (%d untouched), %d benign, %.0f MB/s",
		v.Span, v.WAL.Records, v.WAL.Bytes>>20, v.Consistency.ImagesChecked, v.Coverage.BlocksCompared,
		v.Coverage.BlocksUntouchedCompared, v.DiscrepancyCounts.Benign, v.Timing.WALMBPerSecond)
}

func TestPgbench(t *testing.T) {
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			h := live(t, major, func(c *pgtest.Cluster) {
				c.Pgbench("-i", "-s", "5", "-q", "postgres")
				c.Pgbench("-c", "4", "-t", "1000", "-n", "postgres")
			}, pgtest.ConsistencyChecking())
			wantClean(t, mustVerify(t, h.options()))
		})
	}
}

func TestMixed(t *testing.T) {
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			h := live(t, major, func(c *pgtest.Cluster) {
				pgtest.Mixed{Seed: 1, Crashes: 2}.Run(c)
			}, pgtest.ConsistencyChecking())
			wantClean(t, mustVerify(t, h.options()))
			if d := os.Getenv("KEEP"); d != "" && t.Failed() {
				exec.Command("cp", "-r", filepath.Dir(h.wal), d).Run()
			}
		})
	}
}
