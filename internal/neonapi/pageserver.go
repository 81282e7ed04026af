package neonapi

import (
	"context"
	"encoding/json"
	"strconv"

	"redoubt/internal/pg"
)

// Pageserver asks one pageserver.
type Pageserver struct{ client }

// NewPageserver makes a client of the server at an address such as http://host:9898.
func NewPageserver(address string, opt Options) (*Pageserver, error) {
	c, err := newClient("pageserver", address, opt)
	return &Pageserver{c}, err
}

// ShardID is a tenant's id on a pageserver: with number and count where the
// tenant is sharded.
type ShardID struct {
	Tenant string
	Number int
	Count  int // 0: the tenant is not sharded
}

// ParseShardID reads TENANT or TENANT-NNCC.
func ParseShardID(s string) (id ShardID, ok bool) {
	if isID(s) {
		return ShardID{Tenant: s}, true
	}
	if len(s) != 37 || !isID(s[:32]) || s[32] != '-' {
		return id, false
	}
	number, err1 := strconv.ParseUint(s[33:35], 16, 8)
	count, err2 := strconv.ParseUint(s[35:], 16, 8)
	id = ShardID{s[:32], int(number), int(count)}
	return id, err1 == nil && err2 == nil && number < count && id.String() == s
}

func (id ShardID) String() string {
	if id.Count == 0 {
		return id.Tenant
	}
	const hex = "0123456789abcdef"
	return id.Tenant + "-" + string([]byte{hex[id.Number>>4&15], hex[id.Number&15], hex[id.Count>>4&15], hex[id.Count&15]})
}

// Shards is how many there are.
func (id ShardID) Shards() int { return max(1, id.Count) }

// TenantShard is a shard that is attached to a pageserver.
type TenantShard struct {
	ShardID
	State      string // Active, Attaching, Stopping, Broken, …
	Generation uint32 // of two servers that have it the higher one's is right
}

// Status asks whether the server is there, and for its id.
func (c *client) Status(ctx context.Context) (id uint64, err error) {
	err = c.get(ctx, "/v1/status", func(dec *json.Decoder) error {
		var s struct {
			ID *uint64 `json:"id"`
		}
		if err := dec.Decode(&s); err != nil {
			return err
		}
		if err := complete("the status", s); err != nil {
			return err
		}
		id = *s.ID
		return nil
	})
	return id, err
}

// Tenants lists the shards that are attached.
func (p *Pageserver) Tenants(ctx context.Context) (out []TenantShard, err error) {
	type tenantInfo struct {
		ID         *string          `json:"id"`
		State      *json.RawMessage `json:"state"`
		Generation *uint32          `json:"generation"`
	}
	err = p.get(ctx, "/v1/tenant", func(dec *json.Decoder) error {
		out = nil
		return each(dec, maxListed, func(t tenantInfo) error {
			if err := complete("a tenant", t); err != nil {
				return err
			}
			id, ok := ParseShardID(*t.ID)
			if !ok {
				return badAnswer("%.80q is no id of a tenant", *t.ID)
			}
			out = append(out, TenantShard{id, stateOf(*t.State), *t.Generation})
			return nil
		})
	})
	return out, err
}

// ShardTimeline is what a pageserver says of a timeline, of one shard.
type ShardTimeline struct {
	Timeline      string
	PGVersion     int // major
	State         string
	Archived      bool
	Ancestor      string // empty: a root
	AncestorLSN   pg.LSN
	InitdbLSN     pg.LSN // where the root's WAL began
	LastRecordLSN pg.LSN
	// MinReadableLSN is the oldest LSN of which pages may be asked for;
	// AppliedGCCutoffLSN is up to where history was thrown away.
	MinReadableLSN      pg.LSN
	AppliedGCCutoffLSN  pg.LSN
	DiskConsistentLSN   pg.LSN
	RemoteConsistentLSN pg.LSN
	LogicalSize         uint64 // bytes of all relations, of this shard's pages or of all as the server counts it
}

// Offloaded is a timeline that a pageserver keeps in the bucket only: no page
// of it can be read.
type Offloaded struct {
	Timeline    string
	Ancestor    string
	AncestorLSN pg.LSN
}

// timelineInfo is the published TimelineInfo, as far as it is used.
type timelineInfo struct {
	Timeline         *string          `json:"timeline_id"`
	Ancestor         *string          `json:"ancestor_timeline_id,omitempty"`
	AncestorLSN      *pg.LSN          `json:"ancestor_lsn,omitempty"`
	LastRecord       *pg.LSN          `json:"last_record_lsn"`
	MinReadable      *pg.LSN          `json:"min_readable_lsn"`
	AppliedGCCutoff  *pg.LSN          `json:"applied_gc_cutoff_lsn"`
	DiskConsistent   *pg.LSN          `json:"disk_consistent_lsn"`
	RemoteConsistent *pg.LSN          `json:"remote_consistent_lsn"`
	Initdb           *pg.LSN          `json:"initdb_lsn"`
	LogicalSize      *uint64          `json:"current_logical_size"`
	PGVersion        *int             `json:"pg_version"`
	State            *json.RawMessage `json:"state"`
	Archived         *bool            `json:"is_archived,omitempty"`
}

