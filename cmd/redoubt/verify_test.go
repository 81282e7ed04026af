package main

import (
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/finding"
)

// span are the locations of one span of the demo's bucket.
type span struct{ base, wal, official string }

// spanIn is a span of a bucket: the WAL from snapshot nightly-N to the next.
func spanIn(bucket, tenant, timeline, from, to string) span {
	tl := filepath.Join(bucket, tenant, timeline)
	return span{filepath.Join(tl, "snapshots", from), filepath.Join(tl, "wal"), filepath.Join(tl, "snapshots", to)}
}

func (s span) args(more ...string) []string {
	return append([]string{"verify", "--base", s.base, "--wal", s.wal, "--official", s.official, "--format", "json"}, more...)
}

// plantedSpan is a bucket with just the one span that ends at the lost write.
func plantedSpan(t testing.TB) (bucket string, p plantedFaults) {
	t.Helper()
	from, p := planted(t)
	bucket = filepath.Join(t.TempDir(), "bucket")
	tl := filepath.Join(p.write.Tenant, p.write.Timeline)
	for _, part := range []string{"wal", "snapshots/" + p.write.Previous, "snapshots/" + p.write.Snapshot} {
		link(t, filepath.Join(from, tl, part), filepath.Join(bucket, tl, part))
	}
	return bucket, p
}

// TestVerifyVerdicts: clean is 0, a lost write 1, missing WAL 3, each with
// what was found in the one JSON document on stdout, whose keys are the contract's.
func TestVerifyVerdicts(t *testing.T) {
	t.Parallel()
	bucket, faults := planted(t)
	var documents []string

	t.Run("clean", func(t *testing.T) {
		page := filepath.Join(t.TempDir(), "report.html")
		o := finish(t, raced(t, spanIn(bucket, "acme", "main", "nightly-1", "nightly-2").args("--html", page)...))
		o.want(t, exitClean)
		v := o.verification(t)
		if v.Verdict != finding.Clean || len(v.Reasons)+len(v.Gaps)+len(v.Discrepancies) != 0 || v.Coverage.BlocksCompared < 2000 ||
			v.Coverage.BlocksReplayed < 100 || v.Coverage.SLRUPagesCompared == 0 || v.Postgres.Major != 17 || v.WAL.Segments != 4 {
			t.Errorf("%+v", v)
		}
		checkPage(t, page, "CLEAN")
		for _, stage := range []string{"read WAL", "read base", "replay WAL", "compare"} {
			if strings.Count(o.stderr, stage+"\n") != 1 {
				t.Errorf("stderr does not tell of %q once: %q", stage, o.stderr)
			}
		}
		documents = append(documents, o.stdout)
	})
	t.Run("lost write", func(t *testing.T) {
		page := filepath.Join(t.TempDir(), "report.html")
		o := redoubt(t, spanIn(bucket, "acme", "main", faults.write.Previous, faults.write.Snapshot).args("--html", page, "--progress", "never")...)
		o.want(t, exitFindings)
		if o.stderr != "" {
			t.Errorf("stderr: %q", o.stderr)
		}
		v := o.verification(t)
		if v.Verdict != finding.Discrepancies || v.DiscrepancyCounts.Critical != 1 || v.DiscrepancyCounts.Warning != 0 || len(v.Discrepancies) != 1 {
			t.Fatalf("%s %+v %+v", v.Verdict, v.DiscrepancyCounts, v.Discrepancies)
		}
		d := v.Discrepancies[0]
		if !faults.isLostWrite(&d) || d.Offset != int64(faults.write.Block)*8192 || d.Blame != finding.BlameOfficial ||
			d.LastRecord == nil || len(d.ByteRanges) == 0 || !strings.Contains(d.Explanation, "lost write") {
			t.Errorf("%+v", d)
		}
		checkPage(t, page, "DISCREPANCIES", "base/5/16384")
		documents = append(documents, o.stdout)
	})
	t.Run("missing segment", func(t *testing.T) {
		page := filepath.Join(t.TempDir(), "report.html")
		o := redoubt(t, spanIn(bucket, "globex", "main", "nightly-1", "nightly-2").args("--html", page)...)
		o.want(t, exitInconclusive)
		v := o.verification(t)
		want := finding.Gap{From: faults.gap.From, To: faults.gap.To, Segments: []string{faults.gap.Segment}}
		same(t, "gaps", []finding.Gap{want}, v.Gaps)
		if v.Verdict != finding.Inconclusive || len(v.Reasons) != 1 || !strings.Contains(v.Reasons[0], faults.gap.Segment) || v.Coverage.BlocksCompared != 0 {
			t.Errorf("%+v", v)
		}
		checkPage(t, page, "INCONCLUSIVE", faults.gap.Segment)
		documents = append(documents, o.stdout)
	})
	t.Run("keys", func(t *testing.T) {
		got := make(map[string]bool)
		for _, d := range documents {
			collectKeys(t, d, got)
		}
		want := make(map[string]bool)
		collectKeys(t, string(read(t, filepath.Join("testdata", "contract-verify.json"))), want)
		for _, optional := range []string{"discrepancies.relation.name", "discrepancies.first_divergent_lsn"} {
			delete(want, optional) // given where they are known
		}
		for k := range want {
			if !got[k] {
				t.Errorf("no document has the key %s", k)
			}
		}
	})
}

