package api

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"go.uber.org/goleak"

	"redoubt/internal/finding"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var night = time.Date(2026, 3, 14, 2, 0, 0, 0, time.UTC)

// fake is a ledger, a starter and a maker of pages.
type fake struct {
	runs      []finding.RunSummary
	found     []Discrepancy
	timelines []Timeline
	filter    DiscrepancyFilter // as asked last
	started   string            // job and seed, as asked last
	err       error             // what the ledger answers
	startErr  error
	pageErr   error
}

func newFake() *fake {
	f := &fake{}
	for i := range 5 {
		f.runs = append(f.runs, finding.RunSummary{ID: fmt.Sprintf("r%d", 5-i), Job: "nightly", StartedAt: night.AddDate(0, 0, -i), Verdict: finding.Clean})
	}
	for i := range 3 {
		f.found = append(f.found, Discrepancy{Discrepancy: finding.Discrepancy{ID: fmt.Sprint(i), Kind: finding.BitRot}, Tenant: "prod", Timeline: "main", State: "open"})
	}
	for _, n := range []string{"a/main", "a/b c", "b/<script>"} {
		tenant, timeline, _ := strings.Cut(n, "/")
		f.timelines = append(f.timelines, Timeline{TenantID: tenant, TimelineID: timeline, OpenDiscrepancies: 2})
	}
	return f
}

func (f *fake) Runs(_ context.Context, job string, limit, offset int) ([]finding.RunSummary, error) {
	if job != "" && job != "nightly" {
		return nil, f.err
	}
	return skip(f.runs, offset)[:min(limit, len(skip(f.runs, offset)))], f.err
}

func (f *fake) Run(_ context.Context, id string) (finding.Run, error) {
	if f.err != nil {
		return finding.Run{}, f.err
	}
	if !slices.ContainsFunc(f.runs, func(r finding.RunSummary) bool { return r.ID == id }) {
		return finding.Run{}, fmt.Errorf("read run %s: %w", id, ErrNotFound)
	}
	return finding.Run{ID: id}, nil
}

func (f *fake) Discrepancies(_ context.Context, q DiscrepancyFilter) ([]Discrepancy, error) {
	f.filter = q
	return skip(f.found, q.Offset)[:min(q.Limit, len(skip(f.found, q.Offset)))], f.err
}

func (f *fake) Timelines(context.Context) ([]Timeline, error) { return f.timelines, f.err }

func (f *fake) StartRun(_ context.Context, job string, seed *int64) (string, error) {
	f.started = job
	if seed != nil {
		f.started += fmt.Sprint(" ", *seed)
	}
	return "r 6", f.startErr
}

func (f *fake) Index(w io.Writer, runs []finding.RunSummary, more bool) error {
	fmt.Fprintf(w, "<p>%d runs, more %v", len(runs), more)
	return f.pageErr
}

func (f *fake) Run2(w io.Writer, run finding.Run) error {
	fmt.Fprintf(w, "<p>run %s", run.ID)
	return f.pageErr
}

// pages gives the fake's pages the names of the interface.
type pages struct{ *fake }

func (p pages) Run(w io.Writer, run finding.Run) error { return p.Run2(w, run) }
func (p pages) RunJSON(w io.Writer, run finding.Run) error {
	if p.pageErr != nil {
		return p.pageErr
	}
	return json.NewEncoder(w).Encode(run)
}
func (pages) CSP() string { return "default-src 'none'; style-src 'sha256-x'" }

func server(t *testing.T, f *fake, token string, log io.Writer) *Server {
	t.Helper()
	s, err := New(Options{
		Ledger: f, Starter: f, Pages: pages{f}, Token: token, Log: slog.New(slog.NewTextHandler(log, nil)),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "redoubt_ledger_up 1\n") }),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// ask sends a request as localhost would; change may change it.
func ask(s *Server, method, path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
	r := httptest.NewRequest(method, path, strings.NewReader(body))
	r.Host = "127.0.0.1:8480"
	if method == http.MethodPost {
		r.Header.Set("Content-Type", "application/json")
	}
	for _, c := range change {
		c(r)
	}
	w := httptest.NewRecorder()
	s.Handler().ServeHTTP(w, r)
	return w
}

func header(name, value string) func(*http.Request) {
	return func(r *http.Request) { r.Header.Set(name, value) }
}

