package pageserver

import (
	"context"
	"errors"
	"math/rand/v2"
	"sync"
	"time"

	"golang.org/x/sync/errgroup"
	"golang.org/x/time/rate"

	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/pg"
)

// Client reads one timeline. It may be used by several goroutines; each shard
// answers one of them at a time.
type Client struct {
	target Target
	opt    Options
	limit  *rate.Limiter // requests
	shards []*shard
}

// shard is a pageserver and the connection to it.
type shard struct {
	server string
	mu     sync.Mutex
	stream *pagestream // nil: none is open
	lastID uint64
}

// New makes a client. It connects when it is first asked for something.
func New(t Target) *Client {
	c := &Client{target: t, opt: t.Options.withDefaults(), limit: rate.NewLimiter(rate.Inf, 1)}
	if n := c.opt.PagesPerSecond; n > 0 {
		c.limit = rate.NewLimiter(rate.Limit(n), max(n/10, 1))
	}
	for _, server := range t.Shards {
		c.shards = append(c.shards, &shard{server: server, lastID: rand.Uint64N(1 << 32)})
	}
	return c
}

// Close closes the connections.
func (c *Client) Close() error {
	var errs []error
	for _, s := range c.shards {
		s.mu.Lock()
		errs = append(errs, s.drop())
		s.mu.Unlock()
	}
	return errors.Join(errs...)
}

// drop closes the connection, if there is one; mu is held.
func (s *shard) drop() error {
	if s.stream == nil {
		return nil
	}
	err := s.stream.close()
	s.stream = nil
	return err
}

// retry runs fn until it succeeds, fails for good, or fails for the last
// allowed time without having got further. Pauses double and vary, so that
// clients that were cut off together don't come back together.
func (c *Client) retry(ctx context.Context, fn func() (further bool, err error)) error {
	pause := c.opt.Pause
	for left := c.opt.Attempts; ; {
		further, err := fn()
		if further {
			left, pause = c.opt.Attempts, c.opt.Pause
		}
		left--
		if err == nil || ctx.Err() != nil || left <= 0 || !passing(err) {
			return err
		}
		wait := time.NewTimer(pause/2 + rand.N(pause))
		select {
		case <-ctx.Done():
			wait.Stop()
			return err
		case <-wait.C:
		}
		pause = min(pause*2, maxPause)
	}
}

const maxPause = 30 * time.Second

// ask sends requests to a shard, several under way at a time, and hands fn
// the answers in order. After a broken connection it goes on where it was.
func (c *Client) ask(ctx context.Context, n int, doing string, requests []wire.Request, fn func(i int, p *wire.Response) error) error {
	s := c.shards[n]
	s.mu.Lock()
	defer s.mu.Unlock()
	next := 0
	var own error // fn's
	err := c.retry(ctx, func() (bool, error) {
		from := next
		err := c.attempt(ctx, s, requests, &next, func(i int, p *wire.Response) error {
			own = fn(i, p)
			return own
		})
		if err != nil {
			_ = s.drop() // what is still under way is of no use
		}
		return next > from, err
	})
	switch {
	case err == nil:
		return nil
	case own != nil:
		return own
	case ctx.Err() != nil:
		return context.Cause(ctx)
	}
	return sorted(s.server, doing, err)
}

// attempt asks over one connection, from requests[*next] on.
func (c *Client) attempt(ctx context.Context, s *shard, requests []wire.Request, next *int, fn func(i int, p *wire.Response) error) (err error) {
	if s.stream == nil {
		if s.stream, err = c.openStream(ctx, s.server); err != nil {
			return err
		}
	}
	defer s.stream.watch(ctx)()
	sent := *next
	for *next < len(requests) {
		for sent < len(requests) && sent-*next < c.opt.Depth {
			if err := c.limit.Wait(ctx); err != nil {
				return err
			}
			s.lastID++
			requests[sent].ID = s.lastID
			s.stream.send(&requests[sent])
			sent++
		}
		if err := s.stream.flush(); err != nil {
			return errors.Join(errBroken, err)
		}
		p, err := s.stream.answer(ctx, &requests[*next])
		if err != nil {
			return err
		}
		if p.Failed {
			return &Error{Reason: reasonOf(p.Error), Server: s.server, Doing: "read " + requests[*next].Op.String(), Err: errors.New(p.Error)}
		}
		if err := fn(*next, p); err != nil {
			return err
		}
		*next++
	}
	return nil
}

