package neonapi

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/url"
	"path"
	"slices"
	"sync"

	"golang.org/x/sync/errgroup"

	"redoubt/internal/pg"
)

// Catalog is what several pageservers and safekeepers know together.
type Catalog struct {
	Pageservers []*Pageserver
	Safekeepers []*Safekeeper
	// Include and Exclude are patterns of tenants' ids, as path.Match has them:
	// one is wanted that fits one of the former, or there are none of these, and
	// none of the latter.
	Include, Exclude []string
	Parallel         int // requests at the same time; 0: 4
}

// Close lets go of connections.
func (c *Catalog) Close() {
	for _, p := range c.Pageservers {
		p.Close()
	}
	for _, s := range c.Safekeepers {
		s.Close()
	}
}

// Wanted reports whether the patterns choose a tenant.
func (c *Catalog) Wanted(tenant string) bool {
	fits := func(pattern string) bool {
		ok, err := path.Match(pattern, tenant)
		return ok && err == nil
	}
	return (len(c.Include) == 0 || slices.ContainsFunc(c.Include, fits)) && !slices.ContainsFunc(c.Exclude, fits)
}

// Timeline is what all pageservers say of one timeline, and which safekeepers
// have it.
type Timeline struct {
	Key
	Shards []Shard // by number; empty if no pageserver has it active
	// Count is how many shards there should be.
	Count       int
	Offloaded   bool // in the bucket only: no page can be read
	Ancestor    string
	AncestorLSN pg.LSN
	Safekeepers []string // names of those that list it
}

// Shard is what the pageserver that a shard is attached to says of a timeline.
type Shard struct {
	Pageserver string // its name
	URL        string // of its HTTP API
	ID         ShardID
	ShardTimeline
}

// Host is the name or address of the server that has the shard.
func (s *Shard) Host() (string, error) {
	u, err := url.Parse(s.URL)
	if err != nil {
		return "", err
	}
	return u.Hostname(), nil
}

// Readable is from which LSN up to which one all pages of the timeline can be
// read: where all shards are known, active, and have it in common. why says
// what stands in the way.
func (t *Timeline) Readable() (r pg.Range, why string) {
	switch {
	case t.Offloaded:
		return r, "it is offloaded: no pageserver has it active"
	case len(t.Shards) == 0:
		return r, "no pageserver that answered has it"
	case len(t.Shards) < t.Count:
		return r, fmt.Sprintf("%d of its %d shards are known", len(t.Shards), t.Count)
	}
	r.To = t.Shards[0].LastRecordLSN
	for _, s := range t.Shards {
		if s.State != "Active" {
			return pg.Range{}, fmt.Sprintf("shard %s is %s", s.ID, s.State)
		}
		r.From, r.To = max(r.From, s.MinReadableLSN), min(r.To, s.LastRecordLSN)
	}
	if r.From > r.To {
		return pg.Range{}, fmt.Sprintf("its oldest readable LSN, %s, is behind its last, %s", r.From, r.To)
	}
	return r, ""
}

// Major is PostgreSQL's major version, 0 if no pageserver told.
func (t *Timeline) Major() int {
	for _, s := range t.Shards {
		return s.PGVersion
	}
	return 0
}

// View is what a catalog showed at one time.
type View struct {
	Timelines []Timeline // by tenant and timeline
	// Problems are servers that did not answer, or not in full, and what they
	// say against each other. As long as there are any, what no server
	// named may be there all the same.
	Problems []string
}

// Find finds a timeline in a view.
func (v *View) Find(k Key) (*Timeline, bool) {
	i, ok := slices.BinarySearchFunc(v.Timelines, k, func(t Timeline, k Key) int { return compareKeys(t.Key, k) })
	if !ok {
		return nil, false
	}
	return &v.Timelines[i], true
}

func compareKeys(a, b Key) int {
	return cmp.Or(cmp.Compare(a.Tenant, b.Tenant), cmp.Compare(a.Timeline, b.Timeline))
}

