package archive

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"io"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// level is a timeline of Neon's whose WAL from an LSN on a branch goes on with.
type level struct {
	t    *Timeline
	from pg.LSN // where it leaves its ancestor; 0 of a root, or where that is not known
}

// levels follows a timeline back to its root. Without an index that says of
// what it is a branch, or without WAL of the ancestor, what there is of its own
// is all.
func (t *Timeline) levels(ctx context.Context) ([]level, error) {
	out := []level{{t: t}}
	for {
		at := &out[len(out)-1]
		b, err := t.archive.branch(ctx, at.t)
		if err != nil {
			return nil, fmt.Errorf("find the ancestor of %s/%s: %w", at.t.tenant, at.t.id, err)
		}
		if b == nil {
			return out, nil
		}
		if len(out) > maxAncestors {
			return nil, fmt.Errorf("follow the ancestors of %s/%s: there are more than %d, or they go round in circles", t.tenant, t.id, maxAncestors)
		}
		at.from = b.LSN
		next, err := t.archive.neonTimeline(t.tenant, b.Timeline)
		if err != nil {
			return nil, err
		}
		id, err := next.Identify(ctx)
		switch {
		case errors.Is(err, ErrNoWAL):
			id.SegmentSize = t.size
			next.size = t.size
		case err != nil:
			return nil, err
		}
		if id.SegmentSize != t.size || id.SystemID != 0 && t.sysid != 0 && id.SystemID != t.sysid {
			return nil, fmt.Errorf("follow the ancestors of %s/%s: %s is of another cluster: system identifier %d and segments of %d bytes, want %d and %d",
				t.tenant, t.id, b.Timeline, id.SystemID, id.SegmentSize, t.sysid, t.size)
		}
		out = append(out, level{t: next})
	}
}

// Lineage are the timelines from this one back to its root, or as far as is
// known: of a layout other than neon it alone.
func (t *Timeline) Lineage(ctx context.Context) ([]string, error) {
	out := []string{t.id}
	for at := t; t.archive.layout == Neon; {
		b, err := t.archive.branch(ctx, at)
		if err != nil {
			return nil, fmt.Errorf("find the ancestor of %s/%s: %w", at.tenant, at.id, err)
		}
		if b == nil {
			break
		}
		if slices.Contains(out, b.Timeline) {
			return nil, fmt.Errorf("follow the ancestors of %s/%s: they go round in circles", t.tenant, t.id)
		}
		out = append(out, b.Timeline)
		if at, err = t.archive.neonTimeline(t.tenant, b.Timeline); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// branch is where a timeline leaves its ancestor, by whoever knows: nil if it
// leaves none, or nobody does.
func (a *Archive) branch(ctx context.Context, t *Timeline) (*Branch, error) {
	if a.opt.Branch != nil {
		b, err := a.opt.Branch(ctx, t.tenant, t.id)
		if b != nil || err != nil {
			return b, err
		}
	}
	pages := a.opt.Pages
	if pages == nil {
		pages = a.store // a bucket whose two prefixes are one
	}
	b, err := neonBranch(ctx, pages, a.opt.Retry, t.tenant, t.id)
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil
	}
	return b, err
}

// Branches are the LSNs at which the WAL leaves an ancestor's for that of a
// branch, ascending: there a record of the ancestor may be cut off.
func (s *Source) Branches() []pg.LSN {
	var out []pg.LSN
	for _, l := range s.levels {
		if l.from != 0 && (len(out) == 0 || l.from < out[len(out)-1]) {
			out = append(out, l.from)
		}
	}
	slices.Reverse(out)
	return out
}

// part is a range of a segment that one timeline's file serves.
type part struct {
	t        *Timeline
	from, to pg.LSN
}

// parts says which timeline has which part of a segment, ascending.
func (s *Source) parts(n pg.SegmentNo) (out []part) {
	end := (n + 1).Start(s.t.size)
	for _, l := range s.levels {
		from := max(l.from, n.Start(s.t.size))
		if from < end {
			out = append(out, part{l.t, from, end})
			end = from
		}
	}
	slices.Reverse(out)
	return out
}

// openNeon finds the files that serve segment n from the page at on, and puts
// them together where a branch begins in it. A page is served as soon as the
// branch's part of it is there: without the ancestor's it begins with zeros.
func (s *Source) openNeon(ctx context.Context, n pg.SegmentNo, at pg.LSN) (*piece, error) {
	p := &pieces{start: n.Start(s.t.size)}
	out := &piece{end: (n + 1).Start(s.t.size), left: 1}
	for _, part := range s.parts(n) {
		if part.to <= at {
			continue
		}
		f, usable, err := s.openStored(ctx, part.t, n)
		if err != nil {
			return nil, errors.Join(err, p.Close())
		}
		if f == nil && len(p.parts) == 0 && part.to-at < wal.PageSize && part.to < out.end {
			continue // the page on which a branch begins whose ancestor's WAL is gone
		}
		if f != nil {
			p.parts = append(p.parts, section{f, min(part.to, usable)})
		}
		if f == nil || usable < part.to {
			out.end = pageBehind(max(part.from, usable))
			break
		}
	}
	if len(p.parts) == 0 {
		return nil, s.t.missing(1, n)
	}
	out.file = &opened{Closer: p, entry: p.parts[0].f.entry, body: p}
	return out, nil
}

// pageBehind is the end of the page in which what ends at l ends.
func pageBehind(l pg.LSN) pg.LSN { return (l + wal.PageSize - 1) &^ (wal.PageSize - 1) }

// openStored opens the file of a timeline's segment: the whole one, else the
// best of those that safekeepers had not filled. usable is where it ends; f is
// nil if there is none. A file may give way to a newer one while it is looked for.
func (s *Source) openStored(ctx context.Context, t *Timeline, n pg.SegmentNo) (f *opened, usable pg.LSN, err error) {
	const tries = 3
	for range tries {
		whole, partial, err := t.findNeon(ctx, n)
		if err != nil {
			return nil, 0, err
		}
		if f, err = t.openFirst(ctx, whole); f != nil || err != nil {
			return f, (n + 1).Start(t.size), s.foreign(f, n, err)
		}
		gone := len(whole) > 0
		for _, e := range partial {
			p, _ := walfile.ParseNeonPartial(e.Key)
			if p.Usable() <= n.Start(t.size) {
				continue
			}
			f, err := t.openShort(ctx, e)
			if f != nil || err != nil {
				return f, p.Usable(), s.foreign(f, n, err)
			}
			gone = true
		}
		if !gone {
			break
		}
	}
	return nil, 0, nil
}

func (s *Source) foreign(f *opened, n pg.SegmentNo, err error) error {
	if err != nil {
		return err
	}
	if err := s.checkForeign(f.entry, n, f.page); err != nil {
		return errors.Join(err, f.Close())
	}
	return nil
}

// openShort is openFirst for a file that may hold less than a page; nil if it
// is not there any more, as when a newer one has replaced it.
func (t *Timeline) openShort(ctx context.Context, e walfile.Entry) (*opened, error) {
	rc, err := t.OpenEntry(ctx, e)
	if err != nil {
		return nil, err
	}
	page := make([]byte, min(wal.PageSize, e.Size))
	if _, err = io.ReadFull(rc, page); err == nil {
		return &opened{Closer: rc, entry: e, page: page, body: rc}, nil
	}
	_ = rc.Close() // it was only read
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil
	}
	return nil, err
}