func (t timelineInfo) known() (out ShardTimeline, err error) {
	if err := complete("a timeline", t); err != nil {
		return out, err
	}
	if !isID(*t.Timeline) {
		return out, badAnswer("%.80q is no id of a timeline", *t.Timeline)
	}
	out = ShardTimeline{
		Timeline: *t.Timeline, PGVersion: *t.PGVersion, State: stateOf(*t.State), Archived: t.Archived != nil && *t.Archived,
		InitdbLSN: *t.Initdb, LastRecordLSN: *t.LastRecord, MinReadableLSN: *t.MinReadable, AppliedGCCutoffLSN: *t.AppliedGCCutoff,
		DiskConsistentLSN: *t.DiskConsistent, RemoteConsistentLSN: *t.RemoteConsistent, LogicalSize: *t.LogicalSize,
	}
	out.Ancestor, out.AncestorLSN, err = ancestor(out.Timeline, t.Ancestor, t.AncestorLSN)
	return out, err
}

// ancestor reads the two keys of a branch, which are both there or not.
func ancestor(of string, timeline *string, at *pg.LSN) (string, pg.LSN, error) {
	switch {
	case timeline == nil:
		return "", 0, nil
	case !isID(*timeline):
		return "", 0, badAnswer("%.80q, the ancestor of %s, is no id of a timeline", *timeline, of)
	case at == nil || *at == pg.InvalidLSN:
		return "", 0, badAnswer("timeline %s has an ancestor and no LSN of it", of)
	}
	return *timeline, *at, nil
}

// Timelines lists the timelines of an attached shard. The server makes the
// shard active for that if it is not.
func (p *Pageserver) Timelines(ctx context.Context, shard ShardID) (active []ShardTimeline, offloaded []Offloaded, err error) {
	type offloadedInfo struct {
		Timeline    *string `json:"timeline_id"`
		Ancestor    *string `json:"ancestor_timeline_id,omitempty"`
		AncestorLSN *pg.LSN `json:"ancestor_retain_lsn,omitempty"`
	}
	err = p.get(ctx, "/v1/tenant/"+shard.String()+"/timeline_and_offloaded", func(dec *json.Decoder) error {
		active, offloaded = nil, nil
		var seen [2]bool
		err := object(dec, func(key string) error {
			switch key {
			case "timelines":
				seen[0] = true
				return each(dec, maxListed, func(t timelineInfo) error {
					known, err := t.known()
					active = append(active, known)
					return err
				})
			case "offloaded":
				seen[1] = true
				return each(dec, maxListed, func(t offloadedInfo) error {
					if err := complete("an offloaded timeline", t); err != nil {
						return err
					}
					if !isID(*t.Timeline) {
						return badAnswer("%.80q is no id of a timeline", *t.Timeline)
					}
					o := Offloaded{Timeline: *t.Timeline}
					if t.Ancestor != nil && isID(*t.Ancestor) && t.AncestorLSN != nil {
						o.Ancestor, o.AncestorLSN = *t.Ancestor, *t.AncestorLSN
					}
					offloaded = append(offloaded, o)
					return nil
				})
			}
			var other json.RawMessage
			return dec.Decode(&other)
		})
		if err == nil && seen != [2]bool{true, true} {
			err = badAnswer("it has no timelines, or no offloaded")
		}
		return err
	})
	return active, offloaded, err
}

// StripeSize is how many blocks in a row belong to one shard of a tenant that is
// split, 0 if the server knows nothing of the shard.
func (p *Pageserver) StripeSize(ctx context.Context, shard ShardID) (blocks uint32, err error) {
	err = p.get(ctx, "/v1/location_config/"+shard.String(), func(dec *json.Decoder) error {
		var c struct { // LocationConfig, as far as it is used
			StripeSize *uint32 `json:"shard_stripe_size"`
		}
		if err := dec.Decode(&c); err != nil {
			return err
		}
		if err := complete("the configuration of a shard", c); err != nil {
			return err
		}
		if blocks = *c.StripeSize; blocks == 0 {
			return badAnswer("its stripes have 0 blocks")
		}
		return nil
	})
	if notFound(err) {
		return 0, nil
	}
	return blocks, err
}
