package verify

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/errgroup"

	"redoubt/internal/pg"
)

// pool runs work on runs of pages beside the goroutine that reads them.
// Memory is bounded: every run is copied into one of a few workspaces.
type pool struct {
	ctx   context.Context
	group *errgroup.Group
	idle  chan *workspace
}

// workspace is what work on a run of pages has to itself. What is in it
// besides the pages is left from the run before.
type workspace struct {
	pages  []byte
	normal [pg.BlockSize]byte // a page's normal form
	page   [pg.BlockSize]byte
	xacts  xactLookup
}

func newPool(ctx context.Context, workers int) *pool {
	g, gctx := errgroup.WithContext(ctx)
	p := &pool{ctx: gctx, group: g, idle: make(chan *workspace, workers+1)}
	for range workers + 1 {
		p.idle <- &workspace{}
	}
	return p
}

// submit copies pages and runs fn on the copy. It blocks while all workspaces
// are in use.
func (p *pool) submit(pages []byte, fn func(*workspace) error) error {
	var w *workspace
	select {
	case w = <-p.idle:
	case <-p.ctx.Done():
		return context.Cause(p.ctx)
	}
	w.pages = append(w.pages[:0], pages...)
	p.group.Go(func() (err error) {
		defer func() {
			if r := recover(); r != nil {
				err = fmt.Errorf("panic: %v\n%s", r, debug.Stack())
			}
			p.idle <- w
		}()
		return fn(w)
	})
	return nil
}

// wait returns the first error of the work submitted.
func (p *pool) wait() error { return p.group.Wait() }
