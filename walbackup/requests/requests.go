// Package requests asks for segments that the bucket lacks: the scanner, or an
// agent that sees a hole, writes a key for tenant, timeline and segment; agents
// on whatever machine watch these keys, and one that has the segment claims,
// uploads and completes it. Asking twice is asking once.
//
//	PREFIX/request/TENANT/TIMELINE/SEGMENT   Request as JSON
//	PREFIX/claim/TENANT/TIMELINE/SEGMENT     name of the agent at work, on its lease
//
// A claim hangs on a lease, so that it does not outlive its agent. Agents put
// an object only if it is not there, so a claim is there to spare work, not to
// keep anything safe.
package requests

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"redoubt/internal/pg"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/names"
)

// callTimeout bounds one call to etcd.
const callTimeout = 10 * time.Second

// keepDone is how long the record of a completed request can be read.
const keepDone = 7 * 24 * time.Hour

// Key names the segment that is asked for.
type Key struct {
	names.ID
	Segment string // its 24 digits
}

// Valid refuses what is no segment of a timeline.
func (k Key) Valid() error {
	if !pg.IsSegmentName(k.Segment) {
		return fmt.Errorf("segment name %q: want 24 upper-case hexadecimal digits", k.Segment)
	}
	return k.ID.Valid()
}

func (k Key) String() string { return k.ID.String() + "/" + k.Segment }

// Request is what is recorded of one.
type Request struct {
	Key         `json:"-"`
	By          string    `json:"by"` // who asked: scanner, or an agent's name
	Why         string    `json:"why"`
	RequestedAt time.Time `json:"requested_at"`
	// Of a completed one.
	Done   bool      `json:"done"`
	DoneBy string    `json:"done_by,omitempty"`
	DoneAt time.Time `json:"done_at,omitzero"`
	// ClaimedBy is who works on it just now.
	ClaimedBy string `json:"-"`

	revision int64
}

// Queue is the requests at an etcd.
type Queue struct{ client *coord.Client }

// New makes a queue on a connection.
func New(c *coord.Client) *Queue { return &Queue{client: c} }

func (q *Queue) key(kind string, k Key) string {
	return q.client.Key(kind, k.Tenant, k.Timeline, k.Segment)
}

