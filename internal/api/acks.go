package api

import (
	"cmp"
	"errors"
	"net/http"
	"net/url"

	"redoubt/internal/finding"
)

// acknowledge takes {"reason": "…", "expires": "30d", "by": "…"}.
func (s *Server) acknowledge(w http.ResponseWriter, r *http.Request) {
	in := AckRequest{}
	if err := cmp.Or(noQuery(r), decode(r.Body, &in)); err != nil {
		s.failWith(w, r, err)
		return
	}
	in.ID = r.PathValue("id")
	if in.By == "" {
		in.By = "API"
	}
	ack, err := s.Ledger.Acknowledge(r.Context(), in)
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	s.Log.Info("finding is acknowledged", "id", ack.ID, "by", ack.By, "until", ack.Until, "reason", ack.Reason)
	send(w, http.StatusOK, ack)
}

// unacknowledge may have {"by": "…"}, or ?by=…, since not every client sends a body with DELETE.
func (s *Server) unacknowledge(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	in := struct {
		By string `json:"by"`
	}{By: q.text("by")}
	err := q.err()
	if err == nil {
		err = decode(r.Body, &in)
	}
	if in.By == "" {
		in.By = "API"
	}
	if err == nil {
		err = s.Ledger.Unacknowledge(r.Context(), r.PathValue("id"), in.By)
	}
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	s.Log.Info("acknowledgement is removed", "id", r.PathValue("id"), "by", in.By)
	send(w, http.StatusOK, map[string]string{"id": r.PathValue("id")})
}

func (s *Server) listAcks(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	id, all, limit := q.text("id"), q.boolean("all"), q.number("limit", 1, maxLimit, defaultLimit)
	acks, err := firstOf(q.err(), func() ([]finding.AckRecord, error) { return s.Ledger.Acks(r.Context(), id, all, limit) })
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	if acks == nil {
		acks = []finding.AckRecord{}
	}
	send(w, http.StatusOK, map[string]any{"acknowledgements": acks, "limit": limit})
}

// ackForm is acknowledge, and unackForm unacknowledge, for the form of a
// page: it answers with the page, where there is something to mend with what it is.
func (s *Server) ackForm(w http.ResponseWriter, r *http.Request) {
	s.form(w, r, func(in AckRequest) error {
		ack, err := s.Ledger.Acknowledge(r.Context(), in)
		if err == nil {
			s.Log.Info("finding is acknowledged", "id", ack.ID, "by", ack.By, "until", ack.Until, "reason", ack.Reason)
		}
		return err
	})
}

func (s *Server) unackForm(w http.ResponseWriter, r *http.Request) {
	s.form(w, r, func(in AckRequest) error {
		err := s.Ledger.Unacknowledge(r.Context(), in.ID, in.By)
		if err == nil {
			s.Log.Info("acknowledgement is removed", "id", in.ID, "by", in.By)
		}
		return err
	})
}

func (s *Server) form(w http.ResponseWriter, r *http.Request, do func(AckRequest) error) {
	if err := r.ParseForm(); err != nil {
		s.failPage(w, r, bad("the form is malformed or too long"))
		return
	}
	in := AckRequest{ID: r.PathValue("id"), Reason: r.PostForm.Get("reason"), Expires: r.PostForm.Get("expires"), By: r.PostForm.Get("by")}
	var refused *RefusedError
	switch err := do(in); {
	case errors.As(err, &refused):
		s.showFinding(w, r, http.StatusUnprocessableEntity, AckForm{in, refused.Reason})
	case err != nil:
		s.failPage(w, r, err)
	default: // the page again, by GET, so that loading it anew sends no form
		http.Redirect(w, r, "/finding/"+url.PathEscape(in.ID), http.StatusSeeOther)
	}
}
