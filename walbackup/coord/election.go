package coord

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/client/v3/concurrency"

	"redoubt/walbackup/names"
)

// Session is an agent's presence: all its terms hang on one lease.
type Session struct {
	client  *Client
	session *concurrency.Session
	by      string
	cancel  context.CancelFunc
}

// Join opens a session of the agent called by, which ends by itself when etcd
// hears nothing of it for ttl (whole seconds).
func (c *Client) Join(ctx context.Context, by string, ttl time.Duration) (*Session, error) {
	// The session's context outlives the call; only granting is bounded.
	own, cancel := context.WithCancel(context.WithoutCancel(ctx))
	grant, stop := context.WithTimeout(ctx, callTimeout)
	defer stop()
	lease, err := c.etcd.Grant(grant, max(1, int64(ttl/time.Second)))
	if err == nil {
		var s *concurrency.Session
		s, err = concurrency.NewSession(c.etcd, concurrency.WithLease(lease.ID), concurrency.WithContext(own))
		if err == nil && s != nil {
			return &Session{client: c, session: s, by: by, cancel: cancel}, nil
		}
		err = errors.Join(err, errors.New("the lease can't be kept alive"))
	}
	cancel()
	return nil, fmt.Errorf("join at etcd: %w", err)
}

// Done is closed when the lease ran out or could not be kept.
func (s *Session) Done() <-chan struct{} { return s.session.Done() }

// Leave gives up all terms at once, so that others need not wait for the lease.
func (s *Session) Leave(ctx context.Context) error {
	s.session.Orphan()
	defer s.cancel()
	ctx, stop := context.WithTimeout(context.WithoutCancel(ctx), callTimeout/2)
	defer stop()
	if _, err := s.client.etcd.Revoke(ctx, s.session.Lease()); err != nil {
		return fmt.Errorf("leave etcd: %w; others take over when the lease runs out", err)
	}
	return nil
}

// Term is the leadership of one timeline.
type Term struct {
	ID     names.ID
	Number int64 // grows from leader to leader
	client *Client
	key    string
	by     string
}

// Campaign waits until this session leads the timeline. It ends early with
// the context or the session.
func (s *Session) Campaign(ctx context.Context, id names.ID) (*Term, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	stop := context.AfterFunc(s.session.Ctx(), cancel)
	defer stop()
	e := concurrency.NewElection(s.session, strings.TrimSuffix(s.client.Under("election", id.Tenant, id.Timeline), "/"))
	if err := e.Campaign(ctx, s.by); err != nil {
		return nil, fmt.Errorf("campaign for %s: %w", id, err)
	}
	return &Term{ID: id, Number: e.Rev(), client: s.client, key: e.Key(), by: s.by}, nil
}

// Resign ends the term.
func (t *Term) Resign(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout/2)
	defer cancel()
	_, err := t.client.etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(t.key), "=", t.Number)).
		Then(clientv3.OpDelete(t.key)).Commit()
	if err != nil {
		return fmt.Errorf("resign as leader of %s: %w", t.ID, err)
	}
	return nil
}

// Held asks etcd whether the term still lasts.
func (t *Term) Held(ctx context.Context) (bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := t.client.etcd.Get(ctx, t.key)
	if err != nil {
		return false, fmt.Errorf("ask who leads %s: %w", t.ID, err)
	}
	return len(resp.Kvs) == 1 && resp.Kvs[0].CreateRevision == t.Number, nil
}

// Leaders are the names of the agents that lead, by timeline.
func (c *Client) Leaders(ctx context.Context) (map[names.ID]string, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	prefix := c.Under("election")
	resp, err := c.etcd.Get(ctx, prefix, clientv3.WithPrefix(),
		clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil {
		return nil, fmt.Errorf("read who leads: %w", err)
	}
	out := make(map[names.ID]string)
	for _, kv := range resp.Kvs {
		id, _, ok := idOf(strings.TrimPrefix(string(kv.Key), prefix))
		if _, known := out[id]; ok && !known {
			out[id] = string(kv.Value)
		}
	}
	return out, nil
}
