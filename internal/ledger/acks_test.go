package ledger

import (
	"errors"
	"fmt"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/finding"
)

// clocked opens a ledger whose clock the test sets.
func clocked(t *testing.T) (*Ledger, *time.Time) {
	t.Helper()
	l := openTest(t)
	now := t0
	l.now = func() time.Time { return now }
	return l, &now
}

// acked is one finished run with a critical and a warning discrepancy, a gap
// of two segments, and a damaged segment.
func ackedRun(t *testing.T, l *Ledger, run string, when time.Time) {
	t.Helper()
	startPlanned(t, l, run, when, plannedSpan(0, "S1", "S2", 1, 2))
	must(t, l.FinishSpan(ctx, run, 0, when, verified(finding.Discrepancies, disc("a", finding.Critical), disc("b", finding.Warning), disc("c", finding.Benign))))
	must(t, l.FinishScan(ctx, run, when, ackedScan("s4", "s5")))
	got, err := l.Run(ctx, run)
	must(t, err)
	must(t, l.FinishRun(ctx, run, when, finding.Findings, nil, finding.Summarize(got).Acknowledged))
}

func ackedScan(missing ...string) finding.ScanTimeline {
	return finding.ScanTimeline{
		Tenant: key.Tenant, Timeline: key.Timeline,
		Gaps:    []finding.Gap{{From: 0x400, To: 0x600, Segments: missing, Status: "missing"}},
		Damaged: []finding.Damaged{{Segment: "s9", Reason: "torn"}, {Reason: "and 7 more"}},

		LostWrites: []finding.StaleImage{{Block: 7, At: 0x500, ImageLSN: 0x300, ExpectedLSN: 0x400}}, Audit: &finding.Audit{LostWrites: 3},
	}
}

func request(id string, now time.Time) AckRequest {
	return AckRequest{ID: id, Reason: "known since Monday", By: "dba", At: now, Until: now.Add(time.Hour)}
}

// counting is what counts: critical and warning discrepancies of the metrics
// and of the timeline, missing and damaged segments, and what the run says of them.
func counting(t *testing.T, l *Ledger, run string) string {
	t.Helper()
	open, err := l.OpenCounts(ctx)
	must(t, err)
	metrics := map[finding.Severity]int64{}
	for _, c := range open {
		metrics[c.Severity] += c.Count
	}
	tl, err := l.Timelines(ctx, "nightly")
	must(t, err)
	r, err := l.Run(ctx, run)
	must(t, err)
	if s, in := tl[0].Scan, r.Timelines[0].Scan; s.MissingSegments() != in.MissingSegments() || s.DamagedSegments() != in.DamagedSegments() {
		t.Errorf("the timeline says %+v, the run %+v", s, in)
	}
	return fmt.Sprintf("critical %d warning %d timeline %d missing %d damaged %d lost %d acknowledged %d %s", metrics[finding.Critical], metrics[finding.Warning],
		tl[0].OpenDiscrepancies, tl[0].Scan.MissingSegments(), tl[0].Scan.DamagedSegments(), tl[0].Scan.CountingLostWrites(), r.Timelines[0].Spans[0].Acknowledged(), r.Timelines[0].Spans[0].Verdict)
}

