package ledger

import (
	"strings"
	"testing"

	"redoubt/internal/finding"
)

// TestLostWriteOfASpan counts in the run's summary and can be acknowledged,
// without a scan that found it.
func TestLostWriteOfASpan(t *testing.T) {
	l, now := clocked(t)
	startPlanned(t, l, "r1", t0, plannedSpan(0, "S1", "S2", 1, 2))
	v := verified(finding.Discrepancies)
	v.LostWrites = []finding.StaleImage{{Block: 7, At: 0x500, ImageLSN: 0x300, ExpectedLSN: 0x400}}
	v.Audit = &finding.Audit{Images: 9, ImagesChecked: 5, LostWrites: 1}
	must(t, l.FinishSpan(ctx, "r1", 0, t0, v))
	s, err := l.Summaries(ctx, RunFilter{})
	must(t, err)
	if s[0].LostWrites != 1 {
		t.Errorf("summary: %+v", s[0])
	}
	r, err := l.Run(ctx, "r1")
	must(t, err)
	a, err := l.Acknowledge(ctx, request(r.Timelines[0].Spans[0].LostWrites[0].ID, *now))
	must(t, err)
	if a.Finding != "lost_write" || !strings.Contains(a.About, "block 7, image at 0/500") {
		t.Errorf("acknowledged %+v", a)
	}
	r, err = l.Run(ctx, "r1")
	must(t, err)
	if v := r.Timelines[0].Spans[0]; v.Verdict != finding.Clean || v.CountingLostWrites() != 0 {
		t.Errorf("a span with an acknowledged lost write is %s: %+v", v.Verdict, v.LostWrites)
	}
}
