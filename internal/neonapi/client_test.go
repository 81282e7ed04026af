package neonapi

import (
	"context"
	"encoding/json"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"go.uber.org/goleak"

	"redoubt/internal/neonapi/neonapitest"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const (
	tenant = "de200bd42b49cc1814412c7e592dd6e9"
	other  = "ae200bd42b49cc1814412c7e592dd6e9"
	root   = "11f2fc0be1d9a1a2f1e7d2a1b3c4d5e6"
	child  = "22f2fc0be1d9a1a2f1e7d2a1b3c4d5e6"
	third  = "33f2fc0be1d9a1a2f1e7d2a1b3c4d5e6"
)

var quick = Options{Timeout: 20 * time.Second, Wait: time.Microsecond}

func pageserver(t testing.TB, s *neonapitest.Server, opt Options) *Pageserver {
	t.Helper()
	p, err := NewPageserver(s.URL, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	return p
}

func safekeeper(t testing.TB, s *neonapitest.Server, opt Options) *Safekeeper {
	t.Helper()
	k, err := NewSafekeeper(s.URL, opt)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(k.Close)
	return k
}

func golden(t testing.TB, name string) string {
	t.Helper()
	data, err := os.ReadFile(filepath.Join("testdata", name))
	if err != nil {
		t.Fatal(err)
	}
	return string(data)
}

// TestPublished reads answers written by hand from the published definitions.
func TestPublished(t *testing.T) {
	ctx := context.Background()
	ps, sk := neonapitest.Pageserver(t, 1234), neonapitest.Safekeeper(t, 3)
	p, s := pageserver(t, ps, quick), safekeeper(t, sk, quick)
	if id, err := p.Status(ctx); id != 1234 || err != nil {
		t.Errorf("status %d, %v", id, err)
	}
	ps.Set("/v1/tenant", golden(t, "tenant.json"))
	tenants, err := p.Tenants(ctx)
	want := []TenantShard{{ShardID{tenant, 0, 2}, "Active", 3}, {ShardID{tenant, 1, 2}, "Attaching", 4}, {ShardID{other, 0, 0}, "Broken", 1}}
	if diff := cmp.Diff(want, tenants); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	ps.Set("/v1/tenant/"+tenant+"-0102/timeline_and_offloaded", golden(t, "timeline_and_offloaded.json"))
	active, offloaded, err := p.Timelines(ctx, ShardID{tenant, 1, 2})
	wantActive := []ShardTimeline{{
		Timeline: root, PGVersion: 17, State: "Broken", Archived: true, Ancestor: child, AncestorLSN: 0x15A7618, InitdbLSN: 0x14AEC08,
		LastRecordLSN: 0x2534868, MinReadableLSN: 0x16960E8, AppliedGCCutoffLSN: 0x15A7618, DiskConsistentLSN: 0x2500000,
		RemoteConsistentLSN: 0x2500000, LogicalSize: 25165824,
	}}
	if diff := cmp.Diff(wantActive, active); diff != "" || err != nil {
		t.Errorf("%v\n%s", err, diff)
	}
	if diff := cmp.Diff([]Offloaded{{third, root, 0x1600000}}, offloaded); diff != "" {
		t.Error(diff)
	}
	shard, location := ShardID{tenant, 1, 2}, "/v1/location_config/"+tenant+"-0102"
	if blocks, err := p.StripeSize(ctx, shard); blocks != 0 || err != nil {
		t.Errorf("stripes of a shard that it has not: %d, %v", blocks, err)
	}
	ps.Set(location, golden(t, "location_config.json"))
	if blocks, err := p.StripeSize(ctx, shard); blocks != 32768 || err != nil {
		t.Errorf("stripes of %d blocks, %v", blocks, err)
	}
	for bad, words := range map[string]string{`{"shard_stripe_size": 0}`: "0 blocks", `{"shard_count": 2}`: "shard_stripe_size", `[]`: "not understood"} {
		ps.Set(location, bad)
		if _, err := p.StripeSize(ctx, shard); err == nil || !strings.Contains(err.Error(), words) {
			t.Errorf("%s: %v", bad, err)
		}
	}
	sk.Set("/v1/tenant/"+tenant+"/timeline/"+root, golden(t, "safekeeper_timeline.json"))
	stored, found, err := s.Timeline(ctx, Key{tenant, root})
	wantStored := Stored{0x14AEC08, 0x14AEC08, 0x2534410, 0x2534868, 0x2000000, 5, 16 << 20, 7306539954587820903, 150013}
	if diff := cmp.Diff(wantStored, stored); diff != "" || err != nil || !found {
		t.Errorf("%v\n%s", err, diff)
	}
	if _, found, err := s.Timeline(ctx, Key{tenant, child}); found || err != nil {
		t.Errorf("one that it has not: %v, %v", found, err)
	}
	sk.Set("/v1/tenant/timeline", []neonapitest.Object{{"tenant_id": tenant, "timeline_id": root}})
	if keys, err := s.Timelines(ctx); err != nil || len(keys) != 1 || keys[0] != (Key{tenant, root}) {
		t.Errorf("%v, %v", keys, err)
	}
}

// TestStandInIsAsPublished: what the tests' servers say has the same keys as
// the answers written by hand.
func TestStandInIsAsPublished(t *testing.T) {
	keys := func(data []byte) map[string]bool {
		var o map[string]json.RawMessage
		if err := json.Unmarshal(data, &o); err != nil {
			t.Fatal(err)
		}
		out := map[string]bool{}
		for k := range o {
			out[k] = true
		}
		return out
	}
	var list struct {
		Timelines []json.RawMessage `json:"timelines"`
	}
	if err := json.Unmarshal([]byte(golden(t, "timeline_and_offloaded.json")), &list); err != nil {
		t.Fatal(err)
	}
	for what, pair := range map[string][2][]byte{
		"a pageserver's timeline": {list.Timelines[0], encode(t, neonapitest.Timeline(tenant, root, "0/1", "0/2", nil))},
		"a safekeeper's":          {[]byte(golden(t, "safekeeper_timeline.json")), encode(t, neonapitest.Stored(tenant, root, "0/1", "0/2", "0/3", nil))},
	} {
		if diff := cmp.Diff(keys(pair[0]), keys(pair[1])); diff != "" {
			t.Errorf("%s:\n%s", what, diff)
		}
	}
}

func encode(t testing.TB, v any) []byte {
	t.Helper()
	data, err := json.Marshal(v)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

// TestMissingKeys: what lacks is named.
func TestMissingKeys(t *testing.T) {
	ctx := context.Background()
	ps, sk := neonapitest.Pageserver(t, 1), neonapitest.Safekeeper(t, 1)
	p, s := pageserver(t, ps, quick), safekeeper(t, sk, quick)
	for _, key := range []string{"timeline_id", "last_record_lsn", "min_readable_lsn", "applied_gc_cutoff_lsn", "pg_version", "state", "initdb_lsn"} {
		ps.Set("/v1/tenant/"+tenant+"/timeline_and_offloaded", neonapitest.Timelines([]neonapitest.Object{neonapitest.Timeline(tenant, root, "0/1", "0/2", neonapitest.Object{"-" + key: nil})}, nil))
		if _, _, err := p.Timelines(ctx, ShardID{Tenant: tenant}); err == nil || !strings.Contains(err.Error(), "a timeline has no "+key) {
			t.Errorf("without %s: %v", key, err)
		}
	}
	for _, key := range []string{"timeline_start_lsn", "backup_lsn", "commit_lsn", "flush_lsn", "pg_info", "tenant_id"} {
		sk.Set("/v1/tenant/"+tenant+"/timeline/"+root, neonapitest.Stored(tenant, root, "0/1", "0/2", "0/3", neonapitest.Object{"-" + key: nil}))
		if _, _, err := s.Timeline(ctx, Key{tenant, root}); err == nil || !strings.Contains(err.Error(), "has no "+key) {
			t.Errorf("without %s: %v", key, err)
		}
	}
}

// TestHostileAnswers: whatever comes, it is an error, at once, and none that
// says that a later attempt may succeed.
func TestHostileAnswers(t *testing.T) {
	ctx := context.Background()
	ps, sk := neonapitest.Pageserver(t, 1), neonapitest.Safekeeper(t, 1)
	p, s := pageserver(t, ps, quick), safekeeper(t, sk, quick)
	good := neonapitest.Stored(tenant, root, "0/1000000", "0/2000000", "0/3", nil)
	with := func(k string, v any) neonapitest.Object {
		return neonapitest.Stored(tenant, root, "0/1000000", "0/2000000", "0/3", neonapitest.Object{k: v})
	}
	for what, body := range map[string]any{
		"nothing": "", "a word": "true", "a list": "[]", "cut off": string(encode(t, good))[:200], "something behind": string(encode(t, good)) + "{}",
		"deep": strings.Repeat("[", 100_000), "an LSN that is none": with("backup_lsn", "0/G"), "an LSN as a number": with("backup_lsn", 7),
		"another timeline": with("timeline_id", child), "segments of 3 bytes": with("pg_info", neonapitest.Object{"pg_version": 1, "system_id": 1, "wal_seg_size": 3}),
		"negative segments": with("pg_info", neonapitest.Object{"pg_version": 1, "system_id": 1, "wal_seg_size": -16777216}),
		"no start":          with("timeline_start_lsn", "0/0"), "a backup below the start": with("backup_lsn", "0/FFFFF8"),
	} {
		sk.Set("/v1/tenant/"+tenant+"/timeline/"+root, body)
		_, found, err := s.Timeline(ctx, Key{tenant, root})
		var bad *BadAnswerError
		if found || !errors.As(err, &bad) {
			t.Errorf("%s: %v, %v", what, found, err)
		}
	}
	if n := len(sk.Requests()); n != 13 {
		t.Errorf("%d requests for 13 answers: nonsense was asked for again", n)
	}
	for what, body := range map[string]any{
		"an object": "{}", "a path": `[{"id":"../../x","state":{"slug":"Active"},"generation":1}]`, "a wrong shard": `[{"id":"` + tenant + `-0202","state":{"slug":"Active"},"generation":1}]`,
		"no generation": `[{"id":"` + tenant + `","state":{"slug":"Active"}}]`,
	} {
		ps.Set("/v1/tenant", body)
		if got, err := p.Tenants(ctx); err == nil {
			t.Errorf("tenants, %s: %v", what, got)
		}
	}
}

func TestTooLong(t *testing.T) {
	ps := neonapitest.Pageserver(t, 1)
	ps.Before(func(w http.ResponseWriter, r *http.Request) bool {
		junk := []byte(`{"id":"` + tenant + `","state":"` + strings.Repeat("x", 1<<20) + `","generation":1},`)
		_, _ = w.Write([]byte("["))
		for r.Context().Err() == nil {
			if _, err := w.Write(junk); err != nil {
				break
			}
		}
		return true
	})
	p := pageserver(t, ps, quick)
	p.most = 5 << 20
	if _, err := p.Tenants(context.Background()); err == nil || !strings.Contains(err.Error(), "too long") {
		t.Errorf("an answer without end: %v", err)
	}
}

// TestTokens: they are sent, read anew for each request, refused with words,
// and stand in no error.
func TestTokens(t *testing.T) {
	ctx := context.Background()
	const secret = "eyJhbGciOiJFZERTQSJ9.secret.secret"
	ps := neonapitest.Pageserver(t, 1)
	ps.Require(secret)
	token := secret
	opt := quick
	opt.Token = func() (string, error) { return token, nil }
	p := pageserver(t, ps, opt)
	if _, err := p.Tenants(ctx); err != nil {
		t.Error(err)
	}
	for _, wrong := range []string{"", "other-secret", "line\nbreak-secret"} {
		token = wrong
		_, err := p.Tenants(ctx)
		var e *Error
		if !errors.As(err, &e) || wrong != "line\nbreak-secret" && !e.Denied() || strings.Contains(err.Error(), "secret") {
			t.Errorf("token %q: %v", wrong, err)
		}
	}
	opt.Token = func() (string, error) { return "", errors.New("no such file") }
	if _, err := pageserver(t, ps, opt).Tenants(ctx); err == nil || !strings.Contains(err.Error(), "no such file") {
		t.Errorf("a token that cannot be read: %v", err)
	}
	// No token goes where a server points.
	elsewhere := neonapitest.Pageserver(t, 2)
	ps.Before(func(w http.ResponseWriter, r *http.Request) bool {
		http.Redirect(w, r, elsewhere.URL+"/v1/tenant", http.StatusTemporaryRedirect)
		return true
	})
	token = secret
	opt.Token = func() (string, error) { return token, nil }
	if _, err := pageserver(t, ps, opt).Tenants(ctx); err == nil || len(elsewhere.Requests()) != 0 {
		t.Errorf("a redirection was followed: %v", err)
	}
}

// TestAttempts: what may pass is tried again, what will not is not.
func TestAttempts(t *testing.T) {
	ctx := context.Background()
	for status, want := range map[int]int{500: 3, 503: 3, 429: 3, 409: 3, 404: 1, 400: 1, 403: 1, 302: 1} {
		ps := neonapitest.Pageserver(t, 1)
		ps.Refuse("/v1/tenant", status, "words\x1b[31m"+strings.Repeat("y", 1000))
		_, err := pageserver(t, ps, quick).Tenants(ctx)
		var e *Error
		if !errors.As(err, &e) || e.Status != status || len(ps.Requests()) != want || strings.Contains(err.Error(), "\x1b") || len(err.Error()) > 500 {
			t.Errorf("status %d: %d requests, %v", status, len(ps.Requests()), err)
		}
	}
	// The i-th request fails, and then all do.
	for i := range 4 {
		ps := neonapitest.Pageserver(t, 1)
		var n atomic.Int64
		ps.Before(func(w http.ResponseWriter, _ *http.Request) bool {
			if n.Add(1) > int64(i) {
				return false
			}
			panic(http.ErrAbortHandler) // the connection breaks off
		})
		_, err := pageserver(t, ps, quick).Tenants(ctx)
		if (err == nil) != (i < 3) {
			t.Errorf("the first %d requests fail: %v", i, err)
		}
	}
	slow := neonapitest.Pageserver(t, 1)
	slow.Before(func(_ http.ResponseWriter, r *http.Request) bool { <-r.Context().Done(); return true })
	opt := quick
	opt.Timeout, opt.Attempts = 50*time.Millisecond, 2
	if _, err := pageserver(t, slow, opt).Tenants(ctx); err == nil || len(slow.Requests()) != 2 {
		t.Errorf("a server that hangs: %d requests, %v", len(slow.Requests()), err)
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := pageserver(t, slow, quick).Tenants(ended); !errors.Is(err, context.Canceled) {
		t.Errorf("a context that ended: %v", err)
	}
}

func TestAddresses(t *testing.T) {
	for _, bad := range []string{"", "host:9898", "ftp://host", "http://", "http://user:secret@host", "http://host?x=y", "http://host/#a", "http://[::1"} {
		if _, err := NewPageserver(bad, Options{}); err == nil || strings.Contains(err.Error(), "secret") {
			t.Errorf("%q: %v", bad, err)
		}
	}
}

// TestRealServers asks a real pageserver and a real safekeeper, for whoever has some.
func TestRealServers(t *testing.T) {
	ps, sk := os.Getenv("REDOUBT_NEON_PAGESERVER"), os.Getenv("REDOUBT_NEON_SAFEKEEPER")
	if ps == "" || sk == "" {
		t.Skip("SKIPPED, DATA: REDOUBT_NEON_PAGESERVER and REDOUBT_NEON_SAFEKEEPER name no servers of a real Neon")
	}
	with := func(variable string) Options {
		return Options{Token: func() (string, error) { return os.Getenv(variable), nil }}
	}
	ctx := context.Background()
	p, err := NewPageserver(ps, with("REDOUBT_NEON_TOKEN_PS"))
	if err != nil {
		t.Fatal(err)
	}
	s, err := NewSafekeeper(sk, with("REDOUBT_NEON_TOKEN_SK"))
	if err != nil {
		t.Fatal(err)
	}
	c := &Catalog{Pageservers: []*Pageserver{p}, Safekeepers: []*Safekeeper{s}}
	defer c.Close()
	for _, status := range []func(context.Context) (uint64, error){p.Status, s.Status} {
		if _, err := status(ctx); err != nil {
			t.Error(err)
		}
	}
	v, err := c.View(ctx)
	if err != nil || len(v.Problems) > 0 {
		t.Errorf("%v, %q", err, v.Problems)
	}
	for i, tl := range v.Timelines {
		if len(tl.Safekeepers) == 0 || i >= 20 {
			continue
		}
		e, err := c.Expect(ctx, tl.Key)
		r, why := tl.Readable()
		t.Logf("%v: %s %q, expected %s to %s of %v", tl.Key, r, why, e.From, e.To, e.Says)
		if err != nil || !e.Known {
			t.Errorf("%v: %v, %q", tl.Key, err, e.Doubts)
		}
	}
}

func FuzzAnswers(f *testing.F) {
	for _, name := range []string{"tenant.json", "timeline_and_offloaded.json", "safekeeper_timeline.json"} {
		f.Add([]byte(golden(f, name)))
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		dec := func() *json.Decoder { return json.NewDecoder(strings.NewReader(string(data))) }
		var s timelineStatus
		if dec().Decode(&s) == nil {
			if out, err := s.known(Key{tenant, root}); err == nil && (out.TimelineStartLSN == 0 || out.SegmentSize <= 0 || out.BackupLSN < out.TimelineStartLSN) {
				t.Fatalf("%+v", out)
			}
		}
		_ = each(dec(), 100, func(i timelineInfo) error {
			out, err := i.known()
			if err == nil && (!isID(out.Timeline) || out.Ancestor != "" && (!isID(out.Ancestor) || out.AncestorLSN == 0)) {
				t.Fatalf("%+v", out)
			}
			return err
		})
		var raw json.RawMessage
		if dec().Decode(&raw) == nil {
			_ = stateOf(raw)
		}
	})
}
