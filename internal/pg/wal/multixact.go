package wal

import "redoubt/internal/pg"

// Operations of resource manager MultiXact (access/multixact.h).
const (
	multiZeroOffPage = 0x00
	multiZeroMemPage = 0x10
	multiCreateID    = 0x20
	multiTruncateID  = 0x30
)

// maxMultiXactStatus is MaxMultiXactStatus: MultiXactStatusUpdate.
const maxMultiXactStatus = 5

// DecodeMultiXactZeroPage decodes ZERO_OFF_PAGE and ZERO_MEM_PAGE: the page
// and the SLRU it is in; false for other records.
func DecodeMultiXactZeroPage(r *Record) (uint32, pg.SLRU, bool, error) {
	slru := pg.MultiXactOffsetSLRU
	ok, err := r.is(pg.RmgrMultiXact, multiZeroOffPage)
	if !ok && err == nil {
		slru = pg.MultiXactMemberSLRU
		ok, err = r.is(pg.RmgrMultiXact, multiZeroMemPage)
	}
	if !ok {
		return 0, 0, false, err
	}
	page, err := decodePage(r)
	return page, slru, err == nil, err
}

// MultiXactMember is one member of a multixact.
type MultiXactMember struct {
	XID    pg.XID
	Status uint8 // MultiXactStatus, 0 to 5
}

// MultiXactCreate is MultiXact CREATE_ID (xl_multixact_create).
type MultiXactCreate struct {
	ID      pg.MultiXactID
	Offset  uint32 // of its first member in pg_multixact/members
	Members []MultiXactMember
}

// DecodeMultiXactCreate decodes CREATE_ID; false for other records.
func DecodeMultiXactCreate(r *Record) (MultiXactCreate, bool, error) {
	if ok, err := r.is(pg.RmgrMultiXact, multiCreateID); !ok {
		return MultiXactCreate{}, false, err
	}
	c := newCursor(r.Main)
	m := MultiXactCreate{ID: pg.MultiXactID(c.u32()), Offset: c.u32()}
	m.Members = make([]MultiXactMember, c.count(8))
	for i := range m.Members {
		xid, status := pg.XID(c.u32()), c.u32()
		if status > maxMultiXactStatus {
			return MultiXactCreate{}, false, r.dialect("member %d has status %d", i, status)
		}
		m.Members[i] = MultiXactMember{XID: xid, Status: uint8(status)}
	}
	if err := r.wantEnd(&c); err != nil {
		return MultiXactCreate{}, false, err
	}
	return m, true, nil
}

// MultiXactTruncate is MultiXact TRUNCATE_ID: multixacts and members in the
// half-open ranges go, by whole segments, wrapping around
// (xl_multixact_truncate).
type MultiXactTruncate struct {
	OldestMultiDB            pg.OID
	StartOffset, EndOffset   pg.MultiXactID // of pg_multixact/offsets
	StartMembers, EndMembers uint32         // of pg_multixact/members
}

// DecodeMultiXactTruncate decodes TRUNCATE_ID; false for other records.
func DecodeMultiXactTruncate(r *Record) (MultiXactTruncate, bool, error) {
	if ok, err := r.is(pg.RmgrMultiXact, multiTruncateID); !ok {
		return MultiXactTruncate{}, false, err
	}
	c := newCursor(r.Main)
	t := MultiXactTruncate{
		OldestMultiDB: pg.OID(c.u32()),
		StartOffset:   pg.MultiXactID(c.u32()), EndOffset: pg.MultiXactID(c.u32()),
		StartMembers: c.u32(), EndMembers: c.u32(),
	}
	if err := r.wantEnd(&c); err != nil {
		return MultiXactTruncate{}, false, err
	}
	return t, true, nil
}
