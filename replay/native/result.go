package native

import (
	"cmp"
	"fmt"
	"slices"

	"redoubt/internal/pg"
)

// Result is what a replay leaves: the overlay over the base. It lives until
// the Engine is closed and may be read by several goroutines.
type Result struct {
	ImagesChecked  int64      // consistency images compared
	MismatchCount  int64      // of them, those that differ
	Mismatches     []Mismatch // at most Config.MaxFindings, in WAL order
	BlocksReplayed int64      // blocks in the overlay that a record touched, SLRU pages included
	Evicted        int64      // pages that went to the scratch file
	// UnknownRelUpdates counts, by resource manager, records without known redo
	// that change more than the blocks they reference: any block may be affected.
	UnknownRelUpdates map[pg.RmgrID]int64

	Audit Audit

	e *Engine
}

func (e *Engine) result(workers []*worker, unknown map[pg.RmgrID]int64) *Result {
	res := &Result{UnknownRelUpdates: unknown, e: e}
	for _, w := range workers {
		res.ImagesChecked += w.stats.imagesChecked
		res.MismatchCount += w.stats.mismatchCount
		res.Mismatches = append(res.Mismatches, w.stats.mismatches...)
		res.Evicted += w.store.evicted
		res.Audit.add(&w.audit.Audit)
	}
	res.Audit.sort(e.cfg.MaxFindings)
	slices.SortFunc(res.Mismatches, func(a, b Mismatch) int {
		return cmp.Or(cmp.Compare(a.Record.LSN, b.Record.LSN), a.Block.Compare(b.Block))
	})
	res.Mismatches = res.Mismatches[:min(len(res.Mismatches), e.cfg.MaxFindings)]
	for _, r := range e.rels {
		r.each(func(_ pg.BlockNumber, b *block) {
			if b.touched {
				res.BlocksReplayed++
			}
		})
	}
	return res
}

// Fork is a relation fork as replay leaves it.
type Fork struct {
	pg.RelFork
	Size       pg.BlockNumber // blocks
	BaseBlocks pg.BlockNumber // leading blocks that are the base's where the overlay has none; zero pages beyond
	Created    bool           // by the span's WAL
}

// Forks lists the relation forks there are after replay, sorted, SLRUs and free space maps excluded.
func (r *Result) Forks() []Fork {
	out := make([]Fork, 0, len(r.e.rels))
	for f, rel := range r.e.rels {
		if _, slru := slruOf(f); !slru {
			out = append(out, rel.describe())
		}
	}
	slices.SortFunc(out, func(a, b Fork) int { return a.Compare(b.RelFork) })
	return out
}

func (rel *relation) describe() Fork {
	return Fork{RelFork: rel.fork, Size: rel.size, BaseBlocks: rel.baseBlocks, Created: rel.created}
}

// Fork describes one relation fork; ok is false if replay leaves none.
func (r *Result) Fork(f pg.RelFork) (Fork, bool) {
	rel := r.e.rels[f]
	if rel == nil {
		return Fork{}, false
	}
	return rel.describe(), true
}

// Page is one block after replay.
type Page struct {
	// Bytes is the page; nil if redo did not touch it, so that it is the
	// base's (or all zeros beyond Fork.BaseBlocks). It may alias the overlay: read only.
	Bytes     []byte
	Touched   bool
	Whole     bool // an image or WILL_INIT replaced it, so that nothing of the base is left
	InBase    bool
	Tainted   bool // unknown redo touched it last: not verifiable
	TaintedBy pg.RmgrID
	Invalid   pg.LSN // the record that needed the block when it was missing or zero, 0 if none
	Future    pg.LSN // the first record that a clean base's page was newer than, 0 if none
	Failed    error  // the first redo that failed on it
	// Hints, if there are any: the LSN that the page had on the primary before
	// records that may have set it, and the ends of these.
	Hints []pg.LSN
	Last  RecordRef
}

// Page reads one block; buf is 8 KiB that Bytes may point to.
func (r *Result) Page(f pg.RelFork, n pg.BlockNumber, buf []byte) (Page, error) {
	rel := r.e.rels[f]
	if rel == nil {
		return Page{}, nil
	}
	w := r.e.owner(f, n)
	b := rel.get(w, n)
	if b == nil {
		return Page{}, nil
	}
	p, err := r.e.stores[w].peek(b, buf)
	if err != nil {
		return Page{}, fmt.Errorf("read replayed %s block %d: %w", f, n, err)
	}
	return Page{
		Bytes: p, Touched: b.touched, Whole: b.whole, InBase: b.inBase, Tainted: b.tainted, TaintedBy: b.taint,
		Invalid: b.invalid, Future: b.future, Failed: b.failed, Hints: b.hints, Last: b.last,
	}, nil
}

