package api

import (
	"context"
	"errors"
	"log/slog"
	"net/http"

	"redoubt/internal/api/auth"
)

// NewAgent makes the server of a service that shows metrics and health only.
func NewAgent(metrics http.Handler, ready func(context.Context) error, token string, log *slog.Logger) (*Server, error) {
	if metrics == nil {
		return nil, errors.New("make HTTP server: metrics are required")
	}
	if log == nil {
		log = slog.New(slog.DiscardHandler)
	}
	s := &Server{Options: Options{Metrics: metrics, Ready: ready, Log: log}}
	if token != "" {
		s.Auth = auth.Single(token)
	}
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
