package scanner

import (
	"context"
	"errors"
	"fmt"
	"io"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// segment is one segment of a run and what reading it showed.
type segment struct {
	entry  walfile.Entry   // the copy that is read
	copies []walfile.Entry // further ones
	st     state
	own    bool   // st.Last and st.Tail are known
	read   bool   // to its end
	damage string // what is wrong with it
	doubt  string // why it could not be read
}

// segmentRun is a run of segments of one TLI, each the next one's predecessor,
// that one worker reads. Its last record is followed into the segment after it.
type segmentRun struct {
	w        WAL
	s        *survey
	tli      pg.TLI
	segments []*segment
	before   *state // of the segment before, if that was not read in the run before
	others   []segmentNote
	done     chan struct{} // closed when the run was read
}

// segmentNote is what a run found out about a segment that follows it.
type segmentNote struct{ name, damage, doubt string }

func (r *segmentRun) first() pg.SegmentNo { return r.segments[0].entry.Segment }

// of is the segment with number n, nil if it is not in the run.
func (r *segmentRun) of(n pg.SegmentNo) *segment {
	if n < r.first() || n-r.first() >= pg.SegmentNo(len(r.segments)) {
		return nil
	}
	return r.segments[n-r.first()]
}

// end is the number behind the last segment.
func (r *segmentRun) end() pg.SegmentNo { return r.first() + pg.SegmentNo(len(r.segments)) }

// readAll reads the run. After damage it goes on at the next segment.
func (r *segmentRun) readAll(ctx context.Context) {
	from, before := r.first(), r.before
	for from < r.end() && ctx.Err() == nil {
		from = r.readFrom(ctx, from, before)
		before = nil
	}
	for _, s := range r.segments {
		if len(s.copies) > 0 && s.damage == "" && s.doubt == "" && ctx.Err() == nil {
			r.compareCopies(ctx, s)
		}
	}
}

// reading is one pass of a wal.Reader over a run.
type reading struct {
	*segmentRun
	pages   *pages
	reader  *wal.Reader
	any     bool   // a record was read
	last    pg.LSN // the last record read, or the last before
	end     pg.LSN // its end
	tail    *tail  // of the record that began before the run, while it goes on
	tailErr string
}

// readFrom reads from the start of segment n until the end of the run or an
// error, and returns where to go on.
func (r *segmentRun) readFrom(ctx context.Context, n pg.SegmentNo, before *state) pg.SegmentNo {
	start := n.Start(r.s.size)
	g := &reading{segmentRun: r, end: start}
	if before != nil {
		g.last = before.Last
		if t := before.Tail; t != nil && !t.Lost {
			c := *t
			c.Header = append([]byte(nil), t.Header...)
			g.tail = &c
		}
	}
	known := before != nil
	g.pages = &pages{ctx: ctx, w: r.w, size: r.s.size, find: func(n pg.SegmentNo) (walfile.Entry, error) { return r.find(ctx, n) },
		page: g.seePage}
	g.pages.left = func(n pg.SegmentNo) { g.leave(n, known) }
	g.reader = wal.NewReader(g.pages.read, wal.Config{Start: start, FindFirst: true, MayBeginLate: r.s.oldest(n),
		SegmentSize: r.s.size, SystemID: r.s.identity.SystemID})
	var rec wal.Record
	for {
		err := g.reader.Next(&rec)
		if err == nil && rec.LSN < r.end().Start(r.s.size) {
			g.note(&rec)
			continue
		}
		if cl := g.pages.close(); err == nil && cl != nil {
			err = cl
		}
		if g.tailErr != "" && r.of(n).damage == "" {
			r.of(n).damage = g.tailErr
		}
		if err == nil {
			return r.end()
		}
		return g.failed(ctx, err)
	}
}

// find names the file of a segment of the run or of one behind it.
func (r *segmentRun) find(ctx context.Context, n pg.SegmentNo) (walfile.Entry, error) {
	if s := r.of(n); s != nil {
		return s.entry, nil
	}
	tli := r.tli
	for k := r.end() - 1; k < n; k++ {
		next, ok := r.s.after(tli, k)
		if !ok {
			return walfile.Entry{}, errNoMore
		}
		tli = next
	}
	copies, err := r.w.Find(ctx, tli, n)
	if err != nil {
		return walfile.Entry{}, err
	}
	for _, e := range copies {
		if !e.Irregular && e.Size > 0 {
			return e, nil
		}
	}
	return walfile.Entry{}, errNoMore
}

// seePage checks what the reader can't know: the TLI a page must be of. It
// also feeds the record that began before the run.
func (g *reading) seePage(e *walfile.Entry, at pg.LSN, page []byte) error {
	h, err := wal.ParsePageHeader(page)
	if err != nil || h.Major() == 0 || h.Addr != at {
		return nil // for the reader to judge
	}
	if hist := g.s.histories[e.TLI]; hist != nil || e.TLI == 1 {
		if want := g.s.history(e.TLI).TLIAt(at); h.TLI != want {
			return g.pages.damage("the page at %s is of TLI %d, want %d", at, h.TLI, want)
		}
	}
	if g.tail != nil {
		if done, wrong := g.tail.feedPage(page); done {
			if wrong == "" && g.tail.Have == g.tail.Total {
				g.last = g.tail.LSN
			}
			g.tailErr, g.tail = wrong, nil
		}
	}
	return nil
}

// note takes a record into account.
func (g *reading) note(rec *wal.Record) {
	s := g.of(pg.SegmentOf(rec.LSN, g.s.size))
	if s.st.First == 0 {
		s.st.First, s.st.Prev = rec.LSN, rec.Prev
		if o, ok, err := wal.DecodeOverwriteContrecord(rec); ok && err == nil {
			s.st.Overwritten = o.LSN
		}
	}
	s.st.see(rec)
	if g.reader.Late() == rec.LSN {
		s.st.Late = rec.LSN
	}
	g.any, g.last, g.end = true, rec.LSN, rec.End
	keep := rec.End
	if rec.Rmgr == pg.RmgrXLOG && rec.Op() == xlogSwitch {
		keep = behind(rec.LSN, uint64(rec.Length))
		if pg.SegmentOf(keep, g.s.size) == g.pages.n {
			g.pages.zeroFrom, g.pages.switchAt = keep, rec.LSN
		}
	}
	g.pages.forget(keep)
}

// leave fixes the state at the end of a segment that was read to its end.
func (g *reading) leave(n pg.SegmentNo, known bool) {
	s := g.of(n)
	if s == nil {
		return
	}
	s.read = true
	s.st.Version, s.st.SystemID, s.st.Last = stateVersion, g.s.identity.SystemID, g.last
	switch {
	case g.any:
		s.own = true
		if g.end < (n + 1).Start(g.s.size) {
			s.st.Tail = newTail(g.end, g.pages.since(g.end))
		}
	case known:
		s.own = true
		if g.tail != nil {
			c := *g.tail
			s.st.Tail = &c
		}
	}
}

// failed sorts an error of the reading out and returns where to go on.
func (g *reading) failed(ctx context.Context, err error) pg.SegmentNo {
	var end *wal.EndError
	var file *fileError
	switch {
	case errors.Is(err, errNoMore), ctx.Err() != nil:
		return g.segmentRun.end()
	case errors.As(err, &file):
		var d *walfile.DamagedError
		if errors.As(file.err, &d) {
			g.remark(file.n, d.Reason, "")
		} else {
			g.remark(file.n, "", fmt.Sprintf("could not be read: %v", file.err))
		}
		return file.n + 1
	case errors.As(err, &end):
		n := pg.SegmentOf(end.LSN, g.s.size)
		here, err := g.endsHere(ctx, n, end)
		if err != nil {
			return g.failed(ctx, &fileError{n, err})
		}
		if here {
			return n + 1
		}
		reason := end.Error()
		if end.Reason == wal.EndZeroPage || end.Reason == wal.EndZeroLength {
			reason = fmt.Sprintf("WAL ends at %s, before the segment's end", end.LSN)
		}
		g.remark(n, reason, "")
		return n + 1
	}
	n := g.pages.n
	g.remark(n, "", fmt.Sprintf("could not be read: %v", err))
	return n + 1
}

// remark notes what is wrong with a segment, of the run or behind it.
func (g *reading) remark(n pg.SegmentNo, damage, doubt string) {
	if s := g.of(n); s != nil {
		s.damage, s.doubt, s.read = damage, doubt, false
		return
	}
	name := pg.SegmentName(g.tli, n, g.s.size)
	if g.pages.entry.Segment == n {
		name = g.pages.entry.Name()
	}
	g.others = append(g.others, segmentNote{name, damage, doubt})
}

// endsHere decides whether the newest segment of a TLI ends where PostgreSQL
// stopped to write, as that of a server that was stopped does: no page behind
// that place may be one of this segment, and what is left of the page is zero,
// unless a record was begun there that goes on behind it. The error is that of
// reading the segment once more.
func (g *reading) endsHere(ctx context.Context, n pg.SegmentNo, end *wal.EndError) (bool, error) {
	s := g.of(n)
	if _, more := g.s.after(g.tli, n); s == nil || more || n+1 < g.s.of(g.tli).end() {
		return false, nil
	}
	stop := g.end
	if !g.any {
		stop = end.LSN
	}
	if stop == n.Start(g.s.size) {
		return false, nil // not even its first page is there
	}
	torn := end.Reason == wal.EndTorn || end.Reason == wal.EndBadPage && end.LSN > stop&^(wal.PageSize-1)
	if here, err := g.unwritten(ctx, &s.entry, stop, torn); !here || err != nil {
		return false, err
	}
	s.read, s.own = true, true
	s.st.Version, s.st.SystemID, s.st.Last, s.st.Ended = stateVersion, g.s.identity.SystemID, g.last, stop
	return true, nil
}

// unwritten reads a segment and reports whether nothing was written to it from
// stop on; where a record is torn there, to the pages behind that of stop.
func (g *reading) unwritten(ctx context.Context, e *walfile.Entry, stop pg.LSN, torn bool) (bool, error) {
	rc, err := g.w.OpenEntry(ctx, *e)
	if err != nil {
		return false, err
	}
	defer func() { _ = rc.Close() }() // it was only read
	start, page := e.Segment.Start(g.s.size), stop&^(wal.PageSize-1)
	if _, err := io.CopyN(io.Discard, rc, int64(page-start)); err != nil {
		return false, err
	}
	buf := make([]byte, wal.PageSize)
	for at := page; at < start+pg.LSN(g.s.size); at += wal.PageSize {
		if _, err := io.ReadFull(rc, buf); err != nil {
			return false, err
		}
		if at == page && stop > page {
			if !torn && !isZero(buf[stop-page:]) {
				return false, nil
			}
		} else if h, err := wal.ParsePageHeader(buf); err != nil || h.Major() != 0 && h.Addr == at {
			return false, nil
		}
	}
	_, err = io.Copy(io.Discard, rc)
	return err == nil, err
}

func isZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
