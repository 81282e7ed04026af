package walbackup

import (
	"context"
	"fmt"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/local"
	"redoubt/walbackup/names"
)

// forgetAfter is how long the journal remembers a file.
const forgetAfter = 60 * 24 * time.Hour

// watched is what the monitor remembers of a timeline from tick to tick.
type watched struct {
	backup  map[pg.TLI]pg.LSN         // as recorded
	still   time.Time                 // since when that has not changed, or there was no work
	highest uint64                    // segments that were complete then
	led     time.Time                 // when a leader was last seen
	left    map[string]time.Time      // segments that are not backed up: since when
	badOnce map[string]bool           // files refused at the last tick
	states  map[pg.TLI]coord.Recorded // as etcd said last
}

// monitor looks at all timelines once a tick, whoever leads them: what one
// agent fails to do or to see, another reports.
func (a *Agent) monitor(ctx context.Context) error {
	seen := make(map[names.ID]*watched)
	tick := time.NewTicker(a.cfg.Tick)
	defer tick.Stop()
	for n := 0; ; n++ {
		select {
		case <-ctx.Done():
			return ctx.Err()
		case <-tick.C:
		}
		a.observe(ctx, seen)
		if n%1000 == 0 {
			if err := a.Journal.Forget(ctx, time.Now().Add(-forgetAfter)); err != nil {
				a.cfg.Log.Warn("the journal could not be tidied up", "error", err)
			}
		}
	}
}

func (a *Agent) observe(ctx context.Context, seen map[names.ID]*watched) {
	states, err := a.Etcd.AllStates(ctx)
	leaders := map[names.ID]string{}
	if err == nil {
		leaders, err = a.Etcd.Leaders(ctx)
	}
	if ctx.Err() != nil {
		return
	}
	reached := err == nil
	if reached {
		a.mu.Lock()
		a.reached = a.cfg.Now()
		a.mu.Unlock()
	} else {
		a.cfg.Log.Warn("etcd could not be asked", "error", err)
	}
	there := make(map[names.ID]bool)
	for _, d := range a.Local.Timelines() {
		there[d.ID] = true
		w := seen[d.ID]
		if w == nil {
			w = &watched{backup: make(map[pg.TLI]pg.LSN), still: a.cfg.Now(), led: a.cfg.Now(), badOnce: make(map[string]bool)}
			seen[d.ID] = w
		}
		a.watch(ctx, d, w, reached, states[d.ID], leaders[d.ID])
	}
	for id := range seen {
		if !there[id] {
			delete(seen, id)
			for _, kind := range []string{Stalled, NoLeader, Archiver, Bad} {
				a.alarms.clear(ctx, kind, id, "")
			}
		}
	}
	for id, err := range a.Local.Problems() {
		a.alarms.raise(ctx, Bad, id, "", err.Error())
	}
	ratio, of := a.ratio.get(a.since(a.start))
	limit := a.cfg.Alarm.ErrorRatio
	a.alarms.set(ctx, limit > 0 && of >= ratioLeast && ratio > limit, ErrorRatio, names.ID{}, "",
		fmt.Sprintf("%.0f %% of %d accesses to the bucket failed", 100*ratio, of))
}

// watch brings the status and the alarms of one timeline up to date.
func (a *Agent) watch(ctx context.Context, d local.Dir, w *watched, reached bool, states map[pg.TLI]coord.Recorded, leader string) {
	inv, err := a.Local.Inventory(d.ID)
	now := a.cfg.Now()
	s := Status{ID: d.ID, Leader: leader}
	if f := a.following(d.ID); f != nil {
		s.Leading = f.leading() != nil
	}
	if reached && leader != "" {
		w.led = now
	}
	a.alarms.set(ctx, a.cfg.Alarm.NoLeader > 0 && now.Sub(w.led) > a.cfg.Alarm.NoLeader, NoLeader, d.ID, "",
		"no agent has led this timeline for "+a.cfg.Alarm.NoLeader.String())
	if reached {
		w.states = states
	} else { // as far as is known
		states, s.Leader = w.states, a.leaderOf(d.ID)
	}
	why := foreign(states, &inv)
	if err != nil {
		why = err.Error()
	}
	a.alarms.set(ctx, why != "", Bad, d.ID, "", why)
	w.files(ctx, a, d, &inv)
	a.settle(ctx, d.ID, states)
	if reached && err == nil && leader != "" && !s.Leading {
		w.help(ctx, a, d.ID, &inv, states)
	}
	segments, work := w.progress(&s, &inv, states, now)
	if work {
		s.StalledFor = now.Sub(w.still)
	}
	a.stall(ctx, d.ID, s.StalledFor, segments)
	a.mu.Lock()
	a.status[d.ID] = s
	a.mu.Unlock()
}

