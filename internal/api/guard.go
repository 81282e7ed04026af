package api

import (
	"context"
	"errors"
	"log/slog"
	"mime"
	"net"
	"net/http"
	"net/netip"
	"runtime/debug"
	"strings"

	"redoubt/internal/api/auth"
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

// authorized finds out who asks: whoever has a token, or, where none is
// configured, who asks for this machine by a name of its own.
func (s *Server) authorized(next http.Handler) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if open(r.URL.Path) {
			next.ServeHTTP(w, r)
			return
		}
		who := auth.Everybody()
		if s.Auth.Empty() {
			if !ownName(r.Host) {
				fail(w, http.StatusForbidden, "this server answers to localhost and 127.0.0.1 only, unless a token is configured")
				return
			}
		} else {
			var err error
			if who, err = s.Auth.Check(tokenOf(r)); err != nil {
				unauthorized(w, r, err)
				return
			}
		}
		next.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), identityKey{}, who)))
	})
}

// unauthorized asks for a token.
func unauthorized(w http.ResponseWriter, r *http.Request, err error) {
	w.Header().Add("WWW-Authenticate", `Bearer realm="redoubt"`)
	if strings.Contains(r.Header.Get("Accept"), "text/html") { // a browser then asks its user
		w.Header().Add("WWW-Authenticate", `Basic realm="redoubt: any name, the token as password", charset="UTF-8"`)
	}
	if errors.Is(err, auth.ErrExpired) {
		fail(w, http.StatusUnauthorized, "the token has expired: get a new one")
		return
	}
	fail(w, http.StatusUnauthorized, "a token is needed: Authorization: Bearer TOKEN, or as the password of any user")
}

// tokenOf is the token where programs send it, and where browsers do: as a
// password. Empty where there is none, or more than one.
func tokenOf(r *http.Request) string {
	if len(r.Header.Values("Authorization")) != 1 {
		return ""
	}
	if _, password, ok := r.BasicAuth(); ok {
		return password
	}
	scheme, token, _ := strings.Cut(r.Header.Get("Authorization"), " ")
	if !strings.EqualFold(scheme, "Bearer") {
		return ""
	}
	return token
}

type identityKey struct{}

// identity is who asks, as authorized found out; nobody elsewhere.
func identity(r *http.Request) auth.Identity {
	who, _ := r.Context().Value(identityKey{}).(auth.Identity)
	return who
}

// of lets those through who have a scope for all of the server: what a path
// shows is not told to tokens that are bound to tenants.
func of(scope auth.Scope, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := identity(r)
		switch {
		case !who.Can(scope):
			lacks(w, scope)
		case who.Bound():
			fail(w, http.StatusForbidden, "this token is bound to tenants: it may use what is below /v1/tenant")
		default:
			h(w, r)
		}
	}
}

// within is of for paths of a tenant: other tenants than its own do not exist for a token.
func within(scope auth.Scope, h http.HandlerFunc) http.HandlerFunc {
	return func(w http.ResponseWriter, r *http.Request) {
		who := identity(r)
		switch {
		case !who.Can(auth.Read):
			lacks(w, scope)
		case r.PathValue("tenant") != "" && !who.Sees(r.PathValue("tenant")):
			fail(w, http.StatusNotFound, "not found")
		case !who.Can(scope):
			lacks(w, scope)
		default:
			h(w, r)
		}
	}
}

// unguarded lets everybody through: see open.
func unguarded(_ auth.Scope, h http.HandlerFunc) http.HandlerFunc { return h }

func lacks(w http.ResponseWriter, scope auth.Scope) {
	fail(w, http.StatusForbidden, "the token lacks the scope "+string(scope))
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
	case r.Header.Get("Content-Type") == "" && r.ContentLength == 0: // no form is sent like this
		return ""
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
