package reports

import (
	"bytes"
	"flag"
	"html"
	"io"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

var update = flag.Bool("update", false, "rewrite the golden files")

// Gaps that a scan does not list are told of, in text and on pages.
func TestFurtherGaps(t *testing.T) {
	s := finding.ScanTimeline{Tenant: "ten", Timeline: "tl", SegmentSize: 16 << 20, MissingUnlisted: 4}
	text := textOf(t, func(w io.Writer) error {
		return ScanText(w, finding.Scan{Verdict: finding.Findings, Timelines: []finding.ScanTimeline{s}}, TextOptions{})
	})
	page := textOf(t, func(w io.Writer) error { return Timeline(w, TimelinePage{Timeline: finding.TimelineStatus{Scan: &s}}) })
	for _, got := range []string{text, page} {
		if !strings.Contains(got, "4 segments in further gaps") || strings.Contains(got, `"/finding/"`) {
			t.Errorf("further gaps:\n%s", got)
		}
	}
}

// A person is not shown thousands of gaps.
func TestManyGapsAsText(t *testing.T) {
	s := finding.ScanTimeline{Tenant: "ten", Timeline: "tl", SegmentSize: 1 << 20}
	for i := range pg.LSN(maxShownGaps + 7) {
		s.Gaps = append(s.Gaps, finding.Gap{From: 2 * i << 20, To: (2*i + 1) << 20, Segments: []string{"x"}, Status: "missing"})
	}
	text := textOf(t, func(w io.Writer) error {
		return ScanText(w, finding.Scan{Verdict: finding.Findings, Timelines: []finding.ScanTimeline{s}}, TextOptions{})
	})
	if !strings.Contains(text, "and 7 more: the JSON") || !strings.Contains(text, "207 WAL segments are missing") || strings.Count(text, "1.0 MiB") > maxShownGaps {
		t.Errorf("%s", text)
	}
}

func golden(t *testing.T, name, got string) {
	t.Helper()
	file := filepath.Join("testdata", name)
	if *update {
		if err := os.MkdirAll("testdata", 0o755); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(file, []byte(got), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	want, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	if diff := cmp.Diff(string(want), got); diff != "" {
		t.Errorf("%s (rewrite with -update):\n%s", file, diff)
	}
}

var (
	dropped = regexp.MustCompile(`(?s)<style>.*?</style>|<head>.*?</head>|<title>.*?</title>|<!doctype[^>]*>`)
	breaks  = regexp.MustCompile(`</?(p|h1|h2|h3|li|tr|caption|section|article|div|table|thead|tbody|tfoot|summary|details|header|footer|dl)\b[^>]*>`)
	cells   = regexp.MustCompile(`</(td|th|dd|dt)>|<br>`)
	images  = regexp.MustCompile(`<svg[^>]*role="img"[^>]*aria-label="([^"]*)"[^>]*>`)
	tags    = regexp.MustCompile(`<[^>]*>`)
	blanks  = regexp.MustCompile(`[ \t]+`)
)

// readable is what a page says, as a screen reader would have it: one line
// per block, " | " between cells, drawings by their labels.
func readable(page string) string {
	s := dropped.ReplaceAllString(page, "")
	s = strings.ReplaceAll(s, "\n", "")
	s = images.ReplaceAllString(s, "[drawing: $1]")
	s = cells.ReplaceAllString(s, " | ")
	s = breaks.ReplaceAllString(s, "\n")
	s = html.UnescapeString(tags.ReplaceAllString(s, ""))
	var out []string
	for _, l := range strings.Split(s, "\n") {
		l = strings.Trim(blanks.ReplaceAllString(l, " "), " |")
		if l != "" {
			out = append(out, l)
		}
	}
	return strings.Join(out, "\n") + "\n"
}

func htmlOf(t *testing.T, in Report) string {
	t.Helper()
	var b bytes.Buffer
	if err := HTML(&b, in); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func textOf(t *testing.T, f func(io.Writer) error) string {
	t.Helper()
	var b bytes.Buffer
	if err := f(&b); err != nil {
		t.Fatal(err)
	}
	return b.String()
}

func TestGoldenPages(t *testing.T) {
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) { golden(t, s.name+".page.txt", readable(htmlOf(t, s.in))) })
	}
	t.Run("index", func(t *testing.T) {
		page := textOf(t, func(w io.Writer) error { return Index(w, Listing{Runs: summaries(), Version: "0.2.0"}) })
		golden(t, "index.page.txt", readable(page))
	})
	t.Run("empty index", func(t *testing.T) {
		page := textOf(t, func(w io.Writer) error { return Index(w, Listing{}) })
		golden(t, "index-empty.page.txt", readable(page))
	})
}

func TestGoldenText(t *testing.T) {
	for _, s := range samples {
		if s.in.single {
			continue
		}
		t.Run(s.name, func(t *testing.T) {
			golden(t, s.name+".txt", textOf(t, func(w io.Writer) error {
				return Text(w, s.in.Run, TextOptions{Command: s.in.Command, All: s.name == "kinds"})
			}))
		})
	}
	t.Run("verification", func(t *testing.T) {
		golden(t, "verification.txt", textOf(t, func(w io.Writer) error {
			return VerificationText(w, findingsRun().Timelines[0].Spans[1], TextOptions{})
		}))
	})
	t.Run("scan", func(t *testing.T) {
		golden(t, "plan.txt", textOf(t, func(w io.Writer) error {
			return PlanText(w, samplePlan(), TextOptions{All: true, Command: "redoubt run --seed 42"})
		}))
		golden(t, "scan.txt", textOf(t, func(w io.Writer) error { return ScanText(w, scanOf(findingsRun()), TextOptions{}) }))
	})
	t.Run("color", func(t *testing.T) {
		golden(t, "findings.ansi.txt", strings.ReplaceAll(textOf(t, func(w io.Writer) error {
			return Text(w, findingsRun(), TextOptions{Color: true})
		}), "\x1b", "ESC"))
	})
}

func TestGoldenJSON(t *testing.T) {
	golden(t, "findings.json", textOf(t, func(w io.Writer) error { return JSON(w, findingsRun()) }))
	golden(t, "scan.json", textOf(t, func(w io.Writer) error { return JSON(w, scanOf(findingsRun())) }))
}

func scanOf(r finding.Run) finding.Scan {
	s := finding.Scan{Verdict: finding.Findings, Timing: finding.ScanTiming{WallSeconds: 0.3, ObjectsListed: 21}}
	for _, t := range r.Timelines {
		s.Timelines = append(s.Timelines, *t.Scan)
	}
	return s
}