// progress fills in how far the backup has got, and says how many segments
// were completed while it stood still, and whether there is work.
func (w *watched) progress(s *Status, inv *local.Inventory, states map[pg.TLI]coord.Recorded, now time.Time) (stuck int, work bool) {
	ends := make(map[pg.TLI]pg.LSN)
	var complete uint64
	for i := range inv.Complete {
		if f := &inv.Complete[i]; f.Kind == wal.SegmentFile {
			ends[f.TLI] = max(ends[f.TLI], f.SegmentOf().Range(inv.SegmentSize).To)
		}
	}
	for tli, end := range ends {
		complete += uint64(end) / uint64(inv.SegmentSize)
		r, known := states[tli]
		if !known {
			s.LagBytes += uint64(inv.SegmentSize) // at least
			work = true
		} else if end > r.Backup {
			s.LagBytes += uint64(end - r.Backup)
			work = true
		}
	}
	moved := false
	for tli, r := range states {
		if r.Backup != w.backup[tli] {
			w.backup[tli] = r.Backup
			moved = true
		}
		if tli >= s.TLI {
			s.TLI, s.Start, s.Backup = tli, r.Start, r.Backup
		}
	}
	if moved || !work {
		w.still, w.highest = now, complete
	}
	if complete > w.highest {
		stuck = int(min(complete-w.highest, 1<<30))
	}
	return stuck, work
}

func (a *Agent) leaderOf(id names.ID) string {
	a.mu.Lock()
	defer a.mu.Unlock()
	return a.status[id].Leader
}

// settle ends alarms about segments that the backup LSN has passed since,
// whoever brought them into the bucket.
func (a *Agent) settle(ctx context.Context, id names.ID, states map[pg.TLI]coord.Recorded) {
	backed := make(map[pg.TLI]pg.Range)
	size := int64(pg.MinSegmentSize)
	for tli, r := range states {
		backed[tli], size = pg.Range{From: r.Start, To: r.Backup}, r.SegmentSize
	}
	for _, kind := range []string{Missing, Conflict} {
		for _, name := range a.alarms.of(kind, id) {
			n, err := wal.ParseFileName(name, size)
			if err == nil && n.Kind == wal.SegmentFile && covers(backed, n, size) {
				a.alarms.clear(ctx, kind, id, name)
			}
		}
	}
}

func (a *Agent) stall(ctx context.Context, id names.ID, still time.Duration, segments int) {
	t := a.cfg.Alarm
	on := t.StalledTime > 0 && still > t.StalledTime || t.StalledSegments > 0 && segments >= t.StalledSegments
	a.alarms.set(ctx, on, Stalled, id, "", fmt.Sprintf("the WAL backup LSN has stood still for %s while %d segments were completed", still.Round(time.Second), segments))
}

// files raises alarms about files that can't be backed up, seen twice in a
// row, for one may be copied here just now, and about another archiver.
func (w *watched) files(ctx context.Context, a *Agent, d local.Dir, inv *local.Inventory) {
	bad := make(map[string]bool)
	for _, r := range inv.Refused {
		bad[r.Name] = true
		if w.badOnce[r.Name] {
			a.alarms.raise(ctx, Bad, d.ID, r.Name, r.Reason)
		}
	}
	for _, name := range a.alarms.of(Bad, d.ID) {
		if name != "" && !bad[name] && !a.parked(d.ID, name) {
			a.alarms.clear(ctx, Bad, d.ID, name)
		}
	}
	w.badOnce = bad
	err := d.CheckArchiver()
	text := ""
	if err != nil {
		text = err.Error()
	}
	a.alarms.set(ctx, err != nil, Archiver, d.ID, "", text)
}

// parked reports whether an upload of the file ended with an alarm.
func (a *Agent) parked(id names.ID, name string) bool {
	f := a.following(id)
	if f == nil {
		return false
	}
	l := f.leading()
	if l == nil {
		return false
	}
	l.mu.Lock()
	defer l.mu.Unlock()
	_, ok := l.ended[name]
	return ok
}
