package api

import (
	"bytes"
	"io"
	"net/http"
	"net/http/httptest"
	"reflect"
	"slices"
	"strings"
	"testing"

	"github.com/getkin/kin-openapi/openapi3"
	"github.com/getkin/kin-openapi/openapi3filter"
	"github.com/getkin/kin-openapi/routers"
	"github.com/getkin/kin-openapi/routers/gorillamux"

	"redoubt/docs"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// described is the document, checked against OpenAPI's own rules.
func described(t *testing.T) (*openapi3.T, routers.Router) {
	t.Helper()
	doc, err := openapi3.NewLoader().LoadFromData(docs.OpenAPI)
	if err != nil {
		t.Fatal(err)
	}
	if err := doc.Validate(t.Context()); err != nil {
		t.Fatal(err)
	}
	router, err := gorillamux.NewRouter(doc)
	if err != nil {
		t.Fatal(err)
	}
	return doc, router
}

func TestOpenAPIHasEveryRoute(t *testing.T) {
	doc, _ := described(t)
	s, _ := recovering(t)
	var told []string
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			told = append(told, method+" "+path)
		}
	}
	var own []string
	for _, p := range s.patterns {
		own = append(own, strings.TrimSuffix(p, "{$}"))
	}
	slices.Sort(told)
	slices.Sort(own)
	if !slices.Equal(told, own) {
		t.Errorf("docs/openapi.yaml has\n%s\nthe server has\n%s", strings.Join(told, "\n"), strings.Join(own, "\n"))
	}
}

// TestOpenAPIAnswers asks every path of the document, as it says and not, and
// holds requests and answers against it.
func TestOpenAPIAnswers(t *testing.T) {
	doc, router := described(t)
	s, _ := recovering(t)
	f := s.Ledger.(*fake)
	lsn, now, made := pg.LSN(0x3000000), night, "main"
	f.timelines = append(f.timelines, finding.TimelineStatus{TenantID: "a", TimelineID: newTimeline, Shadow: true, State: finding.StateRecovering,
		LastRecordLSN: &lsn, TargetLSN: &lsn, AncestorLSN: &lsn, AncestorTimelineID: &made, LastVerifiedLSN: &lsn, LastPickedAt: &now, Scan: &finding.ScanTimeline{},
		Recovery: &finding.Recovery{FromLSN: &lsn, ToLSN: &lsn, ToTime: &now, StartedAt: &now}})
	for i := range f.timelines {
		if f.timelines[i].State == "" {
			f.timelines[i].State = finding.StateActive
		}
	}
	good := map[string]bool{}
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{"POST", "/v1/tenant/a/timeline/main/recover", "", 202},
		{"POST", "/v1/tenant/a/timeline/main/recover?from_lsn=0/2000000&to_lsn=0/3000000&target=" + newTimeline, "{}", 202},
		{"POST", "/v1/tenant/a/timeline/main/recover?to_time=2026-01-01T00:00:00Z", "", 202},
		{"POST", "/v1/tenant/a/timeline/main/recover?to_lsn=x", "", 400},
		{"POST", "/v1/tenant/a/timeline/main/recover?from_lsn=0/2000000", "", 400},
		{"POST", "/v1/tenant/a/recover", `{"timelines": ["main"]}`, 202},
		{"POST", "/v1/tenant/bad/recover", "", 422},
		{"POST", "/v1/tenant/a/timeline/x/cancel", "", 200},
		{"DELETE", "/v1/tenant/a/timeline/x", "", 202},
		{"DELETE", "/v1/tenant/a/timeline/x%20y", "", 400},
		{"GET", "/v1/tenant?limit=2&offset=1", "", 200},
		{"GET", "/v1/tenant/a/timeline", "", 200},
		{"GET", "/v1/tenant/none/timeline", "", 404},
		{"GET", "/v1/tenant/a/timeline/main", "", 200},
		{"GET", "/v1/tenant/a/timeline/" + newTimeline, "", 200},
		{"GET", "/v1/run", "", 200},
		{"GET", "/v1/run?limit=0", "", 400},
		{"POST", "/v1/run", `{"job": "nightly", "seed": 7}`, 202},
		{"GET", "/v1/run/r3", "", 200},
		{"GET", "/v1/run/none", "", 404},
		{"GET", "/v1/discrepancy?kind=bit_rot&severity=critical&state=open&tenant=a&timeline=b&text=c&limit=2", "", 200},
		{"GET", "/v1/discrepancy?kind=none", "", 400},
		{"GET", "/v1/discrepancy/1", "", 200},
		{"POST", "/v1/discrepancy/1/ack", `{"reason": "known", "expires": "7d"}`, 200},
		{"DELETE", "/v1/discrepancy/1/ack?by=me", "", 200},
		{"GET", "/v1/acknowledgement?all=true&id=old", "", 200},
		{"GET", "/v1/openapi.yaml", "", 200},
		{"GET", "/metrics", "", 200}, {"GET", "/healthz", "", 200}, {"GET", "/readyz", "", 200},
		{"GET", "/", "", 200}, {"GET", "/run/r3", "", 200}, {"GET", "/discrepancy", "", 200}, {"GET", "/discrepancy/1", "", 200},
		{"GET", "/finding/gap", "", 200}, {"GET", "/finding/none", "", 404}, {"GET", "/timeline", "", 200}, {"GET", "/tenant/a/timeline/main", "", 200},
		{"POST", "/finding/1/ack", "reason=known&expires=7d&by=me", 303},
		{"POST", "/finding/1/unack", "by=me", 303},
	} {
		r := httptest.NewRequest(c.method, "http://127.0.0.1:8480"+c.path, strings.NewReader(c.body))
		if c.method == http.MethodPost && c.body != "" {
			r.Header.Set("Content-Type", "application/json")
		}
		if strings.HasPrefix(c.path, "/finding/") && c.method == http.MethodPost {
			r.Header.Set("Content-Type", "application/x-www-form-urlencoded")
			r.Header.Set("Sec-Fetch-Site", "same-origin")
		}
		route, params, err := router.FindRoute(r)
		if err != nil {
			t.Errorf("%s %s: %v", c.method, c.path, err)
			continue
		}
		in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route,
			Options: &openapi3filter.Options{AuthenticationFunc: openapi3filter.NoopAuthenticationFunc, IncludeResponseStatus: true}}
		if err := openapi3filter.ValidateRequest(t.Context(), in); err != nil && c.status < 400 {
			t.Errorf("%s %s: the document does not allow it: %v", c.method, c.path, err)
		}
		r.Body = io.NopCloser(strings.NewReader(c.body)) // it was read
		w := httptest.NewRecorder()
		s.Handler().ServeHTTP(w, r)
		if w.Code != c.status {
			t.Errorf("%s %s: status %d, want %d: %s", c.method, c.path, w.Code, c.status, w.Body)
		}
		out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: w.Code, Header: w.Header(), Options: in.Options}
		if !strings.HasPrefix(w.Header().Get("Content-Type"), "application/json") {
			out.Options = &openapi3filter.Options{IncludeResponseStatus: true, ExcludeResponseBody: true}
			if w.Code == 200 && bytes.HasPrefix(bytes.TrimSpace(w.Body.Bytes()), []byte("{")) {
				t.Errorf("%s %s: JSON as %s", c.method, c.path, w.Header().Get("Content-Type"))
			}
		}
		out.SetBodyBytes(w.Body.Bytes())
		if err := openapi3filter.ValidateResponse(t.Context(), out); err != nil {
			t.Errorf("%s %s: the answer is not as the document says: %v\n%s", c.method, c.path, err, w.Body)
		}
		if c.status < 400 {
			good[c.method+" "+route.Path] = true
		}
	}
	for path, item := range doc.Paths.Map() {
		for method := range item.Operations() {
			if !good[method+" "+path] {
				t.Errorf("%s %s was never asked with success", method, path)
			}
		}
	}
}

