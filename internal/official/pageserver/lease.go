package pageserver

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"strconv"
	"sync"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"redoubt/internal/pg"
)

// Leaser gets a lease of an LSN from all shards of a timeline: until it ends,
// garbage collection spares what is needed to read that very LSN, no other.
// Asked again, it renews. The time is how long it holds from now on.
type Leaser interface {
	Lease(ctx context.Context, lsn pg.LSN) (time.Duration, error)
}

// errRefusedLease is what a pageserver says with an empty answer.
var errRefusedLease = errors.New("the pageserver grants no lease: garbage collection has passed the LSN, or is about to")

// Lease asks every shard by the libpq command `lease lsn`; the shortest counts.
func (c *Client) Lease(ctx context.Context, lsn pg.LSN) (time.Duration, error) {
	times := make([]time.Duration, len(c.shards))
	g, gctx := errgroup.WithContext(ctx)
	for n := range c.shards {
		g.Go(func() (err error) {
			times[n], err = c.leaseOf(gctx, n, lsn)
			return err
		})
	}
	if err := g.Wait(); err != nil {
		if ctx.Err() != nil {
			return 0, context.Cause(ctx)
		}
		return 0, err
	}
	shortest := times[0]
	for _, d := range times {
		shortest = min(shortest, d)
	}
	return shortest, nil
}

// leaseOf asks one shard. A tenant of a single shard may be called with or
// without the number of its shard, and nothing tells which.
func (c *Client) leaseOf(ctx context.Context, n int, lsn pg.LSN) (d time.Duration, err error) {
	id := c.target.shardID(n)
	err = c.retry(ctx, func() (bool, error) {
		d, err = c.leaseAs(ctx, c.shards[n].server, id, lsn)
		return false, err
	})
	err = sorted(c.shards[n].server, "get a lease of "+lsn.String(), err)
	var known *Error
	if len(c.shards) == 1 && id == c.target.Tenant && errors.As(err, &known) && known.Reason == NoTenant {
		if d, again := c.leaseAs(ctx, c.shards[n].server, id+"-0001", lsn); again == nil {
			return d, nil
		}
	}
	return d, err
}

func (c *Client) leaseAs(ctx context.Context, server, id string, lsn pg.LSN) (time.Duration, error) {
	pg, err := c.dial(ctx, server)
	if err != nil {
		return 0, err
	}
	ctx, cancel := context.WithTimeout(ctx, c.opt.Timeout)
	defer cancel()
	defer func() { hangUp(ctx, pg) }()
	value, err := oneValue(pg.Exec(ctx, fmt.Sprintf("lease lsn %s %s %s", id, c.target.Timeline, lsn)))
	if errors.Is(err, errNotOne) {
		err = &Error{Reason: Protocol, Server: server, Doing: "get a lease of " + lsn.String(), Err: err}
	}
	if err != nil {
		return 0, err
	}
	if value == nil {
		return 0, &Error{Reason: LeaseLost, Server: server, Doing: "get a lease of " + lsn.String(), Err: errRefusedLease}
	}
	ms, err := strconv.ParseInt(string(value), 10, 64)
	if err != nil {
		return 0, &Error{Reason: Protocol, Server: server, Doing: "get a lease of " + lsn.String(), Err: err}
	}
	d := time.Until(time.UnixMilli(ms))
	if d <= 0 {
		return 0, &Error{
			Reason: LeaseLost, Server: server, Doing: "get a lease of " + lsn.String(),
			Err: errors.New("it ends in the past: the clocks of pageserver and this machine differ by more than a lease lasts"),
		}
	}
	return d, nil
}

var errNotOne = errors.New("the answer has not one value")

// oneValue reads an answer of one row with one value. It does not read on where there is more.
func oneValue(answer *pgconn.MultiResultReader) (value []byte, err error) {
	rows := 0
	for answer.NextResult() {
		for r := answer.ResultReader(); r.NextRow(); rows++ {
			if rows > 0 || len(r.Values()) != 1 {
				return nil, errNotOne
			}
			value = bytes.Clone(r.Values()[0])
		}
	}
	if err := answer.Close(); err != nil {
		return nil, err
	}
	if rows != 1 {
		return nil, errNotOne
	}
	return value, nil
}

// renewEvery is the longest time between renewals: leases last ten minutes
// where nobody set another time, and nobody knows how far clocks are apart.
const renewEvery = time.Minute

// held is a lease that is renewed until it is let go of.
type held struct {
	leaser Leaser
	lsn    pg.LSN
	cancel context.CancelFunc
	done   chan struct{}

	mu    sync.Mutex
	until time.Time
	lost  error
}

// hold gets a lease and renews it in the background.
func hold(ctx context.Context, l Leaser, lsn pg.LSN) (*held, error) {
	d, err := l.Lease(ctx, lsn)
	if err != nil {
		return nil, err
	}
	ctx, cancel := context.WithCancel(context.WithoutCancel(ctx))
	h := &held{leaser: l, lsn: lsn, cancel: cancel, done: make(chan struct{}), until: time.Now().Add(d)}
	go h.renew(ctx, d)
	return h, nil
}

func (h *held) renew(ctx context.Context, d time.Duration) {
	defer close(h.done)
	for {
		t := time.NewTimer(min(d/4, renewEvery))
		select {
		case <-ctx.Done():
			t.Stop()
			return
		case <-t.C:
		}
		got, err := h.leaser.Lease(ctx, h.lsn)
		var known *Error
		h.mu.Lock()
		switch {
		case err == nil:
			d = got
			h.until = time.Now().Add(d)
		case errors.As(err, &known) && known.Reason != Unreachable:
			h.lost = err
		}
		lost := h.lost
		h.mu.Unlock()
		if lost != nil {
			return
		}
	}
}

// valid says why what was just read is not protected, nil if it is.
func (h *held) valid() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.lost == nil && time.Now().After(h.until) {
		h.lost = errors.New("it could not be renewed in time")
	}
	if h.lost == nil {
		return nil
	}
	return h.lost
}

func (h *held) release() {
	h.cancel()
	<-h.done
}
