package wal

import "redoubt/internal/pg"

// CommitTsTruncate is CommitTs TRUNCATE: whole segments of pg_commit_ts
// before Page go (xl_commit_ts_truncate, access/commit_ts.h).
type CommitTsTruncate struct {
	Page      uint32
	OldestXID pg.XID
}

// DecodeCommitTsTruncate decodes CommitTs TRUNCATE; false for other records.
// DecodeZeroPage decodes the other operation.
func DecodeCommitTsTruncate(r *Record) (CommitTsTruncate, bool, error) {
	if ok, err := r.is(pg.RmgrCommitTs, slruTruncate); !ok {
		return CommitTsTruncate{}, false, err
	}
	c := newCursor(r.Main)
	page, err := c.slruPage(r)
	if err != nil {
		return CommitTsTruncate{}, false, err
	}
	t := CommitTsTruncate{Page: page, OldestXID: pg.XID(c.u32())}
	if err := r.wantEnd(&c); err != nil {
		return CommitTsTruncate{}, false, err
	}
	return t, true, nil
}
