package coord

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"strconv"
	"strings"
	"time"

	"go.etcd.io/etcd/api/v3/mvccpb"
	clientv3 "go.etcd.io/etcd/client/v3"

	"redoubt/internal/pg"
	"redoubt/walbackup/names"
)

// State is what is recorded of one TLI of a timeline. Everything in
// [Start, Backup) is in the bucket; Backup is the WAL backup LSN.
type State struct {
	Start       pg.LSN    `json:"start_lsn"`
	Backup      pg.LSN    `json:"wal_backup_lsn"`
	SegmentSize int64     `json:"segment_size"`
	SystemID    uint64    `json:"system_identifier,string"`
	Term        int64     `json:"term"` // create revision of the election key of who wrote it
	By          string    `json:"by"`   // the agent's name
	UpdatedAt   time.Time `json:"updated_at"`
}

// Recorded is a state with the revision it was read at; 0 of one that is not
// there yet.
type Recorded struct {
	State
	Revision int64
}

// What can become of a transaction of a leader.
var (
	ErrNotLeader = errors.New("this agent is not the leader any more")
	ErrChanged   = errors.New("the state was changed by another")
	ErrBackwards = errors.New("the WAL backup LSN does not go back")
)

func (c *Client) stateKey(id names.ID, tli pg.TLI) string {
	return c.Key("lsn", id.Tenant, id.Timeline, fmt.Sprintf("%08X", uint32(tli)))
}

// States are those of all TLIs of a timeline.
func (c *Client) States(ctx context.Context, id names.ID) (map[pg.TLI]Recorded, error) {
	all, err := c.states(ctx, c.Under("lsn", id.Tenant, id.Timeline))
	if err != nil {
		return nil, fmt.Errorf("read the WAL backup LSN of %s: %w", id, err)
	}
	if all[id] == nil {
		return map[pg.TLI]Recorded{}, nil
	}
	return all[id], nil
}

// AllStates are those of all timelines.
func (c *Client) AllStates(ctx context.Context) (map[names.ID]map[pg.TLI]Recorded, error) {
	all, err := c.states(ctx, c.Under("lsn"))
	if err != nil {
		return nil, fmt.Errorf("read WAL backup LSNs: %w", err)
	}
	return all, nil
}

func (c *Client) states(ctx context.Context, prefix string) (map[names.ID]map[pg.TLI]Recorded, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	resp, err := c.etcd.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, err
	}
	out := make(map[names.ID]map[pg.TLI]Recorded)
	for _, kv := range resp.Kvs {
		id, tli, r, err := c.parse(kv)
		if err != nil {
			return nil, err
		}
		if out[id] == nil {
			out[id] = make(map[pg.TLI]Recorded)
		}
		out[id][tli] = r
	}
	return out, nil
}

// parse reads a key and value of a state. What it can't read is an error: a
// backup LSN that nobody understands must not be taken for none.
func (c *Client) parse(kv *mvccpb.KeyValue) (names.ID, pg.TLI, Recorded, error) {
	key := string(kv.Key)
	id, tail, ok := idOf(strings.TrimPrefix(key, c.Under("lsn")))
	tli, err := strconv.ParseUint(tail, 16, 32)
	r := Recorded{Revision: kv.ModRevision}
	if ok && err == nil {
		err = r.unmarshal(kv.Value)
	}
	if err == nil && !ok {
		err = errors.New("its name is none")
	}
	if err != nil {
		return id, 0, r, fmt.Errorf("read the state of a timeline from key %q of etcd: %w: repair or delete it by hand", key, err)
	}
	return id, pg.TLI(tli), r, nil
}

func (s *State) unmarshal(value []byte) error {
	if err := json.Unmarshal(value, s); err != nil {
		return err
	}
	if s.Backup < s.Start || !pg.ValidSegmentSize(s.SegmentSize) {
		return fmt.Errorf("backup LSN %s, start LSN %s, segments of %d bytes", s.Backup, s.Start, s.SegmentSize)
	}
	return nil
}

// Advance records next in place of old, in a transaction that only the leader
// of this term can win and only if nobody changed old since it was read. The
// backup LSN never goes back, and the start never forward.
func (t *Term) Advance(ctx context.Context, tli pg.TLI, old Recorded, next State) (Recorded, error) {
	if old.Revision != 0 && (next.Backup < old.Backup || next.Start > old.Start) {
		return old, fmt.Errorf("record the WAL backup LSN %s of %s in place of %s: %w", next.Backup, t.ID, old.Backup, ErrBackwards)
	}
	next.Term, next.By, next.UpdatedAt = t.Number, t.by, time.Now().UTC().Truncate(time.Second)
	value, err := json.Marshal(next)
	if err != nil {
		return old, err
	}
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	key := t.client.stateKey(t.ID, tli)
	resp, err := t.client.etcd.Txn(ctx).
		If(clientv3.Compare(clientv3.CreateRevision(t.key), "=", t.Number),
			clientv3.Compare(clientv3.ModRevision(key), "=", old.Revision)).
		Then(clientv3.OpPut(key, string(value))).
		Else(clientv3.OpGet(t.key)).Commit()
	if err != nil {
		return old, fmt.Errorf("record the WAL backup LSN of %s: %w", t.ID, err)
	}
	if resp.Succeeded {
		return Recorded{State: next, Revision: resp.Header.Revision}, nil
	}
	kvs := resp.Responses[0].GetResponseRange().Kvs
	if len(kvs) == 0 || kvs[0].CreateRevision != t.Number {
		return old, fmt.Errorf("record the WAL backup LSN of %s: %w", t.ID, ErrNotLeader)
	}
	return old, fmt.Errorf("record the WAL backup LSN of %s: %w", t.ID, ErrChanged)
}
