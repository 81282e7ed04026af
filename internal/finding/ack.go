package finding

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"time"
)

// Acknowledged is the status of a gap that does not count for the time being.
const Acknowledged = "acknowledged"

// Acknowledgement says that somebody knows of a finding and why it is let
// be. While it holds the finding does not count; it is shown all the same.
type Acknowledgement struct {
	Reason string    `json:"reason"`
	By     string    `json:"by"`
	At     time.Time `json:"at"`
	Until  time.Time `json:"until"` // from then on the finding counts again
}

// Acknowledgements are those that hold, of any timelines.
type Acknowledgements struct {
	found    map[ackKey]acknowledged
	segments map[ackKey]Acknowledgement // missing ones
}

// ackKey names a finding, or a missing segment, of a timeline.
type ackKey struct{ tenant, timeline, id string }

type acknowledged struct {
	Acknowledgement
	severity Severity
}

// Add takes up the acknowledgement of a discrepancy, which has a severity, of
// a gap, which has segments, or of another finding of a scan, which has neither.
func (a *Acknowledgements) Add(tenant, timeline, id string, severity Severity, segments []string, ack Acknowledgement) {
	if a.found == nil {
		a.found, a.segments = map[ackKey]acknowledged{}, map[ackKey]Acknowledgement{}
	}
	a.found[ackKey{tenant, timeline, id}] = acknowledged{ack, severity}
	for _, s := range segments {
		k := ackKey{tenant, timeline, s}
		if old, ok := a.segments[k]; !ok || old.Until.Before(ack.Until) {
			a.segments[k] = ack
		}
	}
}

// Discrepancy is the acknowledgement of a discrepancy, nil without one. One
// that has become worse since is not acknowledged any more.
func (a *Acknowledgements) Discrepancy(tenant, timeline string, d *Discrepancy) *Acknowledgement {
	ack, ok := a.found[ackKey{tenant, timeline, d.ID}]
	if !ok || d.ID == "" || ack.severity != d.Severity {
		return nil
	}
	return &ack.Acknowledgement
}

// gap is the acknowledgement of a gap: its own, or those of all its segments,
// of which the first to expire is returned. So a gap that has grown counts
// whole, and what is left of one that was filled in part does not.
func (a *Acknowledgements) gap(tenant, timeline string, g *Gap) *Acknowledgement {
	if len(g.Segments) == 0 {
		if ack, ok := a.found[ackKey{tenant, timeline, g.ID}]; ok {
			return &ack.Acknowledgement
		}
		return nil
	}
	var first *Acknowledgement
	for _, s := range g.Segments {
		ack, ok := a.segments[ackKey{tenant, timeline, s}]
		if !ok {
			return nil
		}
		if first == nil || ack.Until.Before(first.Until) {
			first = &ack
		}
	}
	return first
}

// MarkRun says of each finding of a run whether it is acknowledged, and makes
// the verdicts of its spans follow.
func (a *Acknowledgements) MarkRun(r *Run) {
	for i := range r.Timelines {
		t := &r.Timelines[i]
		for j := range t.Spans {
			a.markSpan(t.Tenant, t.Timeline, &t.Spans[j])
		}
		if t.Scan != nil {
			a.MarkScan(t.Scan)
		}
	}
}

// MarkScan says of each finding of a scan what its id is and whether it is acknowledged.
func (a *Acknowledgements) MarkScan(t *ScanTimeline) {
	t.Identify()
	a.markGaps(t.Tenant, t.Timeline, t.Gaps)
	for i := range t.Damaged {
		d := &t.Damaged[i]
		if ack, ok := a.found[ackKey{t.Tenant, t.Timeline, d.ID}]; ok && d.ID != "" {
			d.Acknowledged = &ack.Acknowledgement
		}
	}
	a.markLostWrites(t.Tenant, t.Timeline, t.LostWrites)
}

func (a *Acknowledgements) markLostWrites(tenant, timeline string, lost []StaleImage) {
	for i := range lost {
		if ack, ok := a.found[ackKey{tenant, timeline, lost[i].ID}]; ok {
			lost[i].Acknowledged = &ack.Acknowledgement
		}
	}
}

