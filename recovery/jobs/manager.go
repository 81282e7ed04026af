package jobs

import (
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"log/slog"
	"sync"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/ledger"
)

// adoptEvery is how often the ledger is looked at for what nobody works on.
const adoptEvery = 30 * time.Second

// Manager makes and deletes timelines.
type Manager struct {
	cfg   Config
	ctx   context.Context // ends all work
	slots chan struct{}
	wg    sync.WaitGroup

	mu      sync.Mutex
	cancels map[name]context.CancelFunc // of what this process works on
}

type name struct{ tenant, timeline string }

// New makes a manager that works until ctx ends.
func New(ctx context.Context, cfg Config) *Manager {
	return &Manager{cfg: cfg, ctx: ctx, slots: make(chan struct{}, max(1, cfg.Parallel)), cancels: make(map[name]context.CancelFunc)}
}

// Log is where the manager's work is told.
func (m *Manager) Log() *slog.Logger { return m.cfg.Log }

// Serve goes on with what earlier processes left unfinished, now and, in case
// another one dies, from time to time. It returns when ctx of New has ended
// and all work has stopped.
func (m *Manager) Serve() error {
	tick := time.NewTicker(adoptEvery)
	defer tick.Stop()
	for {
		m.adopt()
		select {
		case <-tick.C:
		case <-m.ctx.Done():
			m.wg.Wait()
			return nil
		}
	}
}

// adopt starts work on what is unfinished and nobody works on.
func (m *Manager) adopt() {
	open, err := m.cfg.Ledger.Recoveries(m.ctx, finding.StateRecovering, finding.StateDeleting)
	if err != nil {
		if m.ctx.Err() == nil {
			m.cfg.Log.Error("unfinished recoveries could not be read; they are tried again later", "error", err)
		}
		return
	}
	for _, r := range open {
		if err := m.work(r, nil); err != nil && !errors.Is(err, errLocked) {
			m.cfg.Log.Error("recovery could not be taken up; it is tried again later", "tenant", r.Tenant, "timeline", r.Timeline, "error", err)
		}
	}
}

// work locks a timeline and works on it in the background. If prepare is
// given it is called under the lock before, and says what to work on.
func (m *Manager) work(r ledger.Recovery, prepare func() (ledger.Recovery, error)) error {
	n := name{r.Tenant, r.Timeline}
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.cancels[n] != nil {
		return errLocked
	}
	held, err := take(lockPath(r.Directory))
	if err != nil {
		return err
	}
	if prepare == nil {
		prepare = func() (ledger.Recovery, error) { return m.cfg.Ledger.Recovery(m.ctx, r.Tenant, r.Timeline) }
	}
	if r, err = prepare(); err != nil {
		held.release()
		return err
	}
	ctx, cancel := context.WithCancel(m.ctx)
	m.cancels[n] = cancel
	m.wg.Go(func() {
		defer func() {
			m.mu.Lock()
			delete(m.cancels, n)
			m.mu.Unlock()
			cancel()
		}()
		m.do(ctx, r, held)
	})
	return nil
}

// patience is how long Start and Delete wait for a lock: the end of a recovery
// is in the ledger a moment before the lock is free.
const patience = time.Second

// patiently is work that waits a little for the lock.
func (m *Manager) patiently(ctx context.Context, r ledger.Recovery, prepare func() (ledger.Recovery, error)) error {
	for until := time.Now().Add(patience); ; {
		err := m.work(r, prepare)
		if !errors.Is(err, errLocked) || time.Now().After(until) {
			return err
		}
		select {
		case <-time.After(patience / 50):
		case <-ctx.Done():
			return ctx.Err()
		}
	}
}

func (m *Manager) do(ctx context.Context, r ledger.Recovery, held *lock) {
	switch r.State {
	case finding.StateRecovering:
		defer held.release()
		m.recover(ctx, r)
	case finding.StateDeleting:
		if m.delete(ctx, r) {
			held.remove()
			return
		}
		held.release()
	default: // another process has finished it
		held.release()
	}
}

// Started is a recovery that has begun.
type Started struct {
	Timeline string // the new one
	Origin
}

