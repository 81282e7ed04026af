package api

import (
	"errors"
	"log/slog"
	"net/http"

	"redoubt/internal/api/auth"
)

// NewAgent makes the server of a service that shows metrics and health only:
// Metrics, Ready, Auth, TLS and Log of the options are used.
func NewAgent(o Options) (*Server, error) {
	if o.Metrics == nil {
		return nil, errors.New("make HTTP server: metrics are required")
	}
	if o.Log == nil {
		o.Log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Options: Options{Metrics: o.Metrics, Ready: o.Ready, Auth: o.Auth, TLS: o.TLS, Log: o.Log}}
	mux := http.NewServeMux()
	s.health(mux)
	s.handler = s.guarded(shaped(mux))
	return s, nil
}

// health are the paths that every service has.
func (s *Server) health(mux *http.ServeMux) {
	s.add(mux, of, auth.Read, routes{"GET /metrics": s.Metrics.ServeHTTP})
	s.add(mux, unguarded, "", routes{
		"GET /healthz": func(w http.ResponseWriter, _ *http.Request) {
			send(w, http.StatusOK, map[string]string{"status": "ok"})
		},
		"GET /readyz": s.ready,
	})
}
