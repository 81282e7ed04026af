package main

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strconv"
	"time"

	"redoubt/internal/archive"
	"redoubt/internal/check"
	"redoubt/internal/config"
	"redoubt/internal/ledger"
	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
	"redoubt/scheduler"
)

// look says what is at a source: at most so many of its timelines.
func (s *site) look(ctx context.Context, src config.Source, most int) (check.Source, []check.Item) {
	seen := check.Source{Name: src.Name, Location: storage.Redacted(src.WAL), Timelines: []check.Timeline{}}
	subject := "source " + src.Name
	a, err := s.archive(ctx, src)
	if err != nil {
		return seen, []check.Item{check.Unreadable(subject, err)}
	}
	seen.Layout = string(a.Layout())
	neon, err := s.neon(src)
	if err != nil {
		return seen, []check.Item{check.Unreadable(subject, err)}
	}
	var items []check.Item
	if neon != nil {
		items = neon.check(ctx)
	}
	found, strays, err := a.Timelines(ctx)
	if err != nil {
		return seen, append(items, check.Unreadable(subject, err))
	}
	seen.Count = len(found)
	if len(found) == 0 {
		return seen, append(items, check.Unreadable(subject, errors.New("there are no timelines")))
	}
	if isLive(src.Official) {
		items = append(items, lookAtServer(ctx, src))
	}
	items = append(items, check.Readable(subject, "layout %s, %d timelines, %d objects that are no part of it", seen.Layout, len(found), len(strays)))
	for _, t := range found[:min(most, len(found))] {
		facts, more := s.lookAt(ctx, src, t)
		seen.Timelines = append(seen.Timelines, facts)
		items = append(items, more...)
		if neon != nil {
			items = append(items, neon.checkTimeline(ctx, t))
		}
	}
	return seen, append(items, clock(ctx, src.Name, found[0], &seen.Timelines[0].WAL)...)
}

// lookAt says what is there of one timeline.
func (s *site) lookAt(ctx context.Context, src config.Source, t *archive.Timeline) (check.Timeline, []check.Item) {
	facts := check.Timeline{
		Tenant: t.Tenant(), Timeline: t.ID(), Snapshots: []check.Snapshot{}, Spans: []pg.Range{},
		WAL: check.WAL{TLIs: []pg.TLI{}},
	}
	name := t.Tenant() + "/" + t.ID()
	var items []check.Item
	if err := lookAtWAL(ctx, t, &facts); err != nil && !errors.Is(err, archive.ErrNoWAL) {
		return facts, []check.Item{check.Unreadable("WAL of "+name, err)}
	}
	key := ledger.TimelineKey{Source: src.Name, Tenant: t.Tenant(), Timeline: t.ID()}
	reasons, err := s.lookAtSnapshots(ctx, key, &facts)
	if err != nil {
		items = append(items, check.Unreadable("base backups of "+name, err))
	}
	facts.Judge(reasons)
	if err == nil {
		items = append(items, facts.Broken()...)
		if p := facts.Problem(); p != nil {
			return facts, append(items, *p)
		}
		items = append(items, facts.Summary())
	}
	return facts, items
}

// lookAtWAL reads a segment's first page and lists the rest.
func lookAtWAL(ctx context.Context, t *archive.Timeline, facts *check.Timeline) error {
	id, err := t.Identify(ctx)
	if err != nil {
		return err
	}
	facts.Major, facts.SystemID, facts.SegmentSize = id.Major, strconv.FormatUint(id.SystemID, 10), id.SegmentSize
	for e, err := range t.List(ctx) {
		if err != nil {
			return err
		}
		countEntry(&facts.WAL, e, id.SegmentSize)
	}
	slices.Sort(facts.WAL.TLIs)
	return nil
}

func countEntry(w *check.WAL, e walfile.Entry, size int64) {
	switch e.Kind {
	case wal.SegmentFile:
	case walfile.Unexpected:
		w.Others++
		return
	default:
		return
	}
	w.Segments++
	w.Bytes += e.Size
	name := e.Name()
	if w.First == "" || e.Segment < w.FirstSegment {
		w.First, w.FirstSegment = name, e.Segment
	}
	if end := (e.Segment + 1).Start(size); end >= w.End {
		at := e.ModTime.UTC()
		w.Newest, w.End, w.NewestAt, w.NewestKey = name, end, &at, e.Key
	}
	if !slices.Contains(w.TLIs, e.TLI) {
		w.TLIs = append(w.TLIs, e.TLI)
	}
}

// lookAtSnapshots reads the label of each base backup and cuts the timeline
// into spans; reasons are what stands between snapshots.
func (s *site) lookAtSnapshots(ctx context.Context, key ledger.TimelineKey, facts *check.Timeline) (reasons []string, err error) {
	loc, err := s.backups(ctx, key)
	if err != nil {
		return nil, err
	}
	found, err := s.listBackups(ctx, key, loc)
	if err != nil {
		return nil, err
	}
	for _, b := range found {
		facts.Snapshots = append(facts.Snapshots, snapshotFacts(b))
	}
	planned, reasons := scheduler.Cut(key, schedulable(found), 0)
	for _, sp := range planned {
		facts.Spans = append(facts.Spans, sp.Range)
	}
	return reasons, nil
}

func snapshotFacts(b snapshot.Backup) check.Snapshot {
	if b.Err != nil {
		return check.Snapshot{Name: b.Name, Broken: b.Err.Error()}
	}
	return check.Snapshot{
		Name: b.Name, From: b.Info.Redo, To: stopOf(b.Info), Major: b.Info.Major,
		Control: b.Info.HasControl, Checksums: b.Info.Checksums, WALLogHints: b.Info.WALLogHints,
	}
}

// clock compares this machine's clock with the time of the newest segment, and
// with the store's if that tells.
func clock(ctx context.Context, source string, t *archive.Timeline, w *check.WAL) []check.Item {
	if w.NewestAt == nil {
		return nil
	}
	what := fmt.Sprintf("the time of segment %s in source %s", w.Newest, source)
	if i, bad := check.Newer(time.Now(), *w.NewestAt, what); bad {
		return []check.Item{i}
	}
	ahead, known, err := t.Skew(ctx, w.NewestKey)
	switch {
	case err != nil:
		return []check.Item{check.Unreadable("WAL of "+t.Tenant()+"/"+t.ID(), err)}
	case known:
		return []check.Item{check.Skew(source, ahead)}
	}
	return nil
}