// View asks all servers for the timelines of the tenants that are wanted. Its
// error is the context's.
func (c *Catalog) View(ctx context.Context) (View, error) {
	g := gathering{c: c, timelines: make(map[Key]*Timeline)}
	shards := g.tenants(ctx)
	group := c.group()
	for _, s := range shards {
		group.Go(func() error { g.shard(ctx, s); return nil })
	}
	for _, s := range c.Safekeepers {
		group.Go(func() error { g.safekeeper(ctx, s); return nil })
	}
	_ = group.Wait() // no function of it fails
	if ctx.Err() != nil {
		return View{}, ctx.Err()
	}
	return g.view(), nil
}

// StripeSize asks the pageservers of a timeline how many blocks in a row belong
// to one of its shards. It is 0 where there is one shard, or none of them
// knows.
func (c *Catalog) StripeSize(ctx context.Context, t *Timeline) (blocks uint32, err error) {
	if t.Count < 2 {
		return 0, nil
	}
	for _, s := range t.Shards {
		i := slices.IndexFunc(c.Pageservers, func(p *Pageserver) bool { return p.url == s.URL })
		if i < 0 {
			return 0, fmt.Errorf("shard %s is at %s, which is none of the pageservers asked", s.ID, s.URL)
		}
		told, err := c.Pageservers[i].StripeSize(ctx, s.ID)
		if err != nil {
			return 0, err
		}
		if blocks != 0 && told != 0 && told != blocks {
			return 0, fmt.Errorf("the shards of tenant %s contradict each other: stripes of %d and %d blocks", t.Tenant, blocks, told)
		}
		blocks = cmp.Or(told, blocks)
	}
	return blocks, nil
}

func (c *Catalog) group() *errgroup.Group {
	group := &errgroup.Group{}
	group.SetLimit(cmp.Or(max(c.Parallel, 0), 4))
	return group
}

// gathering puts a view together.
type gathering struct {
	c         *Catalog
	mu        sync.Mutex
	timelines map[Key]*Timeline
	problems  []string
}

func (g *gathering) problem(format string, args ...any) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.problems = append(g.problems, fmt.Sprintf(format, args...))
}

// of is a timeline that is put together; the caller holds the lock.
func (g *gathering) of(k Key) *Timeline {
	if g.timelines[k] == nil {
		g.timelines[k] = &Timeline{Key: k}
	}
	return g.timelines[k]
}

// attached is a shard, and the pageserver that has its highest generation.
type attached struct {
	TenantShard
	server *Pageserver
}

// tenants lists the shards of the tenants that are wanted. Of a tenant that is
// being split only the shards of the largest number count.
func (g *gathering) tenants(ctx context.Context) []attached {
	var mu sync.Mutex
	found := map[ShardID]attached{}
	group := g.c.group()
	for _, p := range g.c.Pageservers {
		group.Go(func() error {
			shards, err := p.Tenants(ctx)
			if err != nil {
				g.problem("%v", err)
				return nil
			}
			mu.Lock()
			defer mu.Unlock()
			for _, s := range shards {
				if had, ok := found[s.ShardID]; g.c.Wanted(s.Tenant) && (!ok || had.Generation < s.Generation) {
					found[s.ShardID] = attached{s, p}
				}
			}
			return nil
		})
	}
	_ = group.Wait() // no function of it fails
	most := map[string]int{}
	for id := range found {
		most[id.Tenant] = max(most[id.Tenant], id.Shards())
	}
	var out []attached
	for id, s := range found {
		if id.Shards() == most[id.Tenant] {
			out = append(out, s)
		}
	}
	return out
}