// Start begins a recovery and returns at once. ErrNotFound, *RefusedError, *ConflictError.
func (m *Manager) Start(ctx context.Context, req Request) (Started, error) {
	if req.Target == "" {
		req.Target = newID()
	}
	if req.Target == req.Timeline {
		return Started{}, refusef("target is the timeline itself: a timeline is never written into; give another id, or none")
	}
	origin, err := m.cfg.Engine.Resolve(ctx, req)
	if err != nil {
		return Started{}, err
	}
	if req.To != 0 && req.To <= origin.BaseLSN {
		return Started{}, refusef("to_lsn %s is not above %s, where snapshot %s is consistent: nothing can be recovered to before it", req.To, origin.BaseLSN, origin.Base)
	}
	known, err := m.free(ctx, req.Tenant, req.Target)
	if err != nil {
		return Started{}, err
	}
	r := ledger.Recovery{
		TimelineKey: ledger.TimelineKey{Source: origin.Source, Tenant: req.Tenant, Timeline: req.Target}, Ancestor: req.Timeline,
		Base: origin.Base, BaseLSN: origin.BaseLSN, FromLSN: req.From, ToLSN: req.To, ToTime: req.ToTime,
		State: finding.StateRecovering, Directory: m.directory(req.Tenant, req.Target), CreatedAt: time.Now(),
	}
	err = m.patiently(ctx, r, func() (ledger.Recovery, error) {
		if err := idle(r.Directory); err != nil {
			return r, err
		}
		if err := ours(r.Directory, known); err != nil {
			return r, err
		}
		return r, m.cfg.Ledger.StartRecovery(ctx, r)
	})
	if err != nil {
		return Started{}, explain(req.Target, err)
	}
	m.cfg.Log.Info("recovery begins", "tenant", req.Tenant, "timeline", req.Timeline, "target", req.Target, "base", origin.Base, "base_lsn", origin.BaseLSN)
	return Started{req.Target, origin}, nil
}

// free refuses a target that an archive has and that recovery did not make. It
// reports whether the ledger knows the target.
func (m *Manager) free(ctx context.Context, tenant, target string) (known bool, err error) {
	old, err := m.cfg.Ledger.Recovery(ctx, tenant, target)
	if err == nil && (old.State == finding.StateRecovering || old.State == finding.StateDeleting) {
		return true, explain(target, ledger.ErrUnderWay)
	}
	if !errors.Is(err, ledger.ErrNotFound) {
		return true, err // nil: StartRecovery judges it
	}
	held, err := m.cfg.Engine.Holds(ctx, tenant, target)
	if err == nil && held {
		err = conflictf("target %s is a timeline that recovery did not make: give a new id, or that of a shadow", target)
	}
	return false, err
}

// explain says in words why a target cannot be had.
func explain(target string, err error) error {
	switch {
	case errors.Is(err, errLocked), errors.Is(err, ledger.ErrUnderWay):
		return conflictf("target %s is being recovered or deleted: wait until it is over, or cancel it", target)
	case errors.Is(err, ledger.ErrNotShadow):
		return conflictf("target %s is a timeline that recovery did not make: give a new id, or that of a shadow", target)
	case errors.Is(err, ledger.ErrUsed):
		return conflictf("target %s was the id of a timeline that is deleted: give a new id", target)
	case errors.Is(err, ledger.ErrAdvanced):
		return conflictf("target %s is not less advanced than from_lsn: %v", target, err)
	}
	return err
}

func newID() string {
	var b [16]byte
	_, _ = rand.Read(b[:]) // it never fails
	return hex.EncodeToString(b[:])
}

// One of several recoveries: of Source into Timeline, unless Err.
type One struct {
	Source   string
	Timeline string
	Err      error
}

// StartAll begins a recovery of each of a tenant's timelines, of all official
// ones if none is named. One that cannot be begun has its error; the error is
// that of the whole.
func (m *Manager) StartAll(ctx context.Context, tenant string, timelines []string, toTime time.Time) ([]One, error) {
	if len(timelines) == 0 {
		all, err := m.cfg.Engine.Timelines(ctx, tenant)
		if err != nil {
			return nil, err
		}
		if timelines, err = m.official(ctx, tenant, all); err != nil {
			return nil, err
		}
	}
	if len(timelines) == 0 {
		return nil, ErrNotFound
	}
	out := make([]One, len(timelines))
	for i, tl := range timelines {
		s, err := m.Start(ctx, Request{Tenant: tenant, Timeline: tl, ToTime: toTime})
		out[i] = One{tl, s.Timeline, err}
		if ctx.Err() != nil {
			return nil, ctx.Err()
		}
	}
	return out, nil
}

