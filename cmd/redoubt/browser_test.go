package main

import (
	"bytes"
	"context"
	_ "embed"
	"errors"
	"fmt"
	"image"
	"image/color"
	_ "image/png" // screenshots
	"log/slog"
	"net/http"
	"net/http/httptest"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/chromedp/cdproto/emulation"
	cdplog "github.com/chromedp/cdproto/log"
	"github.com/chromedp/chromedp"
	"github.com/chromedp/chromedp/kb"

	"redoubt/internal/api"
	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// shots is a directory for screenshots, for people to look at.
var shots = os.Getenv("REDOUBT_SHOTS")

//go:embed testdata/browser.js
var lookAround string

// browser starts one without a head; what its console says goes to complaints.
func browser(t *testing.T) (ctx context.Context, complaints func() []string) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED PROOF: the pages of serve in a browser: chromium is not installed")
	}
	opts := append(chromedp.DefaultExecAllocatorOptions[:], chromedp.ExecPath(path), chromedp.NoSandbox, chromedp.DisableGPU,
		chromedp.Flag("disable-dev-shm-usage", true), chromedp.Flag("disable-background-networking", true), chromedp.WSURLReadTimeout(90*time.Second))
	alloc, stop := chromedp.NewExecAllocator(t.Context(), opts...)
	t.Cleanup(stop)
	ctx, cancel := chromedp.NewContext(alloc)
	t.Cleanup(cancel)
	ctx, cancel = context.WithTimeout(ctx, 3*time.Minute)
	t.Cleanup(cancel)
	var mu sync.Mutex
	var said []string
	chromedp.ListenTarget(ctx, func(ev any) {
		if e, ok := ev.(*cdplog.EventEntryAdded); ok {
			mu.Lock()
			defer mu.Unlock()
			said = append(said, e.Entry.Text+" "+e.Entry.URL)
		}
	})
	must(t, chromedp.Run(ctx, cdplog.Enable()))
	return ctx, func() []string {
		mu.Lock()
		defer mu.Unlock()
		out := said
		said = nil
		return out
	}
}

// site is a server over a ledger with findings of all sorts.
type showcase struct {
	url          string
	ledger       *ledger.Ledger
	run, id, gap string
}

func showcaseServer(t *testing.T) showcase {
	t.Helper()
	dir := t.TempDir()
	l, err := ledger.Open(filepath.Join(dir, "ledger.db"))
	must(t, err)
	t.Cleanup(func() { must(t, l.Close()) })
	s := &service{path: "redoubt.yaml", cfg: &config.Config{DataDir: dir}, log: slog.New(slog.DiscardHandler), ledger: l}
	starter := &starter{service: s, ctx: t.Context(), running: map[string]bool{}}
	server, err := api.New(api.Options{Ledger: apiLedger{Ledger: l}, Starter: starter, Pages: pages{s, starter}, Metrics: http.NotFoundHandler(), Log: slog.New(slog.NewTextHandler(t.Output(), nil))})
	must(t, err)
	h := httptest.NewServer(server.Handler())
	t.Cleanup(h.Close)
	out := showcase{url: h.URL, ledger: l, run: "20260314T020000Z-7f3a00"}
	fillShowcase(t, l, &out)
	return out
}

func fillShowcase(t *testing.T, l *ledger.Ledger, out *showcase) {
	t.Helper()
	ctx, at := t.Context(), time.Date(2026, 3, 14, 2, 0, 0, 0, time.UTC)
	key := ledger.TimelineKey{Source: "prod", Tenant: "acme", Timeline: "main"}
	must(t, l.StartRun(ctx, ledger.RunStart{RunID: out.run, Job: "nightly", Seed: 7, StartedAt: at}))
	must(t, l.SavePlan(ctx, out.run, at, ledger.Plan{Picks: []ledger.Pick{{TimelineKey: key}}, Spans: []ledger.Span{
		{TimelineKey: key, TLI: 1, Base: "mon", Official: "tue", Range: pg.Range{From: 0x1000000, To: 0x9000000}},
	}}))
	v := finding.Verification{
		Verdict: finding.Discrepancies, Span: pg.Range{From: 0x1000000, To: 0x9000000}, Engine: "native",
		Postgres: finding.Postgres{Major: 17, SystemIdentifier: "7412345678901234567", Dialect: "postgres", DialectEvidence: 91_204, DialectProven: true},
		WAL:      finding.WAL{Segments: 8, Bytes: 8 << 24, Records: 12033}, Coverage: finding.Coverage{BlocksCompared: 24110},
	}
	for i := range 130 {
		block, lsn := int64(i), pg.LSN(0x5A3F5D8)
		d := finding.Discrepancy{
			ID: fmt.Sprintf("%024x", i+1), Kind: finding.LostWrite, Severity: finding.Critical, Block: &block, File: "base/16384/16390", Offset: block * pg.BlockSize,
			Relation:    &finding.Relation{Tablespace: 1663, Database: 16384, RelFileNode: 16390, Name: "public.accounts"},
			OfficialLSN: &lsn, ByteRanges: [][2]int{{96, 104}}, Blame: finding.BlameOfficial, Explanation: "The official page is an older version.",
		}
		if i%10 == 9 {
			d.Kind, d.Severity, d.Relation.Name = finding.PhantomWrite, finding.Warning, "public.a_table_with_a_rather_long_name_that_has_to_break_somewhere"
		}
		v.Discrepancies = append(v.Discrepancies, d)
		v.DiscrepancyCounts.Add(d.Severity)
	}
	out.id = v.Discrepancies[0].ID
	must(t, l.FinishSpan(ctx, out.run, 0, at.Add(time.Minute), v))
	scan := finding.ScanTimeline{
		Tenant: key.Tenant, Timeline: key.Timeline, TLI: 1, From: 0x1000000, To: 0x9000000, SegmentSize: 1 << 24, Expected: 8, Present: 7,
		Gaps:    []finding.Gap{{From: 0x4000000, To: 0x5000000, Segments: []string{"000000010000000000000004"}, Status: "missing"}},
		Damaged: []finding.Damaged{{Segment: "000000010000000000000006", Reason: "record CRC at 0/6A3F5D8"}},
	}
	scan.Identify()
	out.gap = scan.Gaps[0].ID
	must(t, l.FinishScan(ctx, out.run, at.Add(time.Minute), scan))
	must(t, l.FinishRun(ctx, out.run, at.Add(2*time.Minute), finding.Findings, nil, 0))
}

