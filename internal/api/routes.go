package api

import (
	"bytes"
	"cmp"
	"encoding/json"
	"errors"
	"io"
	"net/http"

	"redoubt/docs"
	"redoubt/internal/api/auth"
	"redoubt/internal/finding"
)

// routes are handlers by pattern.
type routes map[string]http.HandlerFunc

// add puts routes behind a guard that asks for a scope.
func (s *Server) add(mux *http.ServeMux, guard func(auth.Scope, http.HandlerFunc) http.HandlerFunc, scope auth.Scope, all routes) {
	for pattern, h := range all {
		mux.HandleFunc(pattern, guard(scope, h))
		s.patterns = append(s.patterns, pattern)
	}
}

// routes are all paths; what is not here is 404.
func (s *Server) routes() http.Handler {
	mux := http.NewServeMux()
	s.add(mux, of, auth.Read, routes{
		"GET /{$}":              s.indexPage,
		"GET /run/{id}":         s.runPage,
		"GET /discrepancy":      s.discrepanciesPage,
		"GET /discrepancy/{id}": s.findingPage,
		"GET /finding/{id}":     s.findingPage,
		"GET /timeline":         s.timelinesPage,
		"GET /tenant/{tenant}/timeline/{timeline}": s.timelinePage,
		"GET /v1/run":              s.listRuns,
		"GET /v1/run/{id}":         s.showRun,
		"GET /v1/discrepancy":      s.listDiscrepancies,
		"GET /v1/discrepancy/{id}": s.showDiscrepancy,
		"GET /v1/acknowledgement":  s.listAcks,
	})
	s.add(mux, of, auth.Admin, routes{
		"POST /finding/{id}/ack":          s.ackForm,
		"POST /finding/{id}/unack":        s.unackForm,
		"POST /v1/run":                    s.startRun,
		"POST /v1/discrepancy/{id}/ack":   s.acknowledge,
		"DELETE /v1/discrepancy/{id}/ack": s.unacknowledge,
	})
	s.add(mux, within, auth.Read, routes{
		"GET /v1/openapi.yaml":                        describe,
		"GET /v1/tenant":                              s.listTenants,
		"GET /v1/tenant/{tenant}/timeline":            s.listTimelines,
		"GET /v1/tenant/{tenant}/timeline/{timeline}": s.showTimeline,
	})
	if s.Recoverer != nil {
		s.add(mux, within, auth.Recover, routes{
			"POST /v1/tenant/{tenant}/recover":                     s.recoverAll,
			"POST /v1/tenant/{tenant}/timeline/{timeline}/recover": s.recover,
			"POST /v1/tenant/{tenant}/timeline/{timeline}/cancel":  s.cancelRecovery,
			"DELETE /v1/tenant/{tenant}/timeline/{timeline}":       s.deleteTimeline,
		})
	}
	s.health(mux)
	return shaped(mux)
}

// describe answers with the description of all paths.
func describe(w http.ResponseWriter, _ *http.Request) {
	write(w, http.StatusOK, "application/yaml", docs.OpenAPI)
}

func (s *Server) ready(w http.ResponseWriter, r *http.Request) {
	if s.Ready != nil {
		if err := s.Ready(r.Context()); err != nil {
			s.Log.Warn("not ready", "err", err)
			fail(w, http.StatusServiceUnavailable, "not ready: the server's log has the cause")
			return
		}
	}
	send(w, http.StatusOK, map[string]string{"status": "ok"})
}

// render makes a report whole; where it cannot be made it answers with the
// error and returns nil, so that half a report is never sent.
func (s *Server) render(w http.ResponseWriter, r *http.Request, f func(io.Writer) error) []byte {
	var b bytes.Buffer
	if err := f(&b); err != nil {
		s.failWith(w, r, err)
		return nil
	}
	return b.Bytes()
}

func (s *Server) listRuns(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	job, p := q.text("job"), q.page()
	if err := q.err(); err != nil {
		s.failWith(w, r, err)
		return
	}
	runs, err := s.Ledger.Runs(r.Context(), job, p.Limit+1, p.Offset)
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	runs, p = cut(runs, p)
	send(w, http.StatusOK, struct {
		Runs []finding.RunSummary `json:"runs"`
		part
	}{runs, p})
}

func (s *Server) showRun(w http.ResponseWriter, r *http.Request) {
	var run finding.Run
	err := noQuery(r)
	if err == nil {
		run, err = s.Ledger.Run(r.Context(), r.PathValue("id"))
	}
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	if body := s.render(w, r, func(w io.Writer) error { return s.Pages.RunJSON(w, run) }); body != nil {
		write(w, http.StatusOK, jsonType, body)
	}
}

// startRun takes {"job": "…", "seed": N}, both optional.
func (s *Server) startRun(w http.ResponseWriter, r *http.Request) {
	var in struct {
		Job  string `json:"job"`
		Seed *int64 `json:"seed"`
	}
	if err := cmp.Or(noQuery(r), decode(r.Body, &in)); err != nil {
		s.failWith(w, r, err)
		return
	}
	id, err := s.Starter.StartRun(r.Context(), in.Job, in.Seed)
	if errors.Is(err, ErrNotFound) {
		fail(w, http.StatusNotFound, "no such job; without one there must be exactly one job")
		return
	}
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	w.Header().Set("Location", "/v1/run/"+pathEscape(id))
	send(w, http.StatusAccepted, map[string]string{"run_id": id})
}

// decode reads one JSON object and nothing else; an empty body is an empty object.
func decode(body io.Reader, v any) error {
	d := json.NewDecoder(body)
	d.DisallowUnknownFields()
	err := d.Decode(v)
	if errors.Is(err, io.EOF) {
		return nil
	}
	if err == nil && d.More() {
		return bad("the body has more than one JSON object")
	}
	var long *http.MaxBytesError
	switch {
	case errors.As(err, &long):
		return &badRequest{http.StatusRequestEntityTooLarge, "the body is too long"}
	case err != nil:
		return bad("the body is no JSON object with the keys that this path knows")
	}
	return nil
}
