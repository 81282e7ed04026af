package verify_test

import (
	"bytes"
	"context"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/archive"
	"redoubt/internal/demo"
	"redoubt/internal/finding"
	"redoubt/internal/neonapi"
	"redoubt/internal/neonapi/neonapitest"
	"redoubt/internal/official/pageserver"
	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage"
	"redoubt/replay/native"
	"redoubt/verify"
)

// Where a real Neon is; docs/neon.md says what each means.
const (
	realPages   = "REDOUBT_NEON_PAGES"
	realServers = "REDOUBT_NEON_PAGESERVER"
	realWAL     = "REDOUBT_NEON_WAL"
	realToken   = "REDOUBT_NEON_TOKEN_PS"
)

// realSpan bounds the WAL that is tried, in bytes: the newest.
const realSpan = 64 << 20

// TestRealPageserver makes the tests of pages, as far as they only read, with a
// real pageserver, for whoever has one.
func TestRealPageserver(t *testing.T) {
	if os.Getenv(realPages) == "" || os.Getenv(realWAL) == "" || os.Getenv(realServers) == "" {
		t.Skipf("SKIPPED, DATA: %s, %s and %s name no pages of a real Neon", realPages, realServers, realWAL)
	}
	testRealPages(t, realWorld(t))
	t.Run("mutations", func(t *testing.T) {
		t.Skip("SKIPPED, DATA: nobody plants wrong pages, lost leases and broken messages in a real pageserver: the stand-in's tests do")
	})
}

// TestRealPageserverStandIn makes the same with the stand-in, by the same variables: that
// they work can be known without a real one.
func TestRealPageserverStandIn(t *testing.T) {
	pgtest.LeaveToProve(t)
	w := stockWorld(t, wire.Layout{Shards: 2, Stripe: 16})
	from, last := w.ends[0], w.ends[len(w.ends)-1]
	ps := neonapitest.Pageserver(t, 1)
	shards := []string{neonTenant + "-0002", neonTenant + "-0102"}
	ps.Set("/v1/tenant", []neonapitest.Object{neonapitest.Tenant(shards[0], 1), neonapitest.Tenant(shards[1], 1)})
	for _, shard := range shards {
		ps.Set("/v1/tenant/"+shard+"/timeline_and_offloaded", neonapitest.Timelines([]neonapitest.Object{
			neonapitest.Timeline(shard, neonTimeline, from.String(), last.String(), nil),
		}, nil))
	}
	bucket := t.TempDir()
	layUnpacked(t, filepath.Join(bucket, neonTenant, neonTimeline))
	t.Setenv(realPages, w.Location(neonTimeline)+"&sslmode=disable")
	t.Setenv(realServers, ps.URL)
	t.Setenv(realWAL, bucket)
	byName := realWorld(t)
	if len(byName.ends) < len(w.ends)/2 {
		t.Errorf("%d records are known, of %d", len(byName.ends), len(w.ends))
	}
	testRealPages(t, byName)
}

// layUnpacked puts the demo's segments into a directory as safekeepers do.
func layUnpacked(t *testing.T, to string) {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "bucket")
	if _, err := demo.Unpack(dir); err != nil {
		t.Fatal(err)
	}
	if err := os.MkdirAll(to, 0o700); err != nil {
		t.Fatal(err)
	}
	found, err := filepath.Glob(filepath.Join(dir, "acme", "main", "wal", "*.zst"))
	if err != nil || len(found) == 0 {
		t.Fatalf("no segments: %v", err)
	}
	d, err := unpacker()
	if err != nil {
		t.Fatal(err)
	}
	for _, path := range found {
		packed, err := os.ReadFile(path)
		if err != nil {
			t.Fatal(err)
		}
		data, err := d.DecodeAll(packed, nil)
		if err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(filepath.Join(to, strings.TrimSuffix(filepath.Base(path), ".zst")), data, 0o600); err != nil {
			t.Fatal(err)
		}
	}
}

