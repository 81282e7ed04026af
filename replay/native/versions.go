package native

import (
	"context"
	"errors"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
	"redoubt/replay/redo"
)

// Version is a block after one record that touched it.
type Version struct {
	Block pg.Block
	Touch
	// Page is the page after the record, valid during the call; nil where it
	// is not known: redo of the record or of one before is not known or
	// failed, the block was missing, or the base's page is newer.
	Page []byte
	// Gone: the record dropped the relation or cut it before the block.
	Gone bool
}

// Versions replays a span for a few blocks only and calls fn after each
// record that touched one of them, in WAL order. pages has the base's page of
// each block, nil where there is none; base and ext are what else redo must know. It
// serves the blocks that differ: its memory is two pages for each of them.
func Versions(ctx context.Context, src replay.WALSource, span pg.Range, base Base, ext redo.Extensions, pages map[pg.Block][]byte, fn func(*Version) error) error {
	st := &stream{src: src, span: span, dialect: replay.DialectOf(src)}
	return st.each(ctx, newVersions(base, ext, pages, fn).batch)
}

func newVersions(base Base, ext redo.Extensions, pages map[pg.Block][]byte, fn func(*Version) error) *versions {
	v := &versions{
		fn: fn, checksums: base.Checksums, env: redo.Env{HintBitsLogged: base.Checksums || base.WALLogHints, Extensions: ext},
		blocks: make(map[pg.Block]*versioned, len(pages)), rels: make(map[pg.RelFileLocator][]*versioned),
	}
	for b, p := range pages {
		s := &versioned{block: b}
		if len(p) == pg.BlockSize {
			s.state = blockHeld
			copy(s.page[:], p)
		}
		v.blocks[b] = s
		v.rels[b.RelFileLocator] = append(v.rels[b.RelFileLocator], s)
	}
	return v
}

func (v *versions) batch(b *batch) error {
	for i := range b.recs {
		if err := v.record(&b.recs[i]); err != nil {
			return err
		}
	}
	return nil
}

// versions is one pass.
type versions struct {
	fn        func(*Version) error
	env       redo.Env
	checksums bool
	blocks    map[pg.Block]*versioned
	rels      map[pg.RelFileLocator][]*versioned
	clears    []redo.VMClear
}

type versionState uint8

const (
	blockAbsent  versionState = iota // there is no such block
	blockHeld                        // page is what redo made
	blockUnknown                     // until the next whole page
)

// versioned is one block as redone so far.
type versioned struct {
	block pg.Block
	state versionState
	page  [pg.BlockSize]byte
}

func (v *versions) record(r *wal.Record) (err error) {
	for i := range r.Blocks {
		ref := &r.Blocks[i]
		if s := v.blocks[ref.Block]; s != nil {
			if err := v.ref(s, r, ref); err != nil {
				return err
			}
		}
	}
	if v.clears, err = redo.VMClears(r, v.clears[:0]); err != nil {
		return err
	}
	for _, c := range v.clears {
		s := v.blocks[c.Page]
		if s == nil {
			continue
		}
		s.make()
		c.Apply(s.page[:])
		if err := v.tell(s, r, Touch{}, true); err != nil {
			return err
		}
	}
	return v.relations(r)
}

// make makes an absent block a page of zeros.
func (s *versioned) make() {
	if s.state == blockAbsent {
		clear(s.page[:])
		s.state = blockHeld
	}
}

// ref redoes one block reference.
func (v *versions) ref(s *versioned, r *wal.Record, ref *wal.BlockRef) error {
	t := touchOf(r, ref)
	missing := s.state == blockAbsent || s.state == blockHeld && page.Page(s.page[:]).IsNew()
	if !t.Image && (s.state == blockUnknown || missing && !redo.ZeroOnMissing(r, ref)) {
		if !v.env.Supported(r) {
			s.state = blockUnknown
		}
		return v.tell(s, r, t, false)
	}
	s.make()
	outcome, err := redo.Apply(&v.env, r, ref, s.page[:])
	known := false
	var failed *redo.Error
	switch {
	case errors.Is(err, redo.ErrUnsupported), errors.As(err, &failed):
		s.state = blockUnknown
	case err != nil:
		return err
	case outcome != redo.Skipped:
		s.state, known = blockHeld, true
	}
	return v.tell(s, r, t, known)
}

