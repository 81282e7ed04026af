package main

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/walcmd"
	"redoubt/walbackup/coord"
	walnames "redoubt/walbackup/names"
)

// advanceWait bounds what archive-push spends on the WAL backup LSN.
const advanceWait = 10 * time.Second

// advance moves the WAL backup LSN over the segment just pushed and those
// behind it that are stored already, if the configuration names an etcd. An
// LSN left behind by a push that could not reach etcd is caught up by the next.
func (p *place) advance(ctx context.Context, done walcmd.Pushed) (err error) {
	e := &p.cfg.WALBackup.Agent.Etcd
	if len(e.Endpoints) == 0 || done.Kind != wal.SegmentFile {
		return nil
	}
	ctx, cancel := context.WithTimeout(ctx, advanceWait)
	defer cancel()
	client, err := dialEtcd(ctx, p.cfg, nil)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, client.Close()) }()
	id := walnames.ID{Tenant: done.Tenant, Timeline: done.Timeline}
	leaders, err := client.Leaders(ctx)
	if err != nil {
		return err
	}
	host, _ := os.Hostname()
	if other := leaders[id]; other != "" {
		return fmt.Errorf("%s leads %s: an agent and archive-push don't go together for one timeline", other, id)
	}
	session, err := client.Join(ctx, "archive-push@"+cmp.Or(host, "localhost"), time.Duration(e.Lease))
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, session.Leave(ctx)) }()
	term, err := session.Campaign(ctx, id)
	if err != nil {
		return err
	}
	return p.record(ctx, client, term, done)
}

// record writes how far the segments of the TLI are stored without a hole.
func (p *place) record(ctx context.Context, client *coord.Client, term *coord.Term, done walcmd.Pushed) error {
	states, err := client.States(ctx, term.ID)
	if err != nil {
		return err
	}
	size := done.Identity.SegmentSize
	old := states[done.TLI]
	next := old.State
	if old.Revision == 0 {
		at := done.Segment.Start(size)
		next = coord.State{Start: at, Backup: at, SegmentSize: size, SystemID: done.Identity.SystemID}
	}
	if next.SystemID != done.Identity.SystemID || next.SegmentSize != size {
		return fmt.Errorf("etcd has the WAL backup LSN of cluster %d with segments of %d bytes for %s, the file is of cluster %d with %d: choose another timeline name",
			next.SystemID, next.SegmentSize, term.ID, done.Identity.SystemID, size)
	}
	for {
		n := pg.SegmentOf(next.Backup, size)
		there, err := p.Timeline.Find(ctx, pg.SegmentName(done.TLI, n, size))
		if err != nil {
			return err
		}
		if len(there) == 0 {
			break
		}
		next.Backup = (n + 1).Start(size)
	}
	if old.Revision != 0 && next.Backup == old.Backup {
		return nil
	}
	_, err = term.Advance(ctx, done.TLI, old, next)
	return err
}
