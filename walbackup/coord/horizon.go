package coord

import (
	"context"
	"fmt"
	"strings"

	clientv3 "go.etcd.io/etcd/client/v3"

	"redoubt/internal/pg"
	"redoubt/walbackup/names"
)

// Horizons are the LSNs from which on others still want a timeline's local
// WAL, by subscriber. A value that is no LSN is an error: nobody knows then
// what may be removed.
func (c *Client) Horizons(ctx context.Context, id names.ID) (map[string]pg.LSN, error) {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	prefix := c.Under("horizon", id.Tenant, id.Timeline)
	resp, err := c.etcd.Get(ctx, prefix, clientv3.WithPrefix())
	if err != nil {
		return nil, fmt.Errorf("read the horizons of %s: %w", id, err)
	}
	out := make(map[string]pg.LSN, len(resp.Kvs))
	for _, kv := range resp.Kvs {
		lsn, err := pg.ParseLSN(strings.TrimSpace(string(kv.Value)))
		if err != nil {
			return nil, fmt.Errorf("read the horizon %s: %w", kv.Key, err)
		}
		out[strings.TrimPrefix(string(kv.Key), prefix)] = lsn
	}
	return out, nil
}

// SetHorizon says for a subscriber from where on it wants the local WAL.
func (c *Client) SetHorizon(ctx context.Context, id names.ID, subscriber string, from pg.LSN) error {
	ctx, cancel := context.WithTimeout(ctx, callTimeout)
	defer cancel()
	if _, err := c.etcd.Put(ctx, c.Key("horizon", id.Tenant, id.Timeline, subscriber), from.String()); err != nil {
		return fmt.Errorf("set the horizon of %s for %s: %w", id, subscriber, err)
	}
	return nil
}