func TestAcknowledgedDoesNotCountUntilItExpires(t *testing.T) {
	l, now := clocked(t)
	ackedRun(t, l, "r1", t0)
	want := func(when, want string) {
		t.Helper()
		if got := counting(t, l, "r1"); got != want {
			t.Errorf("%s: %s, want %s", when, got, want)
		}
	}
	all := "critical 1 warning 1 timeline 2 missing 2 damaged 2 lost 3 acknowledged 0 discrepancies"
	want("before", all)

	*now = at(10)
	a, err := l.Acknowledge(ctx, request("a", *now))
	must(t, err)
	if a.About != "critical lost write" || a.Finding != "discrepancy" || a.Tenant != key.Tenant {
		t.Errorf("acknowledged %+v", a)
	}
	want("one", "critical 0 warning 1 timeline 1 missing 2 damaged 2 lost 3 acknowledged 1 discrepancies")
	_, err = l.Acknowledge(ctx, request("b", *now))
	must(t, err)
	tl, err := l.Timelines(ctx, "")
	must(t, err)
	for _, id := range []string{tl[0].Scan.Gaps[0].ID, tl[0].Scan.Damaged[0].ID, tl[0].Scan.LostWrites[0].ID} {
		_, err = l.Acknowledge(ctx, request(id, *now))
		must(t, err)
	}
	want("all", "critical 0 warning 0 timeline 0 missing 0 damaged 1 lost 2 acknowledged 2 clean")
	list, err := l.Discrepancies(ctx, DiscrepancyFilter{State: StateAcknowledged})
	must(t, err)
	if len(list) != 2 || list[0].State != StateAcknowledged || list[0].Acknowledged == nil || list[0].Acknowledged.By != "dba" || !list[0].Acknowledged.Until.Equal(at(70)) {
		t.Errorf("acknowledged: %+v", list)
	}
	if open, err := l.Discrepancies(ctx, DiscrepancyFilter{State: StateOpen, Severity: finding.Critical}); err != nil || len(open) != 0 {
		t.Errorf("open: %+v, %v", open, err)
	}

	must(t, l.Unacknowledge(ctx, "b", "other", at(20)))
	*now = at(21)
	want("removed", "critical 0 warning 1 timeline 1 missing 0 damaged 1 lost 2 acknowledged 1 discrepancies")
	*now = at(70)
	want("expired", all)
	if holding, err := l.Acks(ctx, AckFilter{}); err != nil || len(holding) != 0 {
		t.Errorf("holding: %+v, %v", holding, err)
	}
	kept, err := l.Acks(ctx, AckFilter{All: true})
	must(t, err)
	if len(kept) != 5 || kept[3].ID != "b" || kept[3].EndedBy != "other" || kept[3].EndedAt == nil || kept[4].EndedAt != nil {
		t.Errorf("kept: %+v", kept)
	}
}

// TestAcknowledgementIsForOneContent changes what was acknowledged.
func TestAcknowledgementIsForOneContent(t *testing.T) {
	l, now := clocked(t)
	ackedRun(t, l, "r1", t0)
	tl, err := l.Timelines(ctx, "")
	must(t, err)
	for _, id := range []string{"b", tl[0].Scan.Gaps[0].ID, tl[0].Scan.Damaged[0].ID, tl[0].Scan.LostWrites[0].ID} {
		_, err = l.Acknowledge(ctx, request(id, *now))
		must(t, err)
	}
	startPlanned(t, l, "r2", at(1), plannedSpan(0, "S1", "S2", 1, 2))
	worse := disc("b", finding.Critical)
	must(t, l.FinishSpan(ctx, "r2", 0, at(1), verified(finding.Discrepancies, worse)))
	scan := ackedScan("s4", "s5", "s6")
	scan.Damaged[0].Reason = "CRC"
	must(t, l.FinishScan(ctx, "r2", at(1), scan))
	if got, want := counting(t, l, "r2"), "critical 1 warning 0 timeline 1 missing 3 damaged 2 lost 2 acknowledged 0 discrepancies"; got != want {
		t.Errorf("worse: %s, want %s", got, want)
	}
	must(t, l.FinishRun(ctx, "r2", at(1), finding.Findings, nil, 0))

	startPlanned(t, l, "r3", at(2)) // a segment of the gap has come back: the rest is still known
	must(t, l.FinishScan(ctx, "r3", at(2), ackedScan("s5")))
	r, err := l.Run(ctx, "r3")
	must(t, err)
	if g := r.Timelines[0].Scan.Gaps[0]; g.Counts() || g.Status != finding.Acknowledged || g.Acknowledged == nil {
		t.Errorf("rest of a gap: %+v", g)
	}
}

// TestRunShowsWhatItsVerdictLetBe asks for a run after its acknowledgements ended.
func TestRunShowsWhatItsVerdictLetBe(t *testing.T) {
	l, now := clocked(t)
	ackedRun(t, l, "r1", t0)
	*now = at(1)
	_, err := l.Acknowledge(ctx, request("a", *now))
	must(t, err)
	*now = at(5)
	ackedRun(t, l, "r2", at(5))
	*now = at(1000)
	for run, want := range map[string]int64{"r1": 0, "r2": 1} {
		r, err := l.Run(ctx, run)
		must(t, err)
		if got := r.Timelines[0].Spans[0].Acknowledged(); got != want {
			t.Errorf("run %s: %d acknowledged, want %d", run, got, want)
		}
	}
	s, err := l.Summaries(ctx, RunFilter{})
	must(t, err)
	if s[0].Acknowledged != 1 || s[1].Acknowledged != 0 || s[0].Critical != 1 || s[0].MissingSegments != 2 {
		t.Errorf("summaries: %+v", s)
	}
}

