package walbackup

import (
	"context"
	"errors"
	"fmt"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/walbackup/names"
	"redoubt/walbackup/requests"
)

// holesAtOnce bounds the segments of a hole that are looked after in a tick.
const holesAtOnce = 64

// searchHoles looks after segments between the backup LSN and the newest one
// that are not here: another agent may have put them into the bucket, or be
// asked to. One that is seen for the first time is left for the next tick, for
// a directory may be read while files come into it.
func (l *leader) searchHoles(ctx context.Context) {
	inv, err := l.a.Local.Inventory(l.id)
	if err != nil || inv.SegmentSize == 0 {
		return
	}
	for _, s := range l.holes() {
		if ctx.Err() != nil {
			return
		}
		name := s.Name(inv.SegmentSize)
		if _, here := inv.Find(name); !here && !l.queue.has(name) {
			l.fill(ctx, name)
		}
	}
	for _, name := range inv.Missing { // PostgreSQL wants it archived, and has not got it
		if _, err := names.Parse(name, inv.SegmentSize); err == nil {
			l.fill(ctx, name)
		}
	}
}

// holes are segments that were missing the last time, too.
func (l *leader) holes() []names.Segment {
	l.mu.Lock()
	defer l.mu.Unlock()
	var out []names.Segment
	for tli, x := range l.lines {
		size := x.recorded.SegmentSize
		now := make(map[string]bool)
		for _, r := range x.Holes(x.expected) {
			for n := pg.SegmentOf(r.From, size); n.Start(size) < r.To && len(now) < holesAtOnce; n++ {
				s := names.Segment{TLI: tli, No: n}
				now[s.Name(size)] = true
				if x.holes[s.Name(size)] {
					out = append(out, s)
				}
			}
		}
		x.holes = now
	}
	return out
}

// fill takes a file for done if it is in the bucket, and asks for it if not.
func (l *leader) fill(ctx context.Context, name string) {
	_, err := l.objects.Stored(ctx, name)
	l.a.access(err)
	if err == nil {
		l.log.Info("a segment that is not here is in the bucket", "segment", name)
		l.have(ctx, name)
		return
	}
	if !errors.Is(err, ErrAbsent) {
		return // it is looked up again
	}
	if l.a.alarms.raise(ctx, Missing, l.id, name, "it is neither in the directory nor in the bucket; the WAL backup LSN does not pass it") {
		l.a.Counters.FileMissing()
	}
	if l.a.Queue == nil || !pg.IsSegmentName(name) {
		return
	}
	added, err := l.a.Queue.Ask(ctx, requests.Key{ID: l.id, Segment: name}, l.a.cfg.Name, "a hole beyond the WAL backup LSN")
	if err != nil {
		l.log.Warn("other agents could not be asked for a segment", "segment", name, "error", err)
	} else if added {
		l.a.Counters.Requested()
	}
}

// partials stores begun segments that have grown, so that less is lost with
// the machine. The whole segment comes under a name of its own.
func (l *leader) partials(ctx context.Context) {
	if l.a.cfg.Partial <= 0 {
		return
	}
	stored := make(map[string]time.Time) // modification times
	for sleep(ctx, l.a.cfg.Partial) {
		dir, ok := l.a.Local.Dir(l.id)
		inv, err := l.a.Local.Inventory(l.id)
		if !ok || err != nil || foreign(l.states(), &inv) != "" {
			continue
		}
		for i := range inv.Partials {
			f := &inv.Partials[i]
			if f.Kind != wal.PartialFile || f.ModTime.Equal(stored[f.Name]) || f.Size > inv.SegmentSize {
				continue
			}
			err := l.partial(ctx, source(dir, f), f.Name)
			if err == nil {
				stored[f.Name] = f.ModTime
			} else if ctx.Err() == nil {
				l.log.Warn("a begun segment could not be stored", "segment", f.Name, "error", err)
			}
		}
	}
}

func (l *leader) partial(ctx context.Context, src Source, name string) error {
	l.a.slots <- struct{}{}
	defer func() { <-l.a.slots }()
	ctx, cancel := context.WithTimeout(ctx, l.a.cfg.Attempt)
	defer cancel()
	err := l.objects.Replace(ctx, name, src)
	l.a.access(err)
	if err != nil {
		return fmt.Errorf("store %s: %w", name, err)
	}
	return nil
}
