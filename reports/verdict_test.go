package reports

import (
	"io"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// TestVerdictIsNeverBetterThanTheRun stores "clean" over runs that are not.
func TestVerdictIsNeverBetterThanTheRun(t *testing.T) {
	cases := map[string]struct {
		change func(*finding.Run)
		want   finding.Verdict
	}{
		"clean":              {func(*finding.Run) {}, finding.Clean},
		"nothing picked":     {func(r *finding.Run) { r.Timelines = nil }, finding.Inconclusive},
		"tainted blocks":     {func(r *finding.Run) { r.Timelines[0].Spans[1].Coverage.BlocksTainted = 1 }, finding.Inconclusive},
		"lost blocks":        {func(r *finding.Run) { r.Timelines[0].Spans[1].Coverage.BlocksUnverifiable = 1 }, finding.Inconclusive},
		"a span's reason":    {func(r *finding.Run) { r.Timelines[0].Spans[1].Reasons = []string{"x"} }, finding.Inconclusive},
		"a timeline's":       {func(r *finding.Run) { r.Timelines[0].Reasons = []string{"x"} }, finding.Inconclusive},
		"a scan's":           {func(r *finding.Run) { r.Timelines[0].Scan.Reasons = []string{"x"} }, finding.Inconclusive},
		"a run's":            {func(r *finding.Run) { r.Reasons = []string{"x"} }, finding.Inconclusive},
		"no spans":           {func(r *finding.Run) { r.Timelines[0].Spans = nil }, finding.Inconclusive},
		"left out by choice": {func(r *finding.Run) { r.Timelines[0].Spans[1].Coverage.BlocksSkipped = 1 }, finding.Clean},
		"nothing checked":    {func(r *finding.Run) { r.Timelines[0].Spans, r.Timelines[0].Scan = nil, nil }, finding.Inconclusive},
		"span inconclusive":  {func(r *finding.Run) { r.Timelines[0].Spans[1].Verdict = finding.Inconclusive }, finding.Inconclusive},
		"span unheard of":    {func(r *finding.Run) { r.Timelines[0].Spans[1].Verdict = "fine" }, finding.Inconclusive},
		"gap in a span":      {func(r *finding.Run) { r.Timelines[0].Spans[1].Gaps = []finding.Gap{{From: 1, To: 2}} }, finding.Inconclusive},
		"span differs":       {func(r *finding.Run) { r.Timelines[0].Spans[1].Verdict = finding.Discrepancies }, finding.Findings},
		"critical counted":   {func(r *finding.Run) { r.Timelines[0].Spans[1].DiscrepancyCounts.Critical = 1 }, finding.Findings},
		"warning counted":    {func(r *finding.Run) { r.Timelines[0].Spans[1].DiscrepancyCounts.Warning = 1 }, finding.Findings},
		"lost write":         {func(r *finding.Run) { r.Timelines[0].Spans[1].LostWrites = []finding.StaleImage{staleImage(3)} }, finding.Findings},
		"lost, not listed":   {func(r *finding.Run) { r.Timelines[0].Spans[1].Audit = &finding.Audit{LostWrites: 1} }, finding.Findings},
		"only listed":        {func(r *finding.Run) { r.Timelines[0].Spans[1].Discrepancies = []finding.Discrepancy{lostWrite()} }, finding.Findings},
		"image differs":      {func(r *finding.Run) { r.Timelines[0].Spans[1].Consistency.Mismatches = 1 }, finding.Findings},
		"segment missing":    {func(r *finding.Run) { r.Timelines[0].Scan.Gaps = []finding.Gap{{Status: "missing"}} }, finding.Findings},
		"segment damaged":    {func(r *finding.Run) { r.Timelines[0].Scan.Damaged = []finding.Damaged{{}} }, finding.Findings},
		"gap acknowledged":   {func(r *finding.Run) { r.Timelines[0].Scan.Gaps = []finding.Gap{{Status: "acknowledged"}} }, finding.Clean},
		"gap delayed":        {func(r *finding.Run) { r.Timelines[0].Scan.Gaps = []finding.Gap{{Status: "delayed"}} }, finding.Clean},
		"gap requeued":       {func(r *finding.Run) { r.Timelines[0].Scan.Gaps = []finding.Gap{{Status: "requeued"}} }, finding.Findings},
		"only benign listed": {func(r *finding.Run) { r.Timelines[0].Spans[1].Discrepancies = []finding.Discrepancy{benign()} }, finding.Clean},
		"stored findings":    {func(r *finding.Run) { r.Verdict = finding.Findings }, finding.Findings},
		"stored nonsense":    {func(r *finding.Run) { r.Verdict = "CLEAN!" }, "CLEAN!"},
	}
	for name, c := range cases {
		r := cleanRun()
		c.change(&r)
		sum := totalsOf(r)
		got, said := verdictOf(r, &sum)
		if got != c.want {
			t.Errorf("%s: verdict %s, want %s", name, got, c.want)
		}
		page := readable(htmlOf(t, report(r)))
		if clean := strings.Contains(page, "\nClean: "); clean != (c.want == finding.Clean) {
			t.Errorf("%s: the page says clean: %v", name, clean)
		}
		if strings.Contains(page, "this page shows the worse of the two") == said {
			t.Errorf("%s: said %v, and the page's note does not fit", name, said)
		}
	}
}

// Nobody is told that all is there while something is late.
func TestLateSegments(t *testing.T) {
	r := cleanRun()
	r.Timelines[0].Scan.Gaps = []finding.Gap{{From: 1, To: 2, Segments: []string{"000000010000000000000002"}, Status: "delayed"}}
	page := readable(htmlOf(t, report(r)))
	text := textOf(t, func(w io.Writer) error {
		return ScanText(w, finding.Scan{Verdict: finding.Clean, Timelines: []finding.ScanTimeline{*r.Timelines[0].Scan}}, TextOptions{})
	})
	for what, s := range map[string]string{"page": page, "text": text} {
		if !strings.Contains(s, "1 WAL segment is still on the way") || !strings.Contains(s, "delayed") ||
			strings.Contains(s, "no WAL segment is missing") || strings.Contains(s, "there.") {
			t.Errorf("%s:\n%s", what, s)
		}
	}
}

func TestHeadlineCounts(t *testing.T) {
	r := everyKind()
	r.Timelines[0].Spans[1].DiscrepancyCounts.Critical += 2000 // cut off the list
	sum := totalsOf(r)
	got := findingsHeadline(&sum)
	want := "2,014 findings: 2,011 differences from what the WAL says; 1 WAL segment is missing; 1 WAL segment is damaged; 1 write was lost by the primary's disk, by the images in the WAL."
	if got != want {
		t.Errorf("headline\n%s, want\n%s", got, want)
	}
	sum = totalsOf(everyKind())
	got = findingsHeadline(&sum)
	want = "14 findings: 6 pages are not what the WAL says; 3 relations differ in size or existence; 1 transaction log page is not what the WAL says; " +
		"1 page differs from the image its own WAL record carries; 1 WAL segment is missing; 1 WAL segment is damaged; 1 write was lost by the primary's disk, by the images in the WAL."
	if got != want {
		t.Errorf("headline\n%s, want\n%s", got, want)
	}
}

func TestUncovered(t *testing.T) {
	tl := finding.RunTimeline{Scan: &finding.ScanTimeline{From: 100, To: 1000}}
	for _, r := range []pg.Range{{From: 500, To: 600}, {From: 150, To: 300}, {From: 250, To: 280}, {From: 900, To: 800}} {
		tl.Spans = append(tl.Spans, finding.Verification{Span: r})
	}
	got := join(uncovered(&tl), pg.Range.String)
	if want := "[0/64, 0/96), [0/12C, 0/1F4), [0/258, 0/3E8)"; got != want {
		t.Errorf("not covered %s, want %s", got, want)
	}
}

func TestWords(t *testing.T) {
	for _, c := range [][2]string{
		{number(0), "0"}, {number(-1234567), "-1,234,567"}, {number(999), "999"}, {number(1000), "1,000"},
		{number(-1 << 63), "-9,223,372,036,854,775,808"},
		{bytesOf(1), "1 byte"}, {bytesOf(1023), "1,023 bytes"}, {bytesOf(1024), "1 KiB"}, {bytesOf(16 << 20), "16 MiB"},
		{bytesOf(16<<20 + 99999), "16.1 MiB"}, {bytesOf(1<<64 - 1), "16 EiB"}, {bytesOf(1<<30 - 1), "1.0 GiB"},
		{seconds(0), "0 ms"}, {seconds(0.25), "0.2 s"}, {seconds(61), "1 min 01 s"}, {seconds(7260), "2 h 01 min"}, {seconds(-1), "unknown"}, {seconds(1e18), "unknown"},
		{plain("a\x1b[31m\u202eb\xff"), `a\x1b[31m\u202eb\xff`}, {plain("Zoë 表"), "Zoë 表"}, {plain("\uFFFD"), "\uFFFD"},
		{plain(strings.Repeat("x", 401)), strings.Repeat("x", 400) + "… (401 bytes in all)"},
		{CommandLine("redoubt", "run", "-c", "my file's.yaml", ""), `redoubt run -c 'my file'\''s.yaml' ''`},
		{tally(map[string]int64{"b": 2, "a": 2, "z": 0, "c": 9}), "c 9, a 2, b 2"},
		{segmentsOf(nil), "segments not named"}, {segmentsOf([]string{"A", "B"}), "A, B"},
	} {
		if c[0] != c[1] {
			t.Errorf("got %q, want %q", c[0], c[1])
		}
	}
}
