package main

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/check"
	"redoubt/internal/config"
	"redoubt/internal/official/livepg"
	"redoubt/internal/pg"
	"redoubt/replay"
	"redoubt/scheduler"
	"redoubt/verify"
)

// liveSide is a running server as verify wants it.
type liveSide struct{ *livepg.Server }

var _ verify.Moving = liveSide{}

// isLive reports whether a location is a running server.
func isLive(location string) bool {
	return strings.HasPrefix(location, "postgres://") || strings.HasPrefix(location, "postgresql://")
}

// openLive connects to a running server. note, if it is not nil, is told why
// nothing is read for long.
func openLive(ctx context.Context, location string, l config.Live, note func(string)) (liveSide, error) {
	hours, err := livepg.ParseHours(l.Hours)
	if err != nil {
		return liveSide{}, err
	}
	s, err := livepg.Open(ctx, location, livepg.Options{
		MemoryFunction: l.MemoryFunction, Note: note,
		Pace: livepg.Pace{
			PagesPerSecond: int64(l.PagesPerSecond), BytesPerSecond: int64(l.BytesPerSecond), Hours: hours,
			MaxLag: int64(l.MaxLag), MaxLatency: time.Duration(l.MaxLatency), Patience: time.Duration(l.Patience),
		},
	})
	return liveSide{s}, err
}

// Meta says where the server is now: the span ends at its last checkpoint.
func (s liveSide) Meta(ctx context.Context) (verify.Meta, error) {
	p, err := s.Server.Position(ctx)
	i := s.Info()
	return verify.Meta{Major: i.Major, SystemID: i.SystemID, Online: true, Redo: p.Redo, Consistent: p.Redo, TLI: i.TLI}, err
}

// Position fits verify.Moving.
func (s liveSide) Position(ctx context.Context) (redo, reached pg.LSN, err error) {
	p, err := s.Server.Position(ctx)
	return p.Redo, p.Reached, err
}

// Problems fits verify.Snapshot: a server has no manifest.
func (liveSide) Problems() []string { return nil }

// wal is where the WAL comes from: the archive, and the server itself if asked.
func (s liveSide) wal(src replay.WALSource, l config.Live) replay.WALSource {
	if l.ServerWAL {
		return s.WAL(src)
	}
	return src
}

// moving is how verify compares the server.
func moving(l config.Live) verify.MovingOptions {
	o := verify.MovingOptions{Memory: l.Memory, WALWait: time.Duration(l.WALWait)}
	if l.WALWait == 0 {
		o.WALWait = -1
	}
	return o
}

// liveName is the name of a timeline's running server among its snapshots.
const liveName = "live"

// liveSnapshot is the running server as the scheduler wants it: the last of
// the timeline's snapshots. Why it cannot be is a part of it.
func (s *site) liveSnapshot(ctx context.Context, src config.Source, others []scheduler.Snapshot) scheduler.Snapshot {
	broken := func(err error) scheduler.Snapshot { return scheduler.Snapshot{Name: liveName, Broken: err.Error()} }
	side, err := openLive(ctx, src.Official, src.Live, nil)
	if err != nil {
		return broken(err)
	}
	m, err := side.Meta(ctx)
	if err = errors.Join(err, side.Close()); err != nil {
		return broken(err)
	}
	for _, o := range others {
		if at := max(o.Redo, o.End); o.Broken == "" && at > m.Redo {
			return broken(fmt.Errorf("the last checkpoint of the server, at %s, is older than base backup %s, which is consistent at %s: from the next one on it can be compared", m.Redo, o.Name, at))
		}
	}
	return scheduler.Snapshot{Name: liveName, Redo: m.Redo, End: m.Redo, Online: true, TLI: m.TLI, Major: m.Major, SystemID: m.SystemID}
}

// lookAtServer says whether the running server of a source can be read.
func lookAtServer(ctx context.Context, src config.Source) check.Item {
	subject := "server of source " + src.Name
	side, err := openLive(ctx, src.Official, src.Live, nil)
	if err != nil {
		return check.Unreadable(subject, err)
	}
	i, name := side.Info(), side.Name()
	m, err := side.Meta(ctx)
	if err = errors.Join(err, side.Close()); err != nil {
		return check.Unreadable(subject, err)
	}
	kind := "primary"
	if i.Standby {
		kind = "standby"
	}
	return check.Readable(subject, "%s: PostgreSQL %d, %s, system identifier %d, checksums %t, last checkpoint at %s; the role has the rights it needs",
		name, i.Major, kind, i.SystemID, i.Checksums, m.Redo)
}

// liveFlags are the flags of commands that read a running server.
type liveFlags struct {
	wal, memory                   bool
	bytesPerSecond, maxLag        string
	hours                         string
	pagesPerSecond                int
	maxLatency, patience, walWait time.Duration
	memoryFunction                string
}

func (f *liveFlags) flags(cmd *cobra.Command) {
	d := config.DefaultSource().Live
	fl := cmd.Flags()
	fl.BoolVar(&f.wal, "live-wal", d.ServerWAL, "of a running server: read WAL that is not archived yet from it")
	fl.BoolVar(&f.memory, "live-memory", d.Memory, "of a running server: compare what it has in memory, too (docs/live.md)")
	fl.StringVar(&f.memoryFunction, "live-memory-function", d.MemoryFunction, "the function that returns pages in memory")
	fl.IntVar(&f.pagesPerSecond, "live-pages-per-second", d.PagesPerSecond, "of a running server: read no more pages (0: no limit)")
	fl.StringVar(&f.bytesPerSecond, "live-bytes-per-second", d.BytesPerSecond.String(), "of a running server: read no more bytes (0: no limit)")
	fl.StringVar(&f.hours, "live-hours", d.Hours, "of a running server: read it between these times only, as 22:00-06:00")
	fl.StringVar(&f.maxLag, "live-max-lag", d.MaxLag.String(), "of a running server: rest while replication lags further behind (0: no limit)")
	fl.DurationVar(&f.maxLatency, "live-max-latency", time.Duration(d.MaxLatency), "of a running server: rest after a read that took longer (0: no limit)")
	fl.DurationVar(&f.patience, "live-patience", time.Duration(d.Patience), "of a running server: give up after resting so long")
	fl.DurationVar(&f.walWait, "live-wal-wait", time.Duration(d.WALWait), "of a running server: wait so long for WAL that is not there yet")
}

func (f *liveFlags) settings() (l config.Live, err error) {
	l = config.Live{
		ServerWAL: f.wal, Memory: f.memory, MemoryFunction: f.memoryFunction, PagesPerSecond: f.pagesPerSecond, Hours: f.hours,
		MaxLatency: config.Duration(f.maxLatency), Patience: config.Duration(f.patience), WALWait: config.Duration(f.walWait),
	}
	if err := l.BytesPerSecond.UnmarshalText([]byte(f.bytesPerSecond)); err != nil {
		return l, fmt.Errorf("--live-bytes-per-second: %w", err)
	}
	if err := l.MaxLag.UnmarshalText([]byte(f.maxLag)); err != nil {
		return l, fmt.Errorf("--live-max-lag: %w", err)
	}
	if _, err := livepg.ParseHours(f.hours); err != nil {
		return l, fmt.Errorf("--live-hours: %w", err)
	}
	if f.pagesPerSecond < 0 || f.maxLatency < 0 || f.patience < 0 || f.walWait < 0 {
		return l, errors.New("--live-…: want no negative values")
	}
	return l, nil
}
