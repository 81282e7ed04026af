package walbackup

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"sync"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/local"
	"redoubt/walbackup/names"
	"redoubt/walbackup/ranges"
)

// leader is one term of one timeline.
type leader struct {
	a       *Agent
	id      names.ID
	objects Objects
	term    Term
	log     *slog.Logger
	queue   *queue
	moved   chan struct{} // a line is ahead of what is recorded

	mu      sync.Mutex
	lines   map[pg.TLI]*line
	others  map[string]bool      // history files and the like that are in the bucket
	ended   map[string]time.Time // tasks that ended with an alarm: when to look again
	success time.Time            // of an upload, last
	failed  bool                 // an upload, since then
}

// line is the backup of one TLI.
type line struct {
	*ranges.Line
	recorded coord.Recorded
	expected pg.LSN          // all up to here should be in the bucket
	holes    map[string]bool // segments that were missing when last looked at
}

// errGaveWay ends a term of an agent that could not upload for long.
var errGaveWay = errors.New("gave way to others: nothing could be uploaded")

// lead uploads until the session, the term or ctx ends, and says why it ended.
func (a *Agent) lead(ctx context.Context, id names.ID, f *follow, objects Objects, s Session, term Term) error {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	go func() {
		select {
		case <-s.Done():
			cancel(errors.New("the lease at etcd ended"))
		case <-ctx.Done():
		}
	}()
	l := &leader{
		a: a, id: id, objects: objects, term: term, queue: newQueue(a.cfg.Now), moved: make(chan struct{}, 1),
		log:   a.cfg.Log.With("tenant", id.Tenant, "timeline", id.Timeline),
		lines: make(map[pg.TLI]*line), others: make(map[string]bool), ended: make(map[string]time.Time), success: a.cfg.Now(),
	}
	if !a.until(ctx, "read the WAL backup LSN", func() error { return l.load(ctx) }) {
		return context.Cause(ctx)
	}
	f.mu.Lock()
	f.leader = l
	f.mu.Unlock()
	defer func() {
		f.mu.Lock()
		f.leader = nil
		f.mu.Unlock()
	}()
	var wg sync.WaitGroup
	for range a.cfg.Parallel {
		wg.Go(func() { l.work(ctx) })
	}
	wg.Go(func() { l.record(ctx, cancel, f) })
	wg.Go(func() { l.partials(ctx) })
	tick := time.NewTicker(a.cfg.Tick)
	defer tick.Stop()
	l.look() // catch-up
	for ctx.Err() == nil {
		select {
		case <-ctx.Done():
		case <-f.look:
			l.look()
		case <-tick.C:
			l.look()
			l.searchHoles(ctx)
			if l.hopeless() {
				cancel(errGaveWay)
			}
		}
	}
	wg.Wait()
	return context.Cause(ctx)
}