// collectKeys adds the paths of all keys of a JSON document; the elements of
// lists share theirs, and the keys of maps by name are not keys.
func collectKeys(t testing.TB, document string, keys map[string]bool) {
	t.Helper()
	var v any
	must(t, json.Unmarshal([]byte(document), &v))
	var walk func(prefix string, v any)
	walk = func(prefix string, v any) {
		switch v := v.(type) {
		case []any:
			for _, e := range v {
				walk(prefix, e)
			}
		case map[string]any:
			for k, e := range v {
				path := strings.TrimPrefix(prefix+"."+k, ".")
				keys[path] = true
				if k != "tainted_by" {
					walk(path, e)
				}
			}
		}
	}
	walk("", v)
}

// checkPage wants a whole page with a verdict that only its owner can read.
func checkPage(t testing.TB, path string, words ...string) {
	t.Helper()
	page := string(read(t, path))
	if !strings.HasPrefix(page, "<!doctype html>") || !strings.HasSuffix(strings.TrimSpace(page), "</html>") {
		t.Errorf("%s is not whole: %.60q … %q", path, page, page[max(0, len(page)-60):])
	}
	for _, w := range words {
		if !strings.Contains(strings.ToUpper(page), strings.ToUpper(w)) {
			t.Errorf("%s does not say %q", path, w)
		}
	}
	st, err := os.Stat(path)
	must(t, err)
	if st.Mode().Perm() != 0o600 {
		t.Errorf("%s has mode %v", path, st.Mode())
	}
	noneUnfinished(t, filepath.Dir(path))
}

// noneUnfinished wants no temporary file of a report to be left.
func noneUnfinished(t testing.TB, dir string) {
	t.Helper()
	left, err := filepath.Glob(filepath.Join(dir, ".*"))
	must(t, err)
	if len(left) > 0 {
		t.Errorf("left behind: %v", left)
	}
}

// TestVerifyOptions: what only says how to work changes nothing in the result;
// what leaves blocks out says how many.
func TestVerifyOptions(t *testing.T) {
	t.Parallel()
	bucket, faults := planted(t)
	s := spanIn(bucket, "acme", "main", faults.write.Previous, faults.write.Snapshot)
	scratch := t.TempDir()
	plain := redoubt(t, s.args()...).verification(t)
	if len(plain.Discrepancies) != 1 {
		t.Fatalf("%+v", plain.Discrepancies)
	}
	for _, args := range [][]string{
		{"--workers", "1"}, {"--workers", "4"}, {"--memory", "1MiB", "--scratch", scratch},
		{"--memory", "1B", "--workers", "3", "--scratch", scratch},
	} {
		o := redoubt(t, s.args(args...)...)
		o.want(t, exitFindings)
		same(t, strings.Join(args, " "), plain, o.verification(t))
	}
	if left, err := os.ReadDir(scratch); err != nil || len(left) > 0 {
		t.Errorf("left in scratch: %v %v", left, err)
	}

	all := redoubt(t, s.args("--all")...).verification(t)
	benign := slices.DeleteFunc(slices.Clone(all.Discrepancies), func(d finding.Discrepancy) bool { return d.Severity != finding.Benign })
	if all.DiscrepancyCounts != plain.DiscrepancyCounts || len(all.Discrepancies) < 1 || len(benign) > int(all.DiscrepancyCounts.Benign) {
		t.Errorf("--all: %+v, %d listed", all.DiscrepancyCounts, len(all.Discrepancies))
	}

	sampled := redoubt(t, s.args("--sample", "0.3", "--seed", "7")...).verification(t)
	again := redoubt(t, s.args("--sample", "0.3", "--seed", "7", "--workers", "1")...).verification(t)
	other := redoubt(t, s.args("--sample", "0.3", "--seed", "8")...).verification(t)
	same(t, "the same sample again", sampled, again)
	if sampled.Coverage.BlocksCompared == other.Coverage.BlocksCompared {
		t.Errorf("two seeds: %d and %d blocks compared", sampled.Coverage.BlocksCompared, other.Coverage.BlocksCompared)
	}
	accounted := func(c finding.Coverage) int64 {
		return c.BlocksCompared + c.BlocksTainted + c.BlocksOverwrittenByWAL + c.BlocksUnverifiable + c.BlocksSkipped
	}
	if share := float64(sampled.Coverage.BlocksCompared) / float64(plain.Coverage.BlocksCompared); share < 0.2 || share > 0.4 ||
		sampled.Coverage.BlocksSkipped == 0 || accounted(sampled.Coverage) != accounted(plain.Coverage) {
		t.Errorf("a sample of 0.3 compared %.3f: %+v, all: %+v", share, sampled.Coverage, plain.Coverage)
	}

	// One relation only: the one with the fault, and another.
	o := redoubt(t, s.args("--rel", "1663/5/16384")...)
	o.want(t, exitFindings)
	v := o.verification(t)
	same(t, "--rel", plain.Discrepancies, v.Discrepancies)
	if accounted(v.Coverage) != accounted(plain.Coverage) || v.Coverage.BlocksSkipped < 2000 || v.Coverage.BlocksCompared == 0 {
		t.Errorf("--rel: %+v", v.Coverage)
	}
	o = redoubt(t, s.args("--rel", "1663/5/1259")...)
	o.want(t, exitClean)
	if v := o.verification(t); len(v.Discrepancies) > 0 || v.Coverage.BlocksCompared == 0 {
		t.Errorf("--rel of another relation: %+v", v)
	}
	redoubt(t, s.args("--rel", "1663/5/99999")...).want(t, exitInconclusive, "not one block was compared")
}
