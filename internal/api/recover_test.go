package api

import (
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"strings"
	"testing"
	"time"
)

// recoverer notes what it is asked.
type recoverer struct {
	asked RecoverRequest
	all   []string // tenant and timelines
	to    time.Time
	did   string // cancel or delete, and of what
	err   error
}

const newTimeline = "0123456789abcdef0123456789abcdef"

func (f *recoverer) Recover(_ context.Context, r RecoverRequest) (Recovering, error) {
	f.asked = r
	out := Recovering{TimelineID: cmp.Or(r.Target, newTimeline), Base: "initdb", BaseLSN: 0x1000028}
	if r.To != 0 {
		out.TargetLSN = &r.To
	}
	return out, f.err
}

func (f *recoverer) RecoverAll(_ context.Context, tenant string, timelines []string, to time.Time) ([]RecoveringOne, error) {
	f.all, f.to = append([]string{tenant}, timelines...), to
	if tenant == "bad" {
		return []RecoveringOne{{Source: "main", Error: "no snapshot initdb"}}, f.err
	}
	id := newTimeline
	return []RecoveringOne{{Source: "main", TimelineID: &id}, {Source: "other", Error: "no snapshot initdb"}}, f.err
}

func (f *recoverer) Cancel(_ context.Context, tenant, timeline string) error {
	f.did = "cancel " + tenant + "/" + timeline
	return f.err
}

func (f *recoverer) Delete(_ context.Context, tenant, timeline string) error {
	f.did = "delete " + tenant + "/" + timeline
	return f.err
}

func recovering(t *testing.T) (*Server, *recoverer) {
	t.Helper()
	f := newFake()
	r := &recoverer{}
	o := server(t, f, "", t.Output()).Options
	o.Recoverer = r
	s, err := New(o)
	if err != nil {
		t.Fatal(err)
	}
	return s, r
}

func TestRecover(t *testing.T) {
	s, f := recovering(t)
	w := ask(s, "POST", "/v1/tenant/prod/timeline/main/recover", "")
	if w.Code != 202 || f.asked != (RecoverRequest{Tenant: "prod", Timeline: "main"}) || w.Header().Get("Location") != "/v1/tenant/prod/timeline/"+newTimeline {
		t.Errorf("%d %s, asked %+v", w.Code, w.Body, f.asked)
	}
	var out map[string]any
	if err := json.Unmarshal(w.Body.Bytes(), &out); err != nil || out["timeline_id"] != newTimeline || out["base_lsn"] != "0/1000028" || out["target_lsn"] != nil {
		t.Errorf("%s", w.Body)
	}
	target := strings.Repeat("a", 32)
	w = ask(s, "POST", "/v1/tenant/prod/timeline/main/recover?from_lsn=0/2000000&to_lsn=16/B374D848&target="+target, "{}")
	if w.Code != 202 || f.asked != (RecoverRequest{Tenant: "prod", Timeline: "main", Target: target, From: 0x2000000, To: 0x16B374D848}) {
		t.Errorf("%d %s, asked %+v", w.Code, w.Body, f.asked)
	}
	w = ask(s, "POST", "/v1/tenant/prod/timeline/main/recover?to_time=2026-03-14T02:30:00.5%2B01:00", "", func(r *http.Request) { r.Header.Del("Content-Type") })
	if want := time.Date(2026, 3, 14, 1, 30, 0, 5e8, time.UTC); w.Code != 202 || !f.asked.ToTime.Equal(want) {
		t.Errorf("%d %s, asked %+v", w.Code, w.Body, f.asked)
	}
}

