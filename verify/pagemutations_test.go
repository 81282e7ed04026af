package verify_test

import (
	"bytes"
	"encoding/binary"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// outcome is what a planted corruption must be called.
type outcome struct {
	kind  finding.Kind
	blame finding.Blame
	words string // part of the explanation
}

// mutated is the page that a mutation works on.
type mutated struct {
	w         *world
	block     pg.Block
	page      page.Page // of the official side
	base, mid page.Page // older versions, nil if there are none
	kind      page.Kind
	stale     bool // leave the checksum as it is
}

// mutation changes one page of the official side; ok is false if the page is
// not one it can change. Without a kind the change must not be above benign.
type mutation struct {
	name  string
	apply func(m *mutated) (out outcome, ok bool)
}

// changed is the outcome of a change that a checksum does not tell.
func (m *mutated) changed() outcome {
	switch {
	case !m.w.touched(m.block):
		return outcome{finding.BitRot, finding.BlameUnknown, "No WAL of the span touches this block"}
	case m.w.lastWhole(m.block):
		return outcome{finding.Unexplained, finding.BlameOfficial, "the last record of the block carries the whole page"}
	}
	return outcome{finding.Unexplained, finding.BlameUnknown, "a second engine can tell"}
}

// rotten is the outcome of a change behind the checksum's back.
func (m *mutated) rotten() outcome {
	m.stale = true
	if m.w.Checksums {
		return outcome{finding.BitRot, finding.BlameOfficial, "checksum"}
	}
	return m.changed()
}

// lied is the outcome of a page LSN that is that of no record of the block.
func (m *mutated) lied(blame finding.Blame, words string) outcome {
	if !m.w.touched(m.block) {
		return outcome{finding.BitRot, blame, words}
	}
	return outcome{finding.PhantomWrite, blame, words}
}

// items are the offset numbers with storage.
func (m *mutated) items() []int {
	var out []int
	for n := 1; n <= m.page.NumItems(); n++ {
		if m.page.ItemID(n).Flags() == page.LPNormal && len(m.page.Item(n)) > page.HeaderSize {
			out = append(out, n)
		}
	}
	return out
}

// inItem changes a bit of some item at or behind an offset within it.
func (m *mutated) inItem(from int) bool {
	items := m.items()
	if len(items) == 0 || m.kind != page.KindHeap && m.kind != page.KindBtree {
		return false
	}
	it := m.page.Item(items[m.w.rng.IntN(len(items))])
	if len(it) <= from {
		return false
	}
	at := from + m.w.rng.IntN(len(it)-from)
	it[at] ^= 1 << m.w.rng.IntN(8)
	return true
}

// anywhere flips a bit that no rule ignores, behind the header of a page of any kind.
func (m *mutated) anywhere() bool {
	at, before := page.HeaderSize+m.w.rng.IntN(pg.BlockSize-page.HeaderSize), m.normal(m.page)
	m.page[at] ^= 1 << m.w.rng.IntN(8)
	return !bytes.Equal(before, m.normal(m.page)) && page.KindOf(m.page, pg.MainFork) == m.kind
}

func (m *mutated) normal(p page.Page) []byte {
	out := make([]byte, pg.BlockSize)
	mask.Normalize(out, p, page.KindOf(p, pg.MainFork), m.block.Number)
	return out
}

// tear puts the first sectors of one version before the others of another.
func (m *mutated) tear(first, rest page.Page) bool {
	if first == nil || rest == nil || first.IsNew() || rest.IsNew() || first.LSN() == rest.LSN() {
		return false
	}
	cut := 512 * (1 + m.w.rng.IntN(15))
	torn := append(bytes.Clone(first[:cut]), rest[cut:]...)
	for _, v := range []page.Page{first, rest} { // each must have a part in it
		if bytes.Equal(m.normal(torn), m.normal(v)) {
			return false
		}
	}
	m.stale = true
	copy(m.page, torn)
	return m.w.touched(m.block) && differs(first[:cut], rest[:cut]) && differs(first[cut:], rest[cut:])
}

// differs says that two parts differ by more than a stray hint.
func differs(a, b []byte) bool {
	n := 0
	for i := range a {
		if a[i] != b[i] {
			n++
		}
	}
	return n > 60
}

var torn = outcome{finding.TornPage, finding.BlameOfficial, "a torn page"}

func (m *mutated) older(v page.Page) (outcome, bool) {
	if v == nil || v.IsNew() || v.LSN() == m.page.LSN() || !m.w.touched(m.block) || !m.w.knows(m.block, v.LSN()) {
		return outcome{}, false
	}
	copy(m.page, v)
	return outcome{finding.LostWrite, finding.BlameOfficial, "a lost write"}, true
}

// infomask of a heap tuple.
func infomask(t []byte) uint16       { return binary.LittleEndian.Uint16(t[20:]) }
func setInfomask(t []byte, v uint16) { binary.LittleEndian.PutUint16(t[20:], v) }

// onTuple lets change work on a tuple of a heap page.
func (m *mutated) onTuple(change func(t []byte) bool) bool {
	items := m.items()
	if m.kind != page.KindHeap {
		return false
	}
	m.w.rng.Shuffle(len(items), func(i, j int) { items[i], items[j] = items[j], items[i] })
	for _, n := range items {
		if change(m.page.Item(n)) {
			return true
		}
	}
	return false
}

func (m *mutated) setLSN(lsn pg.LSN) bool {
	m.page.SetLSN(lsn)
	return true
}

// aRecord is a record of some other block, whose end no record of this one shares.
func (m *mutated) aRecord() (end pg.LSN, ok bool) {
	for range 50 {
		b := m.w.blocks[m.w.rng.IntN(len(m.w.blocks))]
		if r := m.w.recs[b]; len(r) > 0 {
			end = r[m.w.rng.IntN(len(r))].End
			if !m.w.knows(m.block, end) && end > m.page.LSN() {
				return end, true
			}
		}
	}
	return 0, false
}

var pageCorruptions = []mutation{
	{"bit rot in an item", func(m *mutated) (outcome, bool) { return m.rotten(), m.inItem(24) }},
	{"bit rot anywhere", func(m *mutated) (outcome, bool) { return m.rotten(), m.anywhere() }},
	{"bit flipped, checksum right", func(m *mutated) (outcome, bool) { return m.changed(), m.anywhere() }},
	{"item changed, checksum right", func(m *mutated) (outcome, bool) { return m.changed(), m.inItem(24) }},
	{"a sector of garbage", func(m *mutated) (outcome, bool) {
		at, before := 512*(1+m.w.rng.IntN(14)), m.normal(m.page)
		for i := range 512 {
			m.page[at+i] = byte(m.w.rng.Uint32())
		}
		return m.rotten(), !bytes.Equal(before, m.normal(m.page)) // not all of it in the hole
	}},
	{"zeroed", func(m *mutated) (outcome, bool) {
		clear(m.page)
		m.stale = true
		return outcome{finding.ZeroedPage, finding.BlameOfficial, "all zeros"}, true
	}},
	{"lost write: the base's version", func(m *mutated) (outcome, bool) { return m.older(m.base) }},
	{"lost write: a version half way", func(m *mutated) (outcome, bool) { return m.older(m.mid) }},
	{"torn: base and end", func(m *mutated) (outcome, bool) { return torn, m.tear(m.base, bytes.Clone(m.page)) }},
	{"torn: end and base", func(m *mutated) (outcome, bool) { return torn, m.tear(bytes.Clone(m.page), m.base) }},
	{"torn: half way and end", func(m *mutated) (outcome, bool) { return torn, m.tear(m.mid, bytes.Clone(m.page)) }},
	{"torn: base and half way", func(m *mutated) (outcome, bool) { return torn, m.tear(m.base, m.mid) }},
	{"an older version, and changed", func(m *mutated) (outcome, bool) {
		_, ok := m.older(m.mid)
		return outcome{finding.Unexplained, finding.BlameOfficial, "says it is the version of"},
			ok && m.inItem(24) && m.kind == page.KindHeap && !m.w.hinted(m.block) // whose LSN may be that of several versions
	}},
	{"line pointer moved", func(m *mutated) (outcome, bool) {
		items := m.items()
		if len(items) == 0 || m.kind != page.KindHeap && m.kind != page.KindBtree {
			return outcome{}, false
		}
		n := items[m.w.rng.IntN(len(items))]
		id := m.page.ItemID(n)
		m.page.SetItemID(n, page.MakeItemID(id.Offset()^8, id.Flags(), id.Len()))
		return m.changed(), true
	}},
	{"xmin changed", func(m *mutated) (outcome, bool) {
		return m.changed(), m.onTuple(func(t []byte) bool {
			binary.LittleEndian.PutUint32(t, binary.LittleEndian.Uint32(t)+1)
			return true
		})
	}},
	{"tuple deleted", func(m *mutated) (outcome, bool) {
		return m.changed(), m.onTuple(func(t []byte) bool {
			binary.LittleEndian.PutUint32(t[4:], 777)
			return true
		})
	}},
	{"tuple frozen", func(m *mutated) (outcome, bool) {
		return m.changed(), m.onTuple(func(t []byte) bool {
			was := infomask(t)
			setInfomask(t, was|0x0300)
			return was&0x0300 != 0x0300
		})
	}},
	{"t_ctid changed", func(m *mutated) (outcome, bool) {
		return m.changed(), m.onTuple(func(t []byte) bool {
			t[16] ^= 1
			return true
		})
	}},
	{"PD_ALL_VISIBLE set", func(m *mutated) (outcome, bool) {
		was := m.page.Flags()
		m.page.SetFlags(was | page.AllVisible)
		return m.changed(), m.kind == page.KindHeap && was&page.AllVisible == 0 // without it, it would be the version before
	}},
	{"btree sibling link changed", func(m *mutated) (outcome, bool) {
		m.page[pg.BlockSize-16+4] ^= 1
		return m.changed(), m.kind == page.KindBtree
	}},
	{"heap TID in an index changed", func(m *mutated) (outcome, bool) {
		for n := 2; n <= m.page.NumItems() && m.kind == page.KindBtree; n++ {
			if it := m.page.Item(n); m.page.ItemID(n).Flags() == page.LPNormal && len(it) > 8 {
				it[4] ^= 1
				return m.changed(), true
			}
		}
		return outcome{}, false
	}},
	{"sequence at a value that its increment does not lead to", func(m *mutated) (outcome, bool) {
		s, ok := m.page.Sequence()
		at, ok2 := m.page.SequenceValueOffset()
		if !ok || !ok2 || s.LogCnt == 0 || s.LastValue < farSequences/2 {
			return outcome{}, false
		}
		binary.LittleEndian.PutUint64(m.page[at:], uint64(s.LastValue-s.LogCnt)) // an increment greater by 1 would do
		out := m.changed()
		out.words = "as the catalog has it, does not lead from one to the other"
		return out, true
	}},
	{"page LSN after the end", func(m *mutated) (outcome, bool) {
		return m.lied(finding.BlameOfficial, "after the span's end"), m.setLSN(m.page.LSN() + 1<<32)
	}},
	{"page LSN that no record can have", func(m *mutated) (outcome, bool) {
		return m.lied(finding.BlameOfficial, "no WAL record can have"), m.setLSN(m.page.LSN() + 3)
	}},
	{"page LSN at which no record ends", func(m *mutated) (outcome, bool) {
		end, ok := m.aRecord()
		return m.lied(finding.BlameOfficial, "No record of the WAL ends"), ok && m.setLSN(end-8)
	}},
	{"page LSN of another block's record", func(m *mutated) (outcome, bool) {
		end, ok := m.aRecord()
		return m.lied(finding.BlameUnknown, "At this LSN ends the record"), ok && m.setLSN(end)
	}},
	{"header that no server writes", func(m *mutated) (outcome, bool) {
		m.page.SetSpecial(pg.BlockSize + 64)
		m.stale = true
		return outcome{finding.BitRot, finding.BlameOfficial, "checksum"}, true
	}},
	{"another block's page", func(m *mutated) (outcome, bool) {
		o := m.other(true)
		return m.strayed("It is the page of block", false), m.moveFrom(o)
	}},
	{"another block's page, checksum right", func(m *mutated) (outcome, bool) {
		o := m.other(true)
		return m.strayed("of the same relation", true), m.moveFrom(o)
	}},
	{"another relation's page", func(m *mutated) (outcome, bool) {
		o := m.other(false)
		return m.strayed("of another relation", true), m.moveFrom(o)
	}},
}

// other is a page of another block, of the same relation or not, whose LSN is none of this block's.
func (m *mutated) other(same bool) page.Page {
	for _, b := range m.w.blocks {
		if b == m.block || (b.RelFork == m.block.RelFork) != same || m.w.used[b] || m.w.hinted(b) {
			continue
		}
		p := pageAt(m.w.Data, b)
		if p == nil || p.IsNew() || p.NumItems() == 0 || m.w.knows(m.block, p.LSN()) {
			continue
		}
		if k := page.KindOf(p, pg.MainFork); k == page.KindHeap || k == page.KindBtree {
			m.w.used[b] = true
			return p
		}
	}
	return nil
}

func (m *mutated) moveFrom(o page.Page) bool {
	if o == nil {
		return false
	}
	copy(m.page, o)
	return true
}

// strayed is the outcome of another block's page, with or without the checksum of its new place.
func (m *mutated) strayed(words string, sealed bool) outcome {
	if !sealed {
		m.stale = true
	}
	if !sealed && m.w.Checksums {
		return outcome{finding.BitRot, finding.BlameOfficial, words}
	}
	return m.lied(finding.BlameOfficial, words)
}
