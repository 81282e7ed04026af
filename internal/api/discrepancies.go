package api

import (
	"encoding/base64"
	"encoding/json"
	"net/http"

	"redoubt/internal/finding"
)

// cursor names a place to clients, for whom it has no meaning.
func (p *Place) cursor() string {
	b, err := json.Marshal(p)
	if err != nil {
		panic(err) // times and strings
	}
	return base64.RawURLEncoding.EncodeToString(b)
}

func parseCursor(s string) (*Place, error) {
	b, err := base64.RawURLEncoding.DecodeString(s)
	if err != nil {
		return nil, err
	}
	p := new(Place)
	return p, json.Unmarshal(b, p)
}

// discrepancies takes the filters of a list.
func (q *query) discrepancies() DiscrepancyFilter {
	f := DiscrepancyFilter{
		Kind: q.kind(), Severity: q.severity(), Tenant: q.text("tenant"), Timeline: q.text("timeline"),
		State: oneOf(q, "state", states), Text: q.text("text"),
	}
	if c := q.text("cursor"); c != "" {
		var err error
		if f.After, err = parseCursor(c); err != nil {
			q.fail("cursor is not one of this list: take it from next_cursor")
		}
	}
	return f
}

// discrepancies asks the ledger for a page and one more.
func (s *Server) discrepancies(r *http.Request, f DiscrepancyFilter) ([]finding.Tracked, error) {
	f.Limit++
	return s.Ledger.Discrepancies(r.Context(), f)
}

// cutAt keeps what a page may hold and says where the next one starts, nil if there is none.
func cutAt(found []finding.Tracked, limit int) ([]finding.Tracked, *Place) {
	if len(found) <= limit {
		return found, nil
	}
	found = found[:limit]
	d := &found[limit-1]
	return found, &Place{d.LastSeen, d.Tenant, d.Timeline, d.ID}
}

func (s *Server) listDiscrepancies(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	f := q.discrepancies()
	f.Limit = q.number("limit", 1, maxLimit, defaultLimit)
	found, err := firstOf(q.err(), func() ([]finding.Tracked, error) { return s.discrepancies(r, f) })
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	out := struct {
		Discrepancies []finding.Tracked `json:"discrepancies"`
		Limit         int               `json:"limit"`
		Next          *string           `json:"next_cursor"`
	}{Limit: f.Limit}
	var last *Place
	if out.Discrepancies, last = cutAt(found, f.Limit); out.Discrepancies == nil {
		out.Discrepancies = []finding.Tracked{}
	}
	if last != nil {
		c := last.cursor()
		out.Next = &c
		w.Header().Set("Link", "<"+address(r.URL.Path, f, last)+"&limit="+decimal(f.Limit)+`>; rel="next"`)
	}
	send(w, http.StatusOK, out)
}

func (s *Server) showDiscrepancy(w http.ResponseWriter, r *http.Request) {
	if err := noQuery(r); err != nil {
		s.failWith(w, r, err)
		return
	}
	found, err := s.Ledger.Discrepancy(r.Context(), r.PathValue("id"))
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	send(w, http.StatusOK, found)
}
