package scanner

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/audit"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// maxLostWrites is how many lost writes are listed; all are counted.
const maxLostWrites = 10_000

// auditing reads the WAL of the newest TLI's history in order and checks the
// full-page images in it.
type auditing struct {
	w       WAL
	s       *survey
	r       *Result
	history wal.History
	there   runs // segments along the history
	auditor *audit.Auditor
	found   []audit.Finding
	newer   int64 // images newer than all that is known of their block
	first   *audit.Finding
	neon    bool // a record was Neon's
}

func newAudit(w WAL, s *survey, x *expectation, r *Result, blocks int) *auditing {
	a := &auditing{w: w, s: s, r: r, history: s.history(x.newest), auditor: audit.New(blocks)}
	for tli, set := range x.expected {
		missing := set.minus(s.of(tli))
		for _, part := range set.minus(missing) {
			for n := part.from; n < part.to; n++ {
				if a.tli(n) == tli {
					a.there.add(n)
				}
			}
		}
	}
	return a
}

// tli is the TLI whose segment n belongs to the history: where one TLI goes on
// with another's segment, it has a copy of what the old one wrote there.
func (a *auditing) tli(n pg.SegmentNo) pg.TLI {
	tli := a.history[0].TLI
	for _, e := range a.history {
		if pg.SegmentOf(e.Range.From, a.s.size) <= n {
			tli = e.TLI
		}
	}
	return tli
}

// run audits every stretch of segments. What can't be read is left out, said,
// and begun anew behind: nothing is known of blocks then.
func (a *auditing) run(ctx context.Context) {
	a.r.Audit = &finding.Audit{}
	for _, stretch := range a.there {
		for n := stretch.from; n < stretch.to && ctx.Err() == nil; {
			a.auditor.Reset()
			n = a.read(ctx, n, stretch.to)
		}
	}
	st := a.auditor.Stats
	a.r.Audit.Images, a.r.Audit.ImagesChecked, a.r.Audit.BlocksForgotten = st.Images, st.Checked, st.Forgotten
	if a.neon {
		// Its compute nodes read pages back from elsewhere, with LSNs nobody has measured.
		a.r.LostWrites, a.r.Audit.LostWrites, a.r.Audit.ImagesChecked = []finding.StaleImage{}, 0, 0
		a.s.doubt("the audit judges no WAL of Neon's: which LSNs its images may carry is not known")
		return
	}
	if a.newer > 0 {
		f := a.first
		a.s.doubt("%d full-page images are newer than all records of their blocks before them, the first at %s (%s, %s after %s): WAL is missing or of another history",
			a.newer, f.At, f.Block, f.ImageLSN, f.Expected)
	}
}

// read audits from the start of segment n and returns where to go on.
func (a *auditing) read(ctx context.Context, n, end pg.SegmentNo) pg.SegmentNo {
	p := &pages{ctx: ctx, w: a.w, size: a.s.size, left: func(pg.SegmentNo) {},
		page: func(*walfile.Entry, pg.LSN, []byte) error { return nil },
		find: func(n pg.SegmentNo) (walfile.Entry, error) { return a.find(ctx, n, end) }}
	r := wal.NewReader(p.read, wal.Config{Start: n.Start(a.s.size), FindFirst: true, MayBeginLate: a.s.oldest(n),
		SegmentSize: a.s.size, SystemID: a.s.identity.SystemID})
	var rec wal.Record
	var err error
	for err == nil {
		if err = r.Next(&rec); err == nil {
			p.forget(rec.End)
			err = a.record(&rec)
		}
	}
	err = errors.Join(err, p.close())
	stop := max(pg.SegmentOf(r.End(), a.s.size), p.n)
	var ends *wal.EndError
	switch {
	case ctx.Err() != nil, errors.Is(err, errNoMore):
		return end
	case errors.As(err, &ends) && stop+1 >= a.there.end():
		return end // where the server stopped to write; a deep scan says whether that is so
	}
	a.s.doubt("the audit left out WAL from %s to %s: %v", r.End(), (stop + 1).Start(a.s.size), err)
	return stop + 1
}

func (a *auditing) find(ctx context.Context, n, end pg.SegmentNo) (walfile.Entry, error) {
	if n >= end {
		return walfile.Entry{}, errNoMore
	}
	copies, err := a.w.Find(ctx, a.tli(n), n)
	if err != nil {
		return walfile.Entry{}, err
	}
	for _, e := range copies {
		if !e.Irregular && e.Size > 0 {
			return e, nil
		}
	}
	return walfile.Entry{}, fmt.Errorf("%s is not there any more", pg.SegmentName(a.tli(n), n, a.s.size))
}

func (a *auditing) record(rec *wal.Record) (err error) {
	if one, ok := rec.Dialects().One(); ok && one == wal.Neon {
		a.neon = true
	}
	a.found, err = a.auditor.Record(rec, a.found[:0])
	for i := range a.found {
		f := &a.found[i]
		if f.Newer() {
			if a.newer++; a.first == nil {
				c := *f
				a.first = &c
			}
			continue
		}
		if a.r.Audit.LostWrites++; len(a.r.LostWrites) < maxLostWrites {
			a.r.LostWrites = append(a.r.LostWrites, finding.StaleImage{
				Relation: finding.RelationOf(f.Block.RelFork), Block: int64(f.Block.Number),
				At: f.At, ImageLSN: f.ImageLSN, ExpectedLSN: f.Expected,
				LastRecord: finding.RecordRef{LSN: f.Last.LSN, Rmgr: f.Last.Rmgr.String(), XID: f.Last.XID,
					Op: wal.OpName(f.Last.Rmgr, f.Last.Info, rec.Major)},
			})
		}
	}
	return err
}
