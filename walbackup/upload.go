package walbackup

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/pg/wal"
	"redoubt/walbackup/journal"
	"redoubt/walbackup/local"
	"redoubt/walbackup/names"
)

// work is one of a leader's uploaders.
func (l *leader) work(ctx context.Context) {
	for {
		t := l.queue.take(ctx)
		if t == nil {
			return
		}
		select {
		case <-ctx.Done():
			return
		case l.a.slots <- struct{}{}:
		}
		l.attempt(ctx, t)
		<-l.a.slots
	}
}

// attempt tries an upload once. The task ends when the file is in the bucket,
// when other content is, when the file is gone, when the bucket does not take
// its name, or with the term; everything else is tried again without end.
func (l *leader) attempt(ctx context.Context, t *task) {
	f, src, found := l.a.find(l.id, t.name)
	placed, err := Placed{}, ErrFileGone
	if found {
		placed, err = l.a.put(ctx, l.objects, l.id, f, src)
	}
	if errors.Is(err, ErrFileGone) {
		placed, err = l.elsewhere(ctx, t)
	}
	if ctx.Err() != nil && err != nil {
		return
	}
	if err == nil {
		l.done(ctx, t, placed)
		return
	}
	if kind, result := verdict(err); kind != "" {
		l.park(ctx, t, kind, result, err)
		return
	}
	l.a.Counters.Upload("error")
	l.mu.Lock()
	l.failed = true
	l.mu.Unlock()
	t.attempts++
	wait := l.a.cfg.Retry.Wait(t.attempts)
	l.log.Warn("an upload failed: it is tried again", "segment", t.name, "attempt", t.attempts, "wait", wait, "error", err)
	l.queue.again(t, l.a.cfg.Now().Add(wait))
}

// verdict is the alarm that an error ends a task with, empty if it does not.
func verdict(err error) (kind, result string) {
	switch {
	case errors.Is(err, ErrConflict):
		return Conflict, "conflict"
	case errors.Is(err, ErrFileGone):
		return Missing, "missing"
	case errors.Is(err, ErrRefused):
		return Bad, "refused"
	}
	return "", ""
}

// find is a complete local file and what it is read from.
func (a *Agent) find(id names.ID, name string) (*local.File, Source, bool) {
	dir, ok := a.Local.Dir(id)
	if !ok {
		return nil, Source{}, false
	}
	inv, err := a.Local.Inventory(id)
	if err != nil {
		return nil, Source{}, false
	}
	f, ok := inv.Find(name)
	if !ok {
		return nil, Source{}, false
	}
	return f, source(dir, f), true
}

// put brings one file into the bucket, in one attempt of bounded length.
func (a *Agent) put(ctx context.Context, objects Objects, id names.ID, f *local.File, src Source) (Placed, error) {
	ctx, cancel := context.WithTimeout(ctx, a.cfg.Attempt)
	defer cancel()
	if stored, ok := a.remembered(ctx, objects, id, f); ok {
		return Placed{Stored: stored}, nil
	}
	placed, err := objects.PutOnce(ctx, f.Name, src)
	a.access(err)
	if err != nil {
		return placed, err
	}
	if err := a.Journal.Stored(ctx, id, journal.File{Name: f.Name, Size: f.Size, Modified: f.ModTime, Stored: placed.Stored}); err != nil {
		a.cfg.Log.Warn("an upload is not in the journal: its content will be compared again", "segment", f.Name, "error", err)
	}
	return placed, nil
}

// remembered reports whether the journal knows that this very file was put
// into the bucket, or compared with what is there, and something of that size
// is still there.
func (a *Agent) remembered(ctx context.Context, objects Objects, id names.ID, f *local.File) (stored int64, ok bool) {
	was, ok, err := a.Journal.Lookup(ctx, id, f.Name)
	if err != nil || !ok || was.Size != f.Size || !was.Modified.Equal(f.ModTime) {
		return 0, false
	}
	stored, err = objects.Stored(ctx, f.Name)
	a.access(err)
	return stored, err == nil && stored == was.Stored
}

// elsewhere looks whether a file that is not here is in the bucket: another
// agent may have put it there.
func (l *leader) elsewhere(ctx context.Context, t *task) (Placed, error) {
	stored, err := l.objects.Stored(ctx, t.name)
	l.a.access(err)
	if errors.Is(err, ErrAbsent) {
		return Placed{}, fmt.Errorf("%s: %w", t.name, ErrFileGone)
	}
	return Placed{Stored: stored}, err
}

// done ends a task whose file is in the bucket.
func (l *leader) done(ctx context.Context, t *task, placed Placed) {
	result := "already_there"
	if placed.Uploaded {
		result = "uploaded"
	}
	l.a.Counters.Upload(result)
	l.log.Debug("a file is in the bucket", "segment", t.name, "result", result)
	l.have(ctx, t.name)
	l.mu.Lock()
	l.success, l.failed = l.a.cfg.Now(), false
	l.mu.Unlock()
	l.queue.end(t)
}

// have collects what is in the bucket.
func (l *leader) have(ctx context.Context, name string) {
	l.a.alarms.clear(ctx, Missing, l.id, name)
	l.a.alarms.clear(ctx, Conflict, l.id, name)
	l.mu.Lock()
	defer l.mu.Unlock()
	delete(l.ended, name)
	inv, _ := l.a.Local.Inventory(l.id) // of another size, it would not be ours
	size, system := inv.SegmentSize, inv.SystemID
	for _, x := range l.lines {
		size, system = x.recorded.SegmentSize, x.recorded.SystemID
	}
	n, err := wal.ParseFileName(name, size)
	if size == 0 || err != nil || n.Kind != wal.SegmentFile {
		l.others[name] = true
		return
	}
	r := names.Segment{TLI: n.TLI, No: n.Segment}.Range(size)
	if l.lines[n.TLI] == nil { // another agent has a newer TLI than we
		l.begin(n.TLI, r.From, size, system)
	}
	x := l.lines[n.TLI]
	x.expected = max(x.expected, r.To)
	if x.Done(r) || x.ahead() {
		l.poke()
	}
}

// park ends a task with an alarm. The file is looked at again after a while:
// someone may have set it right.
func (l *leader) park(ctx context.Context, t *task, kind, result string, err error) {
	l.a.Counters.Upload(result)
	if l.a.alarms.raise(ctx, kind, l.id, t.name, err.Error()) {
		switch kind {
		case Conflict:
			l.a.Counters.Conflict()
		case Missing:
			l.a.Counters.FileMissing()
		}
	}
	l.mu.Lock()
	l.ended[t.name] = l.a.cfg.Now().Add(l.a.cfg.Again)
	l.mu.Unlock()
	l.queue.end(t)
}
