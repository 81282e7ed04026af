package main

import (
	"context"
	"fmt"

	"github.com/dustin/go-humanize"

	"redoubt/internal/archive"
	"redoubt/internal/check"
	"redoubt/internal/neonapi"
)

// check asks each server for its id and for its list, as a run will: that
// tells whether it answers and whether the token suffices.
func (n *neonSource) check(ctx context.Context) (items []check.Item) {
	c := n.catalog
	for _, p := range c.Pageservers {
		items = append(items, checkServer(ctx, p, func() (string, error) {
			shards, err := p.Tenants(ctx)
			wanted := 0
			for _, s := range shards {
				if c.Wanted(s.Tenant) {
					wanted++
				}
			}
			return fmt.Sprintf("%d shards are attached, %d of them of tenants that are wanted", len(shards), wanted), err
		}))
	}
	for _, k := range c.Safekeepers {
		items = append(items, checkServer(ctx, k, func() (string, error) {
			keys, err := k.Timelines(ctx)
			return fmt.Sprintf("it has %d timelines", len(keys)), err
		}))
	}
	return items
}

// checkServer asks one server for its id, and for what it lists.
func checkServer(ctx context.Context, s interface {
	Name() string
	Status(ctx context.Context) (uint64, error)
}, list func() (string, error)) check.Item {
	id, err := s.Status(ctx)
	if err != nil {
		return check.Unreadable(s.Name(), err)
	}
	has, err := list()
	if err != nil {
		return check.Unreadable(s.Name(), err)
	}
	return check.Readable(s.Name(), "it answers, as number %d; %s", id, has)
}

// checkTimeline says what the servers say of one timeline.
func (n *neonSource) checkTimeline(ctx context.Context, t *archive.Timeline) check.Item {
	k := neonapi.Key{Tenant: t.Tenant(), Timeline: t.ID()}
	subject := "servers of " + k.Tenant + "/" + k.Timeline
	v, err := n.look(ctx, viewAge)
	if err != nil {
		return check.Unreadable(subject, err)
	}
	e, err := n.catalog.Expect(ctx, k)
	if err != nil {
		return check.Unreadable(subject, err)
	}
	if len(e.Doubts) > 0 {
		return check.Unreadable(subject, fmt.Errorf("%s", e.Doubts[0]))
	}
	pages := "no pageserver has it"
	if known, ok := v.Find(k); ok {
		if r, why := known.Readable(); why != "" {
			pages = why
		} else {
			pages = fmt.Sprintf("PostgreSQL %d, %d shards, pages can be read from %s up to %s", known.Major(), known.Count, r.From, r.To)
		}
	}
	return check.Readable(subject, "%s; its WAL begins at %s, is in the bucket up to %s and committed up to %s (%s more)",
		pages, e.From, e.To, e.Commit(), humanize.IBytes(uint64(max(e.Commit(), e.To)-e.To)))
}
