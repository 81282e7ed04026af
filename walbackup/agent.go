package walbackup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"

	"redoubt/internal/pg"
	"redoubt/walbackup/local"
	"redoubt/walbackup/names"
)

// Config is how an agent works. All durations and numbers but those that say
// so are above 0.
type Config struct {
	Name     string        // of this agent, unlike all others at the etcd
	Lease    time.Duration // after which another takes over from an agent that is silent
	Parallel int           // uploads at once, of all timelines
	Attempt  time.Duration // bounds one attempt of an upload
	Retry    Backoff       // between attempts at etcd and the bucket
	Again    time.Duration // after which a file whose task ended with an alarm is looked at once more
	Tick     time.Duration // of the monitor, and of looking after what notifications missed
	Partial  time.Duration // how often a begun segment is stored; 0: not
	Alarm    Thresholds
	Remove   Remove
	Log      *slog.Logger
	// Now is the clock; nil: time.Now. What time passes is told by its monotonic
	// part alone, so that a wall clock that is set makes no alarm, and silences none.
	Now func() time.Time
}

// Thresholds say when there is an alarm.
type Thresholds struct {
	StalledSegments int           // segments completed while the backup LSN stood still; 0: any number
	StalledTime     time.Duration // the backup LSN stood still though there was work; 0: any time
	ErrorRatio      float64       // of accesses to the bucket; 0: any
	ErrorWindow     time.Duration
	NoLeader        time.Duration
}

// Remove says what becomes of local segments that are safe in the bucket.
type Remove struct {
	Mode string // RemoveOff, RemoveDry, RemoveOn; of directories of PostgreSQL's all but RemoveDry mean on
	Keep int    // the newest complete segments of a timeline are kept in any case
}

// Modes of Remove.
const (
	RemoveOff = "off"
	RemoveDry = "dry-run"
	RemoveOn  = "on"
)

// Parts are what an agent works with.
type Parts struct {
	Local    Local
	Bucket   Bucket
	Etcd     Coordinator
	Queue    Queue // nil: nobody is asked for segments
	Journal  Journal
	Counters Counters
}

// Agent brings complete segments of all timelines of this machine into the
// bucket. There is one in a process.
type Agent struct {
	cfg Config
	Parts
	start    time.Time
	slots    chan struct{} // uploads under way
	alarms   *alarms
	ratio    ratio
	presence presence

	mu      sync.Mutex
	follows map[names.ID]*follow
	status  map[names.ID]Status
	reached time.Time // etcd, last
}

// New makes an agent.
func New(ctx context.Context, cfg Config, parts Parts) *Agent {
	if cfg.Log == nil {
		cfg.Log = slog.New(slog.DiscardHandler)
	}
	if cfg.Now == nil {
		cfg.Now = time.Now
	}
	now := cfg.Now()
	return &Agent{
		cfg: cfg, Parts: parts, start: now, reached: now,
		slots:   make(chan struct{}, cfg.Parallel),
		alarms:  newAlarms(ctx, parts.Journal, cfg.Log),
		ratio:   ratio{window: cfg.Alarm.ErrorWindow},
		follows: make(map[names.ID]*follow),
		status:  make(map[names.ID]Status),
	}
}

// since is how much time has passed since a reading of the clock.
func (a *Agent) since(t time.Time) time.Duration { return a.cfg.Now().Sub(t) }

// follow is the work on one timeline.
type follow struct {
	cancel context.CancelFunc
	ended  chan struct{}
	look   chan struct{} // something is complete, or recorded
	safe   chan struct{} // something may be retired

	mu     sync.Mutex
	leader *leader // nil while another leads
}

func (f *follow) poke() {
	for _, c := range []chan struct{}{f.look, f.safe} {
		select {
		case c <- struct{}{}:
		default:
		}
	}
}

func (f *follow) leading() *leader {
	f.mu.Lock()
	defer f.mu.Unlock()
	return f.leader
}

// Run works until ctx ends, then gives up all terms, so that other agents take
// over at once, and returns nil. It also ends if a part fails for good.
func (a *Agent) Run(ctx context.Context) error {
	g, gctx := errgroup.WithContext(ctx)
	changed := make(chan local.Notification, 1024)
	defer a.Local.Subscribe(func(n local.Notification) {
		select {
		case changed <- n:
		default: // the tick looks after what is not told
		}
	})()
	g.Go(func() error { return a.Local.Run(gctx) })
	g.Go(func() error { return a.presence.keep(gctx, a) })
	g.Go(func() error { return a.dispatch(gctx, changed) })
	g.Go(func() error { return a.monitor(gctx) })
	if a.Queue != nil {
		g.Go(func() error { return a.serve(gctx) })
	}
	err := g.Wait()
	a.endAll()
	a.presence.leave(ctx)
	if ctx.Err() != nil && errors.Is(err, ctx.Err()) {
		return nil
	}
	return err
}

// dispatch hands notifications to the timelines they are about, and once a
// tick looks after all.
func (a *Agent) dispatch(ctx context.Context, changed <-chan local.Notification) error {
	tick := time.NewTicker(a.cfg.Tick)
	defer tick.Stop()
	for {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case n := <-changed:
			a.notice(ctx, n)
		case <-tick.C:
			a.takeUpAll(ctx)
		}
	}
}

func (a *Agent) notice(ctx context.Context, n local.Notification) {
	if n.What == local.Vanished {
		a.drop(n.Dir.ID)
		return
	}
	a.takeUp(ctx, n.Dir.ID).poke()
}