// tell completes a touch and hands over the version.
func (v *versions) tell(s *versioned, r *wal.Record, t Touch, known bool) error {
	t.RecordRef, t.End = refOf(r), r.End
	out := Version{Block: s.block, Touch: t}
	if known && s.state == blockHeld {
		out.Page = s.page[:]
	}
	return v.fn(&out)
}

// relations does what a record does to whole relations, databases and settings.
func (v *versions) relations(r *wal.Record) error {
	switch r.Rmgr {
	case pg.RmgrTransaction:
		x, ok, err := wal.DecodeXact(r)
		if err != nil || !ok {
			return err
		}
		for _, rel := range x.DroppedRels {
			if err := v.remove(r, v.rels[rel], func(*versioned) bool { return true }); err != nil {
				return err
			}
		}
	case pg.RmgrStorage:
		return v.storage(r)
	case pg.RmgrDatabase:
		return v.database(r)
	case pg.RmgrXLOG:
		p, ok, err := wal.DecodeParameterChange(r)
		if err != nil || !ok {
			return err
		}
		v.env.HintBitsLogged = v.checksums || p.WALLogHints
	}
	return nil
}

// remove makes those of the blocks absent that cut says.
func (v *versions) remove(r *wal.Record, blocks []*versioned, cut func(*versioned) bool) error {
	for _, s := range blocks {
		if s.state == blockAbsent || !cut(s) {
			continue
		}
		s.state = blockAbsent
		if err := v.fn(&Version{Block: s.block, Touch: Touch{RecordRef: refOf(r), End: r.End}, Gone: true}); err != nil {
			return err
		}
	}
	return nil
}

func (v *versions) storage(r *wal.Record) error {
	t, ok, err := wal.DecodeSmgrTruncate(r)
	if err != nil || !ok || v.rels[t.Rel] == nil {
		return err
	}
	last, tail := redo.VMTruncation(t.Block)
	keep := last
	if tail {
		keep++
	}
	err = v.remove(r, v.rels[t.Rel], func(s *versioned) bool {
		return t.Heap && s.block.Fork == pg.MainFork && s.block.Number >= t.Block ||
			t.VM && s.block.Fork == pg.VMFork && s.block.Number >= keep
	})
	s := v.blocks[pg.Block{RelFork: pg.RelFork{RelFileLocator: t.Rel, Fork: pg.VMFork}, Number: last}]
	if err != nil || !t.VM || !tail || s == nil || s.state == blockAbsent {
		return err
	}
	redo.VMTruncate(s.page[:], t.Block)
	return v.tell(s, r, Touch{}, true)
}

// database drops the blocks of a database. What a copy of files puts in their
// place depends on blocks that are not followed here.
func (v *versions) database(r *wal.Record) error {
	gone := make(map[dbKey]bool)
	c, copied, err := wal.DecodeDatabaseCopy(r)
	if err != nil {
		return err
	}
	if copied {
		gone[dbKey{c.Spc, c.DB}] = true
	}
	d, ok, err := wal.DecodeDatabaseDrop(r)
	if err != nil {
		return err
	}
	for _, spc := range d.Tablespaces {
		gone[dbKey{spc, d.DB}] = ok
	}
	for rel, blocks := range v.rels {
		if !gone[dbKey{rel.Spc, rel.DB}] {
			continue
		}
		if err := v.remove(r, blocks, func(*versioned) bool { return true }); err != nil {
			return err
		}
		for _, s := range blocks {
			if copied {
				s.state = blockUnknown
			}
		}
	}
	return nil
}
