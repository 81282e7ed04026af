package main

import (
	"context"
	"crypto/ed25519"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/official/pageserver"
	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/pageservertest"
	"redoubt/internal/pg"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
	"redoubt/replay"
	"redoubt/replay/native"
)

// servedDemo is a stand-in for a pageserver, with tokens,
// that serves the demo's acme/main, and two LSNs of it.
func servedDemo(t *testing.T, layout wire.Layout, listen ...string) (s *pageservertest.Server, key ed25519.PrivateKey, wal string, from, to pg.LSN) {
	t.Helper()
	ctx := context.Background()
	bucket, _ := planted(t)
	sp := spanIn(bucket, "acme", "main", "nightly-1", "nightly-2")
	base, err := openSide(ctx, sp.base)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = base.Close() }()
	clean := finish(t, raced(t, sp.args()...))
	clean.want(t, exitClean)
	span := clean.verification(t).Span
	tl, store, err := openTimeline(ctx, sp.wal, "auto", "", "")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = store.Close() })
	src, err := tl.Source(ctx, 1)
	if err != nil {
		t.Fatal(err)
	}
	next := finish(t, raced(t, spanIn(bucket, "acme", "main", "nightly-2", "nightly-3").args()...))
	to = next.verification(t).Span.To
	timelines := map[string]*pageservertest.History{}
	for id, first := range map[string]pg.LSN{demoTimeline: span.To, demoBranch: demoFork(t, src, span.To, to) + 8} {
		h, err := pageservertest.NewHistory(ctx, base, span.From, src, t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = h.Close() })
		h.First, timelines[id] = first, h
	}
	public, private, err := ed25519.GenerateKey(nil)
	if err != nil {
		t.Fatal(err)
	}
	s, err = pageservertest.Start(pageservertest.Config{Tenant: demoTenant, Timelines: timelines, Layout: layout, Key: public, Listen: listen})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return s, private, sp.wal, span.To, to
}

const (
	demoTenant   = "0123456789abcdef0123456789abcdef"
	demoTimeline = "fedcba9876543210fedcba9876543210"
	demoBranch   = "bedcba9876543210fedcba9876543210" // the same WAL and pages; of the latter none at the LSN where it begins or before
)

// demoFork is the LSN, between two at which the demo's pages are served, where
// demoBranch leaves demoTimeline.
func demoFork(t *testing.T, src replay.WALSource, from, to pg.LSN) pg.LSN {
	t.Helper()
	at, err := native.FirstRecord(t.Context(), src, (pg.SegmentOf(from+(to-from)/5, src.SegmentSize()) + 1).Start(src.SegmentSize()))
	if err != nil {
		t.Fatal(err)
	}
	return at
}

// TestVerifyPageserver: clean is 0, a wrong page 1, and a token that is
// refused, or none, 3; the token is in no output.
func TestVerifyPageserver(t *testing.T) {
	s, key, wal, from, to := servedDemo(t, wire.Layout{Shards: 2, Stripe: 8})
	token, err := pageservertest.Token(key, "tenant", demoTenant)
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "token")
	if err := os.WriteFile(file, []byte(token+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	loc := s.Location(demoTimeline)
	verify := func(loc string, more ...string) outcome {
		o := redoubt(t, append([]string{"verify", "--base", loc, "--from", from.String(), "--official", loc, "--to", to.String(), "--wal", wal, "--format", "json", "--progress", "never"}, more...)...)
		if strings.Contains(o.stdout+o.stderr, token) {
			t.Error("the token was printed")
		}
		return o
	}
	t.Setenv(pageserver.TokenVariable, "")
	o := verify(loc+"&token_file="+file, "--untouched", "0.5", "--seed", "3")
	o.want(t, exitClean)
	v := o.verification(t)
	if c := v.Coverage; v.Span.From != from || v.Span.To != to || c.BlocksCompared < 100 || c.BlocksUntouchedCompared == 0 || c.BlocksSkipped == 0 || c.SLRUPagesCompared == 0 || len(s.PerShard()) != 2 {
		t.Errorf("%+v, pages by shard %v", v, s.PerShard())
	}
	for name, bad := range map[string]string{"no token": "", "not a token": "x", "another tenant's": mustToken(t, key, "fedcba98fedcba98fedcba98fedcba98")} {
		t.Setenv(pageserver.TokenVariable, bad)
		o := verify(loc)
		o.want(t, exitInconclusive)
		if v := o.verification(t); v.Verdict != finding.Inconclusive || !strings.Contains(strings.Join(v.Reasons, "\n"), "access refused") {
			t.Errorf("%s: %s, %q", name, v.Verdict, v.Reasons)
		}
	}
	t.Setenv(pageserver.TokenVariable, token)
	// The same with the WAL in a bucket of an S3 server, in Neon's layout; connections end now and then.
	bucket := storagetest.S3(t)("neon")
	store, err := storage.Open(t.Context(), bucket)
	must(t, err)
	t.Cleanup(func() { _ = store.Close() })
	for name, data := range segmentsIn(t, wal) {
		if len(name) == 24 {
			storagetest.Put(t, store, "sk/"+demoTenant+"/"+demoTimeline+"/"+name, data)
		}
	}
	prefix := strings.Replace(bucket, "s3://neon?", "s3://neon/sk?", 1)
	redoubt(t, "scan", "--wal", prefix, "--layout", "neon", "--deep", "--progress", "never").want(t, exitClean, demoTimeline)
	s.Plant(pageservertest.Plant{ConnectionsEnd: 200})
	plain := wal
	wal = prefix
	verify(loc, "--layout", "neon", "--cluster", demoTenant+"/"+demoTimeline).want(t, exitClean)
	wal = plain
	s.Plant(pageservertest.Plant{Page: func(at pg.LSN, b pg.Block, p []byte) {
		if at >= to && b.DB == 5 && b.Rel == 1259 && b.Fork == pg.MainFork && b.Number == 0 {
			clear(p)
		}
	}})
	o = verify(loc, "--untouched", "1")
	o.want(t, exitFindings)
	if v := o.verification(t); len(v.Discrepancies) != 1 || v.Discrepancies[0].Kind != finding.ZeroedPage || v.Discrepancies[0].File != "base/5/1259" {
		t.Errorf("%+v", v.Discrepancies)
	}
}

func mustToken(t *testing.T, key ed25519.PrivateKey, tenant string) string {
	t.Helper()
	token, err := pageservertest.Token(key, "tenant", tenant)
	if err != nil {
		t.Fatal(err)
	}
	return token
}