// takeUpAll follows what is there and drops what is not, whatever was notified.
func (a *Agent) takeUpAll(ctx context.Context) {
	there := make(map[names.ID]bool)
	for _, d := range a.Local.Timelines() {
		there[d.ID] = true
		a.takeUp(ctx, d.ID).poke()
	}
	a.mu.Lock()
	var gone []names.ID
	for id := range a.follows {
		if !there[id] {
			gone = append(gone, id)
		}
	}
	a.mu.Unlock()
	for _, id := range gone {
		a.drop(id)
	}
}

// takeUp begins the work on a timeline, unless it is under way.
func (a *Agent) takeUp(ctx context.Context, id names.ID) *follow {
	a.mu.Lock()
	defer a.mu.Unlock()
	if f, ok := a.follows[id]; ok {
		return f
	}
	fctx, cancel := context.WithCancel(ctx)
	f := &follow{cancel: cancel, ended: make(chan struct{}), look: make(chan struct{}, 1), safe: make(chan struct{}, 1)}
	a.follows[id] = f
	go func() {
		defer close(f.ended)
		var wg sync.WaitGroup
		wg.Go(func() { a.campaign(fctx, id, f) })
		wg.Go(func() { a.retire(fctx, id, f) })
		wg.Wait()
	}()
	return f
}

// drop ends the work on a timeline whose directory is gone.
func (a *Agent) drop(id names.ID) {
	a.mu.Lock()
	f, ok := a.follows[id]
	delete(a.follows, id)
	delete(a.status, id)
	a.mu.Unlock()
	if !ok {
		return
	}
	a.cfg.Log.Warn("the WAL directory of a timeline is gone: nothing more is uploaded from here", "tenant", id.Tenant, "timeline", id.Timeline)
	f.cancel()
	<-f.ended
}

func (a *Agent) endAll() {
	a.mu.Lock()
	all := slices.Collect(maps.Values(a.follows))
	a.mu.Unlock()
	for _, f := range all {
		f.cancel()
	}
	for _, f := range all {
		<-f.ended
	}
}

func (a *Agent) following(id names.ID) *follow {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.follows[id]
}

// source is a local file as it was found.
func source(d local.Dir, f *local.File) Source {
	return Source{Path: filepath.Join(d.Path, f.Name), Size: f.Size}
}

// access counts an access to the bucket. Answers are no failures.
func (a *Agent) access(err error) {
	failed := err != nil
	for _, answer := range []error{ErrConflict, ErrFileGone, ErrRefused, ErrAbsent, context.Canceled} {
		failed = failed && !errors.Is(err, answer)
	}
	a.ratio.add(a.since(a.start), failed)
}

// campaign stands for election, leads, and stands again, until ctx ends.
func (a *Agent) campaign(ctx context.Context, id names.ID, f *follow) {
	objects, err := a.Bucket.Timeline(id)
	if err != nil {
		a.alarms.raise(ctx, Bad, id, "", err.Error())
		return
	}
	log := a.cfg.Log.With("tenant", id.Tenant, "timeline", id.Timeline)
	for n := 1; ctx.Err() == nil; n++ {
		for !a.something(id) { // who has nothing to upload can't lead
			if !sleep(ctx, a.cfg.Retry.First) {
				return
			}
		}
		s := a.presence.wait(ctx)
		if s == nil {
			return
		}
		term, err := s.Campaign(ctx, id)
		if err != nil {
			if ctx.Err() == nil {
				log.Debug("the campaign ended", "error", err)
				sleep(ctx, a.cfg.Retry.Wait(n))
			}
			continue
		}
		n = 0
		log.Info("leading: this agent uploads")
		why := a.lead(ctx, id, f, objects, s, term)
		log.Info("not leading any more", "why", why)
		if err := term.Resign(ctx); err != nil {
			log.Warn("the term ends with its lease", "error", err)
		}
		sleep(ctx, a.cfg.Retry.First) // lets another come first
	}
}

// something reports whether there is WAL of a timeline.
func (a *Agent) something(id names.ID) bool {
	inv, err := a.Local.Inventory(id)
	return err == nil && inv.SegmentSize != 0
}

// ErrEtcd says that the agent never reached etcd.
var ErrEtcd = errors.New("etcd can't be reached")

// Ready says whether the agent can work: it has reached etcd lately.
func (a *Agent) Ready(context.Context) error {
	a.mu.Lock()
	defer a.mu.Unlock()
	if since := a.since(a.reached); since > 3*a.cfg.Tick+a.cfg.Lease {
		return fmt.Errorf("%w since %s", ErrEtcd, since.Round(time.Second))
	}
	return nil
}

// Status is what is known of one timeline.
type Status struct {
	ID         names.ID
	TLI        pg.TLI
	Start      pg.LSN
	Backup     pg.LSN // the WAL backup LSN
	LagBytes   uint64 // complete here and beyond it
	StalledFor time.Duration
	Leader     string // its name; empty: nobody leads, or it is not known
	Leading    bool   // this agent leads
}

// Statuses are those of all timelines here.
func (a *Agent) Statuses() []Status {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]Status, 0, len(a.status))
	for _, s := range a.status {
		out = append(out, s)
	}
	return out
}

// ErrorRatio is the part of the accesses to the bucket that failed lately.
func (a *Agent) ErrorRatio() float64 {
	r, _ := a.ratio.get(a.since(a.start))
	return r
}

// AlarmCount is how many alarms of a kind stand for a timeline.
type AlarmCount struct {
	ID   names.ID
	Kind string
}

// Alarms counts the alarms that stand; those of no timeline have an empty ID.
func (a *Agent) Alarms() map[AlarmCount]int {
	out := make(map[AlarmCount]int)
	for _, x := range a.alarms.all() {
		out[AlarmCount{x.ID, x.Kind}]++
	}
	return out
}
