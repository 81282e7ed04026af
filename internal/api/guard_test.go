package api

import (
	"context"
	"encoding/base64"
	"io"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"
)

func host(name string) func(*http.Request) {
	return func(r *http.Request) { r.Host = name }
}

// TestHostIsOurs is about DNS rebinding: a foreign name that leads here.
func TestHostIsOurs(t *testing.T) {
	s := server(t, newFake(), "", t.Output())
	for _, name := range []string{"localhost", "localhost:8480", "LOCALHOST:1", "127.0.0.1", "127.0.0.1:8480", "127.9.9.9", "[::1]:8480", "[::1]", "::1"} {
		if w := ask(s, "GET", "/v1/run", "", host(name)); w.Code != 200 {
			t.Errorf("host %q: status %d", name, w.Code)
		}
	}
	for _, name := range []string{"", "evil.example", "evil.example:8480", "localhost.evil.example", "127.0.0.1.nip.io", "10.0.0.1", "[::ffff:10.0.0.1]", "0.0.0.0", "localhost:80:80", "a@localhost"} {
		for _, path := range []string{"/", "/v1/run", "/metrics", "/nowhere"} {
			wantError(t, "host "+name, ask(s, "GET", path, "", host(name)), 403)
		}
		if w := ask(s, "GET", "/healthz", "", host(name)); w.Code != 200 {
			t.Errorf("healthz as %q: status %d", name, w.Code)
		}
	}
}

func TestToken(t *testing.T) {
	const token = "correct horse battery"
	s := server(t, newFake(), token, t.Output())
	paths := []string{"/", "/run/r3", "/v1/run", "/v1/run/r3", "/v1/discrepancy", "/v1/tenant", "/metrics", "/nowhere"}
	for _, path := range paths {
		for _, h := range []string{"", "Bearer", "Bearer ", "Bearer wrong", "Bearer " + token + "x", "Bearer " + token[:5], "Basic " + token, token,
			"Basic " + basic("user", "wrong"), "Basic " + basic(token, ""), "Basic " + basic("", token[:5])} {
			w := ask(s, "GET", path, "", header("Authorization", h))
			wantError(t, path+" with "+h, w, 401)
			if w.Header().Get("WWW-Authenticate") == "" {
				t.Errorf("%s: no WWW-Authenticate", path)
			}
		}
		twice := func(r *http.Request) {
			r.Header["Authorization"] = []string{"Bearer " + token, "Bearer wrong"}
		}
		wantError(t, path+" with two tokens", ask(s, "GET", path, "", twice), 401)
		want := 200
		if path == "/nowhere" {
			want = 404
		}
		for _, sent := range []string{"Bearer " + token, "bearer " + token, "Basic " + basic("anybody", token), "Basic " + basic("", token)} {
			if w := ask(s, "GET", path, "", header("Authorization", sent), host("redoubt.example")); w.Code != want {
				t.Errorf("%s with the token: status %d, want %d", path, w.Code, want)
			}
		}
	}
	for _, path := range []string{"/healthz", "/readyz"} {
		if w := ask(s, "GET", path, ""); w.Code != 200 {
			t.Errorf("%s without the token: status %d", path, w.Code)
		}
	}
	wantError(t, "healthz/..", ask(s, "GET", "/healthz/../v1/run", ""), 401)
	wantError(t, "POST", ask(s, "POST", "/v1/run", "{}"), 401)
}

func basic(user, password string) string {
	return base64.StdEncoding.EncodeToString([]byte(user + ":" + password))
}

// TestBrowserIsAsked keeps browsers from showing JSON where they could ask for the token, and programs from being asked.
func TestBrowserIsAsked(t *testing.T) {
	s := server(t, newFake(), "correct horse battery", t.Output())
	for accept, want := range map[string]int{"text/html,application/xhtml+xml": 2, "application/json": 1, "": 1} {
		w := ask(s, "GET", "/", "", header("Accept", accept))
		wantError(t, "asked for "+accept, w, 401)
		if got := w.Header().Values("WWW-Authenticate"); len(got) != want {
			t.Errorf("asked for %q: %q", accept, got)
		}
	}
}

