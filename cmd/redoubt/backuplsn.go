package main

import (
	"context"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	walnames "redoubt/walbackup/names"
)

// listingWait bounds what etcd may take for a listing of timelines.
const listingWait = 2 * time.Second

// backupLSNs fills in the WAL backup LSNs of timelines of the sources that the
// agents back up to: of several TLIs that of the highest, as in the metrics.
// Where no etcd is, or none can be asked now, they stay unknown.
func (s *service) backupLSNs(ctx context.Context, all []finding.TimelineStatus) {
	if s.cfg.WALBackup.Bucket == "" {
		return
	}
	ctx, cancel := context.WithTimeout(ctx, listingWait)
	defer cancel()
	q, err := s.site.requeuer(ctx)
	if err == nil {
		err = q.reachable()
	}
	if err != nil {
		s.log.Debug("WAL backup LSNs are not known", "error", err)
		return
	}
	states, err := q.client.AllStates(ctx)
	if err != nil {
		s.log.Warn("WAL backup LSNs could not be read", "error", err)
		return
	}
	ours := make(map[string]bool)
	for _, src := range s.cfg.Sources {
		ours[src.Name] = samePlace(src.WAL, s.cfg.WALBackup.Bucket)
	}
	for i := range all {
		t := &all[i]
		var newest pg.TLI
		for tli, r := range states[walnames.ID{Tenant: t.TenantID, Timeline: t.TimelineID}] {
			if ours[t.Source] && tli >= newest {
				newest, t.WALBackupLSN = tli, known(r.Backup)
			}
		}
	}
}
