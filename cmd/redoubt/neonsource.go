package main

import (
	"context"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"
	"sync"
	"time"

	"redoubt/internal/archive"
	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/ledger"
	"redoubt/internal/neonapi"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/storage"
	"redoubt/scanner"
)

// neonSource is a source of Neon's: its servers, and what they said last.
type neonSource struct {
	catalog *neonapi.Catalog

	mu   sync.Mutex
	view neonapi.View
	at   time.Time
}

// viewAge is how old a view may be where only the ancestor of a timeline is
// wanted, which hardly ever changes.
const viewAge = 15 * time.Minute

// neon is what a source's servers say, nil if it names none.
func (s *site) neon(src config.Source) (*neonSource, error) {
	if !src.Neon.Configured() {
		return nil, nil
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if n := s.neons[src.Name]; n != nil {
		return n, nil
	}
	c, err := neonCatalog(src.Neon)
	if err != nil {
		return nil, err
	}
	n := &neonSource{catalog: c}
	s.neons[src.Name] = n
	return n, nil
}

func neonCatalog(cfg config.Neon) (*neonapi.Catalog, error) {
	c := &neonapi.Catalog{Include: cfg.Tenants.Include, Exclude: cfg.Tenants.Exclude, Parallel: cfg.Parallel}
	for _, url := range cfg.Pageservers {
		p, err := neonapi.NewPageserver(url, neonapi.Options{Token: bearer(cfg.PageserverToken), Timeout: time.Duration(cfg.Timeout)})
		if err != nil {
			return nil, err
		}
		c.Pageservers = append(c.Pageservers, p)
	}
	for _, url := range cfg.Safekeepers {
		k, err := neonapi.NewSafekeeper(url, neonapi.Options{Token: bearer(cfg.SafekeeperToken), Timeout: time.Duration(cfg.Timeout)})
		if err != nil {
			return nil, err
		}
		c.Safekeepers = append(c.Safekeepers, k)
	}
	return c, nil
}

// bearer reads a token where the configuration says it is, each time anew.
func bearer(from config.NeonToken) func() (string, error) {
	return func() (string, error) {
		switch {
		case from.File != "":
			data, err := os.ReadFile(from.File)
			if err != nil {
				return "", err
			}
			if token := strings.TrimSpace(string(data)); token != "" {
				return token, nil
			}
			return "", fmt.Errorf("%s is empty", from.File)
		case from.Env != "":
			if token := strings.TrimSpace(os.Getenv(from.Env)); token != "" {
				return token, nil
			}
			return "", fmt.Errorf("the environment has no %s", from.Env)
		}
		return "", nil
	}
}

// look asks for a view that is at most so old.
func (n *neonSource) look(ctx context.Context, age time.Duration) (neonapi.View, error) {
	n.mu.Lock()
	defer n.mu.Unlock()
	if !n.at.IsZero() && time.Since(n.at) < age {
		return n.view, nil
	}
	v, err := n.catalog.View(ctx)
	if err != nil {
		return v, err
	}
	n.view, n.at = v, time.Now()
	return v, nil
}

// branch fits archive.Options.Branch: nil where the servers do not know.
func (n *neonSource) branch(ctx context.Context, tenant, timeline string) (*archive.Branch, error) {
	v, err := n.look(ctx, viewAge)
	if err != nil {
		return nil, err
	}
	t, ok := v.Find(neonapi.Key{Tenant: tenant, Timeline: timeline})
	if !ok || t.Ancestor == "" || t.AncestorLSN == pg.InvalidLSN {
		return nil, nil
	}
	return &archive.Branch{Timeline: t.Ancestor, LSN: t.AncestorLSN}, nil
}

// problems are what is wrong with parts of a source.
type problems []string

func (p problems) Error() string { return strings.Join(p, "; ") }

// timelines puts together what servers and bucket have. The error, if it is of
// problems, comes with all that is known.
func (n *neonSource) timelines(ctx context.Context, src config.Source, a *archive.Archive) ([]ledger.Timeline, error) {
	stored, _, err := a.Timelines(ctx) // before the servers are asked: what is made meanwhile is no contradiction
	if err != nil {
		return nil, err
	}
	v, err := n.look(ctx, 0)
	if err != nil {
		return nil, err
	}
	wrong := problems(slices.Clone(v.Problems))
	keys := make(map[neonapi.Key]bool)
	for _, t := range stored {
		keys[neonapi.Key{Tenant: t.Tenant(), Timeline: t.ID()}] = true
	}
	more, err := n.contradictions(ctx, &v, keys)
	if err != nil {
		return nil, err
	}
	wrong = append(wrong, more...)
	for _, t := range v.Timelines {
		keys[t.Key] = true
	}
	var out []ledger.Timeline
	for k := range keys {
		out = append(out, ledger.Timeline{TimelineKey: ledger.TimelineKey{Source: src.Name, Tenant: k.Tenant, Timeline: k.Timeline}})
	}
	if len(wrong) > 0 {
		return out, wrong
	}
	return out, nil
}

// maxContradictions is how many timelines are looked at once more, of each
// kind, where servers and bucket do not say the same.
const maxContradictions = 50

// contradictions names the timelines that are in the bucket and unknown to all
// servers, and those of which nothing is there that should be. Where a server
// did not answer, the former cannot be told.
func (n *neonSource) contradictions(ctx context.Context, v *neonapi.View, stored map[neonapi.Key]bool) (out problems, err error) {
	var unknown, gone []neonapi.Key
	for k := range stored {
		if _, ok := v.Find(k); !ok && len(v.Problems) == 0 {
			unknown = append(unknown, k)
		}
	}
	for _, t := range v.Timelines {
		if len(t.Safekeepers) > 0 && !stored[t.Key] {
			gone = append(gone, t.Key)
		}
	}
	for _, c := range []struct {
		keys []neonapi.Key
		say  func(k neonapi.Key, e neonapi.Expected) string
	}{{unknown, sayUnknown}, {gone, sayGone}} {
		slices.SortFunc(c.keys, func(a, b neonapi.Key) int { return strings.Compare(a.Tenant+a.Timeline, b.Tenant+b.Timeline) })
		for i, k := range c.keys {
			if i == maxContradictions {
				out = append(out, fmt.Sprintf("%d more timelines are in the bucket or on the servers alone: they were not looked at", len(c.keys)-i))
				break
			}
			e, err := n.catalog.Expect(ctx, k)
			if err != nil {
				return nil, err
			}
			if said := c.say(k, e); said != "" {
				out = append(out, said)
			}
		}
	}
	return out, nil
}

func sayUnknown(k neonapi.Key, e neonapi.Expected) string {
	if e.Known {
		return "" // it is new
	}
	return fmt.Sprintf("timeline %s/%s is in the bucket and unknown to all pageservers and safekeepers", k.Tenant, k.Timeline)
}

func sayGone(k neonapi.Key, e neonapi.Expected) string {
	if !e.Known || pg.SegmentOf(e.From, e.SegmentSize) == pg.SegmentOf(e.To, e.SegmentSize) {
		return "" // nothing has to be there yet
	}
	return fmt.Sprintf("timeline %s/%s is not in the bucket, where its WAL up to %s should be", k.Tenant, k.Timeline, e.To)
}

// expect has the scan of a timeline expect what the safekeepers say. Doubt is
// why that may not be all.
func (n *neonSource) expect(ctx context.Context, t *archive.Timeline, o *scanner.Options) (doubt string, err error) {
	e, err := n.catalog.Expect(ctx, neonapi.Key{Tenant: t.Tenant(), Timeline: t.ID()})
	if err != nil {
		return "", err
	}
	o.Said = nil
	if e.Known {
		t.AssumeSegmentSize(e.SegmentSize)
		o.Said = &scanner.Said{From: e.From, To: e.To}
		for _, s := range e.Says {
			o.Said.Servers = append(o.Said.Servers, finding.ServerWord{Server: s.Safekeeper, StartLSN: s.TimelineStartLSN, BackupLSN: s.BackupLSN, CommitLSN: s.CommitLSN, FlushLSN: s.FlushLSN})
		}
	}
	return strings.Join(e.Doubts, "; "), nil
}

// unpack is an error as problems of their own.
func unpack(err error) []string {
	var p problems
	if errors.As(err, &p) {
		return p
	}
	return []string{err.Error()}
}

// initdbNames are what pageservers keep a timeline's first data directory as.
var initdbNames = []string{"initdb.tar.zst", "initdb-preserved.tar.zst"}

// listBackups lists the base backups of a timeline, below a location; of Neon's
// that is its first data directory, or that of the timeline that it is a branch of.
func (s *site) listBackups(ctx context.Context, k ledger.TimelineKey, loc string) ([]snapshot.Backup, error) {
	t, src, err := s.timeline(ctx, k)
	if err != nil || t.Layout() != archive.Neon {
		return snapshot.List(ctx, loc, snapshot.Options{})
	}
	lineage, err := t.Lineage(ctx)
	if err != nil {
		return nil, err
	}
	store, err := storage.Open(ctx, cmpOr(src.Backups, src.WAL))
	if err != nil {
		return nil, err
	}
	defer func() { _ = store.Close() }() // it was only read
	for _, id := range lineage {
		for _, name := range initdbNames {
			_, err := store.Stat(ctx, "tenants/"+k.Tenant+"/timelines/"+id+"/"+name)
			if errors.Is(err, storage.ErrNotExist) {
				continue
			}
			if err != nil {
				return nil, err
			}
			found, err := snapshot.List(ctx, below(loc, id, name), snapshot.Options{})
			for i := range found {
				found[i].Name = id + "/" + name
			}
			return found, err
		}
	}
	return nil, nil
}
