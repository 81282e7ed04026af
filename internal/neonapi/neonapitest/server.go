// Package neonapitest is the HTTP side of a pageserver and of a safekeeper, for
// tests: exactly the routes, keys and statuses that package neonapi reads, by
// the definitions that Neon published. It is neither: it knows what a test told
// it and nothing else.
package neonapitest

import (
	"encoding/json"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
)

// Object is a JSON object, with keys as published.
type Object map[string]any

// Server is one of the two.
type Server struct {
	URL string

	mu       sync.Mutex
	token    string
	answers  map[string]answer
	requests []string
	before   func(w http.ResponseWriter, r *http.Request) bool
}

type answer struct {
	status int
	body   any
}

// New starts a server that knows nothing but its own id.
func New(t testing.TB, id int) *Server {
	t.Helper()
	return At(t, id, "127.0.0.1")
}

// At is New at another address of this machine.
func At(t testing.TB, id int, host string) *Server {
	t.Helper()
	s := &Server{answers: make(map[string]answer)}
	l, err := new(net.ListenConfig).Listen(t.Context(), "tcp", host+":0")
	if err != nil {
		t.Fatal(err)
	}
	h := httptest.NewUnstartedServer(s)
	_ = h.Listener.Close() // nobody listens there
	h.Listener = l
	h.Start()
	t.Cleanup(h.Close)
	s.URL = h.URL
	s.Set("/v1/status", Object{"id": id})
	return s
}

// Pageserver starts one without tenants, Safekeeper one without timelines.
func Pageserver(t testing.TB, id int) *Server {
	s := New(t, id)
	s.Set("/v1/tenant", []Object{})
	return s
}

// Safekeeper starts one without timelines.
func Safekeeper(t testing.TB, id int) *Server {
	s := New(t, id)
	s.Set("/v1/tenant/timeline", []Object{})
	return s
}

// Set says what a path answers.
func (s *Server) Set(path string, body any) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = answer{http.StatusOK, body}
}

// Refuse says that a path answers with an error, as Neon's servers put it.
func (s *Server) Refuse(path string, status int, msg string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.answers[path] = answer{status, Object{"msg": msg}}
}

// Require lets only those in who send the token.
func (s *Server) Require(token string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.token = token
}

// Before is called for each request; it returns true if it has answered.
func (s *Server) Before(f func(w http.ResponseWriter, r *http.Request) bool) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.before = f
}

// Requests are the paths asked for so far.
func (s *Server) Requests() []string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return append([]string(nil), s.requests...)
}

func (s *Server) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	s.mu.Lock()
	s.requests = append(s.requests, r.URL.Path)
	a, known := s.answers[r.URL.Path]
	token, before := s.token, s.before
	s.mu.Unlock()
	if before != nil && before(w, r) {
		return
	}
	switch {
	case r.Method != http.MethodGet:
		a = answer{http.StatusMethodNotAllowed, Object{"msg": "only asked, never told"}}
	case token != "" && r.Header.Get("Authorization") == "":
		a = answer{http.StatusUnauthorized, Object{"msg": "Unauthorized: missing authorization header"}}
	case token != "" && r.Header.Get("Authorization") != "Bearer "+token:
		a = answer{http.StatusForbidden, Object{"msg": "Forbidden: JWT authentication error"}}
	case !known:
		a = answer{http.StatusNotFound, Object{"msg": "NotFound: " + strings.TrimPrefix(r.URL.Path, "/v1/")}}
	}
	w.Header().Set("Content-Type", "application/json")
	w.WriteHeader(a.status)
	if raw, ok := a.body.(string); ok {
		_, _ = w.Write([]byte(raw)) // the client may be gone
		return
	}
	_ = json.NewEncoder(w).Encode(a.body) // the client may be gone
}

// Tenant is what a pageserver lists of a tenant's shard.
func Tenant(shard string, generation int) Object {
	return Object{"id": shard, "state": Object{"slug": "Active"}, "current_physical_size": nil,
		"attachment_status": Object{"slug": "attached"}, "generation": generation}
}

// Location is what a pageserver says of how it holds a shard.
func Location(number, count, stripe int) Object {
	return Object{"mode": "AttachedSingle", "generation": 1, "secondary_conf": nil, "shard_number": number, "shard_count": count,
		"shard_stripe_size": stripe, "tenant_conf": Object{}}
}

// Timelines is what a pageserver lists of a shard's timelines.
func Timelines(active []Object, offloaded []Object) Object {
	return Object{"timelines": append([]Object{}, active...), "offloaded": append([]Object{}, offloaded...)}
}

// Timeline is what a pageserver says of a timeline; with overrides.
func Timeline(shard, timeline, minReadable, last string, more Object) Object {
	return with(Object{
		"tenant_id": shard, "timeline_id": timeline, "ancestor_timeline_id": nil, "ancestor_lsn": nil,
		"last_record_lsn": last, "prev_record_lsn": last, "applied_gc_cutoff_lsn": minReadable, "min_readable_lsn": minReadable,
		"disk_consistent_lsn": last, "remote_consistent_lsn": last, "remote_consistent_lsn_visible": last, "initdb_lsn": "0/14AEC08",
		"current_logical_size": 25165824, "current_logical_size_is_accurate": true, "directory_entries_counts": []int{3, 0, 1},
		"current_physical_size": 31457280, "current_logical_size_non_incremental": nil, "pitr_history_size": 0,
		"within_ancestor_pitr": false, "timeline_dir_layer_file_size_sum": nil, "wal_source_connstr": nil,
		"last_received_msg_lsn": nil, "last_received_msg_ts": nil, "pg_version": 15, "state": "Active", "walreceiver_status": "Not active",
		"is_archived": false, "rel_size_migration": "legacy", "rel_size_migrated_at": nil, "is_invisible": false,
	}, more)
}

// Stored is what a safekeeper says of a timeline; with overrides.
func Stored(tenant, timeline, start, backup, commit string, more Object) Object {
	return with(Object{
		"tenant_id": tenant, "timeline_id": timeline,
		"mconf":          Object{"generation": 1, "members": []Object{{"id": 1, "host": "sk1", "pg_port": 5454}}, "new_members": nil},
		"acceptor_state": Object{"term": 2, "epoch": 2, "term_history": []Object{{"term": 2, "lsn": start}}},
		"pg_info":        Object{"pg_version": 150013, "system_id": uint64(7306539954587820903), "wal_seg_size": 16777216},
		"flush_lsn":      commit, "timeline_start_lsn": start, "local_start_lsn": start, "commit_lsn": commit, "backup_lsn": backup,
		"peer_horizon_lsn": start, "remote_consistent_lsn": start, "peers": []Object{}, "walsenders": []Object{}, "walreceivers": []Object{},
	}, more)
}

func with(o, more Object) Object {
	for k, v := range more {
		if v == nil && k[0] == '-' {
			delete(o, k[1:])
			continue
		}
		o[k] = v
	}
	return o
}
