package main

import (
	"context"
	"errors"
	"io/fs"
	"os"
	"strings"
	"time"

	"redoubt/internal/finding"
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
}

var _ scanner.Requeuer = (*requeuer)(nil)

// handOn lets a scan hand missing segments to the agents, if the configuration has some.
func (s *site) handOn(ctx context.Context, o *scanner.Options) error {
	if s.cfg.WALBackup.Bucket == "" {
		return nil
	}
	q, err := s.requeuer(ctx)
	if err != nil {
		return err
	}
	o.Requeuer, o.Settle = q, onTheWay
	return nil
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
	s.agents = &requeuer{client: client, queue: requests.New(client), asked: s.asked}
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
	status := gapUploading
	for _, segment := range gap.Segments {
		claimed, err := q.ask(ctx, requests.Key{ID: id, Segment: segment})
		if err != nil {
			return gapMissing, err
		}
		if !claimed {
			status = gapRequeued
		}
	}
	return status, nil
}

// Statuses of a gap (finding.Gap).
const (
	gapMissing   = "missing"
	gapUploading = "uploading"
	gapRequeued  = "requeued"
)

// ask asks for a segment, and reports whether an agent is at work on it already.
func (q *requeuer) ask(ctx context.Context, k requests.Key) (claimed bool, err error) {
	if r, ok, err := q.queue.Get(ctx, k); err != nil || ok && !r.Done && r.ClaimedBy != "" {
		return err == nil, err
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
