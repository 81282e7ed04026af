package api

import (
	"net/http"

	"redoubt/internal/finding"
)

func (s *Server) listTenants(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	p := q.page()
	all, err := s.timelines(r, q)
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	var tenants []Tenant
	at := map[string]int{}
	for _, t := range all {
		i, ok := at[t.TenantID]
		if !ok {
			i = len(tenants)
			at[t.TenantID] = i
			tenants = append(tenants, Tenant{TenantID: t.TenantID})
		}
		tenants[i].Timelines++
		tenants[i].OpenDiscrepancies += t.OpenDiscrepancies
	}
	tenants, p = cut(skip(tenants, p.Offset), p)
	send(w, http.StatusOK, struct {
		Tenants []Tenant `json:"tenants"`
		part
	}{tenants, p})
}

func (s *Server) listTimelines(w http.ResponseWriter, r *http.Request) {
	q := newQuery(r)
	p := q.page()
	all, err := s.timelines(r, q)
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	var own []finding.TimelineStatus
	for _, t := range all {
		if t.TenantID == r.PathValue("tenant") {
			own = append(own, t)
		}
	}
	if len(own) == 0 {
		s.failWith(w, r, ErrNotFound)
		return
	}
	own, p = cut(skip(own, p.Offset), p)
	send(w, http.StatusOK, struct {
		Timelines []finding.TimelineStatus `json:"timelines"`
		part
	}{own, p})
}

func (s *Server) showTimeline(w http.ResponseWriter, r *http.Request) {
	all, err := s.timelines(r, newQuery(r))
	if err != nil {
		s.failWith(w, r, err)
		return
	}
	for _, t := range all {
		if t.TenantID == r.PathValue("tenant") && t.TimelineID == r.PathValue("timeline") {
			send(w, http.StatusOK, t)
			return
		}
	}
	s.failWith(w, r, ErrNotFound)
}

// timelines asks the ledger, once the query has proved to be in order, for
// those that exist for who asks.
func (s *Server) timelines(r *http.Request, q *query) ([]finding.TimelineStatus, error) {
	if err := q.err(); err != nil {
		return nil, err
	}
	all, err := s.Ledger.Timelines(r.Context())
	who := identity(r)
	seen := make([]finding.TimelineStatus, 0, len(all))
	for _, t := range all {
		if who.Sees(t.TenantID) {
			seen = append(seen, t)
		}
	}
	return seen, err
}

// skip drops the first n of a list.
func skip[T any](list []T, n int) []T { return list[min(n, len(list)):] }

// cut keeps what a page may hold of a list that begins at its offset and
// holds, if there is more, at least one too many.
func cut[T any](list []T, p part) ([]T, part) {
	if len(list) > p.Limit {
		next := p.Offset + p.Limit
		list, p.Next = list[:p.Limit], &next
	}
	if list == nil {
		list = []T{}
	}
	return list, p
}
