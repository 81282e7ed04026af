package main

import (
	"context"
	"errors"
	"fmt"
	"strings"

	"redoubt/internal/archive"
	"redoubt/internal/storage"
)

// openTimeline opens the one timeline of an archive, or the one that cluster
// (TENANT/TIMELINE, or either if that is enough) names.
func openTimeline(ctx context.Context, location, layout, cluster string) (*archive.Timeline, *storage.Store, error) {
	a, store, err := openArchive(ctx, location, layout, "", "")
	if err != nil {
		return nil, nil, err
	}
	found, err := chooseTimelines(ctx, a, cluster)
	if err == nil && len(found) > 1 {
		err = fmt.Errorf("%s holds %d timelines (%s): name one with --cluster TENANT/TIMELINE", a.Location(), len(found), names(found))
	}
	if err != nil {
		return nil, nil, errors.Join(err, store.Close())
	}
	return found[0], store, nil
}

// chooseTimelines lists the timelines that cluster fits, all if it is empty.
func chooseTimelines(ctx context.Context, a *archive.Archive, cluster string) ([]*archive.Timeline, error) {
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
