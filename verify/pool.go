package verify

import (
	"context"
	"fmt"
	"runtime/debug"

	"golang.org/x/sync/errgroup"

	"redoubt/internal/pg"
)

// pool runs work on runs of pages beside the goroutine that reads them.
// Memory is bounded: every run is in one of a few workspaces, into which it is
// read (Lend) or copied.
type pool struct {
	ctx   context.Context
	group *errgroup.Group
	idle  chan *workspace
	lent  *workspace // whose memory the next run may lie in, nil if none is lent
}

// workspace is what work on a run of pages has to itself. What is in it
// besides the pages is left from the run before.
type workspace struct {
	pages  []byte // within mem
	mem    []byte
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

// Lend returns n bytes of memory for the next run of pages, which submit does
// not copy then. It blocks while all workspaces are in use.
func (p *pool) Lend(n int) ([]byte, error) {
	if p.lent == nil {
		w, err := p.workspace()
		if err != nil {
			return nil, err
		}
		p.lent = w
	}
	if cap(p.lent.mem) < n {
		p.lent.mem = make([]byte, n)
	}
	return p.lent.mem[:n], nil
}

func (p *pool) workspace() (*workspace, error) {
	select {
	case w := <-p.idle:
		return w, nil
	case <-p.ctx.Done():
		return nil, context.Cause(p.ctx)
	}
}

// isLent reports whether pages are the beginning of the memory that is lent.
func (p *pool) isLent(pages []byte) bool {
	return p.lent != nil && len(pages) > 0 && cap(p.lent.mem) > 0 && &pages[0] == &p.lent.mem[:1][0]
}

// submit runs fn on pages, on a copy unless they lie in what Lend returned,
// which is the caller's no more then. It blocks while all workspaces are in use.
func (p *pool) submit(pages []byte, fn func(*workspace) error) error {
	w := p.lent
	if p.isLent(pages) {
		p.lent, w.pages = nil, pages
	} else {
		var err error
		if w, err = p.workspace(); err != nil {
			return err
		}
		w.mem = append(w.mem[:0], pages...)
		w.pages = w.mem
	}
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
