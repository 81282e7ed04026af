package client

import (
	"encoding/pem"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/api"
)

const id = "0123456789abcdef0123456789abcdef"

// asked is what a server was asked last.
type asked struct {
	method, uri, token, accept string
}

// answering is a client of a server that answers one thing.
func answering(t *testing.T, status int, body string) (*Client, *asked) {
	t.Helper()
	a := &asked{}
	s := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		*a = asked{r.Method, r.URL.RequestURI(), r.Header.Get("Authorization"), r.Header.Get("Accept")}
		w.Header().Set("Location", "/elsewhere")
		w.WriteHeader(status)
		_, _ = io.WriteString(w, body)
	}))
	t.Cleanup(s.Close)
	c, err := New(s.URL+"/", "secret", "")
	if err != nil {
		t.Fatal(err)
	}
	return c, a
}

func TestRecover(t *testing.T) {
	c, a := answering(t, 202, `{"timeline_id": "`+id+`", "base": "initdb", "base_lsn": "0/1000028", "target_lsn": null}`)
	out, err := c.Recover(t.Context(), api.RecoverRequest{Tenant: "pr od", Timeline: "main"})
	if err != nil || out.TimelineID != id || out.BaseLSN != 0x1000028 || out.TargetLSN != nil {
		t.Errorf("%+v: %v", out, err)
	}
	if *a != (asked{"POST", "/v1/tenant/pr%20od/timeline/main/recover?", "Bearer secret", "application/json"}) {
		t.Errorf("asked %+v", *a)
	}
	at := time.Date(2026, 3, 14, 2, 30, 0, 5e8, time.FixedZone("", 3600))
	if _, err := c.Recover(t.Context(), api.RecoverRequest{Tenant: "p", Timeline: "m", From: 0x2000000, Target: id, ToTime: at}); err != nil ||
		a.uri != "/v1/tenant/p/timeline/m/recover?from_lsn=0%2F2000000&target="+id+"&to_time=2026-03-14T02%3A30%3A00.5%2B01%3A00" {
		t.Errorf("asked %+v: %v", *a, err)
	}
	if _, err := c.Recover(t.Context(), api.RecoverRequest{Tenant: "p", Timeline: "m", To: 0x16B374D848}); err != nil || !strings.HasSuffix(a.uri, "?to_lsn=16%2FB374D848") {
		t.Errorf("asked %+v: %v", *a, err)
	}
}

func TestRecoverAll(t *testing.T) {
	c, a := answering(t, 202, `[{"source": "main", "timeline_id": "`+id+`"}, {"source": "other", "timeline_id": null, "error": "no snapshot"}]`)
	out, err := c.RecoverAll(t.Context(), "prod", time.Time{})
	if err != nil || len(out) != 2 || *out[0].TimelineID != id || out[1].TimelineID != nil || out[1].Error != "no snapshot" || a.uri != "/v1/tenant/prod/recover?" {
		t.Errorf("%+v, asked %+v: %v", out, *a, err)
	}
}

func TestTimeline(t *testing.T) {
	c, a := answering(t, 200, `{"tenant_id": "prod", "timeline_id": "`+id+`", "state": "recovering"}`)
	out, err := c.Timeline(t.Context(), "prod", id)
	if err != nil || out.State != "recovering" || a.method != "GET" || a.uri != "/v1/tenant/prod/timeline/"+id+"?" {
		t.Errorf("%+v, asked %+v: %v", out, *a, err)
	}
}

// TestRefusals: what a server refuses is said in its words; what is its own
// fault may pass, and so may that it is not there.
func TestRefusals(t *testing.T) {
	for _, x := range []struct {
		status    int
		body, say string
		temporary bool
	}{
		{409, `{"error": "target is under way"}`, "409 Conflict: target is under way", false},
		{422, `{"error": "no snapshot"}`, "no snapshot", false},
		{401, `{"error": ""}`, "no reason is given", false},
		{404, `<html>`, "is it a redoubt serve?", false},
		{302, ``, "302 Found", false}, // a token is not sent after it
		{500, `{"error": "internal error"}`, "internal error", true},
		{503, ``, "503", true},
		{200, `<html>`, "is it a redoubt serve?", true},
		{200, `{"state": 7}`, "is it a redoubt serve?", true},
	} {
		c, _ := answering(t, x.status, x.body)
		_, err := c.Timeline(t.Context(), "prod", id)
		if err == nil || !strings.Contains(err.Error(), x.say) || Temporary(err) != x.temporary || strings.Contains(err.Error(), "secret") {
			t.Errorf("%d %s: %v, temporary %t", x.status, x.body, err, Temporary(err))
		}
	}
	s := httptest.NewServer(http.NotFoundHandler())
	c, err := New(s.URL, "", "")
	if err != nil {
		t.Fatal(err)
	}
	s.Close()
	if _, err := c.Timeline(t.Context(), "prod", id); err == nil || !Temporary(err) {
		t.Errorf("a server that is not there: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "localhost:8480", "ftp://localhost", "http://", "http://h/?x=1", "http://h\x7f"} {
		if _, err := New(bad, "", ""); err == nil || !strings.Contains(err.Error(), "write http://") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestTLS: a server is believed only with a certificate that is trusted.
func TestTLS(t *testing.T) {
	s := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = io.WriteString(w, `{"state": "active"}`) }))
	defer s.Close()
	s.Config.ErrorLog = nil
	dir := t.TempDir()
	own, other := filepath.Join(dir, "ca.pem"), filepath.Join(dir, "none.pem")
	for name, content := range map[string][]byte{own: pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: s.Certificate().Raw}), other: []byte("no certificate")} {
		if err := os.WriteFile(name, content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	c, err := New(s.URL, "", own)
	if err != nil {
		t.Fatal(err)
	}
	if out, err := c.Timeline(t.Context(), "prod", id); err != nil || out.State != "active" {
		t.Errorf("%+v: %v", out, err)
	}
	if c, err = New(s.URL, "", ""); err != nil {
		t.Fatal(err)
	}
	if _, err := c.Timeline(t.Context(), "prod", id); err == nil || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("a certificate that nobody trusts: %v", err)
	}
	for _, bad := range []string{other, filepath.Join(dir, "missing")} {
		if _, err := New(s.URL, "", bad); err == nil {
			t.Errorf("%s was taken", bad)
		}
	}
}
