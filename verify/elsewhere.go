package verify

import (
	"redoubt/compare"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

// findElsewhere looks, for each official page that is not its block's, for the
// block that it is the page of: a write that went to the wrong place, or two
// blocks that changed places. Pages are compared by the hash of their normal
// form, LSN included: with those of the base that no WAL touched, and with
// those that replay made. Pages that hold nothing are everybody's.
func (r *run) findElsewhere(mm []mismatch) (map[pg.Block]pg.Block, error) {
	lost := make(map[uint64][]pg.Block)
	buf := make([]byte, pg.BlockSize)
	for _, m := range mm {
		official, err := r.spool.get(m.official)
		if err != nil {
			return nil, err
		}
		p := page.Page(official)
		if p.IsNew() || p.LSN() == 0 || p.NumItems() == 0 || m.Fork != pg.MainFork {
			continue
		}
		h := normalHash(official, m.Fork, m.Number, buf)
		lost[h] = append(lost[h], m.Block)
	}
	found := make(map[pg.Block]pg.Block)
	if len(lost) == 0 {
		return found, nil
	}
	note := func(h uint64, owner pg.Block) {
		for _, b := range lost[h] {
			if old, known := found[b]; b != owner && (!known || old.RelFork != b.RelFork || old.Compare(owner) > 0 && owner.RelFork == b.RelFork) {
				found[b] = owner
			}
		}
	}
	r.index.each(note)
	return found, r.eachReplayed(buf, note)
}

// each hands fn the hash of every block of a main fork that no WAL touches.
func (x *baseIndex) each(fn func(hash uint64, b pg.Block)) {
	for f, fi := range x.forks {
		if f.Fork != pg.MainFork {
			continue
		}
		for c, hashes := range fi.hashes {
			for i, h := range hashes {
				b := pg.Block{RelFork: f, Number: pg.BlockNumber(c*hashChunk + uint32(i))}
				if h != 0 && b.Number < fi.size {
					fn(h, b)
				}
			}
		}
	}
}

// eachReplayed hands fn the normal hash of every page of a main fork that replay made.
func (r *run) eachReplayed(buf []byte, fn func(hash uint64, b pg.Block)) error {
	held := make([]byte, pg.BlockSize)
	for _, f := range r.ra.Forks() {
		if f.Fork != pg.MainFork {
			continue
		}
		err := r.ra.EachTouched(f.RelFork, func(n pg.BlockNumber) error {
			p, err := r.ra.Page(f.RelFork, n, held)
			if err != nil || p.Bytes == nil || compare.Blank(p.Bytes, f.RelFork) {
				return err
			}
			fn(normalHash(p.Bytes, f.Fork, n, buf), pg.Block{RelFork: f.RelFork, Number: n})
			return nil
		})
		if err != nil {
			return err
		}
	}
	return nil
}
