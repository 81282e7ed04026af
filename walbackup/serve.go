package walbackup

import (
	"context"
	"errors"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/local"
	"redoubt/walbackup/names"
	"redoubt/walbackup/requests"
)

func keyOf(id names.ID, segment string) requests.Key { return requests.Key{ID: id, Segment: segment} }

// serve answers requests for segments until ctx ends: whoever leads, an agent
// that has a segment uploads it.
func (a *Agent) serve(ctx context.Context) error {
	changed := make(chan struct{}, 1)
	go func() {
		for ctx.Err() == nil { // a watch ends when etcd loses its leader
			a.Queue.Watch(ctx, func() {
				select {
				case changed <- struct{}{}:
				default:
				}
			})
			sleep(ctx, a.cfg.Retry.Wait(1))
		}
	}()
	tick := time.NewTicker(a.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-changed:
		case <-tick.C:
		}
		open, err := a.Queue.Open(ctx, func(err error) { a.cfg.Log.Warn("a request is left out", "error", err) })
		if err != nil {
			a.cfg.Log.Debug("requests could not be read", "error", err)
			continue
		}
		for _, r := range open {
			if err := a.answer(ctx, r); err != nil && ctx.Err() == nil && !errors.Is(err, requests.ErrClaimed) {
				a.cfg.Log.Warn("a request was not answered: it is looked at again", "tenant", r.Tenant, "timeline", r.Timeline, "segment", r.Segment, "error", err)
			}
		}
	}
}

// answer uploads a segment that is asked for, if it is here. The leader of its
// timeline, if there is one, completes the request once the bucket has the
// segment, for it has to count it.
func (a *Agent) answer(ctx context.Context, r requests.Request) error {
	f, src, here := a.find(r.ID, r.Segment)
	follow := a.following(r.ID)
	var l *leader
	if follow != nil {
		l = follow.leading()
	}
	if !here && l == nil {
		return nil
	}
	objects, err := a.Bucket.Timeline(r.ID)
	if err != nil {
		return err
	}
	if _, err := objects.Stored(ctx, r.Segment); err == nil && l == nil {
		a.access(nil)
		return nil // the leader will see it
	} else if !here {
		a.access(err)
		if errors.Is(err, ErrAbsent) {
			return nil // others may have it
		}
		if err != nil {
			return err
		}
	}
	claim, err := a.Queue.Claim(ctx, r, a.cfg.Name, a.cfg.Attempt)
	if err != nil {
		return err
	}
	if here {
		if _, err := a.put(ctx, objects, r.ID, f, src); err != nil {
			if errors.Is(err, ErrConflict) && a.alarms.raise(ctx, Conflict, r.ID, r.Segment, err.Error()) {
				a.Counters.Conflict()
			}
			return errors.Join(err, claim.Release(ctx))
		}
		a.alarms.clear(ctx, Lost, r.ID, r.Segment)
	}
	if l == nil {
		return claim.Release(ctx)
	}
	a.cfg.Log.Info("a segment that was asked for is in the bucket", "tenant", r.Tenant, "timeline", r.Timeline, "segment", r.Segment, "asked_by", r.By)
	l.have(ctx, r.Segment)
	follow.poke()
	return claim.Complete(ctx)
}

// helpAtOnce bounds the segments that a follower asks for in a tick.
const helpAtOnce = 16

// help asks for segments that are complete here and that the leader, for one
// because it has not got them, has left out for long: this agent will be the
// one to answer.
func (w *watched) help(ctx context.Context, a *Agent, id names.ID, inv *local.Inventory, states map[pg.TLI]coord.Recorded) {
	if a.Queue == nil || foreign(states, inv) != "" {
		return
	}
	backed := make(map[pg.TLI]pg.Range)
	for tli, r := range states {
		backed[tli] = pg.Range{From: r.Start, To: r.Backup}
	}
	now := a.cfg.Now()
	left := make(map[string]time.Time)
	for i := range inv.Complete {
		f := &inv.Complete[i]
		if f.Kind != wal.SegmentFile || covers(backed, f.FileName, inv.SegmentSize) || len(left) == helpAtOnce {
			continue
		}
		since, seen := w.left[f.Name]
		if !seen {
			since = now
		}
		left[f.Name] = since
		if now.Sub(since) < max(a.cfg.Alarm.StalledTime/2, 2*a.cfg.Tick) {
			continue
		}
		if added, err := a.Queue.Ask(ctx, keyOf(id, f.Name), a.cfg.Name, "complete here, and the leader has not backed it up"); err != nil {
			a.cfg.Log.Debug("a segment could not be asked for", "segment", f.Name, "error", err)
		} else if added {
			a.Counters.Requested()
		}
	}
	w.left = left
}