// looked is what testdata/browser.js sees on a page.
type looked struct {
	Overflow int      // pixels by which the page is wider than the window
	Faint    []string // texts with too little contrast
	Nameless []string // controls without a name
	Stops    []string // what the tabulator key should reach, in order
}

// TestBrowserPages looks at every page of serve, light and dark, wide and
// narrow: nothing is wider than the window, every text stands out from what is
// behind it, every control has a name, and the console is silent.
func TestBrowserPages(t *testing.T) {
	s := showcaseServer(t)
	ctx, complaints := browser(t)
	for name, path := range map[string]string{
		"index": "/", "run": "/run/" + s.run, "discrepancies": "/discrepancy?state=open", "discrepancy": "/discrepancy/" + s.id,
		"gap": "/finding/" + s.gap, "timelines": "/timeline", "timeline": "/tenant/acme/timeline/main", "nowhere": "/discrepancy/none",
	} {
		for _, scheme := range []string{"light", "dark"} {
			for _, width := range []int64{1280, 400} {
				what := fmt.Sprintf("%s, %s, %d pixels", name, scheme, width)
				var seen looked
				var png []byte
				must(t, chromedp.Run(ctx,
					emulation.SetEmulatedMedia().WithFeatures([]*emulation.MediaFeature{{Name: "prefers-color-scheme", Value: scheme}}),
					chromedp.EmulateViewport(width, 900), chromedp.Navigate(s.url+path), chromedp.Evaluate(lookAround, &seen), chromedp.CaptureScreenshot(&png)))
				if seen.Overflow > 0 {
					t.Errorf("%s: %d pixels wider than the window", what, seen.Overflow)
				}
				for problem, list := range map[string][]string{"too little contrast": seen.Faint, "no name": seen.Nameless} {
					if len(list) > 0 {
						t.Errorf("%s: %s: %s", what, problem, strings.Join(list[:min(len(list), 8)], "; "))
					}
				}
				checkPicture(t, what, png, scheme)
				if shots != "" {
					put(t, filepath.Join(shots, fmt.Sprintf("serve-%s-%s-%d.png", name, scheme, width)), png)
				}
			}
		}
		for _, c := range complaints() {
			if name != "nowhere" || !strings.Contains(c, "404") {
				t.Errorf("%s: the console says %s", name, c)
			}
		}
	}
}

// checkPicture finds a page drawn: its background as light as asked for, and things on it.
func checkPicture(t *testing.T, what string, png []byte, scheme string) {
	t.Helper()
	img, _, err := image.Decode(bytes.NewReader(png))
	must(t, err)
	counts := map[color.Gray]int{}
	b := img.Bounds()
	for y := b.Min.Y; y < b.Max.Y; y += 3 {
		for x := b.Min.X; x < b.Max.X; x += 3 {
			counts[color.GrayModel.Convert(img.At(x, y)).(color.Gray)]++
		}
	}
	var most color.Gray
	total := 0
	for c, n := range counts {
		total += n
		if n > counts[most] {
			most = c
		}
	}
	if light := most.Y > 127; light != (scheme == "light") || len(counts) < 20 || counts[most]*100 > total*99 {
		t.Errorf("%s: %d shades, the commonest %d on %d of %d points", what, len(counts), most.Y, counts[most], total)
	}
}

