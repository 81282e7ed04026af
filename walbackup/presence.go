package walbackup

import (
	"context"
	"sync"
	"time"
)

// presence is the session at etcd that all terms hang on. When it ends, they
// end, and a new one is opened.
type presence struct {
	mu      sync.Mutex
	session Session
	changed chan struct{} // closed when session is set
}

// keep has a session open until ctx ends.
func (p *presence) keep(ctx context.Context, a *Agent) error {
	for ctx.Err() == nil {
		var s Session
		joined := a.until(ctx, "join at etcd", func() (err error) {
			s, err = a.Etcd.Join(ctx, a.cfg.Name, a.cfg.Lease)
			return err
		})
		if !joined {
			break
		}
		p.set(s)
		select {
		case <-ctx.Done():
			return ctx.Err() // leave ends the session, when all work has ended
		case <-s.Done():
			a.cfg.Log.Warn("the lease at etcd ended: all terms of this agent are over")
		}
		p.set(nil)
		sleep(ctx, a.cfg.Retry.Wait(1))
	}
	return ctx.Err()
}

func (p *presence) set(s Session) {
	p.mu.Lock()
	defer p.mu.Unlock()
	p.session = s
	if p.changed != nil {
		close(p.changed)
	}
	p.changed = make(chan struct{})
}

// wait is the session, as soon as there is one; nil when ctx ends.
func (p *presence) wait(ctx context.Context) Session {
	for {
		p.mu.Lock()
		if p.changed == nil {
			p.changed = make(chan struct{})
		}
		s, changed := p.session, p.changed
		p.mu.Unlock()
		if s != nil {
			select {
			case <-s.Done(): // ended just now
			default:
				return s
			}
		}
		select {
		case <-ctx.Done():
			return nil
		case <-changed:
		case <-time.After(time.Second):
		}
	}
}

func (p *presence) leave(ctx context.Context) {
	p.mu.Lock()
	s := p.session
	p.mu.Unlock()
	if s != nil {
		_ = s.Leave(ctx) // the lease ends by itself
	}
}
