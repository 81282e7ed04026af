package neonapi

import (
	"context"
	"net/http"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"redoubt/internal/neonapi/neonapitest"
	"redoubt/internal/pg"
)

// fleet is two pageservers, of which each has a shard of a tenant and the
// second the one of another, and three safekeepers.
func fleet(t *testing.T) (c *Catalog, ps []*neonapitest.Server, sk []*neonapitest.Server) {
	t.Helper()
	c = &Catalog{}
	for i := range 2 {
		s := neonapitest.Pageserver(t, i+1)
		ps = append(ps, s)
		c.Pageservers = append(c.Pageservers, pageserver(t, s, quick))
	}
	for i := range 3 {
		s := neonapitest.Safekeeper(t, i+1)
		sk = append(sk, s)
		c.Safekeepers = append(c.Safekeepers, safekeeper(t, s, quick))
	}
	shard := func(s *neonapitest.Server, id string, offloaded []neonapitest.Object, active ...neonapitest.Object) {
		s.Set("/v1/tenant/"+id+"/timeline_and_offloaded", neonapitest.Timelines(active, offloaded))
	}
	s0, s1 := tenant+"-0002", tenant+"-0102"
	ps[0].Set("/v1/tenant", []neonapitest.Object{neonapitest.Tenant(s0, 3), neonapitest.Tenant(s1, 1), neonapitest.Tenant(tenant, 1)})
	ps[1].Set("/v1/tenant", []neonapitest.Object{neonapitest.Tenant(s1, 2), neonapitest.Tenant(other, 1)})
	branch := neonapitest.Object{"ancestor_timeline_id": root, "ancestor_lsn": "0/2800000"}
	shard(ps[0], s0, nil, neonapitest.Timeline(s0, root, "0/2000000", "0/3000000", nil), neonapitest.Timeline(s0, child, "0/2800000", "0/4000000", branch))
	shard(ps[1], s1, nil, neonapitest.Timeline(s1, root, "0/2100000", "0/2F00000", nil), neonapitest.Timeline(s1, child, "0/2800000", "0/4000000", branch))
	shard(ps[1], other, []neonapitest.Object{{"tenant_id": other, "timeline_id": third, "archived_at": "2026-01-01T00:00:00Z"}})
	for _, s := range sk[:2] {
		s.Set("/v1/tenant/timeline", []neonapitest.Object{{"tenant_id": tenant, "timeline_id": root}, {"tenant_id": other, "timeline_id": third}})
	}
	return c, ps, sk
}

func TestView(t *testing.T) {
	ctx := context.Background()
	c, ps, sk := fleet(t)
	v, err := c.View(ctx)
	if err != nil || len(v.Problems) != 0 {
		t.Fatalf("%v, %q", err, v.Problems)
	}
	type brief struct {
		key      Key
		servers  int
		count    int
		readable string
		ancestor string
		major    int
		keepers  int
	}
	var got []brief
	for _, tl := range v.Timelines {
		r, why := tl.Readable()
		if why == "" {
			why = r.String()
		}
		got = append(got, brief{tl.Key, len(tl.Shards), tl.Count, why, tl.Ancestor, tl.Major(), len(tl.Safekeepers)})
	}
	want := []brief{
		{Key{other, third}, 0, 1, "it is offloaded: no pageserver has it active", "", 0, 2},
		{Key{tenant, root}, 2, 2, "[0/2100000, 0/2F00000)", "", 15, 2},
		{Key{tenant, child}, 2, 2, "[0/2800000, 0/4000000)", root, 15, 0},
	}
	if diff := cmp.Diff(want, got, cmp.AllowUnexported(brief{})); diff != "" {
		t.Error(diff)
	}
	if tl, ok := v.Find(Key{tenant, child}); !ok || tl.AncestorLSN != 0x2800000 || tl.Shards[1].Pageserver != c.Pageservers[1].Name() {
		t.Errorf("%+v, %v", tl, ok)
	}
	if _, ok := v.Find(Key{tenant, third}); ok {
		t.Error("a timeline that is not there was found")
	}

	// Only what is wanted is asked for.
	c.Include, c.Exclude = []string{"d*", other}, []string{"ae*"}
	if v, err = c.View(ctx); err != nil || len(v.Timelines) != 2 || len(v.Problems) != 0 {
		t.Errorf("two patterns: %+v, %v", v, err)
	}
	for _, asked := range ps[1].Requests()[len(ps[1].Requests())-2:] {
		if strings.Contains(asked, other) {
			t.Errorf("a tenant that is excluded was asked for: %s", asked)
		}
	}

	// A server that does not answer is a problem, and its timelines are not whole.
	ps[1].Refuse("/v1/tenant", http.StatusServiceUnavailable, "shutting down")
	sk[2].Refuse("/v1/tenant/timeline", http.StatusForbidden, "JWT authentication error")
	v, err = c.View(ctx)
	if err != nil || len(v.Problems) < 2 || !strings.Contains(strings.Join(v.Problems, "\n"), "shutting down") {
		t.Errorf("%v, %q", err, v.Problems)
	}
	tl, _ := v.Find(Key{tenant, root})
	if _, why := tl.Readable(); why == "" {
		t.Errorf("a shard is not known, and yet all of %+v can be read", tl)
	}
}

