package wal

import "redoubt/internal/pg"

// Operations of resource managers CLOG and CommitTs, which are numbered alike
// (access/clog.h, access/commit_ts.h).
const (
	slruZeroPage = 0x00
	slruTruncate = 0x10
)

// DecodeZeroPage decodes ZEROPAGE of CLOG or CommitTs and returns the page of
// pg_xact or pg_commit_ts that becomes zero; false for other records.
func DecodeZeroPage(r *Record) (uint32, bool, error) {
	if r.Rmgr != pg.RmgrCommitTs && r.Rmgr != pg.RmgrCLOG {
		return 0, false, nil
	}
	if ok, err := r.is(r.Rmgr, slruZeroPage); !ok {
		return 0, false, err
	}
	page, err := decodePage(r)
	return page, err == nil, err
}

// decodePage decodes main data that is one SLRU page number.
func decodePage(r *Record) (uint32, error) {
	c := newCursor(r.Main)
	page, err := c.slruPage(r)
	if err != nil {
		return 0, err
	}
	return page, r.wantEnd(&c)
}

// CLOGTruncate is CLOG TRUNCATE: whole segments of pg_xact before Page go
// (xl_clog_truncate, access/clog.h).
type CLOGTruncate struct {
	Page        uint32
	OldestXID   pg.XID
	OldestXIDDB pg.OID
}

// DecodeCLOGTruncate decodes CLOG TRUNCATE; false for other records.
func DecodeCLOGTruncate(r *Record) (CLOGTruncate, bool, error) {
	if ok, err := r.is(pg.RmgrCLOG, slruTruncate); !ok {
		return CLOGTruncate{}, false, err
	}
	c := newCursor(r.Main)
	page, err := c.slruPage(r)
	if err != nil {
		return CLOGTruncate{}, false, err
	}
	t := CLOGTruncate{Page: page, OldestXID: pg.XID(c.u32()), OldestXIDDB: pg.OID(c.u32())}
	if err := r.wantEnd(&c); err != nil {
		return CLOGTruncate{}, false, err
	}
	return t, true, nil
}
