package wal

import "redoubt/internal/pg"

// Operations of resource manager ReplicationOrigin (replication/origin.h).
const (
	originSet  = 0x00
	originDrop = 0x10
)

// OriginSet is ReplicationOrigin SET: how far an origin got, forwards unless
// Force is set (xl_replorigin_set).
type OriginSet struct {
	Origin uint16
	Remote pg.LSN
	Force  bool
}

// DecodeOriginSet decodes SET; false for other records.
func DecodeOriginSet(r *Record) (OriginSet, bool, error) {
	if ok, err := r.is(pg.RmgrReplicationOrigin, originSet); !ok {
		return OriginSet{}, false, err
	}
	c := newCursor(r.Main)
	o := OriginSet{Remote: pg.LSN(c.u64()), Origin: c.u16(), Force: c.u8() != 0}
	c.align(8)
	if err := r.wantEnd(&c); err != nil {
		return OriginSet{}, false, err
	}
	return o, true, nil
}

// DecodeOriginDrop decodes DROP, the end of an origin (xl_replorigin_drop);
// false for other records.
func DecodeOriginDrop(r *Record) (uint16, bool, error) {
	if ok, err := r.is(pg.RmgrReplicationOrigin, originDrop); !ok {
		return 0, false, err
	}
	c := newCursor(r.Main)
	origin := c.u16()
	if err := r.wantEnd(&c); err != nil {
		return 0, false, err
	}
	return origin, true, nil
}