// wantError checks status and shape of an error.
func wantError(t *testing.T, what string, w *httptest.ResponseRecorder, status int) {
	t.Helper()
	var e map[string]string
	if err := json.Unmarshal(w.Body.Bytes(), &e); err != nil || len(e) != 1 || e["error"] == "" || w.Code != status || w.Header().Get("Content-Type") != jsonType {
		t.Errorf("%s: status %d, body %q; want %d and an error in JSON", what, w.Code, w.Body, status)
	}
}

func TestRoutes(t *testing.T) {
	f := newFake()
	s := server(t, f, "", t.Output())
	for _, c := range []struct {
		method, path, body string
		status             int
		contains           string
	}{
		{"GET", "/", "", 200, "<p>5 runs, more false"},
		{"GET", "/run/r3", "", 200, "<p>run r3"},
		{"GET", "/v1/run", "", 200, `"run_id": "r5"`},
		{"GET", "/v1/run?job=other", "", 200, `"runs": []`},
		{"GET", "/v1/run?limit=2&offset=1", "", 200, `"next_offset": 3`},
		{"GET", "/v1/run?limit=2&offset=3", "", 200, `"next_offset": null`},
		{"GET", "/v1/run?offset=1000000", "", 200, `"runs": []`},
		{"GET", "/v1/run/r3", "", 200, `"run_id":"r3"`},
		{"POST", "/v1/run", `{"job": "nightly", "seed": -7}`, 202, `"run_id": "r 6"`},
		{"POST", "/v1/run", ``, 202, `"run_id"`},
		{"GET", "/v1/discrepancy", "", 200, `"state": "open"`},
		{"GET", "/v1/discrepancy?limit=2", "", 200, `"next_offset": 2`},
		{"GET", "/v1/tenant", "", 200, `"open_discrepancies": 4`},
		{"GET", "/v1/tenant?limit=1", "", 200, `"next_offset": 1`},
		{"GET", "/v1/tenant/a/timeline", "", 200, `"timeline_id": "b c"`},
		{"GET", "/v1/tenant/a/timeline/b%20c", "", 200, `"last_verified_at": null`},
		{"GET", "/v1/tenant/b/timeline/%3Cscript%3E", "", 200, `\u003cscript\u003e`},
		{"GET", "/metrics", "", 200, "redoubt_ledger_up 1"},
		{"GET", "/healthz", "", 200, "ok"},
		{"GET", "/readyz", "", 200, "ok"},
		{"HEAD", "/v1/run", "", 200, ""},
	} {
		w := ask(s, c.method, c.path, c.body)
		if w.Code != c.status || !strings.Contains(w.Body.String(), c.contains) {
			t.Errorf("%s %s: status %d, body %s; want %d with %s", c.method, c.path, w.Code, w.Body, c.status, c.contains)
		}
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "no-referrer"} {
			if got := w.Header().Get(name); got != want {
				t.Errorf("%s %s: %s is %q, want %q", c.method, c.path, name, got, want)
			}
		}
		if csp := w.Header().Get("Content-Security-Policy"); !strings.Contains(csp, "default-src 'none'") || !strings.Contains(csp, "frame-ancestors 'none'") {
			t.Errorf("%s %s: policy %q", c.method, c.path, csp)
		}
	}
	w := ask(s, "POST", "/v1/run", `{"job":"nightly","seed":-7}`)
	if f.started != "nightly -7" || w.Header().Get("Location") != "/v1/run/r%206" {
		t.Errorf("started %q, location %q", f.started, w.Header().Get("Location"))
	}
}

func TestDiscrepancyFilter(t *testing.T) {
	f := newFake()
	s := server(t, f, "", t.Output())
	if w := ask(s, "GET", "/v1/discrepancy?kind=bit_rot&severity=critical&tenant=a%2Fb&timeline=m&open=false&limit=7&offset=1", ""); w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	if g := f.filter; g.Kind != finding.BitRot || g.Severity != finding.Critical || g.Tenant != "a/b" || g.Timeline != "m" || g.Open == nil || *g.Open || g.Limit != 8 || g.Offset != 1 {
		t.Errorf("the ledger was asked for %+v", g)
	}
}