// realWorld is a timeline by the environment: its newest WAL that is in the bucket.
func realWorld(t *testing.T) *pageWorld {
	t.Helper()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	w := &pageWorld{location: os.Getenv(realPages)}
	target, err := pageserver.Parse(w.location)
	must(err)
	catalog := &neonapi.Catalog{Include: []string{target.Tenant}}
	for _, url := range strings.Split(os.Getenv(realServers), ",") {
		p, err := neonapi.NewPageserver(url, neonapi.Options{Token: func() (string, error) { return os.Getenv(realToken), nil }})
		must(err)
		catalog.Pageservers = append(catalog.Pageservers, p)
	}
	t.Cleanup(catalog.Close)
	view, err := catalog.View(t.Context())
	must(err)
	tl, ok := view.Find(neonapi.Key{Tenant: target.Tenant, Timeline: target.Timeline})
	if !ok {
		t.Fatalf("the pageservers have no timeline %s/%s: %q", target.Tenant, target.Timeline, view.Problems)
	}
	readable, why := tl.Readable()
	if why != "" {
		t.Fatal(why)
	}
	store, err := storage.Open(t.Context(), os.Getenv(realWAL))
	must(err)
	t.Cleanup(func() { _ = store.Close() })
	a, err := archive.Open(t.Context(), store, archive.Neon, archive.Options{Branch: func(_ context.Context, _, id string) (*archive.Branch, error) {
		if b, ok := view.Find(neonapi.Key{Tenant: target.Tenant, Timeline: id}); ok && b.Ancestor != "" {
			return &archive.Branch{Timeline: b.Ancestor, LSN: b.AncestorLSN}, nil
		}
		return nil, nil
	}})
	must(err)
	in, err := a.Timeline(t.Context(), target.Tenant, target.Timeline)
	must(err)
	src, err := in.Source(t.Context(), 1)
	must(err)
	w.wal = src
	w.start, err = native.FirstRecord(t.Context(), src, max(readable.From, readable.To-min(readable.To, realSpan)))
	must(err)
	w.ends = recordEnds(t, src, w.start, readable.To)
	t.Logf("%s: readable %s, %d records from %s to %s", w.location, readable, len(w.ends), w.start, w.ends[len(w.ends)-1])
	return w
}

// testRealPages reads only.
func testRealPages(t *testing.T, w *pageWorld) {
	from, to := w.ends[len(w.ends)/2], w.ends[len(w.ends)*3/4]
	t.Run("nights", func(t *testing.T) { testNights(t, w) })
	t.Run("catalog and sizes", func(t *testing.T) {
		v, err := w.night(t, from, to, func(o *verify.Options) { o.Untouched = 0.05 })
		if err != nil || v.Verdict != finding.Clean || v.Coverage.Relations < 200 {
			t.Errorf("%d relations: %s, error %v", v.Coverage.Relations, describe(v), err)
		}
		t.Logf("%d relations, %d untouched blocks compared, %d not looked at", v.Coverage.Relations, v.Coverage.BlocksUntouchedCompared, v.Coverage.BlocksSkipped)
	})
	target, err := pageserver.Parse(w.place())
	if err != nil {
		t.Fatal(err)
	}
	t.Run("SLRUs", func(t *testing.T) {
		c := pageserver.New(target)
		defer func() { _ = c.Close() }()
		files := map[string][]byte{}
		if err := c.Files(t.Context(), to, func(name string, content []byte) error { files[name] = bytes.Clone(content); return nil }); err != nil {
			t.Fatal(err)
		}
		if len(files["pg_xact/0000"]) == 0 {
			t.Log("base backups have no pg_xact/0000")
			return
		}
		got, err := c.SLRUSegment(t.Context(), to, wire.Xact, 0)
		if err != nil || !bytes.Equal(got, files["pg_xact/0000"]) {
			t.Errorf("pg_xact/0000 has %d bytes, in the base backup %d, or others: %v", len(got), len(files["pg_xact/0000"]), err)
		}
	})
	t.Run("leases", func(t *testing.T) {
		c := pageserver.New(target)
		defer func() { _ = c.Close() }()
		for range 2 { // the second renews
			if d, err := c.Lease(t.Context(), to); err != nil || d <= 0 {
				t.Errorf("%s, %v", d, err)
			}
		}
	})
	t.Run("throttling", func(t *testing.T) {
		slow := target
		slow.Options.PagesPerSecond = 100
		c := pageserver.New(slow)
		defer func() { _ = c.Close() }()
		class := pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: pg.GlobalTablespaceOID, Rel: 1262}}}
		blocks := slices.Repeat([]pg.Block{class}, 40)
		start := time.Now()
		err := c.Pages(t.Context(), to, blocks, make([]byte, len(blocks)*pg.BlockSize))
		if took := time.Since(start); err != nil || took < 250*time.Millisecond { // ten at once, thirty at 100 a second
			t.Errorf("%d pages took %s, error %v", len(blocks), took, err)
		}
	})
	t.Run("an LSN that is not readable", func(t *testing.T) {
		c := pageserver.New(target)
		defer func() { _ = c.Close() }()
		if _, err := c.Sizes(t.Context(), 0x18, []pg.RelFork{{}}); err == nil {
			t.Error("0/18 is readable")
		}
	})
}