func request(op wire.Op, lsn pg.LSN) wire.Request {
	return wire.Request{Op: op, Header: wire.Header{LSN: lsn, NotModifiedSince: lsn}}
}

// Sizes returns the blocks of each fork that exists at lsn.
func (c *Client) Sizes(ctx context.Context, lsn pg.LSN, forks []pg.RelFork) (map[pg.RelFork]pg.BlockNumber, error) {
	asked := func(op wire.Op, forks []pg.RelFork) (out []wire.Request) {
		for _, f := range forks {
			q := request(op, lsn)
			q.Rel = f
			out = append(out, q)
		}
		return out
	}
	var there []pg.RelFork
	err := c.ask(ctx, 0, "ask whether relations exist", asked(wire.Exists, forks), func(i int, p *wire.Response) error {
		if p.Exists {
			there = append(there, forks[i])
		}
		return nil
	})
	if err != nil {
		return nil, err
	}
	out := make(map[pg.RelFork]pg.BlockNumber, len(there))
	return out, c.ask(ctx, 0, "ask for sizes of relations", asked(wire.Blocks, there), func(i int, p *wire.Response) error {
		out[there[i]] = pg.BlockNumber(p.Blocks)
		return nil
	})
}

// Pages reads blocks at lsn, of all shards at once, into buf: block i to its
// i-th page. Beyond a relation's end a pageserver says zeros; it is for the
// caller to know the size.
func (c *Client) Pages(ctx context.Context, lsn pg.LSN, blocks []pg.Block, buf []byte) error {
	requests := make([][]wire.Request, len(c.shards))
	places := make([][]int, len(c.shards))
	for i, b := range blocks {
		q := request(wire.GetPage, lsn)
		q.Rel, q.Block = b.RelFork, b.Number
		n := c.target.Layout.Shard(b.RelFork, b.Number)
		requests[n], places[n] = append(requests[n], q), append(places[n], i)
	}
	g, ctx := errgroup.WithContext(ctx)
	for n := range requests {
		if len(requests[n]) == 0 {
			continue
		}
		g.Go(func() error {
			return c.ask(ctx, n, "read pages", requests[n], func(i int, p *wire.Response) error {
				copy(buf[places[n][i]*pg.BlockSize:][:pg.BlockSize], p.Pages)
				return nil
			})
		})
	}
	return g.Wait()
}

// SLRUSegment reads a segment at lsn, as many pages as it has.
func (c *Client) SLRUSegment(ctx context.Context, lsn pg.LSN, kind wire.SLRUKind, segment uint32) (pages []byte, err error) {
	q := request(wire.GetSLRUSegment, lsn)
	q.SLRU, q.Segment = kind, segment
	err = c.ask(ctx, 0, "read an SLRU segment", []wire.Request{q}, func(_ int, p *wire.Response) error {
		pages = append(pages, p.Pages...)
		return nil
	})
	return pages, err
}

// DatabaseSize is how many bytes the relations of a database have at lsn, all
// forks, in the default tablespace: others Neon has none.
func (c *Client) DatabaseSize(ctx context.Context, lsn pg.LSN, db pg.OID) (n int64, err error) {
	q := request(wire.DBSize, lsn)
	q.Database = db
	err = c.ask(ctx, 0, "ask for a database's size", []wire.Request{q}, func(_ int, p *wire.Response) error {
		n = p.Bytes
		return nil
	})
	return n, err
}
