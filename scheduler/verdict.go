package scheduler

import (
	"fmt"
	"slices"

	"redoubt/internal/finding"
)

// maxReasons bounds a run's own reasons; those of its spans are with them.
const maxReasons = 50

// Verdict judges a run by what is recorded of it and says why it is no
// better: findings if there is any critical or warning discrepancy, gap or
// damaged segment; else inconclusive if anything could not be checked, or
// nothing was; else clean. given are the reasons known before.
func Verdict(run finding.Run, given []string) (finding.Verdict, []string) {
	j := judge{reasons: slices.Clone(given)}
	j.unsure = len(given) > 0
	if len(run.Timelines) == 0 {
		j.doubt("no timeline was picked: nothing was checked")
	}
	for _, t := range run.Timelines {
		j.timeline(t)
	}
	if extra := len(j.reasons) - maxReasons; extra > 0 {
		j.reasons = append(j.reasons[:maxReasons], fmt.Sprintf("and %d more", extra))
	}
	switch {
	case j.found:
		return finding.Findings, j.reasons
	case j.unsure:
		return finding.Inconclusive, j.reasons
	}
	return finding.Clean, j.reasons
}

type judge struct {
	found, unsure bool
	reasons       []string
}

func (j *judge) doubt(format string, args ...any) {
	j.unsure = true
	j.reasons = append(j.reasons, fmt.Sprintf(format, args...))
}

func (j *judge) timeline(t finding.RunTimeline) {
	name := t.Tenant + "/" + t.Timeline
	for _, r := range t.Reasons {
		j.doubt("%s: %s", name, r)
	}
	if len(t.Spans) == 0 && len(t.Reasons) == 0 {
		j.doubt("%s: no span was planned", name)
	}
	for _, v := range t.Spans {
		j.span(name, v)
	}
	if t.Scan == nil {
		j.doubt("%s: its archive was not scanned", name)
		return
	}
	j.found = j.found || t.Scan.DamagedSegments() > 0 || t.Scan.CountingLostWrites() > 0 || missing(t.Scan.Gaps)
	for _, r := range t.Scan.Reasons {
		j.doubt("%s: scan: %s", name, r)
	}
}

func (j *judge) span(name string, v finding.Verification) {
	if settled(v) == finding.Discrepancies || missing(v.Gaps) {
		j.found = true
	}
	if settled(v) == finding.Clean && len(v.Gaps) == 0 {
		return
	}
	for _, r := range v.Reasons {
		j.doubt("%s: span %s: %s", name, v.Span, r)
	}
	if settled(v) == finding.Inconclusive && len(v.Reasons) == 0 {
		j.doubt("%s: span %s: inconclusive without a reason", name, v.Span)
	}
}

func missing(gaps []finding.Gap) bool { return slices.ContainsFunc(gaps, finding.Gap.Counts) }

// settled is a span's verdict, never better than what the span itself holds.
func settled(v finding.Verification) finding.Verdict {
	switch {
	case v.Bad() || v.Verdict == finding.Discrepancies || v.Verdict == finding.Findings:
		return finding.Discrepancies
	case v.Verdict == finding.Clean && len(v.Reasons) == 0 && len(v.Gaps) == 0:
		return finding.Clean
	}
	return finding.Inconclusive
}