// TestBrowserKeyboard goes through each page by the tabulator key alone:
// everything that can be used is reached, in order, and shows that it is.
func TestBrowserKeyboard(t *testing.T) {
	s := showcaseServer(t)
	ctx, _ := browser(t)
	for name, path := range map[string]string{
		"index": "/", "discrepancies": "/discrepancy?kind=phantom_write", "discrepancy": "/discrepancy/" + s.id, "gap": "/finding/" + s.gap, "timeline": "/tenant/acme/timeline/main",
	} {
		var seen looked
		must(t, chromedp.Run(ctx, chromedp.EmulateViewport(1280, 900), chromedp.Navigate(s.url+path), chromedp.Evaluate(lookAround, &seen)))
		if len(seen.Stops) < 5 {
			t.Errorf("%s: only %d things to reach", name, len(seen.Stops))
		}
		for i, want := range seen.Stops {
			var at struct {
				Name    string
				Visible bool
			}
			must(t, chromedp.Run(ctx, chromedp.KeyEvent(kb.Tab), chromedp.Evaluate("redoubtFocus()", &at)))
			if at.Name != want || !at.Visible {
				t.Errorf("%s: stop %d is %q, its focus visible: %v; want %q", name, i+1, at.Name, at.Visible, want)
				break
			}
		}
	}
}

// shows waits until the page, which may just be loading, has a text.
func shows(text string) chromedp.Action {
	return chromedp.ActionFunc(func(ctx context.Context) error {
		for {
			var there bool
			err := chromedp.Evaluate(fmt.Sprintf("document.readyState === 'complete' && document.body.innerText.includes(%q)", text), &there).Do(ctx)
			if err == nil && there {
				return nil
			}
			select { // an error is one of a page that went away meanwhile
			case <-ctx.Done():
				return fmt.Errorf("wait for %q: %w", text, errors.Join(ctx.Err(), err))
			case <-time.After(50 * time.Millisecond):
			}
		}
	})
}

// TestBrowserAcknowledges uses filter and form as a person would, with no mouse for the latter.
func TestBrowserAcknowledges(t *testing.T) {
	s := showcaseServer(t)
	ctx, complaints := browser(t)
	var rows int
	var text string
	must(t, chromedp.Run(ctx,
		chromedp.Navigate(s.url+"/discrepancy"), chromedp.Evaluate(`document.querySelectorAll("tbody tr").length`, &rows)))
	if rows != 100 {
		t.Errorf("%d rows on the first page, want 100", rows)
	}
	must(t, chromedp.Run(ctx, chromedp.Click(`a[rel=next]`), shows("Back to the start"),
		chromedp.Evaluate(`document.querySelectorAll("tbody tr").length`, &rows)))
	if rows != 30 {
		t.Errorf("%d rows on the second page, want 30", rows)
	}
	must(t, chromedp.Run(ctx,
		chromedp.SetValue(`select[name=severity]`, "warning"), chromedp.SetValue(`input[name=text]`, "RATHER"), chromedp.Click(`.filters button`),
		shows("13 discrepancies"), chromedp.Click(`tbody tr:first-child a`), shows("Acknowledge it"),
		chromedp.Focus(`form.ack textarea`), chromedp.KeyEvent("known since Monday"), chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("2020-01-01"),
		chromedp.KeyEvent(kb.Tab), chromedp.KeyEvent("dba"), chromedp.KeyEvent(kb.Enter),
		shows("not in the future"), chromedp.Evaluate(`document.querySelector(".problem").innerText`, &text)))
	if !strings.Contains(text, "not in the future") {
		t.Errorf("the form says %q", text)
	}
	must(t, chromedp.Run(ctx,
		chromedp.Evaluate(`document.querySelector("input[name=expires]").value = "7d"; document.querySelector("input[name=expires]").focus()`, nil),
		chromedp.KeyEvent(kb.Enter), shows("This does not count"), chromedp.Evaluate(`document.querySelector(".held").innerText`, &text)))
	if !strings.Contains(text, "by dba: known since Monday") {
		t.Errorf("the page says %q", text)
	}
	acks, err := s.ledger.Acks(t.Context(), ledger.AckFilter{})
	must(t, err)
	if len(acks) != 1 || acks[0].By != "dba" || acks[0].Reason != "known since Monday" || acks[0].Severity != finding.Warning {
		t.Errorf("acknowledged: %+v", acks)
	}
	must(t, chromedp.Run(ctx, chromedp.Evaluate(`document.querySelector("form[action$=unack] input").value = "dba"; document.querySelector("form[action$=unack] button").focus()`, nil),
		chromedp.KeyEvent(kb.Enter), shows("ended 20")))
	if acks, err := s.ledger.Acks(t.Context(), ledger.AckFilter{}); err != nil || len(acks) != 0 {
		t.Errorf("still acknowledged: %+v, %v", acks, err)
	}
	for _, c := range complaints() {
		if !strings.Contains(c, "422") {
			t.Errorf("the console says %s", c)
		}
	}
}