func TestGapOfASpanCanBeAcknowledged(t *testing.T) {
	l, now := clocked(t)
	startPlanned(t, l, "r1", t0, plannedSpan(0, "S1", "S2", 1, 2))
	v := verified(finding.Inconclusive)
	v.Reasons = []string{"WAL is missing"}
	v.Gaps = []finding.Gap{{From: 1, To: 2, Segments: []string{"s1"}}}
	must(t, l.FinishSpan(ctx, "r1", 0, t0, v))
	r, err := l.Run(ctx, "r1")
	must(t, err)
	id := r.Timelines[0].Spans[0].Gaps[0].ID
	a, err := l.Acknowledge(ctx, request(id, *now))
	must(t, err)
	if a.Finding != "gap" || a.About != "WAL missing from 0/1 to 0/2" {
		t.Errorf("acknowledged %+v", a)
	}
	r, err = l.Run(ctx, "r1")
	must(t, err)
	if v := r.Timelines[0].Spans[0]; v.Gaps[0].Counts() || v.Verdict != finding.Inconclusive {
		t.Errorf("a span over an acknowledged gap is %s: %+v", v.Verdict, v.Gaps)
	}
}

func TestAcknowledgeRefuses(t *testing.T) {
	l, now := clocked(t)
	ackedRun(t, l, "r1", t0)
	for want, change := range map[string]func(*AckRequest){
		"a reason is needed":    func(r *AckRequest) { r.Reason = " \n" },
		"the reason may have":   func(r *AckRequest) { r.Reason = strings.Repeat("x", 2001) },
		"must be UTF-8":         func(r *AckRequest) { r.By = "\xff" },
		"a name is needed":      func(r *AckRequest) { r.By = "" },
		"not in the future":     func(r *AckRequest) { r.Until = r.At },
		"in more than 10 years": func(r *AckRequest) { r.Until = r.At.AddDate(10, 0, 1) },
		"is benign: it never":   func(r *AckRequest) { r.ID = "c" },
	} {
		r := request("a", *now)
		change(&r)
		_, err := l.Acknowledge(ctx, r)
		var refused *AckError
		if !errors.As(err, &refused) || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v", want, err)
		}
	}
	for _, id := range []string{"", "x"} {
		if _, err := l.Acknowledge(ctx, request(id, *now)); !errors.Is(err, ErrNotFound) {
			t.Errorf("id %q: %v", id, err)
		}
		if err := l.Unacknowledge(ctx, id, "dba", *now); !errors.Is(err, ErrNotFound) {
			t.Errorf("remove %q: %v", id, err)
		}
	}
	must(t, l.KeepSnapshots(ctx, key.Tenant, key.Timeline, at(1), []string{"S9"}))
	if _, err := l.Acknowledge(ctx, request("a", *now)); err == nil || !strings.Contains(err.Error(), "is gone") {
		t.Errorf("gone: %v", err)
	}
	if acks, err := l.Acks(ctx, AckFilter{All: true}); err != nil || len(acks) != 0 {
		t.Errorf("refused and kept: %+v, %v", acks, err)
	}
}

// TestAcknowledgingAgainReplaces keeps the first one as ended.
func TestAcknowledgingAgainReplaces(t *testing.T) {
	l, now := clocked(t)
	ackedRun(t, l, "r1", t0)
	_, err := l.Acknowledge(ctx, request("a", *now))
	must(t, err)
	*now = at(1)
	again := request("a", *now)
	again.By, again.Until = "other", at(1000)
	_, err = l.Acknowledge(ctx, again)
	must(t, err)
	acks, err := l.Acks(ctx, AckFilter{ID: "a", All: true})
	must(t, err)
	if len(acks) != 2 || acks[0].By != "other" || acks[0].EndedAt != nil || acks[1].EndedBy != "other" || !acks[1].EndedAt.Equal(at(1)) {
		t.Errorf("acknowledged twice: %+v", acks)
	}
	d, err := l.Discrepancy(ctx, "a")
	must(t, err)
	if d.Acknowledged == nil || !d.Acknowledged.Until.Equal(at(1000)) {
		t.Errorf("discrepancy: %+v", d)
	}
	if _, err := l.Discrepancy(ctx, "x"); !errors.Is(err, ErrNotFound) {
		t.Errorf("unknown discrepancy: %v", err)
	}
}