// official leaves out the timelines that recovery made.
func (m *Manager) official(ctx context.Context, tenant string, all []string) (out []string, err error) {
	for _, tl := range all {
		_, err := m.cfg.Ledger.Recovery(ctx, tenant, tl)
		switch {
		case errors.Is(err, ledger.ErrNotFound):
			out = append(out, tl)
		case err != nil:
			return nil, err
		}
	}
	return out, nil
}

// Cancel ends a recovery that is under way; what it made so far stays until
// Delete. ErrNotFound, *ConflictError.
func (m *Manager) Cancel(ctx context.Context, tenant, timeline string) error {
	err := m.cfg.Ledger.CancelRecovery(ctx, tenant, timeline, time.Now())
	if errors.Is(err, ledger.ErrNotFound) {
		r, err := m.shadow(ctx, tenant, timeline)
		if err != nil {
			return err
		}
		return conflictf("it is %s, not recovering: there is nothing to cancel", r.State)
	}
	if err != nil {
		return err
	}
	m.mu.Lock()
	defer m.mu.Unlock()
	if cancel := m.cancels[name{tenant, timeline}]; cancel != nil {
		cancel()
	}
	m.cfg.Log.Info("recovery is cancelled", "tenant", tenant, "timeline", timeline)
	return nil
}

// shadow is a timeline that recovery made and that is not deleted.
func (m *Manager) shadow(ctx context.Context, tenant, timeline string) (ledger.Recovery, error) {
	r, err := m.cfg.Ledger.Recovery(ctx, tenant, timeline)
	if err == nil && r.State != finding.StateDeleted {
		return r, nil
	}
	if err != nil && !errors.Is(err, ledger.ErrNotFound) {
		return r, err
	}
	held, err := m.cfg.Engine.Holds(ctx, tenant, timeline)
	if err == nil && held {
		return r, conflictf("it is a timeline that recovery did not make: only shadows can be cancelled and deleted")
	}
	return r, errors.Join(err, ErrNotFound)
}

// Delete begins to take a timeline that recovery made away, with its directory; what
// the archive has of it stays. ErrNotFound, *ConflictError.
func (m *Manager) Delete(ctx context.Context, tenant, timeline string) error {
	r, err := m.shadow(ctx, tenant, timeline)
	if err != nil {
		return err
	}
	switch r.State {
	case finding.StateRecovering:
		return conflictf("it is being recovered: cancel it first")
	case finding.StateDeleting:
		return nil // adopt sees to it
	}
	err = m.patiently(ctx, r, func() (ledger.Recovery, error) {
		if err := idle(r.Directory); err != nil {
			return r, err
		}
		if err := m.cfg.Ledger.StartDelete(ctx, tenant, timeline); err != nil {
			return r, err
		}
		r.State = finding.StateDeleting
		return r, nil
	})
	switch {
	case errors.Is(err, errLocked), errors.Is(err, ledger.ErrUnderWay):
		return conflictf("it is still worked on: try again in a moment")
	case errors.Is(err, ledger.ErrNotFound):
		return ErrNotFound
	}
	return err
}

// delete reports whether a timeline is gone.
func (m *Manager) delete(ctx context.Context, r ledger.Recovery) bool {
	err := idle(r.Directory)
	if err == nil {
		err = remove(r)
	}
	if err == nil {
		err = m.cfg.Ledger.FinishDelete(ctx, r.Tenant, r.Timeline)
	}
	if err != nil {
		m.cfg.Log.Error("timeline could not be deleted; it is tried again later", "tenant", r.Tenant, "timeline", r.Timeline, "directory", r.Directory, "error", err)
		return false
	}
	m.cfg.Log.Info("timeline is deleted", "tenant", r.Tenant, "timeline", r.Timeline)
	return true
}