// findNeon lists what is stored of a segment: the whole one, and those that
// were not filled, in the order in which they are to be tried. Those of the
// highest term come first: WAL of lower ones may have been replaced.
func (t *Timeline) findNeon(ctx context.Context, n pg.SegmentNo) (whole, partial []walfile.Entry, err error) {
	name := pg.SegmentName(1, n, t.size)
	err = t.retry.Do(ctx, func() error {
		whole, partial = nil, nil
		for o, err := range t.store.List(ctx, name, storage.ListOptions{Dirs: true}) {
			if err != nil {
				return err
			}
			e := t.entry(o, t.size)
			switch {
			case e.Irregular || e.Segment != n:
			case e.Kind == wal.SegmentFile:
				whole = append(whole, e)
			case e.Kind == wal.PartialFile:
				partial = append(partial, e)
			}
		}
		return nil
	})
	slices.SortFunc(partial, func(a, b walfile.Entry) int {
		p, _ := walfile.ParseNeonPartial(a.Key)
		q, _ := walfile.ParseNeonPartial(b.Key)
		return cmp.Or(cmp.Compare(q.Term, p.Term), cmp.Compare(q.Flush, p.Flush), cmp.Compare(q.Commit, p.Commit), cmp.Compare(a.Key, b.Key))
	})
	return whole, partial, err
}

// section is what a file gives to a segment.
type section struct {
	f  *opened
	to pg.LSN
}

// pieces reads sections one behind the other, and zeros up to the end of the
// page in which the last one ends.
type pieces struct {
	start pg.LSN // of the segment
	parts []section
	next  int    // the part that is read
	at    pg.LSN // 0 before the first
	pad   int64
}

func (p *pieces) Read(b []byte) (int, error) {
	if p.at == 0 {
		p.at = p.start
	}
	for p.next < len(p.parts) {
		s := &p.parts[p.next]
		if p.at >= s.to {
			if err := p.leave(s); err != nil {
				return 0, err
			}
			continue
		}
		n, err := s.f.Read(b[:min(uint64(len(b)), uint64(s.to-p.at))])
		p.at += pg.LSN(n)
		if err == io.EOF && n == 0 {
			err = fmt.Errorf("read %q: it ended at %s, before %s", s.f.entry.Key, p.at, s.to)
		} else if err == io.EOF {
			err = nil
		}
		return n, err
	}
	n := min(int64(len(b)), p.pad)
	p.pad -= n
	clear(b[:n])
	if n == 0 && len(b) > 0 {
		return 0, io.EOF
	}
	return int(n), nil
}

// leave goes on to the next section, whose file begins where the segment does.
func (p *pieces) leave(s *section) error {
	p.next++
	if p.next == len(p.parts) {
		p.pad = int64(-s.to & (wal.PageSize - 1))
		if s.f.entry.Kind == wal.SegmentFile && uint64(s.to-p.start) == uint64(s.f.entry.Size) {
			return drain(s.f)
		}
		return nil
	}
	_, err := io.CopyN(io.Discard, p.parts[p.next].f, int64(p.at-p.start))
	return err
}

func (p *pieces) Close() error {
	var errs []error
	for _, s := range p.parts {
		errs = append(errs, s.f.Close())
	}
	return errors.Join(errs...)
}
