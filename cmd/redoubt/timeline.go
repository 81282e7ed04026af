package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"redoubt/internal/archive"
	"redoubt/internal/storage"
)

// neonPagesUsage describes --neon-pages.
const neonPagesUsage = "of the layout neon: `LOC` where the pageservers keep their files, with tenants/ below it; it says of what timeline one is a branch (default: as --wal)"

// openTimeline opens the one timeline of an archive, or the one that cluster
// (TENANT/TIMELINE, or either if that is enough) names. Pages is where
// pageservers of Neon's keep their files; it may be empty.
func openTimeline(ctx context.Context, location, layout, cluster, pages string) (_ *archive.Timeline, _ io.Closer, err error) {
	opened := &stores{}
	opt := archive.Options{}
	if pages != "" {
		if opt.Pages, err = opened.open(ctx, pages); err != nil {
			return nil, nil, err
		}
	}
	a, store, err := openArchiveWith(ctx, location, layout, opt)
	if err != nil {
		return nil, nil, errors.Join(err, opened.Close())
	}
	*opened = append(*opened, store)
	found, err := chooseTimelines(ctx, a, cluster)
	if err == nil && len(found) > 1 {
		err = fmt.Errorf("%s holds %d timelines (%s): name one with --cluster TENANT/TIMELINE", a.Location(), len(found), names(found))
	}
	if err != nil {
		return nil, nil, errors.Join(err, opened.Close())
	}
	return found[0], opened, nil
}

// stores are closed together.
type stores []*storage.Store

func (s *stores) open(ctx context.Context, location string) (*storage.Store, error) {
	one, err := storage.Open(ctx, location)
	if err == nil {
		*s = append(*s, one)
	}
	return one, err
}

func (s *stores) Close() error {
	var errs []error
	for _, one := range *s {
		errs = append(errs, one.Close())
	}
	return errors.Join(errs...)
}

// chooseTimelines lists the timelines that cluster fits, all if it is empty.
func chooseTimelines(ctx context.Context, a *archive.Archive, cluster string) ([]*archive.Timeline, error) {
	if tenant, id, ok := strings.Cut(cluster, "/"); ok && a.Layout() == archive.Neon {
		t, err := a.Timeline(ctx, tenant, id) // without a listing of all tenants
		if err != nil {
			return nil, fmt.Errorf("--cluster %s: %w", cluster, err)
		}
		return []*archive.Timeline{t}, nil
	}
	all, _, err := a.Timelines(ctx)
	if err != nil {
		return nil, err
	}
	var found []*archive.Timeline
	for _, t := range all {
		if cluster == "" || cluster == t.Tenant() || cluster == t.ID() || cluster == t.Tenant()+"/"+t.ID() {
			found = append(found, t)
		}
	}
	switch {
	case len(all) == 0:
		return nil, fmt.Errorf("%s holds no timelines", a.Location())
	case len(found) == 0:
		return nil, fmt.Errorf("--cluster %s: %s holds %s", cluster, a.Location(), names(all))
	}
	return found, nil
}

func names(ts []*archive.Timeline) string {
	var out []string
	for i, t := range ts {
		if i == 10 {
			out = append(out, "…")
			break
		}
		out = append(out, t.Tenant()+"/"+t.ID())
	}
	return strings.Join(out, ", ")
}