func (g *gathering) shard(ctx context.Context, s attached) {
	active, offloaded, err := s.server.Timelines(ctx, s.ShardID)
	if err != nil {
		g.problem("tenant %s: %v", s.ShardID, err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, t := range active {
		of := g.of(Key{s.Tenant, t.Timeline})
		of.Shards = append(of.Shards, Shard{s.server.Name(), s.server.url, s.ShardID, t})
		of.Count = s.Shards()
		of.Ancestor, of.AncestorLSN = t.Ancestor, t.AncestorLSN
	}
	for _, t := range offloaded {
		of := g.of(Key{s.Tenant, t.Timeline})
		of.Offloaded, of.Count = true, s.Shards()
		of.Ancestor, of.AncestorLSN = t.Ancestor, t.AncestorLSN
	}
}

func (g *gathering) safekeeper(ctx context.Context, s *Safekeeper) {
	keys, err := s.Timelines(ctx)
	if err != nil {
		g.problem("%v", err)
		return
	}
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, k := range keys {
		if g.c.Wanted(k.Tenant) {
			t := g.of(k)
			t.Safekeepers = append(t.Safekeepers, s.Name())
		}
	}
}

func (g *gathering) view() (v View) {
	v.Problems = g.problems
	for _, t := range g.timelines {
		slices.SortFunc(t.Shards, func(a, b Shard) int { return cmp.Compare(a.ID.Number, b.ID.Number) })
		slices.Sort(t.Safekeepers)
		v.Timelines = append(v.Timelines, *t)
		for _, s := range t.Shards {
			if s.Ancestor != t.Ancestor || s.AncestorLSN != t.AncestorLSN || s.PGVersion != t.Shards[0].PGVersion {
				v.Problems = append(v.Problems, fmt.Sprintf("the shards of %s/%s contradict each other: ancestor %q at %s and %q at %s, PostgreSQL %d and %d",
					t.Tenant, t.Key.Timeline, s.Ancestor, s.AncestorLSN, t.Ancestor, t.AncestorLSN, s.PGVersion, t.Shards[0].PGVersion))
				break
			}
		}
	}
	slices.SortFunc(v.Timelines, func(a, b Timeline) int { return compareKeys(a.Key, b.Key) })
	slices.Sort(v.Problems)
	return v
}

// Says is what one safekeeper says of a timeline.
type Says struct {
	Safekeeper string
	Stored
}

// Expected is the WAL that should be in the bucket, by the word of the
// safekeepers.
type Expected struct {
	Known       bool   // at least one told; otherwise nothing below is set but Doubts
	From, To    pg.LSN // the lowest timeline_start_lsn, the highest backup_lsn
	SegmentSize int64
	Says        []Says
	// Doubts are why more may be expected: a safekeeper did not answer, none has
	// the timeline, or they contradict each other.
	Doubts []string
}

// Expect asks all safekeepers for one timeline. Its error is the context's.
func (c *Catalog) Expect(ctx context.Context, k Key) (e Expected, err error) {
	if !isID(k.Tenant) || !isID(k.Timeline) {
		return e, errors.New("ask safekeepers: the timeline's ids are not of Neon's form")
	}
	answers := make([]Says, len(c.Safekeepers))
	failed := make([]error, len(c.Safekeepers))
	group := c.group()
	for i, s := range c.Safekeepers {
		group.Go(func() error {
			stored, found, err := s.Timeline(ctx, k)
			failed[i] = err
			if found {
				answers[i] = Says{s.Name(), stored}
			}
			return nil
		})
	}
	_ = group.Wait() // no function of it fails
	if ctx.Err() != nil {
		return e, ctx.Err()
	}
	for i, says := range answers {
		if failed[i] != nil {
			e.Doubts = append(e.Doubts, fmt.Sprintf("it is not known which WAL should be there: %v", failed[i]))
		}
		if says.Safekeeper != "" {
			e.add(says)
		}
	}
	if !e.Known && len(e.Doubts) == 0 {
		e.Doubts = []string{"it is not known which WAL should be there: no safekeeper has the timeline"}
	}
	return e, nil
}

// add takes one safekeeper's word into account.
func (e *Expected) add(s Says) {
	e.Says = append(e.Says, s)
	if !e.Known {
		e.Known, e.From, e.To, e.SegmentSize = true, s.TimelineStartLSN, s.BackupLSN, s.SegmentSize
		return
	}
	first := e.Says[0]
	if s.TimelineStartLSN != first.TimelineStartLSN || s.SegmentSize != first.SegmentSize {
		e.Doubts = append(e.Doubts, fmt.Sprintf("the safekeepers contradict each other: %s says that the WAL begins at %s in segments of %d bytes, %s at %s in segments of %d",
			first.Safekeeper, first.TimelineStartLSN, first.SegmentSize, s.Safekeeper, s.TimelineStartLSN, s.SegmentSize))
	}
	e.From, e.To = min(e.From, s.TimelineStartLSN), max(e.To, s.BackupLSN)
}

// Commit is the highest commit LSN that a safekeeper told.
func (e *Expected) Commit() (at pg.LSN) {
	for _, s := range e.Says {
		at = max(at, s.CommitLSN)
	}
	return at
}
