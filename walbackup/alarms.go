package walbackup

import (
	"context"
	"log/slog"
	"slices"
	"strings"
	"sync"
	"time"

	"redoubt/walbackup/journal"
	"redoubt/walbackup/names"
)

// Kinds of alarms.
const (
	Stalled    = "stalled"      // the backup LSN does not advance though there is work
	ErrorRatio = "error_ratio"  // too many accesses to the bucket fail
	Missing    = "missing_file" // a segment is neither here nor in the bucket
	Conflict   = "conflict"     // the bucket has other content under the name
	NoLeader   = "no_leader"    // nobody uploads, or etcd can't be asked who does
	Bad        = "bad_file"     // a file can't be backed up: size, header, another cluster
	Archiver   = "archiver"     // PostgreSQL archives by itself
	Lost       = "lost"         // a segment below the backup LSN is not in the bucket, or not with this content
)

// Kinds lists them all.
func Kinds() []string {
	return []string{Stalled, ErrorRatio, Missing, Conflict, NoLeader, Bad, Archiver, Lost}
}

type alarmKey struct {
	kind string
	id   names.ID
	name string // of a file; empty if the timeline is meant
}

// alarms are what an operator has to look at. Those about files outlive the
// process.
type alarms struct {
	mu      sync.Mutex
	open    map[alarmKey]journal.Alarm
	journal Journal
	log     *slog.Logger
}

func newAlarms(ctx context.Context, j Journal, log *slog.Logger) *alarms {
	a := &alarms{open: make(map[alarmKey]journal.Alarm), journal: j, log: log}
	kept, err := j.Alarms(ctx)
	if err != nil {
		log.Error("the alarms that stood can't be read", "error", err)
	}
	for _, k := range kept {
		a.open[alarmKey{k.Kind, k.ID, k.Name}] = k
	}
	return a
}

// raise opens an alarm, and reports whether it is new.
func (a *alarms) raise(ctx context.Context, kind string, id names.ID, name, detail string) bool {
	a.mu.Lock()
	key := alarmKey{kind, id, name}
	_, stands := a.open[key]
	alarm := journal.Alarm{Kind: kind, ID: id, Name: name, Detail: detail, Since: time.Now()}
	if !stands {
		a.open[key] = alarm
	}
	a.mu.Unlock()
	if stands {
		return false
	}
	a.log.Error("alarm", "alarm", kind, "tenant", id.Tenant, "timeline", id.Timeline, "segment", name, "detail", detail)
	if name != "" {
		if err := a.journal.Raise(context.WithoutCancel(ctx), alarm); err != nil {
			a.log.Warn("the alarm will not outlive this process", "error", err)
		}
	}
	return true
}

// clear ends an alarm if it stands.
func (a *alarms) clear(ctx context.Context, kind string, id names.ID, name string) {
	a.mu.Lock()
	key := alarmKey{kind, id, name}
	alarm, stands := a.open[key]
	delete(a.open, key)
	a.mu.Unlock()
	if !stands {
		return
	}
	a.log.Info("alarm is over", "alarm", kind, "tenant", id.Tenant, "timeline", id.Timeline, "segment", name)
	if name != "" {
		if err := a.journal.Clear(context.WithoutCancel(ctx), alarm); err != nil {
			a.log.Warn("the alarm will come back with the next start", "error", err)
		}
	}
}

// set raises or clears.
func (a *alarms) set(ctx context.Context, on bool, kind string, id names.ID, name, detail string) {
	if on {
		a.raise(ctx, kind, id, name, detail)
	} else {
		a.clear(ctx, kind, id, name)
	}
}

// of lists the names of the files that alarms of a kind are about.
func (a *alarms) of(kind string, id names.ID) []string {
	a.mu.Lock()
	defer a.mu.Unlock()
	var out []string
	for k := range a.open {
		if k.kind == kind && k.id == id {
			out = append(out, k.name)
		}
	}
	slices.Sort(out)
	return out
}

// all lists what stands, oldest first.
func (a *alarms) all() []journal.Alarm {
	a.mu.Lock()
	defer a.mu.Unlock()
	out := make([]journal.Alarm, 0, len(a.open))
	for _, x := range a.open {
		out = append(out, x)
	}
	slices.SortFunc(out, func(x, y journal.Alarm) int {
		if c := x.Since.Compare(y.Since); c != 0 {
			return c
		}
		return strings.Compare(x.Kind+x.ID.String()+x.Name, y.Kind+y.ID.String()+y.Name)
	})
	return out
}