// EachTouched calls fn, in order, for every block of the fork that a record
// of the span touched and that is still held.
func (r *Result) EachTouched(f pg.RelFork, fn func(pg.BlockNumber) error) error {
	rel := r.e.rels[f]
	if rel == nil {
		return nil
	}
	var blocks []pg.BlockNumber
	rel.each(func(n pg.BlockNumber, b *block) {
		if b.touched {
			blocks = append(blocks, n)
		}
	})
	slices.Sort(blocks)
	for _, n := range blocks {
		if err := fn(n); err != nil {
			return err
		}
	}
	return nil
}

// SLRUPage is Page for an SLRU; ok is false if no record of the span wrote it.
func (r *Result) SLRUPage(p pg.SLRUPage, buf []byte) (pageBytes []byte, last RecordRef, ok bool, err error) {
	pp, err := r.Page(slruFork(p.SLRU), pg.BlockNumber(p.Page), buf)
	return pp.Bytes, pp.Last, pp.Bytes != nil, err
}

// SLRUPages lists the pages of an SLRU that the span's WAL wrote, sorted.
func (r *Result) SLRUPages(s pg.SLRU) []uint32 {
	rel := r.e.rels[slruFork(s)]
	if rel == nil {
		return nil
	}
	var out []uint32
	rel.each(func(n pg.BlockNumber, _ *block) { out = append(out, uint32(n)) })
	slices.Sort(out)
	return out
}

// SLRUTruncated reports whether the page's segment was removed by a
// truncation of the SLRU, so that nothing is expected of it.
func (r *Result) SLRUTruncated(p pg.SLRUPage) bool {
	cut := r.e.slruCut[p.SLRU]
	return cut != nil && cut.Removes(p)
}

// SLRURemoved reports whether the base's pages of the SLRU were all removed.
func (r *Result) SLRURemoved(s pg.SLRU) bool { return r.e.slruGone[s] }

// RelMap is the content of a relation map file after replay, by tablespace and
// database ({pg.GlobalTablespaceOID, 0} is the global one); nil if there is none.
func (r *Result) RelMap(spc, db pg.OID) []byte { return r.e.maps[dbKey{spc, db}] }

// RelMapKey names a relation map file.
type RelMapKey struct{ Spc, DB pg.OID }

// RelMaps lists the relation map files there are after replay, sorted.
func (r *Result) RelMaps() []RelMapKey {
	var out []RelMapKey
	for k := range r.e.maps {
		out = append(out, RelMapKey{k.spc, k.db})
	}
	slices.SortFunc(out, func(a, b RelMapKey) int {
		return cmp.Or(cmp.Compare(a.Spc, b.Spc), cmp.Compare(a.DB, b.DB))
	})
	return out
}

// Dropped reports the record of the span that dropped the relation, which was
// not made again since.
func (r *Result) Dropped(rel pg.RelFileLocator) (pg.LSN, bool) {
	at, ok := r.e.dropped[rel]
	return at, ok
}

// CopiedDatabase reports the record that created the database by copying files.
func (r *Result) CopiedDatabase(spc, db pg.OID) (pg.LSN, bool) {
	l, ok := r.e.copied[dbKey{spc, db}]
	return l, ok
}

// EndedByRestart reports whether a transaction that neither committed nor
// aborted was ended by a restart of the server within the span: it began
// before the restart, and was not prepared.
func (r *Result) EndedByRestart(xid pg.XID) bool {
	return r.e.restart != nil && int32(uint32(xid)-uint32(*r.e.restart)) < 0 && !r.e.prepared[xid]
}

// Restarted reports whether the server was restarted or promoted within the
// span, so that transactions may have ended without a word.
func (r *Result) Restarted() bool { return r.e.restart != nil || r.e.promoted }

// Prepared reports whether a transaction was prepared in the span and has not ended.
func (r *Result) Prepared(xid pg.XID) bool { return r.e.prepared[xid] }

// Prepares are the states of the transactions that were prepared in the span
// and have not ended: the main data of their PREPARE records. They are kept
// with Config.KeepStates only.
func (r *Result) Prepares() map[pg.XID][]byte { return r.e.states }

// EndedPrepared reports whether a prepared transaction was ended in the span.
func (r *Result) EndedPrepared(xid pg.XID) bool { return r.e.ended[xid] }

// Origins is how far each replication origin got.
func (r *Result) Origins() map[uint16]pg.LSN { return r.e.origins }

// WALLoggedDatabase reports whether the span created the database page by
// page (CREATE DATABASE … STRATEGY wal_log), which leaves empty visibility maps.
func (r *Result) WALLoggedDatabase(spc, db pg.OID) bool { return r.e.walLogged[dbKey{spc, db}] }
