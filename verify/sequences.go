package verify

import (
	"context"

	"redoubt/internal/pg"
	"redoubt/internal/pg/catalog"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// usualIncrement is the increment of a sequence that was made without one
// (init_params, commands/sequence.c). Pages that imply it are believed: to look
// each up would read the base of nearly every cluster once more.
const usualIncrement = 1

// sequenceClaim is a pair of pages of a sequence, the same state if the
// sequence's increment is the one that they imply.
type sequenceClaim struct {
	mismatch
	increment int64
}

// claim notes what a benign difference of a sequence's pages implies.
func (c *comparison) claim(b pg.BlockNumber, official []byte, p native.Page, increment int64) error {
	if increment == 0 || increment == usualIncrement {
		return nil
	}
	m, err := c.mismatch(b, official, p.Bytes, p.Touched)
	if err == nil {
		c.sequences = append(c.sequences, sequenceClaim{m, increment})
	}
	return err
}

// checkSequences holds the increments that sequences' pages imply against
// pg_sequence of the replayed side. ALTER SEQUENCE gives the sequence a new file
// (AlterSequence), so that a file has one increment for good. Where the catalog
// has no row that is known to be live, and where redo left the catalogs out
// because only some blocks are wanted, the equation alone has to do.
func (r *run) checkSequences(ctx context.Context) error {
	if r.wanted != nil {
		return nil
	}
	want := make(targets)
	for _, s := range r.tally.sequences {
		if !r.leftOut(s.RelFork) {
			want[s.RelFileLocator] = nil
		}
	}
	for _, m := range r.tally.mismatches {
		isSeq, err := r.isSequence(m)
		if err != nil {
			return err
		}
		if isSeq {
			want[m.RelFileLocator] = nil
		}
	}
	if len(want) == 0 {
		return nil
	}
	n := &namer{side: r.replayedCatalogs(), major: r.out.Postgres.Major}
	var err error
	if r.increments, err = n.increments(ctx, want); err != nil {
		return err
	}
	for _, s := range r.tally.sequences {
		if inc := r.increments[s.RelFileLocator]; inc != 0 && inc != s.increment {
			r.tally.fork(s.RelFork).benign--
			r.tally.mismatches = append(r.tally.mismatches, s.mismatch)
		}
	}
	return nil
}

// isSequence says whether a block that differs is that of a sequence.
func (r *run) isSequence(m mismatch) (bool, error) {
	if m.Number != 0 || m.Fork != pg.MainFork {
		return false, nil
	}
	p, err := r.spool.get(m.official)
	return len(p) == pg.BlockSize && page.KindOf(p, m.Fork) == page.KindSequence, err
}

// increments are those of the targets that are sequences, as far as the catalogs tell.
func (n *namer) increments(ctx context.Context, want targets) (map[pg.RelFileLocator]int64, error) {
	dbs := n.databases(want)
	var files []pg.RelFork
	for _, d := range dbs { // where they mostly are, read in one go
		files = append(files, d.system[catalog.ClassRelation],
			pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: d.home.spc, DB: d.home.db, Rel: catalog.SequenceRelation}})
	}
	if err := n.side.load(ctx, files...); err != nil {
		return nil, err
	}
	out := make(map[pg.RelFileLocator]int64)
	for _, d := range dbs {
		if err := n.classes(d.system[catalog.ClassRelation], func(c *catalog.Class) { d.first(c) }); err != nil {
			return nil, err
		}
		rows := d.system[catalog.SequenceRelation]
		if err := n.side.load(ctx, rows); err != nil {
			return nil, err
		}
		if err := n.sequences(d, rows, out); err != nil {
			return nil, err
		}
	}
	return out, nil
}

// sequences reads pg_sequence of one database; of two rows for one sequence neither is believed.
func (n *namer) sequences(d *database, rows pg.RelFork, out map[pg.RelFileLocator]int64) error {
	at := make(map[pg.OID]pg.RelFileLocator)
	for where, c := range d.rows {
		if c != nil && c.Kind == 'S' {
			at[c.OID] = where
		}
	}
	tuple := func(x *catalog.Sequence) *catalog.Tuple { return &x.Tuple }
	return rowsOf(n.side, rows, catalog.Sequences, tuple, func(x *catalog.Sequence) {
		where, ok := at[x.OID]
		if !ok {
			return
		}
		if had, twice := out[where]; twice && had != x.Increment {
			out[where] = 0
			return
		}
		out[where] = x.Increment
	})
}