// load takes over what is recorded.
func (l *leader) load(ctx context.Context) error {
	states, err := l.a.Etcd.States(ctx, l.id)
	if err != nil {
		return err
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	for tli, x := range l.lines {
		if _, there := states[tli]; !there {
			x.recorded.Revision = 0 // it was deleted: it is written again
		}
	}
	for tli, r := range states {
		if have, ok := l.lines[tli]; ok {
			have.Done(pg.Range{From: r.Start, To: r.Backup})
			have.recorded = r
			continue
		}
		l.lines[tli] = &line{Line: ranges.NewLine(r.Start, r.Backup), recorded: r, expected: r.Backup, holes: make(map[string]bool)}
	}
	return nil
}

// hopeless reports whether others should have a try: there is work, and for
// as long as makes an alarm nothing but failures came of it.
func (l *leader) hopeless() bool {
	l.mu.Lock()
	defer l.mu.Unlock()
	limit := l.a.cfg.Alarm.StalledTime
	return limit > 0 && l.failed && l.a.since(l.success) > limit
}

// look compares what is complete with what is in the bucket, and makes tasks.
func (l *leader) look() {
	inv, err := l.a.Local.Inventory(l.id)
	if err != nil || inv.SegmentSize == 0 {
		return // the storage has said why
	}
	if foreign(l.states(), &inv) != "" {
		return // the monitor raises the alarm
	}
	l.newLines(&inv)
	now := l.a.cfg.Now()
	l.mu.Lock()
	defer l.mu.Unlock()
	for i := range inv.Complete {
		f := &inv.Complete[i]
		if until, parked := l.ended[f.Name]; parked && now.Before(until) {
			continue
		}
		if f.Kind != wal.SegmentFile {
			if !l.others[f.Name] {
				l.queue.add(f.Name, 0) // small, and recovery begins with them
			}
			continue
		}
		r := f.SegmentOf().Range(inv.SegmentSize)
		line := l.lines[f.TLI]
		line.expected = max(line.expected, r.To)
		if !line.Have(r) {
			l.queue.add(f.Name, r.From)
		}
	}
	for _, line := range l.lines {
		if line.ahead() {
			l.poke()
		}
	}
}

// states are what is recorded of each TLI.
func (l *leader) states() map[pg.TLI]coord.Recorded {
	l.mu.Lock()
	defer l.mu.Unlock()
	out := make(map[pg.TLI]coord.Recorded, len(l.lines))
	for tli, x := range l.lines {
		if x.recorded.Revision != 0 {
			out[tli] = x.recorded
		}
	}
	return out
}

// foreign says why local WAL is not that of the timeline as recorded.
func foreign(states map[pg.TLI]coord.Recorded, inv *local.Inventory) string {
	for _, r := range states {
		switch {
		case inv.SegmentSize == 0:
		case r.SystemID != inv.SystemID:
			return fmt.Sprintf("the WAL here is of the cluster with system identifier %d, that in the bucket of %d: give each cluster a tenant or timeline of its own", inv.SystemID, r.SystemID)
		case r.SegmentSize != inv.SegmentSize:
			return fmt.Sprintf("segments here have %d bytes, those in the bucket %d", inv.SegmentSize, r.SegmentSize)
		}
	}
	return ""
}

// newLines begins the lines of TLIs that are not recorded yet.
func (l *leader) newLines(inv *local.Inventory) {
	lowest := make(map[pg.TLI]pg.LSN)
	for i := range inv.Complete {
		f := &inv.Complete[i]
		if at := f.FileName.Segment.Start(inv.SegmentSize); f.Kind == wal.SegmentFile {
			if low, ok := lowest[f.TLI]; !ok || at < low {
				lowest[f.TLI] = at
			}
		}
	}
	dir, _ := l.a.Local.Dir(l.id)
	l.mu.Lock()
	defer l.mu.Unlock()
	for tli, start := range lowest {
		if l.lines[tli] == nil {
			l.begin(tli, start, inv.SegmentSize, inv.SystemID)
		}
	}
	for i := range inv.Complete {
		if f := &inv.Complete[i]; f.Kind == wal.HistoryFile {
			l.join(dir, f, inv.SegmentSize)
		}
	}
}

// begin makes the line of a TLI of which nothing is recorded; l.mu is held.
func (l *leader) begin(tli pg.TLI, start pg.LSN, size int64, system uint64) {
	l.lines[tli] = &line{Line: ranges.NewLine(start, start), expected: start, holes: make(map[string]bool),
		recorded: coord.Recorded{State: coord.State{SegmentSize: size, SystemID: system}}}
	l.log.Info("the backup of a TLI begins", "tli", uint32(tli), "start_lsn", start.String())
}

// join makes the end of a TLI that we have followed the beginning of the next,
// as the history file of the latter says: what lies between must not be
// missed. l.mu is held.
func (l *leader) join(dir local.Dir, f *local.File, size int64) {
	data, err := os.ReadFile(filepath.Join(dir.Path, f.Name))
	if err != nil {
		return // it is read again
	}
	h, err := wal.ParseHistory(f.TLI, data)
	if err != nil || len(h) < 2 {
		return // it is kept as it is; the scanner judges it
	}
	parent := h[len(h)-2]
	at := pg.SegmentOf(parent.Range.To, size).Start(size)
	old, next := l.lines[parent.TLI], l.lines[f.TLI]
	if old == nil || at < old.Start {
		return
	}
	old.expected = max(old.expected, at)
	if next != nil && next.recorded.Revision == 0 && next.Start == next.Backup && at < next.Start {
		next.Line = ranges.NewLine(at, at)
	}
}

// ahead reports whether more is in the bucket than is recorded.
func (x *line) ahead() bool {
	return x.recorded.Revision == 0 || x.Backup > x.recorded.Backup || x.Start < x.recorded.Start
}

func (l *leader) poke() {
	select {
	case l.moved <- struct{}{}:
	default:
	}
}

// record writes down how far the lines have got. Losing a transaction to
// another leader ends the term.
func (l *leader) record(ctx context.Context, cancel context.CancelCauseFunc, f *follow) {
	for n := 1; ctx.Err() == nil; {
		select {
		case <-ctx.Done():
			return
		case <-l.moved:
		}
		err := l.recordAll(ctx)
		switch {
		case err == nil:
			n = 1
			f.poke()
			continue
		case errors.Is(err, coord.ErrNotLeader):
			cancel(err)
			return
		case ctx.Err() != nil:
			return
		}
		l.log.Warn("the WAL backup LSN could not be recorded: it is tried again", "attempt", n, "error", err)
		sleep(ctx, l.a.cfg.Retry.Wait(n))
		n++
		if err := l.load(ctx); err != nil { // our own transaction may have got through
			l.log.Warn("the WAL backup LSN could not be read", "error", err)
		}
		l.poke()
	}
}

func (l *leader) recordAll(ctx context.Context) error {
	l.mu.Lock()
	todo := make(map[pg.TLI]coord.Recorded)
	next := make(map[pg.TLI]coord.State)
	for tli, x := range l.lines {
		if x.ahead() {
			todo[tli] = x.recorded
			s := x.recorded.State
			s.Start, s.Backup = x.Start, x.Backup
			next[tli] = s
		}
	}
	l.mu.Unlock()
	for tli, old := range todo {
		r, err := l.term.Advance(ctx, tli, old, next[tli])
		if err != nil {
			return err
		}
		l.mu.Lock()
		l.lines[tli].recorded = r
		l.mu.Unlock()
		l.log.Debug("the WAL backup LSN advanced", "tli", uint32(tli), "wal_backup_lsn", r.Backup.String())
	}
	return nil
}
