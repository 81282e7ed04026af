package api

import (
	"crypto/sha256"
	"net/http"
	"net/http/httptest"
	"testing"
	"time"

	"redoubt/internal/api/auth"
)

// TestAgentAsks: the agent's metrics are for those whose scope suffices, and
// its health for everybody.
func TestAgentAsks(t *testing.T) {
	who := auth.New([]auth.Token{
		{Name: "all", SHA256: sha256.Sum256([]byte("reads-everything")), Scopes: []auth.Scope{auth.Read}},
		{Name: "one", SHA256: sha256.Sum256([]byte("reads-one-tenant")), Scopes: []auth.Scope{auth.Admin}, Tenants: []string{"prod"}},
	}, nil, time.Now)
	metrics := http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) { _, _ = w.Write([]byte("up 1")) })
	if _, err := NewAgent(Options{Auth: who}); err == nil {
		t.Error("an agent without metrics")
	}
	s, err := NewAgent(Options{Metrics: metrics, Auth: who})
	if err != nil {
		t.Fatal(err)
	}
	for _, c := range []struct {
		path, token string
		want        int
	}{
		{"/metrics", "reads-everything", 200}, {"/metrics", "reads-one-tenant", 403}, {"/metrics", "unknown", 401}, {"/metrics", "", 401},
		{"/healthz", "", 200}, {"/readyz", "", 200}, {"/v1/tenant", "reads-everything", 404},
	} {
		r := httptest.NewRequest(http.MethodGet, c.path, http.NoBody)
		if c.token != "" {
			r.Header.Set("Authorization", "Bearer "+c.token)
		}
		w := httptest.NewRecorder()
		s.handler.ServeHTTP(w, r)
		if w.Code != c.want {
			t.Errorf("%s with %q: %d, want %d: %s", c.path, c.token, w.Code, c.want, w.Body)
		}
	}
}