// Ask records a request, and reports whether it is new: one that is open
// stays as it is, one that was completed is opened again.
func (q *Queue) Ask(ctx context.Context, k Key, by, why string) (bool, error) {
	if err := k.Valid(); err != nil {
		return false, fmt.Errorf("request a segment: %w", err)
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	old, err := q.get(ctx, k)
	if err != nil || old.revision != 0 && !old.Done {
		return false, err
	}
	value, err := json.Marshal(Request{By: by, Why: why, RequestedAt: now()})
	if err != nil {
		return false, err
	}
	key := q.key("request", k)
	resp, err := q.client.Etcd().Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", old.revision)).
		Then(clientv3.OpPut(key, string(value))).Commit()
	if err != nil {
		return false, fmt.Errorf("request %s: %w", k, err)
	}
	return resp.Succeeded, nil // if not, another asked just now
}

// Get reads one request; false if there is none.
func (q *Queue) Get(ctx context.Context, k Key) (Request, bool, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	r, err := q.get(ctx, k)
	if err != nil || r.revision == 0 {
		return Request{}, false, err
	}
	resp, err := q.client.Etcd().Get(ctx, q.key("claim", k))
	if err != nil {
		return Request{}, false, fmt.Errorf("read who claims %s: %w", k, err)
	}
	if len(resp.Kvs) > 0 {
		r.ClaimedBy = string(resp.Kvs[0].Value)
	}
	return r, true, nil
}

func (q *Queue) get(ctx context.Context, k Key) (Request, error) {
	resp, err := q.client.Etcd().Get(ctx, q.key("request", k))
	if err != nil {
		return Request{}, fmt.Errorf("read the request for %s: %w", k, err)
	}
	if len(resp.Kvs) == 0 {
		return Request{}, nil
	}
	return q.parse(resp.Kvs[0])
}

func (q *Queue) parse(kv *mvccpb.KeyValue) (Request, error) {
	r := Request{revision: kv.ModRevision}
	key := string(kv.Key)
	p := strings.Split(strings.TrimPrefix(key, q.client.Under("request")), "/")
	if len(p) != 3 {
		return r, fmt.Errorf("key %q of etcd names no segment: delete it", key)
	}
	r.Key = Key{names.ID{Tenant: p[0], Timeline: p[1]}, p[2]}
	if err := r.Valid(); err != nil {
		return r, fmt.Errorf("key %q of etcd: %w: delete it", key, err)
	}
	if err := json.Unmarshal(kv.Value, &r); err != nil {
		return r, fmt.Errorf("key %q of etcd holds no request (%w): delete it", key, err)
	}
	return r, nil
}

// Open lists the requests that are not completed. What can't be read is
// handed to bad and left out.
func (q *Queue) Open(ctx context.Context, bad func(error)) ([]Request, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := q.client.Etcd().Get(ctx, q.client.Under("request"), clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read the requests for segments: %w", err)
	}
	var out []Request
	for _, kv := range resp.Kvs {
		r, err := q.parse(kv)
		switch {
		case err != nil:
			bad(err)
		case !r.Done:
			out = append(out, r)
		}
	}
	return out, nil
}

// Watch calls changed whenever a request may be new, until ctx ends. Callers
// also look from time to time: a watch may break unnoticed.
func (q *Queue) Watch(ctx context.Context, changed func()) {
	for range q.client.Etcd().Watch(clientv3.WithRequireLeader(ctx), q.client.Under("request"), clientv3.WithPrefix()) {
		changed()
	}
}

// ErrClaimed says that another agent works on a request.
var ErrClaimed = errors.New("another agent has claimed it")

// Claim is an agent's hold on a request.
type Claim struct {
	queue *Queue
	req   Request
	by    string
	lease clientv3.LeaseID
}

// Claim takes a request for ttl, which bounds the work; ErrClaimed if another
// has it or it is completed.
func (q *Queue) Claim(ctx context.Context, r Request, by string, ttl time.Duration) (*Claim, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	lease, err := q.client.Etcd().Grant(ctx, max(1, int64(ttl/time.Second)))
	if err != nil {
		return nil, fmt.Errorf("claim %s: %w", r.Key, err)
	}
	key, claim := q.key("request", r.Key), q.key("claim", r.Key)
	resp, err := q.client.Etcd().Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", r.revision),
			clientv3.Compare(clientv3.CreateRevision(claim), "=", 0)).
		Then(clientv3.OpPut(claim, by, clientv3.WithLease(lease.ID))).Commit()
	if err == nil && resp.Succeeded {
		return &Claim{queue: q, req: r, by: by, lease: lease.ID}, nil
	}
	if err == nil {
		err = ErrClaimed
	}
	_, _ = q.client.Etcd().Revoke(ctx, lease.ID) // it ends by itself
	return nil, fmt.Errorf("claim %s: %w", r.Key, err)
}

// Complete records that the segment is in the bucket, and ends the claim. It
// says so even if the claim ran out meanwhile: the segment is there.
func (c *Claim) Complete(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	etcd := c.queue.client.Etcd()
	keep, err := etcd.Grant(ctx, int64(keepDone/time.Second))
	if err != nil {
		return fmt.Errorf("complete %s: %w", c.req.Key, err)
	}
	r := c.req
	r.Done, r.DoneBy, r.DoneAt = true, c.by, now()
	value, err := json.Marshal(r)
	if err != nil {
		return err
	}
	key := c.queue.key("request", r.Key)
	_, err = etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.ModRevision(key), "=", r.revision)).
		Then(clientv3.OpPut(key, string(value), clientv3.WithLease(keep.ID))).Commit()
	if err != nil {
		return fmt.Errorf("complete %s: %w", r.Key, err)
	}
	return c.Release(ctx)
}

// Release ends the claim and leaves the request open for others.
func (c *Claim) Release(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), callTimeout)
	defer cancel()
	if _, err := c.queue.client.Etcd().Revoke(ctx, c.lease); err != nil {
		return fmt.Errorf("end the claim on %s: %w", c.req.Key, err)
	}
	return nil
}

func now() time.Time { return time.Now().UTC().Truncate(time.Second) }
