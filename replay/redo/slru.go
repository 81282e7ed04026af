package redo

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// Layout of SLRU pages, entries per 8 KiB page.
const (
	xactsPerPage        = pg.BlockSize * 4                                     // CLOG_XACTS_PER_PAGE: two bits each
	multiOffsetsPerPage = pg.BlockSize / 4                                     // MULTIXACT_OFFSETS_PER_PAGE
	multiGroupSize      = 4 + 4*4                                              // four flag bytes, four xids
	multiMembersPerPage = pg.BlockSize / multiGroupSize * multiMembersPerGroup // MULTIXACT_MEMBERS_PER_PAGE
	commitTsEntrySize   = 10                                                   // SizeOfCommitTimestampEntry
	commitTsPerPage     = pg.BlockSize / commitTsEntrySize                     // COMMIT_TS_XACTS_PER_PAGE

	multiMembersPerGroup = 4
	firstNormalXID       = 3
	firstMultiXact       = 1
)

// Transaction states in pg_xact (access/clog.h).
const (
	xactCommitted = 1
	xactAborted   = 2
)

// SLRUOp is a change of one SLRU page. Exactly one of the forms is set:
// Zero, or bits of one byte (Mask), or bytes (Data).
type SLRUOp struct {
	Page      pg.SLRUPage
	Zero      bool   // the page becomes all zeros
	IfPresent bool   // only if the page exists by now
	Offset    uint16 // of the byte, or of Data, within the page
	Mask      byte   // the bits of the byte that Value replaces
	Value     byte
	Data      []byte
}

// Apply changes the page, 8 KiB, in place.
func (o *SLRUOp) Apply(p []byte) {
	switch {
	case o.Zero:
		clear(p)
	case o.Data != nil:
		copy(p[o.Offset:], o.Data)
	default:
		p[o.Offset] = p[o.Offset]&^o.Mask | o.Value&o.Mask
	}
}

// SLRUOps appends to dst the SLRU changes of a record. commitTs says whether
// commit timestamps are kept (track_commit_timestamp at that point of the WAL).
//
// Sources: access/transam/clog.c, commit_ts.c, multixact.c, xact.c (xact_redo).
func SLRUOps(rec *wal.Record, commitTs bool, dst []SLRUOp) ([]SLRUOp, error) {
	switch rec.Rmgr {
	case pg.RmgrTransaction:
		x, ok, err := wal.DecodeXact(rec)
		if err != nil || !ok {
			return dst, err
		}
		return xactOps(&x, commitTs, dst), nil
	case pg.RmgrCLOG:
		return zeroPageOp(rec, pg.XactSLRU, dst)
	case pg.RmgrCommitTs:
		return zeroPageOp(rec, pg.CommitTsSLRU, dst)
	case pg.RmgrMultiXact:
		return multiOps(rec, dst)
	}
	return dst, nil
}

func xactOps(x *wal.Xact, commitTs bool, dst []SLRUOp) []SLRUOp {
	status := byte(xactAborted)
	if x.Commit {
		status = xactCommitted
	}
	one := func(xid pg.XID) {
		if xid < firstNormalXID {
			return
		}
		shift := xid % 4 * 2
		dst = append(dst, SLRUOp{
			Page:   pg.SLRUPage{SLRU: pg.XactSLRU, Page: uint32(xid / xactsPerPage)},
			Offset: uint16(xid % xactsPerPage / 4), Mask: 3 << shift, Value: status << shift,
		})
		if x.Commit && commitTs {
			dst = append(dst, commitTsOp(x, xid))
		}
	}
	one(x.XID)
	for _, sub := range x.SubXIDs {
		one(sub)
	}
	return dst
}

func commitTsOp(x *wal.Xact, xid pg.XID) SLRUOp {
	entry := make([]byte, commitTsEntrySize)
	when, origin := x.Time, uint16(0)
	if x.HasOrigin {
		when, origin = x.OriginTime, x.OriginID
	}
	binary.LittleEndian.PutUint64(entry, uint64(when))
	binary.LittleEndian.PutUint16(entry[8:], origin)
	return SLRUOp{
		Page:   pg.SLRUPage{SLRU: pg.CommitTsSLRU, Page: uint32(xid / commitTsPerPage)},
		Offset: uint16(xid % commitTsPerPage * commitTsEntrySize), Data: entry,
	}
}

func zeroPageOp(rec *wal.Record, slru pg.SLRU, dst []SLRUOp) ([]SLRUOp, error) {
	page, ok, err := wal.DecodeZeroPage(rec)
	if err != nil || !ok {
		return dst, err
	}
	return append(dst, SLRUOp{Page: pg.SLRUPage{SLRU: slru, Page: page}, Zero: true}), nil
}

// multiOps writes a new multixact's own offset and members, and the offset of
// the next one if its page is there by now. Older minors log the next page's
// ZERO_OFF_PAGE after this record, newer ones before it: both end with the
// same pages.
func multiOps(rec *wal.Record, dst []SLRUOp) ([]SLRUOp, error) {
	if p, slru, ok, err := wal.DecodeMultiXactZeroPage(rec); err != nil {
		return dst, err
	} else if ok {
		return append(dst, SLRUOp{Page: pg.SLRUPage{SLRU: slru, Page: p}, Zero: true}), nil
	}
	m, ok, err := wal.DecodeMultiXactCreate(rec)
	if err != nil || !ok {
		return dst, err
	}
	dst = append(dst, multiOffsetOp(m.ID, m.Offset, false))
	off := m.Offset
	for _, member := range m.Members {
		dst = appendMember(dst, off, member)
		off++
	}
	next := m.ID + 1
	if next < firstMultiXact {
		next = firstMultiXact
	}
	if off == 0 { // offset 0 means "not set": PostgreSQL skips it
		off = 1
	}
	return append(dst, multiOffsetOp(next, off, true)), nil
}

