package api

import (
	"context"
	"net/http"
	"regexp"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// Recoverer makes timelines from the WAL of others.
type Recoverer interface {
	// Recover begins a recovery and returns at once. ErrNotFound,
	// ConflictError, RefusedError.
	Recover(ctx context.Context, r RecoverRequest) (Recovering, error)
	// RecoverAll begins one of each of a tenant's timelines, of all official
	// ones if none is named. ErrNotFound.
	RecoverAll(ctx context.Context, tenant string, timelines []string, toTime time.Time) ([]RecoveringOne, error)
	// Cancel ends a recovery under way; Delete begins to take away a timeline
	// that recovery made. ErrNotFound, ConflictError.
	Cancel(ctx context.Context, tenant, timeline string) error
	Delete(ctx context.Context, tenant, timeline string) error
}

// ConflictError is a request that cannot be done as things stand, with the reason for whoever asked: 409.
type ConflictError struct{ Reason string }

func (e *ConflictError) Error() string { return e.Reason }

// RecoverRequest asks for a recovery; zero values are not given.
type RecoverRequest struct {
	Tenant, Timeline string
	Target           string // id of the new timeline
	From, To         pg.LSN
	ToTime           time.Time
}

// Recovering is a recovery that has begun.
type Recovering struct {
	TimelineID string  `json:"timeline_id"`
	Base       string  `json:"base"`       // name of the snapshot it starts from
	BaseLSN    pg.LSN  `json:"base_lsn"`   // at which that is consistent
	TargetLSN  *pg.LSN `json:"target_lsn"` // null: not known yet, the timeline shows it later
}

// RecoveringOne is one of several recoveries: begun, or not and why.
type RecoveringOne struct {
	Source     string  `json:"source"`
	TimelineID *string `json:"timeline_id"`
	Error      string  `json:"error,omitempty"`
}

var (
	nameForm   = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
	targetForm = regexp.MustCompile(`^[0-9a-f]{32}$`)
)

const maxTimelines = 1000 // of one request

func isName(s string) bool { return nameForm.MatchString(s) && s != "." && s != ".." }

// lsn takes an LSN out of the query, 0 where it is not there.
func (q *query) lsn(name string) pg.LSN {
	s := q.text(name)
	if s == "" {
		return 0
	}
	lsn, err := pg.ParseLSN(s)
	if err != nil || lsn == pg.InvalidLSN {
		q.fail(name + " is no LSN: write one as PostgreSQL does, such as 16/B374D848")
	}
	return lsn
}

// moment takes a time that is over, zero where it is not there.
func (q *query) moment(name string) time.Time {
	s := q.text(name)
	if s == "" {
		return time.Time{}
	}
	t, err := time.Parse(time.RFC3339Nano, s)
	switch {
	case err != nil:
		q.fail(name + " is no time: write one such as 2026-03-14T02:30:00Z, or with +01:00 (as %2B01:00) for Z")
	case t.After(time.Now()):
		q.fail(name + " is in the future: the WAL does not reach it; leave it out to recover to the end of the WAL")
	}
	return t
}

// name takes a tenant or timeline out of the path.
func (q *query) name(r *http.Request, what string) string {
	s := r.PathValue(what)
	if !isName(s) {
		q.fail("the path names no " + what + ": use 1 to 64 letters, digits, dots, dashes and underscores")
	}
	return s
}

// recovery takes the parameters of a recovery, as far as they can be judged by themselves.
func (q *query) recovery(r *http.Request) RecoverRequest {
	in := RecoverRequest{Tenant: q.name(r, "tenant"), Timeline: q.name(r, "timeline"),
		From: q.lsn("from_lsn"), To: q.lsn("to_lsn"), ToTime: q.moment("to_time"), Target: q.text("target")}
	switch {
	case (in.From == 0) != (in.Target == ""):
		q.fail("from_lsn and target go together: give both, to recover from official pages into that timeline, or neither, to recover by WAL alone into a new one")
	case in.Target != "" && in.Target == in.Timeline:
		q.fail("target is the timeline itself: a timeline is never written into; give another id")
	case in.Target != "" && !targetForm.MatchString(in.Target):
		q.fail("target is no id of a timeline: give 32 hex digits in lower case")
	case in.To != 0 && !in.ToTime.IsZero():
		q.fail("to_lsn and to_time are both given: give one")
	case in.To != 0 && in.To <= in.From:
		q.fail("to_lsn is not above from_lsn: nothing is between them")
	}
	return in
}

func (s *Server) recover(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	in := q.recovery(r)
	err := q.err()
	if err == nil {
		err = decode(r.Body, &struct{}{})
	}
	var out Recovering
	if err == nil {
		out, err = s.Recoverer.Recover(r.Context(), in)
	}
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	w.Header().Set("Location", timelinePath(in.Tenant, out.TimelineID))
	send(w, http.StatusAccepted, out)
}

func timelinePath(tenant, timeline string) string {
	return "/v1/tenant/" + pathEscape(tenant) + "/timeline/" + pathEscape(timeline)
}

// recoverAll takes {"timelines": ["…"]}, or nothing for all.
func (s *Server) recoverAll(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	tenant, toTime := q.name(r, "tenant"), q.moment("to_time")
	var in struct {
		Timelines []string `json:"timelines"`
	}
	err := q.err()
	if err == nil {
		err = decode(r.Body, &in)
	}
	if err == nil {
		err = checkTimelines(in.Timelines)
	}
	var out []RecoveringOne
	if err == nil {
		out, err = s.Recoverer.RecoverAll(r.Context(), tenant, in.Timelines, toTime)
	}
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	for _, one := range out {
		if one.TimelineID != nil {
			send(w, http.StatusAccepted, out)
			return
		}
	}
	message := "no recovery was begun"
	for _, one := range out[:min(len(out), 3)] {
		message += "; " + one.Source + ": " + one.Error
	}
	fail(w, http.StatusUnprocessableEntity, message)
}

func checkTimelines(all []string) error {
	if len(all) > maxTimelines {
		return bad("timelines has more than " + decimal(maxTimelines) + " elements: ask in parts")
	}
	seen := make(map[string]bool, len(all))
	for _, tl := range all {
		if !isName(tl) {
			return bad("timelines has an element that is no name of a timeline: use 1 to 64 letters, digits, dots, dashes and underscores")
		}
		if seen[tl] {
			return bad("timelines has " + tl + " twice")
		}
		seen[tl] = true
	}
	return nil
}

func (s *Server) cancelRecovery(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, s.Recoverer.Cancel, http.StatusOK, finding.StateCancelled)
}

func (s *Server) deleteTimeline(w http.ResponseWriter, r *http.Request) {
	s.change(w, r, s.Recoverer.Delete, http.StatusAccepted, finding.StateDeleting)
}

func (s *Server) change(w http.ResponseWriter, r *http.Request, do func(context.Context, string, string) error, status int, state finding.State) {
	q := newQuery(r)
	tenant, timeline := q.name(r, "tenant"), q.name(r, "timeline")
	err := q.err()
	if err == nil {
		err = decode(r.Body, &struct{}{})
	}
	if err == nil {
		err = do(r.Context(), tenant, timeline)
	}
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	send(w, status, map[string]string{"timeline_id": timeline, "state": string(state)})
}