// TestAckForm sends the form of a page as browsers do, and as nobody should.
func TestAckForm(t *testing.T) {
	f := newFake()
	s := server(t, f, "", t.Output())
	form := header("Content-Type", "application/x-www-form-urlencoded")
	send := func(path, body string, change ...func(*http.Request)) *httptest.ResponseRecorder {
		return ask(s, "POST", path, body, append([]func(*http.Request){form}, change...)...)
	}
	const good = "reason=known+fault&expires=7d&by=dba"
	for what, c := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"a program's":    {func(*http.Request) {}, 415},
		"another site's": {header("Origin", "https://evil.example"), 403},
		"cross-site":     {header("Sec-Fetch-Site", "cross-site"), 403},
		"same-site":      {header("Sec-Fetch-Site", "same-site"), 403},
		"null origin":    {header("Origin", "null"), 403},
		"typed":          {header("Sec-Fetch-Site", "none"), 415},
	} {
		for _, path := range []string{"/finding/1/ack", "/finding/1/unack"} {
			wantError(t, what, send(path, good, c.change), c.status)
		}
	}
	wantError(t, "JSON", ask(s, "POST", "/finding/1/ack", `{"reason":"x"}`, header("Origin", "http://127.0.0.1:8480")), 415)
	if len(f.acked) > 0 || f.removed != "" {
		t.Fatalf("acknowledged %+v, removed %q", f.acked, f.removed)
	}
	for _, own := range []func(*http.Request){header("Sec-Fetch-Site", "same-origin"), header("Origin", "http://127.0.0.1:8480")} {
		w := send("/finding/1/ack", good, own)
		if w.Code != http.StatusSeeOther || w.Header().Get("Location") != "/finding/1" {
			t.Errorf("form: %d, location %q: %s", w.Code, w.Header().Get("Location"), w.Body)
		}
	}
	if want := (AckRequest{ID: "1", Reason: "known fault", Expires: "7d", By: "dba"}); len(f.acked) != 2 || f.acked[0] != want {
		t.Errorf("acknowledged %+v", f.acked)
	}
	own := header("Sec-Fetch-Site", "same-origin")
	if w := send("/finding/1/ack", "reason=&expires=7d&by=dba", own); w.Code != 422 || !strings.Contains(w.Body.String(), `problem "a reason is needed"`) {
		t.Errorf("form without a reason: %d %s", w.Code, w.Body)
	}
	if w := send("/finding/none/ack", good, own, header("Accept", "text/html")); w.Code != 404 || !strings.Contains(w.Body.String(), "<p>Not Found: not found") {
		t.Errorf("form for nothing: %d %s", w.Code, w.Body)
	}
	wantError(t, "long form", send("/finding/1/ack", "reason="+strings.Repeat("x", maxBody), own), 400)
	if w := send("/finding/1/unack", "by=dba", own); w.Code != http.StatusSeeOther || f.removed != "1 dba" {
		t.Errorf("form of removal: %d, removed %q", w.Code, f.removed)
	}
}

func TestOtherSitesCannotStartRuns(t *testing.T) {
	f := newFake()
	s := server(t, f, "", t.Output())
	for what, c := range map[string]struct {
		change func(*http.Request)
		status int
	}{
		"form":         {header("Content-Type", "application/x-www-form-urlencoded"), 415},
		"text":         {header("Content-Type", "text/plain"), 415},
		"no type":      {func(r *http.Request) { r.Header.Del("Content-Type") }, 415},
		"other origin": {header("Origin", "https://evil.example"), 403},
		"null origin":  {header("Origin", "null"), 403},
		"cross-site":   {header("Sec-Fetch-Site", "cross-site"), 403},
		"same-site":    {header("Sec-Fetch-Site", "same-site"), 403},
	} {
		wantError(t, what, ask(s, "POST", "/v1/run", `{"job": "nightly"}`, c.change), c.status)
	}
	if f.started != "" {
		t.Errorf("a run was started: %q", f.started)
	}
	for what, change := range map[string]func(*http.Request){
		"own origin": header("Origin", "http://127.0.0.1:8480"), "own page": header("Sec-Fetch-Site", "same-origin"),
		"charset": header("Content-Type", "application/json; charset=utf-8"),
	} {
		if w := ask(s, "POST", "/v1/run", `{}`, change); w.Code != 202 {
			t.Errorf("%s: status %d: %s", what, w.Code, w.Body)
		}
	}
}

func TestNewWantsItsParts(t *testing.T) {
	if _, err := New(Options{}); err == nil {
		t.Error("a server without parts was made")
	}
}

func listen(t *testing.T, addr string) net.Listener {
	t.Helper()
	l, err := net.Listen("tcp", addr)
	if err != nil {
		t.Skipf("listen on %s: %v", addr, err)
	}
	return l
}

func TestServeRefusesOtherMachinesWithoutToken(t *testing.T) {
	l := listen(t, "0.0.0.0:0")
	err := server(t, newFake(), "", t.Output()).Serve(t.Context(), l)
	if err == nil || !strings.Contains(err.Error(), "configure a token") {
		t.Errorf("error %v", err)
	}
	if _, err := l.Accept(); err == nil {
		t.Error("the listener is still open")
	}
}

// TestServeEndsGracefully ends the server while a request is under way.
func TestServeEndsGracefully(t *testing.T) {
	s := server(t, newFake(), "", t.Output())
	entered, leave := make(chan struct{}), make(chan struct{})
	s.Ready = func(context.Context) error { close(entered); <-leave; return nil }
	l := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()

	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	answered := make(chan string, 1)
	go func() {
		r, err := client.Get("http://" + l.Addr().String() + "/readyz")
		if err != nil {
			answered <- err.Error()
			return
		}
		defer func() { _ = r.Body.Close() }()
		b, _ := io.ReadAll(r.Body)
		answered <- string(b)
	}()
	<-entered
	cancel()
	select {
	case err := <-served:
		t.Errorf("the server ended (%v) with a request under way", err)
	case <-time.After(50 * time.Millisecond):
	}
	close(leave)
	if got := <-answered; !strings.Contains(got, "ok") {
		t.Errorf("the request under way got %q", got)
	}
	if err := <-served; err != nil {
		t.Errorf("serve: %v", err)
	}
	if _, err := client.Get("http://" + l.Addr().String() + "/healthz"); err == nil {
		t.Error("the server still answers")
	}
}