// TestOpenAPIHasEveryKey holds the schemas of timelines against their Go types.
func TestOpenAPIHasEveryKey(t *testing.T) {
	doc, _ := described(t)
	for name, typ := range map[string]reflect.Type{
		"Timeline": reflect.TypeFor[finding.TimelineStatus](), "Recovery": reflect.TypeFor[finding.Recovery](), "Tenant": reflect.TypeFor[Tenant](),
		"Recovering": reflect.TypeFor[Recovering](), "RecoveringOne": reflect.TypeFor[RecoveringOne](),
	} {
		var want []string
		for i := range typ.NumField() {
			key, _, _ := strings.Cut(typ.Field(i).Tag.Get("json"), ",")
			want = append(want, key)
		}
		var got []string
		for key := range doc.Components.Schemas[name].Value.Properties {
			got = append(got, key)
		}
		slices.Sort(want)
		slices.Sort(got)
		if !slices.Equal(got, want) {
			t.Errorf("%s has %v, the type %v", name, got, want)
		}
	}
}

// TestOpenAPICatchesLies shows that the tests above can fail.
func TestOpenAPICatchesLies(t *testing.T) {
	_, router := described(t)
	r := httptest.NewRequest(http.MethodGet, "http://127.0.0.1:8480/v1/tenant/a/timeline/main", nil)
	route, params, err := router.FindRoute(r)
	if err != nil {
		t.Fatal(err)
	}
	in := &openapi3filter.RequestValidationInput{Request: r, PathParams: params, Route: route}
	h := http.Header{"Content-Type": {jsonType}}
	for _, body := range []string{`{}`, `{"error": "x"}`, `[]`} {
		out := &openapi3filter.ResponseValidationInput{RequestValidationInput: in, Status: 200, Header: h}
		out.SetBodyBytes([]byte(body))
		if openapi3filter.ValidateResponse(t.Context(), out) == nil {
			t.Errorf("%s passed for a timeline", body)
		}
	}
}
