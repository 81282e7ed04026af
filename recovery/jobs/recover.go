package jobs

import (
	"context"
	"errors"
	"fmt"
	"runtime/debug"
	"sync"
	"time"

	"redoubt/internal/ledger"
	"redoubt/internal/pg"
)

// noteEvery is how often progress is written down.
const noteEvery = time.Second

// recover does one recovery to its end, whatever that is.
func (m *Manager) recover(ctx context.Context, r ledger.Recovery) {
	select {
	case m.slots <- struct{}{}:
		defer func() { <-m.slots }()
	case <-ctx.Done():
		return
	}
	res, err := m.attempts(ctx, r)
	if ctx.Err() != nil {
		return // cancelled, which the ledger knows; or the process ends, and the next goes on
	}
	if errors.Is(err, context.Canceled) {
		return // another process cancelled it
	}
	log := m.cfg.Log.With("tenant", r.Tenant, "timeline", r.Ancestor, "target", r.Timeline)
	if err != nil {
		log.Error("recovery failed", "error", err)
		err = m.cfg.Ledger.FailRecovery(ctx, r.Tenant, r.Timeline, time.Now(), err.Error())
	} else if err = m.cfg.Ledger.FinishRecovery(ctx, r.Tenant, r.Timeline, time.Now(), res.Target, res.Last, res.Doubt); err == nil {
		log.Info("timeline is recovered", "directory", r.Directory, "lsn", res.Target)
	}
	if err != nil && !errors.Is(err, ledger.ErrNotFound) { // not found: it was cancelled
		log.Error("the end of the recovery could not be written down; it is done again later", "error", err)
	}
}

// attempts recovers, and tries again while the source cannot be reached.
func (m *Manager) attempts(ctx context.Context, r ledger.Recovery) (Result, error) {
	wait := m.cfg.Retries.FirstWait
	for n := 1; ; n++ {
		res, err := m.attempt(ctx, r)
		if err == nil || n >= m.cfg.Retries.Attempts || ctx.Err() != nil || !m.cfg.Engine.Transient(err) {
			return res, err
		}
		m.cfg.Log.Warn("recovery is tried again", "target", r.Timeline, "wait", wait, "error", err)
		trouble := fmt.Sprintf("attempt %d of %d failed, it is tried again in %s: %v", n, m.cfg.Retries.Attempts, wait, err)
		if !m.note(ctx, r, ledger.Reached{Trouble: trouble}) {
			return res, context.Canceled
		}
		select {
		case <-time.After(wait):
		case <-ctx.Done():
			return res, ctx.Err()
		}
		wait = min(2*wait, m.cfg.Retries.MaxWait)
	}
}

// note writes down how far a recovery is, and reports whether the ledger knows
// it as under way.
func (m *Manager) note(ctx context.Context, r ledger.Recovery, to ledger.Reached) bool {
	err := m.cfg.Ledger.NoteRecovery(ctx, r.Tenant, r.Timeline, time.Now(), to)
	if err != nil && ctx.Err() == nil && !errors.Is(err, ledger.ErrNotFound) {
		m.cfg.Log.Warn("progress could not be written down", "target", r.Timeline, "error", err)
	}
	return !errors.Is(err, ledger.ErrNotFound)
}

// attempt recovers once, into an empty place or going on with what an attempt before left, and writes down how
// far it is meanwhile. If the ledger does not know it as under way any more, it stops.
func (m *Manager) attempt(ctx context.Context, r ledger.Recovery) (res Result, err error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	var far reached
	note := func() bool { return m.note(ctx, r, far.read()) }
	if !note() {
		return res, context.Canceled
	}
	if err := idle(r.Directory); err != nil {
		return res, err
	}
	if !m.cfg.Engine.Unfinished(r) {
		if err := remove(r); err != nil { // a state less advanced, or what another recovery left
			return res, err
		}
	}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		tick := time.NewTicker(noteEvery)
		defer tick.Stop()
		for {
			select {
			case <-tick.C:
				if !note() {
					cancel()
				}
			case <-ctx.Done():
				return
			}
		}
	}()
	defer func() { note(); cancel(); <-ended }()
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("recover: panic: %v\n%s", p, debug.Stack())
		}
	}()
	return m.cfg.Engine.Recover(ctx, r, func(to ledger.Reached) {
		far.raise(to)
		if to.Durable != 0 {
			note()
		}
	})
}

// reached is how far an attempt is.
type reached struct {
	mu  sync.Mutex
	far ledger.Reached
}

// raise keeps the highest values said.
func (r *reached) raise(to ledger.Reached) {
	r.mu.Lock()
	defer r.mu.Unlock()
	for _, v := range [][2]*pg.LSN{{&r.far.Target, &to.Target}, {&r.far.Last, &to.Last}, {&r.far.Durable, &to.Durable}, {&r.far.Resumed, &to.Resumed}} {
		*v[0] = max(*v[0], *v[1])
	}
}

func (r *reached) read() ledger.Reached {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.far
}
