package main

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"net/url"
	"os"
	"strings"
	"time"

	"redoubt/internal/archive"
	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/scanner"
	"redoubt/walbackup/coord"
	walnames "redoubt/walbackup/names"
	"redoubt/walbackup/requests"
)

const (
	// onTheWay is how long a segment that is not there may still be on its way
	// to the bucket: agents upload out of order.
	onTheWay = 5 * time.Second
	// requeueWait bounds what etcd may take for one gap.
	requeueWait = 30 * time.Second
)

// requeuer asks the WAL backup agents for missing segments, by etcd.
type requeuer struct {
	client *coord.Client
	queue  *requests.Queue
	asked  func() // called for each segment that was not asked for before
	// patience is how long a segment may be late before that is a finding; 0: not at all.
	patience time.Duration
}

var _ scanner.Requeuer = (*requeuer)(nil)

// handOn lets the scan of a timeline hand missing segments to the agents, if
// the configuration has some, and has it expect all WAL below the WAL backup
// LSN, if the source is what the agents back up to. Doubt is why that is not
// known. Of a source of Neon's the safekeepers say what to expect.
func (s *site) handOn(ctx context.Context, src config.Source, t *archive.Timeline, o *scanner.Options) (doubt string, err error) {
	if n, err := s.neon(src); n != nil || err != nil {
		if err != nil {
			return "", err
		}
		return n.expect(ctx, t, o)
	}
	o.Said = nil
	if s.cfg.WALBackup.Bucket == "" {
		return "", nil
	}
	q, err := s.requeuer(ctx)
	if err != nil {
		return "", err
	}
	o.Requeuer, o.Settle, o.Recorded = q, onTheWay, nil
	id := walnames.ID{Tenant: t.Tenant(), Timeline: t.ID()}
	if !samePlace(src.WAL, s.cfg.WALBackup.Bucket) || id.Valid() != nil || q.reachable() != nil {
		return "", nil
	}
	states, err := q.client.States(ctx, id)
	if err != nil {
		return fmt.Sprintf("it is not known up to where the archive should go: %v", err), ctx.Err()
	}
	for tli, r := range states {
		o.Recorded = append(o.Recorded, scanner.Recorded{TLI: tli, From: r.Start, To: r.Backup, SegmentSize: r.SegmentSize})
	}
	return "", nil
}

// samePlace reports whether two locations are the same, whatever parameters
// say how to get there.
func samePlace(a, b string) bool {
	if a == b {
		return true
	}
	u, err := url.Parse(a)
	v, other := url.Parse(b)
	return err == nil && other == nil && u.Scheme == v.Scheme && u.Host == v.Host && u.Query().Get("endpoint") == v.Query().Get("endpoint") &&
		strings.TrimSuffix(u.Path, "/") == strings.TrimSuffix(v.Path, "/")
}

func (s *site) requeuer(ctx context.Context) (*requeuer, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.agents != nil {
		return s.agents, nil
	}
	client, err := dialEtcd(context.WithoutCancel(ctx), s.cfg, nil) // it is closed with the site
	if err != nil {
		return nil, err
	}
	s.agents = &requeuer{client: client, queue: requests.New(client), asked: s.asked, patience: time.Duration(s.cfg.WALBackup.Agent.Alarms.StalledTime)}
	return s.agents, nil
}

// Requeue asks for the segments that the gap names: of a very long one the
// first, the next scan asks for more. They stay missing if no agent has ever
// backed up the timeline: it is of another archive.
func (q *requeuer) Requeue(ctx context.Context, tenant, timeline string, gap finding.Gap) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, requeueWait)
	defer cancel()
	id := walnames.ID{Tenant: tenant, Timeline: timeline}
	if id.Valid() != nil {
		return gapMissing, nil
	}
	if err := q.reachable(); err != nil {
		return gapMissing, err
	}
	states, err := q.client.States(ctx, id)
	if err != nil {
		return gapMissing, err
	}
	if len(states) == 0 {
		return gapMissing, nil
	}
	at := true
	for _, segment := range gap.Segments {
		uploading, err := q.ask(ctx, requests.Key{ID: id, Segment: segment})
		if err != nil {
			return gapMissing, err
		}
		at = at && uploading
	}
	late, err := q.late(ctx, id, gap, states)
	switch {
	case err != nil:
		return gapMissing, err
	case late:
		return gapDelayed, nil
	case at && allNamed(gap, states):
		return gapUploading, nil
	}
	return gapRequeued, nil
}

// late reports whether a gap is but what parallel uploads leave behind for a
// while: beyond the WAL backup LSN of a timeline that an agent leads, and that
// advanced lately. A gap that the LSN stands still before is late no more when
// the patience is over.
func (q *requeuer) late(ctx context.Context, id walnames.ID, gap finding.Gap, states map[pg.TLI]coord.Recorded) (bool, error) {
	tli, ok := tliOf(gap)
	r, known := states[tli]
	if !ok || !known || gap.From < r.Backup || !q.recent(r.UpdatedAt) {
		return false, nil
	}
	leaders, err := q.client.Leaders(ctx)
	return leaders[id] != "", err
}

// tliOf is the TLI of a gap's segments.
func tliOf(gap finding.Gap) (pg.TLI, bool) {
	if len(gap.Segments) == 0 {
		return 0, false
	}
	tli, _, err := pg.ParseSegmentName(gap.Segments[0], pg.MinSegmentSize)
	return tli, err == nil
}

// allNamed reports whether a gap names all its segments, as short ones do.
func allNamed(gap finding.Gap, states map[pg.TLI]coord.Recorded) bool {
	for _, r := range states {
		return uint64(gap.To-gap.From) <= uint64(len(gap.Segments))*uint64(r.SegmentSize)
	}
	return false
}

// recent reports whether something happened within the patience. Clocks of
// other machines may be wrong: what will happen in the future is not recent.
func (q *requeuer) recent(at time.Time) bool {
	return time.Since(at).Abs() < q.patience
}

// Statuses of a gap (finding.Gap).
const (
	gapMissing   = "missing"
	gapDelayed   = "delayed"
	gapUploading = "uploading"
	gapRequeued  = "requeued"
)

// ask asks for a segment, and reports whether an agent is at work on it, and
// not for too long already: one that fails again and again is no comfort.
func (q *requeuer) ask(ctx context.Context, k requests.Key) (uploading bool, err error) {
	if r, ok, err := q.queue.Get(ctx, k); err != nil || ok && !r.Done && r.ClaimedBy != "" {
		return err == nil && q.recent(r.RequestedAt), err
	}
	added, err := q.queue.Ask(ctx, k, "scanner", "the bucket lacks it")
	if added {
		q.asked()
	}
	return false, err
}

// reachable says what to do where the etcd of this machine's agent is not there.
func (q *requeuer) reachable() error {
	at := q.client.Etcd().Endpoints()
	socket, local := strings.CutPrefix(at[0], "unix://")
	if !local {
		return nil
	}
	if _, err := os.Stat(socket); errors.Is(err, fs.ErrNotExist) {
		return errors.New("no agent runs on this machine, and no etcd is configured: start redoubt walbackup, or set walbackup.agent.etcd.endpoints")
	}
	return nil
}
