package verify

import (
	"cmp"
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"fmt"
	"slices"
	"time"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// add counts a discrepancy and keeps it for the list.
func (r *run) add(d finding.Discrepancy) {
	r.out.DiscrepancyCounts.Add(d.Severity)
	if d.Severity == finding.Benign && !r.All {
		return
	}
	if d.ByteRanges == nil {
		d.ByteRanges = [][2]int{}
	}
	r.found = append(r.found, d)
}

func (r *run) listLimit() int {
	if r.All {
		return int(^uint(0) >> 1)
	}
	return maxListed
}

// discrepancies turns what the comparison found into the contract's list.
func (r *run) discrepancies(ctx context.Context) error {
	if err := r.leaveOutOrphans(ctx); err != nil {
		return err
	}
	if r.moving == nil {
		r.relMaps()
	}
	r.consistency()
	for _, s := range r.sizes {
		if !r.leftOut(s.RelFork) {
			r.add(s.Discrepancy)
		}
	}
	if err := r.checkSequences(ctx); err != nil {
		return err
	}
	mm := r.mismatches()
	if err := r.explain(ctx, mm); err != nil {
		return err
	}
	r.future()
	if r.moving == nil { // a heap page and its map are not of one moment there
		if err := r.checkClaims(ctx); err != nil {
			return err
		}
	}
	if err := r.confirm(ctx); err != nil {
		return err
	}
	listed := r.listed()
	if err := r.completeHistory(ctx, listed); err != nil {
		return err
	}
	if err := r.name(ctx, listed); err != nil {
		return err
	}
	return r.relationMaps(listed)
}

// listed are the discrepancies that the result lists, worst first.
func (r *run) listed() []finding.Discrepancy {
	slices.SortStableFunc(r.found, func(a, b finding.Discrepancy) int {
		return cmp.Or(cmp.Compare(rank(a.Severity), rank(b.Severity)), cmp.Compare(a.File, b.File), cmp.Compare(a.Offset, b.Offset))
	})
	return r.found[:min(len(r.found), r.listLimit())]
}

// leaveOutOrphans finds out which of the relations that differ are nobody's.
func (r *run) leaveOutOrphans(ctx context.Context) error {
	suspects := make(map[pg.RelFileLocator]bool)
	for _, m := range r.mismatches() {
		suspects[m.RelFileLocator] = true
	}
	for _, s := range r.sizes {
		if s.Severity != finding.Benign {
			suspects[s.RelFileLocator] = true
		}
	}
	if err := r.findOrphans(ctx, suspects); err != nil {
		return err
	}
	r.disown()
	for _, orphan := range r.orphans {
		if orphan {
			r.tally.skipped["orphan"]++
		}
	}
	return nil
}

// mismatches are the blocks that differ, sorted, without those of relations
// that turned out to be unlogged.
func (r *run) mismatches() []mismatch {
	mm := slices.DeleteFunc(r.tally.mismatches, func(m mismatch) bool { return r.leftOut(m.RelFork) })
	slices.SortFunc(mm, func(a, b mismatch) int { return a.Compare(b.Block) })
	r.tally.mismatches = mm
	return mm
}

// explain looks at every block that differs with all that is known about it.
// The base's pages and the history of the records are read for a batch at a
// time, so that memory stays bounded however much differs.
func (r *run) explain(ctx context.Context, mm []mismatch) error {
	for batch := range slices.Chunk(mm, maxListed) {
		if err := r.explainBatch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// describe makes a discrepancy of a comparison; its kind is empty if the pages are equal.
func (r *run) describe(m mismatch, res compare.Result, official []byte) finding.Discrepancy {
	n := int64(m.Number)
	rel := finding.RelationOf(m.RelFork)
	d := finding.Discrepancy{
		Relation: &rel, Block: &n,
		File:   datadir.RelPath(m.RelFork, uint32(n/pg.BlocksPerFile), r.versionDir()),
		Offset: n % pg.BlocksPerFile * pg.BlockSize,
		Kind:   res.Kind, Severity: res.Severity, Blame: res.Blame, Explanation: res.Explanation,
		ByteRanges: res.Ranges, OfficialLSN: res.OfficialLSN, ReplayedLSN: res.ReplayedLSN,
	}
	if lsn := page.Page(official).LSN(); lsn > r.historySpan().To && (res.Equal || res.Benign()) {
		d.Kind, d.Severity, d.Blame = finding.PhantomWrite, finding.Critical, finding.BlameOfficial
		d.OfficialLSN = &lsn
		d.Explanation = fmt.Sprintf("The official page says it is of LSN %s, after the span's end %s: no WAL up to there can have written it.", lsn, r.historySpan().To)
	}
	return d
}

func joinSentences(a, b string) string {
	if a == "" {
		return b
	}
	return a + " " + b
}

func (r *run) recordRef(t native.RecordRef) *finding.RecordRef {
	return &finding.RecordRef{LSN: t.LSN, Rmgr: t.Rmgr.String(), Op: t.OpName(r.out.Postgres.Major), XID: t.XID}
}

// future reports pages of a clean base that are newer than the base.
func (r *run) future() {
	slices.SortFunc(r.index.future, pg.Block.Compare)
	for _, b := range r.index.future {
		if r.leftOut(b.RelFork) {
			continue
		}
		n := int64(b.Number)
		rel := finding.RelationOf(b.RelFork)
		r.add(finding.Discrepancy{
			Relation: &rel, Block: &n,
			File:   datadir.RelPath(b.RelFork, uint32(n/pg.BlocksPerFile), r.versionDir()),
			Offset: n % pg.BlocksPerFile * pg.BlockSize,
			Kind:   finding.PhantomWrite, Severity: finding.Critical, Blame: finding.BlameBase,
			Explanation: fmt.Sprintf("The base's page is newer than the base itself, which is of %s.", r.out.Span.From),
		})
	}
}

// finish sums up and gives the verdict.
func (r *run) finish(err error, took time.Duration) {
	r.coverage()
	listed := r.listed()
	trimPages(listed)
	for i := range listed {
		listed[i].ID = r.id(&listed[i])
	}
	r.out.Discrepancies = append(r.out.Discrepancies, listed...)
	r.reasons(err)
	c := r.out.DiscrepancyCounts
	switch {
	case c.Critical+c.Warning > 0, len(r.out.LostWrites) > 0:
		r.out.Verdict = finding.Discrepancies
	case len(r.out.Reasons) > 0:
		r.out.Verdict = finding.Inconclusive
	default:
		r.out.Verdict = finding.Clean
	}
	r.out.Timing.WallSeconds = took.Seconds()
	r.out.Timing.ScratchBytes = r.scratchBytes()
	if s := took.Seconds(); s > 0 {
		r.out.Timing.WALMBPerSecond = float64(r.out.WAL.Bytes) / 1e6 / s
	}
}

// scratchBytes is what the engines and the pages kept for explanations took; a
// server's directory is not in it.
func (r *run) scratchBytes() int64 {
	n := (r.spool.n + r.xacts.spool.n) * pg.BlockSize
	for _, e := range []*native.Engine{r.a, r.b} {
		if e != nil {
			n += e.ScratchBytes()
		}
	}
	return n
}

func rank(s finding.Severity) int {
	return slices.Index([]finding.Severity{finding.Critical, finding.Warning, finding.Benign}, s)
}

// id is stable over runs: it hashes timeline, place, kind and what differs.
func (r *run) id(d *finding.Discrepancy) string {
	h := sha256.New()
	fmt.Fprintf(h, "%s\n%s\n%d\n%s\n%v\n", r.Timeline, d.File, d.Offset, d.Kind, d.ByteRanges)
	if d.OfficialLSN != nil {
		fmt.Fprintf(h, "%s\n", *d.OfficialLSN)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}

// coverage adds up the tallies of all forks that were compared.
func (r *run) coverage() {
	c := &r.out.Coverage
	if r.ra != nil {
		c.BlocksReplayed = r.ra.BlocksReplayed
	}
	for f, t := range r.tally.forks {
		if r.leftOut(f) {
			continue
		}
		c.BlocksCompared += t.compared
		c.BlocksUntouchedCompared += t.untouched
		c.BlocksOverwrittenByWAL += t.overwritten
		c.BlocksUnverifiable += t.unverifiable
		c.BlocksSkipped += t.skipped
		for i, n := range t.uncaught {
			if n > 0 {
				c.BlocksUnverifiable += n
				c.BlocksNotCaught[uncaughtNames[outcome(i)]] += n
			}
		}
		r.out.DiscrepancyCounts.Benign += t.benign
		for m, n := range t.tainted {
			c.BlocksTainted += n
			c.TaintedBy[m.String()] += n
		}
	}
	for why, n := range r.tally.skipped {
		c.RelationsSkipped[why] += n
	}
}

// reasons says why the verdict can be no better than inconclusive.
func (r *run) reasons(err error) {
	add := func(format string, args ...any) { r.out.Reasons = append(r.out.Reasons, fmt.Sprintf(format, args...)) }
	var data *inconclusive
	switch {
	case errors.As(err, &data):
		add("%s", data.reason)
	case err != nil:
		add("%v", err)
	}
	r.out.Reasons = append(r.out.Reasons, r.dialectReasons()...)
	c := r.out.Coverage
	if c.BlocksTainted > 0 {
		add("%d blocks were last changed by records whose redo is not known: %s", c.BlocksTainted, counts(c.TaintedBy))
	}
	if n := c.BlocksUnverifiable - r.notCaught(); n > 0 {
		add("%d blocks belong to databases created by file copy while the base backup was being taken", n)
	}
	r.movingReasons(add)
	r.addUnwitnessed()
	if r.ra != nil && !r.byServer() {
		for m, n := range r.ra.UnknownRelUpdates {
			add("%d records of %s change relations in ways that are not known", n, m)
		}
	}
	r.addNewerImages()
	r.addLacking(add)
	for _, s := range []Snapshot{r.Base, r.Official} {
		for _, p := range s.Problems() {
			add("%s: %s", s.Name(), p)
		}
	}
	if err == nil && c.BlocksCompared == 0 {
		add("not one block was compared")
	}
}

func counts(m map[string]int64) string {
	var names []string
	for n := range m {
		names = append(names, n)
	}
	slices.Sort(names)
	out := ""
	for i, n := range names {
		if i > 0 {
			out += ", "
		}
		out += fmt.Sprintf("%s %d", n, m[n])
	}
	return out
}