// TestListOfDiscrepanciesIsPaged goes through all of a large table by place,
// while a filter holds, and finds each once.
func TestListOfDiscrepanciesIsPaged(t *testing.T) {
	l := openTest(t)
	const nights, each = 5, 200
	for n := range nights {
		run := fmt.Sprint("r", n)
		startPlanned(t, l, run, at(n), plannedSpan(0, "a", fmt.Sprint("s", n), 1, 2))
		v := verified(finding.Discrepancies)
		for i := range each {
			d := disc(fmt.Sprintf("d%d-%d", n, i), finding.Critical)
			d.Kind, d.File = []finding.Kind{finding.BitRot, finding.LostWrite}[i%2], fmt.Sprintf("base/5/%d", 1000+i)
			d.Relation = &finding.Relation{Name: fmt.Sprintf("public.Accounts_%d", i%4)}
			d.Pages = &finding.PagePair{Official: make([]byte, 8192)}
			v.Discrepancies = append(v.Discrepancies, d)
			v.DiscrepancyCounts.Add(d.Severity)
		}
		must(t, l.FinishSpan(ctx, run, 0, at(n), v))
		finish(t, l, run, at(n))
	}
	for name, f := range map[string]DiscrepancyFilter{
		"all": {}, "kind": {Kind: finding.BitRot}, "relation": {Text: "ACCOUNTS_1"}, "file": {Text: "5/1003"}, "id": {Text: "d3-"}, "nobody": {Tenant: "x"}, "state": {State: StateGone},
	} {
		want := map[string]int{"all": nights * each, "kind": nights * each / 2, "relation": nights * each / 4, "file": nights, "id": each}[name]
		seen, last := map[string]bool{}, endOfTime
		f.Limit = 70
		for {
			page, err := l.Discrepancies(ctx, f)
			must(t, err)
			for _, d := range page {
				if seen[d.ID] || d.LastSeen.After(last) || d.Pages != nil {
					t.Fatalf("%s: %s is there twice, out of order, or with its pages", name, d.ID)
				}
				seen[d.ID], last = true, d.LastSeen
			}
			if len(page) < f.Limit {
				break
			}
			d := &page[len(page)-1]
			f.After = &DiscrepancyPlace{d.LastSeen, d.Tenant, d.Timeline, d.ID}
		}
		if len(seen) != want {
			t.Errorf("%s: %d found, want %d", name, len(seen), want)
		}
	}
	whole, err := l.Discrepancy(ctx, "d3-7")
	must(t, err)
	if whole.Pages == nil || len(whole.Pages.Official) != 8192 {
		t.Error("one discrepancy lacks its page")
	}
	span, err := l.SpanOf(ctx, whole)
	must(t, err)
	if span.Verdict != finding.Discrepancies || span.DiscrepancyCounts.Critical != each || len(span.Discrepancies) != 0 {
		t.Errorf("its span: %+v", span)
	}
}

// TestListReadsTheIndexOnly keeps the search from reading rows, which are long.
func TestListReadsTheIndexOnly(t *testing.T) {
	l, err := Open(filepath.Join(t.TempDir(), "ledger.db"))
	must(t, err)
	defer func() { must(t, l.Close()) }()
	rows, err := l.read.Query("EXPLAIN QUERY PLAN "+listDiscrepancies, timeText(t0), "z", "z", "z", "z", "", "", "", "", "", "x", 10)
	must(t, err)
	defer rows.Close()
	var plan []string
	for rows.Next() {
		var id, parent, unused int
		var detail string
		must(t, rows.Scan(&id, &parent, &unused, &detail))
		plan = append(plan, detail)
	}
	must(t, rows.Err())
	if text := strings.Join(plan, "\n"); !strings.Contains(text, "SEARCH d USING COVERING INDEX discrepancies_by_time") {
		t.Errorf("plan:\n%s", text)
	}
}