func multiOffsetOp(id pg.MultiXactID, offset uint32, ifPresent bool) SLRUOp {
	data := make([]byte, 4)
	binary.LittleEndian.PutUint32(data, offset)
	return SLRUOp{
		Page:      pg.SLRUPage{SLRU: pg.MultiXactOffsetSLRU, Page: uint32(id / multiOffsetsPerPage)},
		IfPresent: ifPresent, Offset: uint16(id % multiOffsetsPerPage * 4), Data: data,
	}
}

// appendMember writes member number off: a flag byte and an xid in its group of four.
func appendMember(dst []SLRUOp, off uint32, m wal.MultiXactMember) []SLRUOp {
	page := pg.SLRUPage{SLRU: pg.MultiXactMemberSLRU, Page: off / multiMembersPerPage}
	group := off % multiMembersPerPage / multiMembersPerGroup * multiGroupSize
	i := off % multiMembersPerGroup
	xid := make([]byte, 4)
	binary.LittleEndian.PutUint32(xid, uint32(m.XID))
	return append(dst,
		SLRUOp{Page: page, Offset: uint16(group + i), Mask: 0xff, Value: m.Status},
		SLRUOp{Page: page, Offset: uint16(group + 4 + i*4), Data: xid})
}

// SLRUCut says which segments of an SLRU a truncation removes: those that lie
// wholly before Page, in the circular order of the SLRU's entries. Members of
// multixacts may fill more than half of that circle, so that for them only the
// segments from that of From on go.
type SLRUCut struct {
	SLRU pg.SLRU
	From uint32 // of pg_multixact/members
	Page uint32
}

// Removes reports whether the page goes.
//
// Source: SimpleLruTruncate (access/transam/slru.c), PerformMembersTruncation
// (access/transam/multixact.c).
func (c SLRUCut) Removes(p pg.SLRUPage) bool {
	if p.SLRU != c.SLRU {
		return false
	}
	if c.SLRU != pg.MultiXactMemberSLRU {
		return slruBefore(c.SLRU, p.Page, c.Page)
	}
	n, from, end := p.Page/pg.SLRUPagesPerSegment, c.From/pg.SLRUPagesPerSegment, c.Page/pg.SLRUPagesPerSegment
	if from <= end {
		return from <= n && n < end
	}
	return from <= n || n < end
}

// After is the cut that has the effect of both, c being the later one.
func (c SLRUCut) After(before *SLRUCut) SLRUCut {
	if before != nil {
		c.From = before.From
	}
	return c
}

// SLRUTruncations returns the truncations of a CLOG, CommitTs or MultiXact record.
//
// Sources: clog_redo, commit_ts_redo, multixact_redo, SimpleLruTruncate (access/transam).
func SLRUTruncations(rec *wal.Record) ([]SLRUCut, error) {
	switch rec.Rmgr {
	case pg.RmgrCLOG:
		t, ok, err := wal.DecodeCLOGTruncate(rec)
		if err != nil || !ok {
			return nil, err
		}
		return []SLRUCut{{SLRU: pg.XactSLRU, Page: t.Page}}, nil
	case pg.RmgrCommitTs:
		t, ok, err := wal.DecodeCommitTsTruncate(rec)
		if err != nil || !ok {
			return nil, err
		}
		return []SLRUCut{{SLRU: pg.CommitTsSLRU, Page: t.Page}}, nil
	case pg.RmgrMultiXact:
		t, ok, err := wal.DecodeMultiXactTruncate(rec)
		if err != nil || !ok {
			return nil, err
		}
		// Offsets go up to the page before the oldest multixact that stays, so
		// that its predecessor's end can still be read.
		oldest := t.EndOffset - 1
		if t.EndOffset <= firstMultiXact {
			oldest = ^pg.MultiXactID(0)
		}
		return []SLRUCut{
			{SLRU: pg.MultiXactOffsetSLRU, Page: uint32(oldest / multiOffsetsPerPage)},
			{SLRU: pg.MultiXactMemberSLRU, From: t.StartMembers / multiMembersPerPage, Page: t.EndMembers / multiMembersPerPage},
		}, nil
	}
	return nil, nil
}

// slruBefore reports whether page lies in a segment wholly before the one
// that holds cut, in the circular order of the SLRU's entries.
func slruBefore(s pg.SLRU, page, cut uint32) bool {
	perPage := [pg.NumSLRUs]uint32{
		pg.XactSLRU: xactsPerPage, pg.MultiXactOffsetSLRU: multiOffsetsPerPage,
		pg.MultiXactMemberSLRU: multiMembersPerPage, pg.CommitTsSLRU: commitTsPerPage,
	}[s]
	first := func(p uint32) uint32 { return p / pg.SLRUPagesPerSegment * pg.SLRUPagesPerSegment * perPage }
	return int32(first(page)-first(cut)) < 0
}
