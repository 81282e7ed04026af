package verify_test

import (
	"encoding/binary"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// special is a field of the last bytes of a page.
func special(p page.Page, fromEnd int) []byte { return p[pg.BlockSize-fromEnd:] }

func u16(b []byte) uint16              { return binary.LittleEndian.Uint16(b) }
func setU16(b []byte, v uint16)        { binary.LittleEndian.PutUint16(b, v) }
func xorU16(b []byte, v uint16)        { setU16(b, u16(b)^v) }
func benignIf(ok bool) (outcome, bool) { return outcome{}, ok }

// killed marks an item of a leaf dead, as an index scan does.
func killed(m *mutated, first int) bool {
	if m.page.NumItems() < first {
		return false
	}
	id := m.page.ItemID(first)
	m.page.SetItemID(first, page.MakeItemID(id.Offset(), page.LPDead, id.Len()))
	return id.Flags() == page.LPNormal
}

// Bits of t_infomask (access/htup_details.h).
const (
	heapCombocid      = 0x0020
	heapXmaxLockOnly  = 0x0080
	heapXminCommitted = 0x0100
	heapXminInvalid   = 0x0200
	heapXmaxCommitted = 0x0400
	heapXmaxInvalid   = 0x0800
	heapXmaxIsMulti   = 0x1000
	heapMoved         = 0xC000
)

var benignChanges = []mutation{
	{"XMIN hint bit gone", func(m *mutated) (outcome, bool) {
		return benignIf(m.onTuple(func(t []byte) bool {
			was := infomask(t)
			if was&(heapXminCommitted|heapXminInvalid) != heapXminCommitted {
				return false // both bits together are no hints
			}
			setInfomask(t, was&^heapXminCommitted)
			return true
		}))
	}},
	{"XMAX hint bit gone", func(m *mutated) (outcome, bool) {
		return benignIf(m.onTuple(func(t []byte) bool {
			was := infomask(t)
			setInfomask(t, was&^heapXmaxCommitted)
			return was&heapXmaxCommitted != 0
		}))
	}},
	{"command id", func(m *mutated) (outcome, bool) {
		return benignIf(m.onTuple(func(t []byte) bool {
			binary.LittleEndian.PutUint32(t[8:], 7)
			setInfomask(t, infomask(t)^heapCombocid)
			return infomask(t)&heapMoved == 0
		}))
	}},
	{"aborted speculative tuple", func(m *mutated) (outcome, bool) {
		return benignIf(m.onTuple(func(t []byte) bool {
			if infomask(t)&heapXminCommitted != 0 || binary.LittleEndian.Uint32(t[4:]) != 0 {
				return false
			}
			binary.LittleEndian.PutUint32(t[12:], 4711) // the token
			setU16(t[16:], 0xFFFE)                      // SpecTokenOffsetNumber
			return true
		}))
	}},
	{"byte in the hole", func(m *mutated) (outcome, bool) {
		if m.page.Upper()-m.page.Lower() < 16 || m.kind == page.KindGin || m.kind == page.KindBRIN || m.kind == page.KindUnknown {
			return benignIf(false)
		}
		m.page[m.page.Lower()+8] ^= 0x55
		return benignIf(true)
	}},
	{"prune xid", func(m *mutated) (outcome, bool) {
		m.page.SetPruneXID(m.page.PruneXID() + 5)
		return benignIf(m.kind == page.KindHeap)
	}},
	{"PD_PAGE_FULL", func(m *mutated) (outcome, bool) {
		m.page.SetFlags(m.page.Flags() ^ 0x0002)
		return benignIf(m.kind == page.KindHeap)
	}},
	{"PD_HAS_FREE_LINES", func(m *mutated) (outcome, bool) {
		m.page.SetFlags(m.page.Flags() ^ 0x0001)
		return benignIf(m.kind == page.KindHeap)
	}},
	{"padding behind a tuple", func(m *mutated) (outcome, bool) {
		for _, n := range m.items() {
			id := m.page.ItemID(n)
			if end := id.Offset() + id.Len(); m.kind == page.KindHeap && end%8 != 0 && end < pg.BlockSize {
				m.page[end] ^= 0x33
				return benignIf(true)
			}
		}
		return benignIf(false)
	}},
	{"LP_DEAD in a btree leaf", func(m *mutated) (outcome, bool) {
		return benignIf(m.kind == page.KindBtree && u16(special(m.page, 4))&1 != 0 && killed(m, 3))
	}},
	{"BTP_HAS_GARBAGE", func(m *mutated) (outcome, bool) {
		xorU16(special(m.page, 4), 0x40)
		return benignIf(m.kind == page.KindBtree)
	}},
	{"BTP_SPLIT_END", func(m *mutated) (outcome, bool) {
		xorU16(special(m.page, 4), 0x20)
		return benignIf(m.kind == page.KindBtree)
	}},
	{"btree cycle id", func(m *mutated) (outcome, bool) {
		setU16(special(m.page, 2), 17)
		return benignIf(m.kind == page.KindBtree)
	}},
	{"LP_DEAD in a hash bucket", func(m *mutated) (outcome, bool) {
		return benignIf(m.kind == page.KindHash && u16(special(m.page, 4))&0xF == 2 && killed(m, 1))
	}},
	{"LP_DEAD in a gist leaf", func(m *mutated) (outcome, bool) {
		return benignIf(m.kind == page.KindGist && u16(special(m.page, 4))&1 != 0 && killed(m, 1))
	}},
	{"gist garbage flag", func(m *mutated) (outcome, bool) {
		xorU16(special(m.page, 4), 0x10)
		return benignIf(m.kind == page.KindGist)
	}},
	{"sequence goes on within what is logged", func(m *mutated) (outcome, bool) {
		s, ok := m.page.Sequence()
		at, ok2 := m.page.SequenceValueOffset()
		if !ok || !ok2 || s.LogCnt < 2 || m.block.Fork != pg.MainFork || s.LastValue > farSequences/2 {
			return benignIf(false)
		}
		inc := map[bool]int64{true: -1, false: 1}[s.LastValue < 0]
		if s.LastValue > 20 {
			inc = 5 // the one by fives has the greater values
		}
		binary.LittleEndian.PutUint64(m.page[at:], uint64(s.LastValue+inc))
		binary.LittleEndian.PutUint64(m.page[at+8:], uint64(s.LogCnt-1))
		return benignIf(true)
	}},
	{"LSN of before a hint record", func(m *mutated) (outcome, bool) {
		recs := m.w.recs[m.block]
		n := len(recs)
		if n == 0 || !recs[n-1].MaySetLSN || recs[n-1].End != m.page.LSN() {
			return benignIf(false)
		}
		before := pg.LSN(0)
		if n > 1 && recs[n-2].SetsLSN {
			before = recs[n-2].End
		} else if m.base != nil && n == 1 {
			before = m.base.LSN()
		}
		return benignIf(before != 0 && m.setLSN(before))
	}},
	{"checksum field of a cluster without checksums", func(m *mutated) (outcome, bool) {
		m.page.SetChecksum(m.page.Checksum() ^ 0x5A5A)
		return benignIf(!m.w.Checksums)
	}},
}
