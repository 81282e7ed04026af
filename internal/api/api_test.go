package api

import (
	"bytes"
	"cmp"
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

	"redoubt/internal/api/auth"
	"redoubt/internal/finding"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

var night = time.Date(2026, 3, 14, 2, 0, 0, 0, time.UTC)

// fake is a ledger, a starter and a maker of pages.
type fake struct {
	runs      []finding.RunSummary
	found     []finding.Tracked
	timelines []finding.TimelineStatus
	acks      []finding.AckRecord
	acked     []AckRequest      // as asked
	removed   string            // id and name, as asked last
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
		f.found = append(f.found, finding.Tracked{Discrepancy: finding.Discrepancy{ID: fmt.Sprint(i), Kind: finding.BitRot}, Tenant: "prod", Timeline: "main", State: "open", LastSeen: night.AddDate(0, 0, -i)})
	}
	for _, n := range []string{"a/main", "a/b c", "b/<script>"} {
		tenant, timeline, _ := strings.Cut(n, "/")
		f.timelines = append(f.timelines, finding.TimelineStatus{TenantID: tenant, TimelineID: timeline, OpenDiscrepancies: 2})
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

func (f *fake) Discrepancies(_ context.Context, q DiscrepancyFilter) ([]finding.Tracked, error) {
	f.filter = q
	rest := f.found
	if q.After != nil {
		rest = skip(rest, slices.IndexFunc(rest, func(d finding.Tracked) bool { return d.ID == q.After.ID })+1)
	}
	return rest[:min(q.Limit, len(rest))], f.err
}

func (f *fake) Discrepancy(_ context.Context, id string) (finding.Tracked, error) {
	for _, d := range f.found {
		if d.ID == id {
			return d, f.err
		}
	}
	return finding.Tracked{}, cmp.Or(f.err, ErrNotFound)
}

func (f *fake) SpanOf(context.Context, finding.Tracked) (finding.Verification, error) {
	return finding.Verification{}, f.err
}

func (f *fake) Finding(_ context.Context, id string) (finding.AckRecord, error) {
	if id == "gap" {
		return finding.AckRecord{ID: id, Finding: "gap"}, f.err
	}
	return finding.AckRecord{}, cmp.Or(f.err, ErrNotFound)
}

func (f *fake) Acks(_ context.Context, id string, _ bool, _ int) ([]finding.AckRecord, error) {
	if id == "old" {
		return []finding.AckRecord{{ID: id, Finding: "gap"}}, f.err
	}
	return f.acks, f.err
}

func (f *fake) Acknowledge(ctx context.Context, r AckRequest) (finding.AckRecord, error) {
	if r.Reason == "" {
		return finding.AckRecord{}, &RefusedError{"a reason is needed"}
	}
	if _, err := f.Finding(ctx, r.ID); err != nil {
		if _, err := f.Discrepancy(ctx, r.ID); err != nil {
			return finding.AckRecord{}, err
		}
	}
	f.acked = append(f.acked, r)
	return finding.AckRecord{ID: r.ID, Finding: "discrepancy", Acknowledgement: finding.Acknowledgement{Reason: r.Reason, By: r.By}}, nil
}

func (f *fake) Unacknowledge(_ context.Context, id, by string) error {
	if id != "1" {
		return cmp.Or(f.err, ErrNotFound)
	}
	f.removed = id + " " + by
	return f.err
}

func (f *fake) Timelines(context.Context) ([]finding.TimelineStatus, error) {
	return f.timelines, f.err
}

func (f *fake) StartRun(_ context.Context, job string, seed *int64) (string, error) {
	f.started = job
	if seed != nil {
		f.started += fmt.Sprint(" ", *seed)
	}
	return "r 6", f.startErr
}

// pages says which page was made from what.
type pages struct{ *fake }

func (p pages) say(w io.Writer, format string, args ...any) error {
	fmt.Fprintf(w, "<p>"+format, args...)
	return p.pageErr
}

func (p pages) Index(w io.Writer, in IndexPage) error {
	return p.say(w, "%d runs, newer %q, older %q", len(in.Runs), in.Newer, in.Older)
}
func (p pages) Run(w io.Writer, run finding.Run) error { return p.say(w, "run %s", run.ID) }
func (p pages) RunJSON(w io.Writer, run finding.Run) error {
	if p.pageErr != nil {
		return p.pageErr
	}
	return json.NewEncoder(w).Encode(run)
}
func (p pages) Discrepancies(w io.Writer, in DiscrepanciesPage) error {
	return p.say(w, "%d found, first %q, next %q", len(in.Found), in.First, in.Next)
}
func (p pages) Discrepancy(w io.Writer, in DiscrepancyPage) error {
	return p.say(w, "discrepancy %s, problem %q, reason %q", in.Found.ID, in.Form.Problem, in.Form.Reason)
}
func (p pages) Finding(w io.Writer, in FindingPage) error {
	return p.say(w, "finding %s, open %v", in.Found.ID, in.Open)
}
func (p pages) Timelines(w io.Writer, in TimelinesPage) error {
	return p.say(w, "%d timelines", len(in.Timelines))
}
func (p pages) Timeline(w io.Writer, in TimelinePage) error {
	return p.say(w, "timeline %s with %d, more %q", in.Timeline.TimelineID, len(in.Found), in.More)
}
func (p pages) Error(w io.Writer, title, message string) error {
	return p.say(w, "%s: %s", title, message)
}
func (pages) CSP() string { return "default-src 'none'; style-src 'sha256-x'" }

func server(t *testing.T, f *fake, token string, log io.Writer) *Server {
	t.Helper()
	s, err := New(Options{
		Ledger: f, Starter: f, Pages: pages{f}, Auth: single(token), Log: slog.New(slog.NewTextHandler(log, nil)),
		Metrics: http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, "redoubt_ledger_up 1\n") }),
	})
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// single is a checker of one token; none without.
func single(token string) *auth.Checker {
	if token == "" {
		return nil
	}
	return auth.Single(token)
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
		{"GET", "/", "", 200, `<p>5 runs, newer "", older ""`},
		{"GET", "/?offset=3", "", 200, `<p>2 runs, newer "/", older ""`},
		{"GET", "/discrepancy", "", 200, `<p>3 found, first "", next ""`},
		{"GET", "/discrepancy/1", "", 200, `<p>discrepancy 1, problem ""`},
		{"GET", "/finding/1", "", 200, `<p>discrepancy 1, problem ""`},
		{"GET", "/finding/gap", "", 200, `<p>finding gap, open true`},
		{"GET", "/finding/old", "", 200, `<p>finding old, open false`},
		{"GET", "/timeline", "", 200, `<p>3 timelines`},
		{"GET", "/tenant/a/timeline/b%20c", "", 200, `<p>timeline b c with 3, more ""`},
		{"GET", "/v1/discrepancy/1", "", 200, `"kind": "bit_rot"`},
		{"GET", "/v1/acknowledgement?all=true&id=old", "", 200, `"id": "old"`},
		{"POST", "/v1/discrepancy/1/ack", `{"reason": "known", "expires": "7d"}`, 200, `"by": "API"`},
		{"POST", "/v1/discrepancy/gap/ack", `{"reason": "known", "expires": "7d", "by": "me"}`, 200, `"by": "me"`},
		{"DELETE", "/v1/discrepancy/1/ack", ``, 200, `"id": "1"`},
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
		{"GET", "/v1/discrepancy?limit=2", "", 200, `"next_cursor": "`},
		{"GET", "/v1/discrepancy?limit=3", "", 200, `"next_cursor": null`},
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
		for name, want := range map[string]string{"X-Content-Type-Options": "nosniff", "Cache-Control": "no-store", "X-Frame-Options": "DENY", "Referrer-Policy": "same-origin"} {
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
	w := ask(s, "GET", "/v1/discrepancy?kind=bit_rot&severity=critical&tenant=a%2Fb&timeline=m&state=gone&text=x%26y&limit=2", "")
	if w.Code != 200 {
		t.Fatalf("status %d: %s", w.Code, w.Body)
	}
	want := DiscrepancyFilter{Kind: finding.BitRot, Severity: finding.Critical, Tenant: "a/b", Timeline: "m", State: "gone", Text: "x&y", Limit: 3}
	if f.filter != want {
		t.Errorf("the ledger was asked for %+v", f.filter)
	}
	next, ok := strings.CutSuffix(w.Header().Get("Link"), `>; rel="next"`)
	if !ok {
		t.Fatalf("link %q", w.Header().Get("Link"))
	}
	w = ask(s, "GET", strings.TrimPrefix(next, "<"), "")
	want.After = &Place{f.found[1].LastSeen, "prod", "main", "1"}
	if w.Code != 200 || strings.Count(w.Body.String(), `"id"`) != 1 || *f.filter.After != *want.After || w.Header().Get("Link") != "" {
		t.Errorf("next page: %d %s, asked for %+v", w.Code, w.Body, f.filter)
	}
	if f.filter.After = want.After; f.filter != want {
		t.Errorf("the next page was asked for with %+v", f.filter)
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
		{"GET", "/v1/discrepancy?state=maybe", "", 400},
		{"GET", "/v1/discrepancy?cursor=%25", "", 400},
		{"GET", "/v1/discrepancy?cursor=e30x", "", 400},
		{"GET", "/v1/discrepancy?offset=1", "", 400},
		{"GET", "/v1/discrepancy/none", "", 404},
		{"GET", "/discrepancy?kind=x", "", 400},
		{"GET", "/discrepancy/none", "", 404},
		{"GET", "/finding/none", "", 404},
		{"GET", "/timeline?x=1", "", 400},
		{"GET", "/tenant/a/timeline/none", "", 404},
		{"GET", "/?offset=-1", "", 400},
		{"GET", "/v1/acknowledgement?all=maybe", "", 400},
		{"POST", "/v1/discrepancy/none/ack", `{"reason": "x", "expires": "1d"}`, 404},
		{"POST", "/v1/discrepancy/1/ack", `{"expires": "1d"}`, 422},
		{"POST", "/v1/discrepancy/1/ack", `{"why": "x"}`, 400},
		{"DELETE", "/v1/discrepancy/none/ack", ``, 404},
		{"DELETE", "/v1/discrepancy/1/ack?x=1", ``, 400},
		{"GET", "/v1/discrepancy/1/ack", ``, 405},
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
	for _, path := range []string{"/", "/run/r3", "/v1/run", "/v1/run/r3", "/v1/discrepancy", "/v1/tenant", "/v1/tenant/a/timeline", "/v1/tenant/a/timeline/main",
		"/discrepancy", "/finding/1", "/timeline", "/tenant/a/timeline/main", "/v1/discrepancy/1", "/v1/acknowledgement"} {
		w := ask(s, "GET", path, "")
		wantError(t, path, w, 500)
		if strings.Contains(w.Body.String(), "secret") {
			t.Errorf("%s tells %s", path, w.Body)
		}
	}
	if n := strings.Count(log.String(), "/secret/ledger.db"); n != 14 {
		t.Errorf("the log has the cause %d times, want 14", n)
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
