package scanner

import (
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// see notes what a record tells of the servers that wrote the segment.
func (st *state) see(rec *wal.Record) {
	d := rec.Dialects()
	if _, one := d.One(); one {
		st.Dialects |= d
	}
	if d == 0 && st.Odd == 0 {
		st.Odd = rec.LSN
	}
}

// dialect adds up what the segments of a timeline tell.
type dialect struct {
	told wal.Dialects
	odd  pg.LSN // a record that is of no dialect
}

func (d *dialect) add(st *state) {
	d.told |= st.Dialects
	if d.odd == 0 {
		d.odd = st.Odd
	}
}

// name is what the result calls it.
func (d *dialect) name() string {
	one, ok := d.told.One()
	switch {
	case d.odd != 0 || d.told == 0:
		return finding.UnknownDialect
	case ok:
		return one.String()
	}
	return finding.MixedDialect
}

// doubts says what of it stands against a clean verdict.
func (d *dialect) doubts(s *survey) {
	if d.odd != 0 {
		s.doubt("the record at %s is in the format of neither PostgreSQL nor Neon, though its CRC is right", d.odd)
	}
	if d.told == wal.AnyDialect {
		s.doubt("some records can only be PostgreSQL's and some only Neon's: the WAL is of two servers, or of one that is not known")
	}
}

// late says what is wrong with a segment whose records begin behind zeros. A
// timeline of Neon begins so, and only one of Neon: in the first segment, and
// not behind what is asked for. Its first record may be the one behind that.
func (d *deep) late(seg *segment) string {
	st := &seg.st
	if st.Late == 0 {
		return ""
	}
	if d.opt.Said != nil && pg.SegmentOf(d.opt.Said.From, d.s.size) == seg.entry.Segment {
		if begin := behind(d.opt.Said.From, 0); st.Late > begin {
			return fmt.Sprintf("zeros up to %s, but its WAL begins at %s", st.Late, begin)
		}
		d.r.From = max(d.r.From, st.Late)
		return ""
	}
	if st.Dialects != wal.OnlyNeon && !(d.opt.BeginsLate && st.Dialects == 0) {
		return fmt.Sprintf("zeros up to %s, where the first record is", st.Late)
	}
	wanted := []pg.LSN{d.opt.From}
	for _, b := range d.opt.Backups {
		wanted = append(wanted, b.Start)
	}
	for _, from := range wanted {
		if pg.SegmentOf(from, d.s.size) == seg.entry.Segment && from < st.Prev && from > seg.entry.Segment.Start(d.s.size) {
			return fmt.Sprintf("zeros up to %s, but WAL from %s on is needed", st.Late, from)
		}
	}
	if at := st.Late % wal.PageSize; at == wal.ShortHeaderSize || at == wal.LongHeaderSize {
		d.s.doubt("segment %s is zeros up to the page of %s: either the timeline began there, or the WAL before was lost", seg.entry.Name(), st.Late)
	}
	d.r.From = max(d.r.From, st.Late)
	return ""
}