func (a *Acknowledgements) markGaps(tenant, timeline string, gaps []Gap) {
	for i := range gaps {
		g := &gaps[i]
		if ack := a.gap(tenant, timeline, g); ack != nil && g.Counts() {
			g.Status, g.Acknowledged = Acknowledged, ack
		}
	}
}

func (a *Acknowledgements) markSpan(tenant, timeline string, v *Verification) {
	v.Identify(tenant, timeline)
	a.markGaps(tenant, timeline, v.Gaps)
	a.markLostWrites(tenant, timeline, v.LostWrites)
	for i := range v.Discrepancies {
		v.Discrepancies[i].Acknowledged = a.Discrepancy(tenant, timeline, &v.Discrepancies[i])
	}
	if v.Verdict != Discrepancies || v.Acknowledged() == 0 && acknowledgedWrites(v.LostWrites) == 0 || v.Bad() {
		return
	}
	v.Verdict = Clean
	if len(v.Reasons) > 0 || len(v.Gaps) > 0 {
		v.Verdict = Inconclusive
	}
}

// Acknowledged is the number of listed discrepancies that would count were
// they not acknowledged.
func (v *Verification) Acknowledged() (n int64) {
	for i := range v.Discrepancies {
		if d := &v.Discrepancies[i]; d.Acknowledged != nil && d.Severity != Benign {
			n++
		}
	}
	return n
}

// Bad reports whether a span holds a finding that counts, whatever its verdict is.
func (v *Verification) Bad() bool {
	c, images, listed := v.DiscrepancyCounts, v.Consistency.Mismatches, false
	for i := range v.Discrepancies {
		switch d := &v.Discrepancies[i]; {
		case d.Severity == Benign:
		case d.Acknowledged == nil:
			listed = true
		case d.Kind == WrongRedo:
			images--
		}
	}
	return listed || c.Critical+c.Warning > v.Acknowledged() || images > 0 || v.CountingLostWrites() > 0
}

// Acknowledged is the number of missing and damaged segments that would count
// were they not acknowledged.
func (t *ScanTimeline) Acknowledged() int64 {
	return t.acknowledgedGaps() + int64(len(t.Damaged)) - t.DamagedSegments()
}

func (t *ScanTimeline) acknowledgedGaps() (n int64) {
	for i := range t.Gaps {
		if g := &t.Gaps[i]; g.Status == Acknowledged {
			n += t.segmentsIn(g)
		}
	}
	return n
}

// DamagedSegments is the number of damaged segments that count.
func (t *ScanTimeline) DamagedSegments() (n int64) {
	for i := range t.Damaged {
		if t.Damaged[i].Acknowledged == nil {
			n++
		}
	}
	return n
}

// Identify gives the findings of a scan their ids.
func (t *ScanTimeline) Identify() {
	for i := range t.Gaps {
		t.Gaps[i].identify(t.Tenant, t.Timeline)
	}
	for i := range t.Damaged {
		if d := &t.Damaged[i]; d.Segment != "" { // else it is "and 7 more"
			d.ID = hash("damaged", t.Tenant, t.Timeline, d.Segment, d.Reason)
		}
	}
	identifyWrites(t.Tenant, t.Timeline, t.LostWrites)
}

// Identify gives those findings of a span their ids that a scan may share.
func (v *Verification) Identify(tenant, timeline string) {
	for i := range v.Gaps {
		v.Gaps[i].identify(tenant, timeline)
	}
	identifyWrites(tenant, timeline, v.LostWrites)
}

func (g *Gap) identify(tenant, timeline string) {
	content := strings.Join(g.Segments, " ")
	if content == "" {
		content = g.From.String() + " " + g.To.String()
	}
	g.ID = hash("gap", tenant, timeline, content)
}

// hash is as long as the id of a discrepancy. The lengths keep parts apart.
func hash(parts ...string) string {
	h := sha256.New()
	for _, p := range parts {
		fmt.Fprintf(h, "%d:%s\n", len(p), p)
	}
	return hex.EncodeToString(h.Sum(nil)[:12])
}
