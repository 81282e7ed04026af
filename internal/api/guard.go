package api

import (
	"crypto/sha256"
	"crypto/subtle"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"
)

// guarded puts the checks that hold for all routes before them.
func (s *Server) guarded(next http.Handler) http.Handler {
	next = s.sameSite(next)
	next = s.authorized(next)
	return s.recovered(headers(next))
}

// headers are those of every answer: nothing is cached, framed, sniffed or
// told to other sites; pages set a policy of their own.
func headers(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		h := w.Header()
		h.Set("Content-Security-Policy", "default-src 'none'; frame-ancestors 'none'")
		h.Set("X-Content-Type-Options", "nosniff")
		h.Set("X-Frame-Options", "DENY")
		h.Set("Referrer-Policy", "same-origin") // with no-referrer browsers hide a form's origin, which is asked for
		h.Set("Cross-Origin-Resource-Policy", "same-origin")
		h.Set("Cross-Origin-Opener-Policy", "same-origin")
		h.Set("Cache-Control", "no-store")
		r.Body = http.MaxBytesReader(w, r.Body, maxBody)
		next.ServeHTTP(w, r)
	})
}

// open are the paths that anybody may ask for.
func open(path string) bool { return path == "/healthz" || path == "/readyz" }

// authorized lets through who has the token, or, where there is none, who
// asks for this machine by a name of its own.
func (s *Server) authorized(next http.Handler) http.Handler {
	want := sha256.Sum256([]byte(s.Token))
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case open(r.URL.Path):
		case s.Token == "" && !ownName(r.Host):
			fail(w, http.StatusForbidden, "this server answers to localhost and 127.0.0.1 only, unless a token is configured")
			return
		case s.Token != "" && !hasToken(r, want):
			w.Header().Add("WWW-Authenticate", `Bearer realm="redoubt"`)
			if strings.Contains(r.Header.Get("Accept"), "text/html") { // a browser then asks its user
				w.Header().Add("WWW-Authenticate", `Basic realm="redoubt: any name, the token as password", charset="UTF-8"`)
			}
			fail(w, http.StatusUnauthorized, "a token is needed: Authorization: Bearer TOKEN, or as the password of any user")
			return
		}
		next.ServeHTTP(w, r)
	})
}

// hasToken looks for the token where programs send it, and where browsers do:
// as a password. Hashes are compared in constant time, so that neither the
// token's bytes nor its length show in how long the answer takes.
func hasToken(r *http.Request, want [sha256.Size]byte) bool {
	if len(r.Header.Values("Authorization")) != 1 {
		return false
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if _, password, ok := r.BasicAuth(); ok {
		token = password
	} else if !strings.EqualFold(scheme, "Bearer") {
		return false
	}
	got := sha256.Sum256([]byte(token))
	return subtle.ConstantTimeCompare(got[:], want[:]) == 1
}

// ownName reports whether a Host header names this machine itself. A page of
// another site can make a browser connect to 127.0.0.1 (DNS rebinding), but
// the header then has that site's name.
func ownName(host string) bool {
	if h, _, err := net.SplitHostPort(host); err == nil {
		host = h
	}
	host = strings.TrimSuffix(strings.TrimPrefix(host, "["), "]")
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip, err := netip.ParseAddr(host)
	return err == nil && ip.IsLoopback()
}

// sameSite refuses requests that change something and come from another
// site's page. They must be JSON, which such a page cannot send unasked, or the
// form of a page of ours, which a browser says of it.
func (s *Server) sameSite(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := protection.Check(r); err != nil {
			fail(w, http.StatusForbidden, "requests from other sites' pages are refused")
			return
		}
		if message := wrongBody(r); message != "" {
			fail(w, http.StatusUnsupportedMediaType, message)
			return
		}
		next.ServeHTTP(w, r)
	})
}

func wrongBody(r *http.Request) string {
	if r.Method != http.MethodPost {
		return ""
	}
	kind, _, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
	switch {
	case err != nil:
	case strings.HasPrefix(r.URL.Path, "/finding/"):
		// The check before lets requests pass that say nothing of where they
		// come from, as programs do: these are to use the API.
		if kind == "application/x-www-form-urlencoded" && (r.Header.Get("Sec-Fetch-Site") == "same-origin" || r.Header.Get("Origin") != "") {
			return ""
		}
		return "this path takes the form of its page; programs use /v1/discrepancy/ID/ack"
	case kind == "application/json":
		return ""
	}
	return "the body must be JSON: Content-Type: application/json"
}

// recovered turns a panic into a logged error.
func (s *Server) recovered(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		defer func() {
			switch p := recover(); p {
			case nil:
			case http.ErrAbortHandler:
				panic(p)
			default:
				s.Log.Error("answer request: panic", slog.Any("panic", p), "path", r.URL.Path, "stack", string(debug.Stack()))
				fail(w, http.StatusInternalServerError, internalError)
			}
		}()
		next.ServeHTTP(w, r)
		s.Log.Debug("answered request", "method", r.Method, "path", r.URL.Path, "remote", r.RemoteAddr)
	})
}
