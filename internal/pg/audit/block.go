package audit

import (
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Block is what is known of the page LSN of one block; the zero value knows
// nothing. For each record that references the block its image, if it has
// one, is first checked, then the record is noted.
type Block struct {
	last   pg.LSN   // the page LSN, if more is empty
	more   []pg.LSN // other LSNs it may have
	setter Setter   // of last; the zero value where nothing is known
}

// maxMore bounds Block.more; a block with more hints in a row is forgotten.
const maxMore = 32

// Known reports whether the next image can be checked.
func (s *Block) Known() bool { return s.setter.LSN != 0 }

// Forget makes the block one of which nothing is known.
func (s *Block) Forget() { *s = Block{} }

// Check compares the image of r's reference b with what earlier records left.
// img is the page in the image, or at least its header, as it was before the record.
func (s *Block) Check(r *wal.Record, b *wal.BlockRef, img page.Page) (Finding, bool) {
	lsn := img.LSN()
	if !s.Known() || b.WillInit || lsn == s.last || slices.Contains(s.more, lsn) || s.fresh(r, b, lsn) {
		return Finding{}, false
	}
	return Finding{Block: b.Block, At: r.LSN, ImageLSN: lsn, Expected: s.newest(), Last: s.setter}, true
}

func (s *Block) newest() pg.LSN {
	if len(s.more) > 0 {
		return s.more[len(s.more)-1]
	}
	return s.last
}

// Note takes in that r references the block; img is as for Check, nil without
// an image. It reports whether the block was forgotten for want of memory.
func (s *Block) Note(r *wal.Record, b *wal.BlockRef, img page.Page) (full bool) {
	if img != nil && img.IsNew() && !b.WillInit {
		s.Forget()
		return false
	}
	switch r.LSNEffect(b) {
	case wal.SetsLSN:
		s.last, s.more, s.setter = r.End, nil, setterOf(r)
	case wal.MaySetLSN:
		switch {
		case s.Known():
		case img == nil:
			return false // nothing is known of its LSN
		default:
			s.last, s.setter = img.LSN(), setterOf(r)
		}
		if len(s.more) == maxMore {
			s.Forget()
			return true
		}
		s.more = append(s.more, r.End)
	}
	return false
}

func setterOf(r *wal.Record) Setter { return Setter{r.LSN, r.Rmgr, r.Info, r.XID} }
