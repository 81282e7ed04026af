package audit

import (
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// DefaultBlocks is how many blocks an Auditor remembers by default; they take
// about 100 bytes each.
const DefaultBlocks = 1 << 20

// Finding is an image that does not carry the page LSN it should.
type Finding struct {
	Block    pg.Block
	At       pg.LSN // of the record with the image
	ImageLSN pg.LSN // the page LSN in the image
	Expected pg.LSN // the end of Last
	Last     Setter // the last earlier record that set the block's LSN
}

// Newer reports whether the image is newer than all that is known of the
// block. Then no write was lost: records of the block are missing from this
// WAL, or it mixes two histories.
func (f *Finding) Newer() bool { return f.ImageLSN > f.Expected }

// Setter is a record that set the LSN of a block.
type Setter struct {
	LSN  pg.LSN
	Rmgr pg.RmgrID
	Info uint8
	XID  pg.XID
}

// Stats count what an Auditor saw.
type Stats struct {
	Images    int64 // full-page images
	Checked   int64 // of them, those whose block had been seen before
	Forgotten int64 // blocks forgotten for want of memory: their next image is not checked
}

// Auditor follows the page LSN of every block. It wants the records of one
// history in order, without gaps, or a Reset. It is not safe for concurrent use.
type Auditor struct {
	Stats
	blocks blocks
	page   [pg.BlockSize]byte
}

// New makes an Auditor that remembers at most so many blocks; 0 means DefaultBlocks.
func New(limit int) *Auditor {
	if limit <= 0 {
		limit = DefaultBlocks
	}
	a := &Auditor{}
	a.blocks.half = max(limit/2, 1)
	return a
}

// Reset forgets all blocks: behind a gap nothing is known.
func (a *Auditor) Reset() { a.blocks.clear() }

// Record checks the record's images and notes which blocks it sets (a record
// references a block once). The findings are appended to out. An error is a record that cannot be decoded;
// it names the LSN.
func (a *Auditor) Record(r *wal.Record, out []Finding) ([]Finding, error) {
	for i := range r.Blocks {
		b := &r.Blocks[i]
		img, err := a.image(r, b)
		if err != nil {
			return out, err
		}
		if f, ok := a.check(r, b, img); ok {
			out = append(out, f)
		}
		a.note(r, b, img)
	}
	return out, a.relations(r)
}

// image reads what the auditor needs of the reference's image, nil without one.
func (a *Auditor) image(r *wal.Record, b *wal.BlockRef) (page.Page, error) {
	if !b.HasImage {
		return nil, nil
	}
	if b.Image.Compression == wal.NoCompression && b.Image.HoleOffset >= page.HeaderSize && len(b.Image.Bytes) >= page.HeaderSize {
		return b.Image.Bytes, nil
	}
	if err := b.Image.Restore(a.page[:]); err != nil {
		return nil, fmt.Errorf("record at %s, %s: %w", r.LSN, b.Block, err)
	}
	return a.page[:], nil
}

// check compares an image with what is known of its block.
func (a *Auditor) check(r *wal.Record, b *wal.BlockRef, img page.Page) (Finding, bool) {
	if img == nil {
		return Finding{}, false
	}
	a.Images++
	known := a.blocks.get(b.Block)
	if known == nil || b.WillInit {
		return Finding{}, false
	}
	a.Checked++
	return known.Check(r, b, img)
}

// note updates what is known of a block that the record references.
func (a *Auditor) note(r *wal.Record, b *wal.BlockRef, img page.Page) {
	s := a.blocks.get(b.Block)
	known := s != nil
	if !known {
		s = new(Block)
	}
	if full := s.Note(r, b, img); full {
		a.Forgotten++
	}
	switch {
	case s.Known() && !known:
		a.blocks.young.put(b.Block, s)
	case !s.Known() && known:
		a.blocks.forget(b.Block)
	}
	a.Forgotten += a.blocks.age()
}
