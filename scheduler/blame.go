package scheduler

import (
	"fmt"

	"redoubt/internal/finding"
)

// blameBases blames the base for what a span finds on a block that differed
// already at the end of the span before, whose official side is this one's
// base: what the two verdicts have in common is that snapshot. It reports
// whether it changed any. Blame that does not rest on the base's page stays.
func blameBases(before, v *finding.Verification) bool {
	bad := make(map[string]*finding.Discrepancy)
	for i := range before.Discrepancies {
		d := &before.Discrepancies[i]
		if d.Severity == finding.Critical && d.Block != nil && d.Blame != finding.BlameBase && d.Blame != finding.BlameEngine {
			bad[blockKey(d)] = d
		}
	}
	changed := false
	for i := range v.Discrepancies {
		d := &v.Discrepancies[i]
		if d.Severity != finding.Critical || d.Block == nil || !basesWord(d) {
			continue
		}
		if earlier := bad[blockKey(d)]; earlier != nil {
			d.Blame = finding.BlameBase
			d.Explanation += fmt.Sprintf(" The span before, up to %s, found this block wrong already in the snapshot that this span starts from (%s): its page was wrong before this span began.",
				before.Span.To, earlier.Kind)
			changed = true
		}
	}
	return changed
}

func blockKey(d *finding.Discrepancy) string { return fmt.Sprintf("%s %d", d.File, *d.Block) }

// basesWord reports whether the verdict on a block rests on the base's page:
// nobody could be blamed, or two engines that started from it agreed.
func basesWord(d *finding.Discrepancy) bool {
	n := len(d.Records)
	return d.Blame == finding.BlameUnknown ||
		d.ConfirmedBy != "" && d.Kind == finding.Unexplained && n > 0 && !d.Records[n-1].Image
}