// TestRecoverRefuses has every bad input on every parameter; none may reach what recovers.
func TestRecoverRefuses(t *testing.T) {
	s, f := recovering(t)
	const one = "/v1/tenant/prod/timeline/main/recover"
	target := strings.Repeat("a", 32)
	for _, c := range []struct{ path, body, cure string }{
		{one + "?from_lsn=0/2000000", "", "go together"},
		{one + "?target=" + target, "", "go together"},
		{one + "?from_lsn=2000000&target=" + target, "", "no LSN"},
		{one + "?from_lsn=0/0&target=" + target, "", "no LSN"},
		{one + "?from_lsn=0/1%20x&target=" + target, "", "no LSN"},
		{one + "?from_lsn=FFFFFFFFF/0&target=" + target, "", "no LSN"},
		{one + "?to_lsn=-1/0", "", "no LSN"},
		{one + "?to_lsn=0x16", "", "no LSN"},
		{one + "?to_lsn=0/1&to_lsn=0/2", "", "given twice"},
		{one + "?to_lsn=0/1&to_time=2026-01-01T00:00:00Z", "", "give one"},
		{one + "?to_time=yesterday", "", "no time"},
		{one + "?to_time=2026-01-01", "", "no time"},
		{one + "?to_time=2999-01-01T00:00:00Z", "", "in the future"},
		{one + "?from_lsn=0/2000000&to_lsn=0/2000000&target=" + target, "", "not above from_lsn"},
		{one + "?from_lsn=0/2000000&to_lsn=0/1000000&target=" + target, "", "not above from_lsn"},
		{one + "?from_lsn=0/2000000&target=main", "", "the timeline itself"},
		{one + "?from_lsn=0/2000000&target=other", "", "32 hex digits"},
		{one + "?from_lsn=0/2000000&target=" + strings.Repeat("A", 32), "", "32 hex digits"},
		{one + "?from_lsn=0/2000000&target=..%2F..%2Fetc", "", "32 hex digits"},
		{one + "?lsn=0/1", "", "does not know"},
		{one + "?%zz", "", "malformed"},
		{one, `{"to_lsn": "0/1"}`, "no JSON object with the keys"},
		{"/v1/tenant/prod/timeline/a%20b/recover", "", "1 to 64 letters"},
		{"/v1/tenant/prod/timeline/..%2Fx/recover", "", "1 to 64 letters"},
		{"/v1/tenant/" + strings.Repeat("x", 65) + "/timeline/main/recover", "", "1 to 64 letters"},
		{"/v1/tenant/prod/recover?to_lsn=0/2000000", "", "does not know"},
		{"/v1/tenant/prod/recover?to_time=now", "", "no time"},
		{"/v1/tenant/prod/recover", `{"timelines": "main"}`, "no JSON object with the keys"},
		{"/v1/tenant/prod/recover", `{"timelines": ["a/b"]}`, "no name of a timeline"},
		{"/v1/tenant/prod/recover", `{"timelines": ["a", "a"]}`, "twice"},
		{"/v1/tenant/prod/recover", `{"timelines": [` + strings.Repeat(`"a",`, 1000) + `"a"]}`, "more than 1000"},
		{"/v1/tenant/prod/timeline/main/cancel?force=1", "", "does not know"},
		{"/v1/tenant/prod/timeline/a%20b/cancel", "", "1 to 64 letters"},
	} {
		w := ask(s, "POST", c.path, c.body)
		wantError(t, c.path+" "+c.body[:min(len(c.body), 40)], w, 400)
		if !strings.Contains(w.Body.String(), c.cure) {
			t.Errorf("%s: %s, want %q", c.path, w.Body, c.cure)
		}
	}
	wantError(t, "delete", ask(s, "DELETE", "/v1/tenant/prod/timeline/main?x=1", ""), 400)
	if f.asked != (RecoverRequest{}) || f.all != nil || f.did != "" {
		t.Errorf("asked %+v %v %s", f.asked, f.all, f.did)
	}
	for err, status := range map[error]int{ErrNotFound: 404, &ConflictError{"it is under way"}: 409, &RefusedError{"no snapshot"}: 422, errors.New("disk"): 500} {
		f.err = err
		for _, path := range []string{one, "/v1/tenant/prod/recover", "/v1/tenant/prod/timeline/main/cancel"} {
			wantError(t, path, ask(s, "POST", path, ""), status)
		}
		wantError(t, "delete", ask(s, "DELETE", "/v1/tenant/prod/timeline/main", ""), status)
	}
}

func TestRecoverAll(t *testing.T) {
	s, f := recovering(t)
	w := ask(s, "POST", "/v1/tenant/prod/recover", "")
	if w.Code != 202 || strings.Join(f.all, " ") != "prod" || !strings.Contains(w.Body.String(), `"timeline_id": null`) {
		t.Errorf("%d %s, asked %v", w.Code, w.Body, f.all)
	}
	w = ask(s, "POST", "/v1/tenant/prod/recover?to_time=2026-01-01T00:00:00Z", `{"timelines": ["main", "other"]}`)
	if w.Code != 202 || strings.Join(f.all, " ") != "prod main other" || f.to.Year() != 2026 {
		t.Errorf("%d %s, asked %v %v", w.Code, w.Body, f.all, f.to)
	}
	w = ask(s, "POST", "/v1/tenant/bad/recover", "")
	wantError(t, "none begun", w, 422)
	if !strings.Contains(w.Body.String(), "main: no snapshot initdb") {
		t.Errorf("%s", w.Body)
	}
}

func TestCancelAndDelete(t *testing.T) {
	s, f := recovering(t)
	if w := ask(s, "POST", "/v1/tenant/prod/timeline/x/cancel", ""); w.Code != 200 || f.did != "cancel prod/x" || !strings.Contains(w.Body.String(), "cancelled") {
		t.Errorf("%d %s, did %s", w.Code, w.Body, f.did)
	}
	if w := ask(s, "DELETE", "/v1/tenant/prod/timeline/x", ""); w.Code != 202 || f.did != "delete prod/x" || !strings.Contains(w.Body.String(), "deleting") {
		t.Errorf("%d %s, did %s", w.Code, w.Body, f.did)
	}
}

// TestRecoverScopes asks with tokens that may not, and for tenants that are not theirs.
func TestRecoverScopes(t *testing.T) {
	s, f := recovering(t)
	other, _ := scoped(t, newFake())
	s.Auth = other.Auth
	for _, c := range []struct {
		token, method, path string
		status              int
	}{
		{"", "POST", "/v1/tenant/a/timeline/main/recover", 401},
		{"reader", "POST", "/v1/tenant/a/timeline/main/recover", 403},
		{"reader", "POST", "/v1/tenant/a/recover", 403},
		{"reader", "POST", "/v1/tenant/a/timeline/main/cancel", 403},
		{"reader", "DELETE", "/v1/tenant/a/timeline/main", 403},
		{"reader of a", "POST", "/v1/tenant/b/timeline/main/recover", 404},
		{"admin of a", "POST", "/v1/tenant/b/timeline/main/recover", 404},
		{"admin of a", "POST", "/v1/tenant/b/recover", 404},
		{"admin of a", "POST", "/v1/tenant/b/timeline/main/cancel", 404},
		{"admin of a", "DELETE", "/v1/tenant/b/timeline/main", 404},
	} {
		wantError(t, c.token+" "+c.path, ask(s, c.method, c.path, "", bearer(c.token)), c.status)
	}
	if f.asked != (RecoverRequest{}) || f.all != nil || f.did != "" {
		t.Errorf("asked %+v %v %s", f.asked, f.all, f.did)
	}
	for _, token := range []string{"recoverer", "admin", "admin of a"} {
		if w := ask(s, "POST", "/v1/tenant/a/timeline/main/recover", "", bearer(token)); w.Code != 202 {
			t.Errorf("%s: %d %s", token, w.Code, w.Body)
		}
	}
}