func TestErrors(t *testing.T) {
	s := server(t, newFake(), "", t.Output())
	long := strings.Repeat("x", 2000)
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"GET", "/nowhere", "", 404},
		{"GET", "/v1", "", 404},
		{"GET", "/v1/", "", 404},
		{"GET", "/run/", "", 404},
		{"GET", "/run/r99", "", 404},
		{"GET", "/run/..%2f..%2fetc%2fpasswd", "", 404},
		{"GET", "/v1/run/%00", "", 404},
		{"GET", "/v1/tenant/none/timeline", "", 404},
		{"GET", "/v1/tenant/a/timeline/none", "", 404},
		{"POST", "/v1/tenant/a/recover", "{}", 404}, // not yet
		{"DELETE", "/v1/run/r3", "", 405},
		{"PUT", "/v1/run", "", 405},
		{"OPTIONS", "/v1/run", "", 405},
		{"POST", "/", "", 405},
		{"POST", "/metrics", "", 405},
		{"GET", "/v1/run?limit=0", "", 400},
		{"GET", "/v1/run?limit=1001", "", 400},
		{"GET", "/v1/run?limit=ten", "", 400},
		{"GET", "/v1/run?offset=-1", "", 400},
		{"GET", "/v1/run?offset=99999999999999999999", "", 400},
		{"GET", "/v1/run?limit=1&limit=2", "", 400},
		{"GET", "/v1/run?limt=1", "", 400},
		{"GET", "/v1/run?%zz", "", 400},
		{"GET", "/v1/run?job=" + long, "", 400},
		{"GET", "/v1/discrepancy?kind=nonsense", "", 400},
		{"GET", "/v1/discrepancy?severity=bad", "", 400},
		{"GET", "/v1/discrepancy?open=maybe", "", 400},
		{"GET", "/v1/tenant?x=1", "", 400},
		{"GET", "/v1/tenant/a/timeline?limit=x", "", 400},
		{"GET", "/v1/tenant/a/timeline/main?x=1", "", 400},
		{"POST", "/v1/run", `{"jobs": "nightly"}`, 400},
		{"POST", "/v1/run", `{"job": 7}`, 400},
		{"POST", "/v1/run", `{"seed": 1e99}`, 400},
		{"POST", "/v1/run", `[]`, 400},
		{"POST", "/v1/run", `{} {}`, 400},
		{"POST", "/v1/run", `{"job":`, 400},
		{"POST", "/v1/run", `{"job": "` + strings.Repeat("x", maxBody) + `"}`, 413},
	} {
		w := ask(s, c.method, c.path, c.body)
		wantError(t, c.method+" "+c.path[:min(len(c.path), 60)], w, c.status)
		if c.status == 405 && w.Header().Get("Allow") == "" {
			t.Errorf("%s %s: no Allow", c.method, c.path)
		}
	}
}

// TestInternalErrorsAreNotTold has errors that name what is nobody's business.
func TestInternalErrorsAreNotTold(t *testing.T) {
	var log bytes.Buffer
	f := newFake()
	s := server(t, f, "", &log)
	f.err = errors.New("open /secret/ledger.db: permission denied")
	for _, path := range []string{"/", "/run/r3", "/v1/run", "/v1/run/r3", "/v1/discrepancy", "/v1/tenant", "/v1/tenant/a/timeline", "/v1/tenant/a/timeline/main"} {
		w := ask(s, "GET", path, "")
		wantError(t, path, w, 500)
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s tells %s", path, w.Body)
		}
	}
	if n := strings.Count(log.String(), "/secret/ledger.db"); n != 8 {
		t.Errorf("the log has the cause %d times, want 8", n)
	}
	f.err, f.pageErr = nil, errors.New("template")
	for _, path := range []string{"/", "/run/r3", "/v1/run/r3"} {
		w := ask(s, "GET", path, "")
		wantError(t, path, w, 500)
		if strings.Contains(w.Body.String(), "<p>") {
			t.Errorf("%s sent half a page", path)
		}
	}
	for err, status := range map[error]int{ErrRunning: 409, fmt.Errorf("job x: %w", ErrNotFound): 404, errors.New("other"): 500} {
		f.startErr = err
		wantError(t, err.Error(), ask(s, "POST", "/v1/run", "{}"), status)
	}
	s.Ready = func(context.Context) error { return errors.New("/secret") }
	w := ask(s, "GET", "/readyz", "")
	wantError(t, "readyz", w, 503)
	if strings.Contains(w.Body.String(), "secret") {
		t.Errorf("readyz tells %s", w.Body)
	}
}

func TestPanicIsAnError(t *testing.T) {
	var log bytes.Buffer
	s := server(t, newFake(), "", &log)
	s.Ready = func(context.Context) error { panic("own bug") }
	wantError(t, "panic", ask(s, "GET", "/readyz", ""), 500)
	if !strings.Contains(log.String(), "own bug") || !strings.Contains(log.String(), "api_test.go") {
		t.Errorf("the log lacks the panic and its stack: %s", log.String())
	}
}
