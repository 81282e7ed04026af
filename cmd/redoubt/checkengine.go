package main

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"redoubt/internal/check"
	"redoubt/internal/config"
)

// engines looks whether the servers can be run that jobs want as an engine or
// as a witness, of the major versions that the sources are of. Its error is the context's.
func engines(ctx context.Context, cfg *config.Config, r *check.Report) error {
	var jobs []string
	for _, name := range slices.Sorted(maps.Keys(cfg.Jobs)) {
		if j := cfg.Jobs[name]; j.Engine != "native" || j.Confirm == "server" {
			jobs = append(jobs, name)
		}
	}
	if len(jobs) == 0 {
		return nil
	}
	majors := make(map[int]bool)
	for _, s := range r.Sources {
		for _, t := range s.Timelines {
			if t.Major != 0 {
				majors[t.Major] = true
			}
		}
	}
	servers := newSite(cfg, nil).server()
	for _, major := range slices.Sorted(maps.Keys(majors)) {
		item := check.Item{Area: "engine", Subject: fmt.Sprintf("PostgreSQL %d", major), Status: check.OK}
		bin, err := servers.Find(ctx, major)
		switch {
		case ctx.Err() != nil:
			return ctx.Err()
		case err != nil:
			item.Status, item.Detail = check.Failed, err.Error()
			item.Cure = "see pg_bin and server in the configuration, or take engine native without confirm for " + strings.Join(jobs, ", ")
		default:
			item.Detail = fmt.Sprintf("version %s at %s, for jobs %s", bin.Version, bin.Path, strings.Join(jobs, ", "))
		}
		r.Add(item)
	}
	return nil
}
