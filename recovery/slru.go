package recovery

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// slru writes a segment of the base with the pages that replay wrote. A
// segment that a truncation removed stays away.
func (m *merger) slru(s pg.SLRU, first uint32, content []byte) error {
	if m.result.SLRURemoved(s) {
		content = nil // pages that were written since are rest's
		if !m.anyPage(s, first) {
			return nil
		}
	}
	if m.result.SLRUTruncated(pg.SLRUPage{SLRU: s, Page: first}) {
		return nil
	}
	return m.segment(s, first, content)
}

// anyPage reports whether replay wrote a page of the segment.
func (m *merger) anyPage(s pg.SLRU, first uint32) bool {
	for _, n := range m.result.SLRUPages(s) {
		if n >= first && n-first < pg.SLRUPagesPerSegment {
			return true
		}
	}
	return false
}

// segment writes the segment that begins with page first.
func (m *merger) segment(s pg.SLRU, first uint32, content []byte) error {
	if m.slrus[s] == nil {
		m.slrus[s] = make(map[uint32]bool)
	}
	if m.slrus[s][first] {
		return inputErrorf("the base has %s twice", datadir.SLRUPath(pg.SLRUPage{SLRU: s, Page: first}))
	}
	m.slrus[s][first] = true
	out := append([]byte(nil), content[:len(content)/pg.BlockSize*pg.BlockSize]...)
	for _, n := range m.result.SLRUPages(s) {
		if n < first || n-first >= pg.SLRUPagesPerSegment {
			continue
		}
		p, _, ok, err := m.result.SLRUPage(pg.SLRUPage{SLRU: s, Page: n}, make([]byte, pg.BlockSize))
		if err != nil {
			return err
		}
		if !ok {
			continue
		}
		at := int(n-first) * pg.BlockSize
		if end := at + pg.BlockSize; end > len(out) {
			out = append(out, make([]byte, end-len(out))...)
		}
		copy(out[at:], p)
	}
	return m.sink.put(datadir.SLRUPath(pg.SLRUPage{SLRU: s, Page: first}), out)
}

// restSLRUs writes the segments that the base has not.
func (m *merger) restSLRUs() error {
	for s := range pg.SLRU(pg.NumSLRUs) {
		for _, n := range m.result.SLRUPages(s) {
			first := n / pg.SLRUPagesPerSegment * pg.SLRUPagesPerSegment
			if m.slrus[s][first] || m.result.SLRUTruncated(pg.SLRUPage{SLRU: s, Page: n}) {
				continue
			}
			if err := m.segment(s, first, nil); err != nil {
				return err
			}
		}
	}
	return nil
}