func TestReadable(t *testing.T) {
	shard := func(n int, state string, from, to pg.LSN) Shard {
		return Shard{ID: ShardID{tenant, n, 2}, ShardTimeline: ShardTimeline{State: state, MinReadableLSN: from, LastRecordLSN: to}}
	}
	for what, c := range map[string]struct {
		tl   Timeline
		want string
	}{
		"whole":         {Timeline{Count: 2, Shards: []Shard{shard(0, "Active", 10, 30), shard(1, "Active", 20, 40)}}, ""},
		"one is gone":   {Timeline{Count: 2, Shards: []Shard{shard(1, "Active", 20, 40)}}, "1 of its 2"},
		"one is broken": {Timeline{Count: 2, Shards: []Shard{shard(0, "Active", 10, 30), shard(1, "Broken", 20, 40)}}, "is Broken"},
		"nothing left":  {Timeline{Count: 1, Shards: []Shard{shard(0, "Active", 50, 40)}}, "is behind its last"},
		"unknown":       {Timeline{}, "no pageserver"},
	} {
		if r, why := c.tl.Readable(); (why == "") != (c.want == "") || !strings.Contains(why, c.want) || why == "" && r != (pg.Range{From: 20, To: 30}) {
			t.Errorf("%s: %s, %q", what, r, why)
		}
	}
}

func TestContradictingShards(t *testing.T) {
	c, ps, _ := fleet(t)
	s1 := tenant + "-0102"
	ps[1].Set("/v1/tenant/"+s1+"/timeline_and_offloaded", neonapitest.Timelines([]neonapitest.Object{neonapitest.Timeline(s1, root, "0/1", "0/2", neonapitest.Object{"pg_version": 16})}, nil))
	v, err := c.View(context.Background())
	if err != nil || len(v.Problems) != 1 || !strings.Contains(v.Problems[0], "contradict") {
		t.Errorf("%v, %q", err, v.Problems)
	}
}

func TestExpect(t *testing.T) {
	ctx := context.Background()
	k := Key{tenant, root}
	path := "/v1/tenant/" + tenant + "/timeline/" + root
	stored := func(start, backup, commit string) neonapitest.Object {
		return neonapitest.Stored(tenant, root, start, backup, commit, nil)
	}
	c, _, sk := fleet(t)
	e, err := c.Expect(ctx, k)
	if err != nil || e.Known || len(e.Doubts) != 1 || !strings.Contains(e.Doubts[0], "no safekeeper has") {
		t.Errorf("a timeline that none has: %+v, %v", e, err)
	}
	sk[0].Set(path, stored("0/14AEC08", "0/5000000", "0/6000000"))
	sk[1].Set(path, stored("0/14AEC08", "0/7000000", "0/7800000"))
	e, err = c.Expect(ctx, k)
	if err != nil || !e.Known || e.From != 0x14AEC08 || e.To != 0x7000000 || e.SegmentSize != 16<<20 || e.Commit() != 0x7800000 || len(e.Says) != 2 || len(e.Doubts) != 0 {
		t.Errorf("%+v, %v", e, err)
	}
	sk[2].Refuse(path, http.StatusInternalServerError, "disk")
	if e, err = c.Expect(ctx, k); err != nil || !e.Known || e.To != 0x7000000 || len(e.Doubts) != 1 || !strings.Contains(e.Doubts[0], "not known") {
		t.Errorf("one fails: %+v, %v", e, err)
	}
	sk[2].Set(path, stored("0/1000028", "0/2000000", "0/2000000"))
	if e, err = c.Expect(ctx, k); err != nil || e.From != 0x1000028 || e.To != 0x7000000 || len(e.Doubts) != 1 || !strings.Contains(e.Doubts[0], "contradict") {
		t.Errorf("two starts: %+v, %v", e, err)
	}
	if _, err := c.Expect(ctx, Key{"../x", root}); err == nil {
		t.Error("a path was taken for a tenant")
	}
	ended, cancel := context.WithCancel(ctx)
	cancel()
	if _, err := c.Expect(ended, k); err == nil {
		t.Error("a context that ended is none")
	}
	if _, err := c.View(ended); err == nil {
		t.Error("a context that ended is none")
	}
}
