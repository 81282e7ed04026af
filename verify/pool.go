package verify

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/errgroup"

	"redoubt/internal/pg"
)

// pool runs work on runs of pages beside the goroutine that reads them.
// Memory is bounded: every run is copied into one of a few buffers.
type pool struct {
	ctx   context.Context
	group *errgroup.Group
	bufs  chan *poolBuf
}

type poolBuf struct {
	pages []byte
	one   [pg.BlockSize]byte
}

func newPool(ctx context.Context, workers int) *pool {
	g, gctx := errgroup.WithContext(ctx)
	p := &pool{ctx: gctx, group: g, bufs: make(chan *poolBuf, workers+1)}
	for range workers + 1 {
		p.bufs <- &poolBuf{}
	}
	return p
}

// submit copies pages and runs fn on the copy; buf is a page of scratch
// memory. It blocks while all buffers are in use.
func (p *pool) submit(pages []byte, fn func(pages, buf []byte) error) error {
	var b *poolBuf
	select {
	case b = <-p.bufs:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	b.pages = append(b.pages[:0], pages...)
	p.group.Go(func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
			p.bufs <- b
		}()
		return fn(b.pages, b.one[:])
	})
	return nil
}

// wait returns the first error of the work submitted.
func (p *pool) wait() error { return p.group.Wait() }
