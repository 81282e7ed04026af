package compare

import (
	"bytes"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// maxMasks bounds how many different versions a torn page is looked for in:
// the most recent ones whose sectors fit in different ways.
const maxMasks = 64

// Versions holds an official page against the versions that its block had,
// one after the other, so that a long history need not be held in memory. It
// learns whether the page is one of them, and of which of them each of its
// sectors is.
type Versions struct {
	block    pg.Block
	official page.Page
	norm     [pg.BlockSize]byte // normal form of official

	n          int // versions seen
	equal      int // the last one that the official page is, 1-based; 0: none
	firstEqual int
	equals     int // how many it is
	equalLSN   pg.LSN
	wholeOnly  bool
	masks      []sectorMask
	tear       tear
}

// sectorMask says which sectors of the official page are those of a version.
type sectorMask struct {
	has     [sectors]bool
	lsn     pg.LSN
	own     bool    // the official page has its LSN, which is in the first sector
	agree   byteSet // bytes in which the version's normal form is the official page
	against byteSet // bytes of the official page that the version cannot have
}

// byteSet has a bit for each byte of a page.
type byteSet [pg.BlockSize / 64]uint64

func (s *byteSet) add(at int)      { s[at/64] |= 1 << (at % 64) }
func (s *byteSet) has(at int) bool { return s[at/64]&(1<<(at%64)) != 0 }

// NewVersions starts with none. official must be pg.BlockSize long and stay as it is.
func NewVersions(b pg.Block, official []byte) *Versions {
	v := &Versions{block: b, official: official}
	mask.Normalize(v.norm[:], official, page.KindOf(official, b.Fork), b.Number)
	return v
}

// WholeOnly says that nobody will ask for a torn page, which is cheaper.
func (v *Versions) WholeOnly() { v.wholeOnly = true }

// Add shows the next version, oldest first: the base's page, then the page
// after each record. Pages of another length are no version. p is not kept.
func (v *Versions) Add(p []byte) {
	if len(p) != pg.BlockSize || len(v.official) != pg.BlockSize {
		return
	}
	v.n++
	if v.wholeOnly && page.Page(p).LSN() != v.official.LSN() {
		return // it is another version
	}
	var norm [pg.BlockSize]byte
	mask.Normalize(norm[:], p, page.KindOf(p, v.block.Fork), v.block.Number)
	if norm == v.norm {
		if v.equals++; v.equals == 1 {
			v.firstEqual = v.n
		}
		v.equal, v.equalLSN = v.n, page.Page(p).LSN()
	}
	if v.wholeOnly {
		return
	}
	m := v.mask(p, &norm)
	v.masks = addMask(v.masks, m)
	v.tear.add(fit{m.has, v.sure(p, &m.has), m.lsn, v.n}, m.lsn == v.official.LSN() && m.has[0])
}

// addMask keeps different masks, each with the LSN of the last version that has it.
func addMask(masks []sectorMask, m sectorMask) []sectorMask {
	if m.has == ([sectors]bool{}) {
		return masks
	}
	for i := range masks {
		if masks[i].has == m.has && masks[i].own == m.own {
			copy(masks[i:], masks[i+1:])
			masks[len(masks)-1] = m
			return masks
		}
	}
	if len(masks) == maxMasks {
		copy(masks, masks[1:])
		masks = masks[:maxMasks-1]
	}
	return append(masks, m)
}

// mask tells which sectors of the official page are those of version p, up to
// what rules ignore: putting one into p leaves p's normal form as it is. The
// page's LSN does not count, for hints may have set it.
func (v *Versions) mask(p page.Page, norm *[pg.BlockSize]byte) sectorMask {
	out := sectorMask{lsn: p.LSN(), own: p.LSN() == v.official.LSN()}
	for at := range norm {
		if norm[at] == v.official[at] {
			out.agree.add(at)
		}
	}
	kind := page.KindOf(p, v.block.Fork)
	var mixed [pg.BlockSize]byte
	for i := range out.has {
		from, to := i*sectorSize, (i+1)*sectorSize
		if bytes.Equal(v.official[from:to], p[from:to]) {
			out.has[i] = true
			continue
		}
		copy(mixed[:], p)
		copy(mixed[from:to], v.official[from:to])
		copy(mixed[:8], p[:8])
		mask.Normalize(mixed[:], mixed[:], kind, v.block.Number)
		out.has[i] = mixed == *norm
		for at := from; at < to; at++ {
			if mixed[at] != norm[at] {
				out.against.add(at)
			}
		}
	}
	return out
}

// torn finds two versions that together make the official page, each with a
// sector that only it has: the most recent pair. A page that is one version as
// a whole is not torn. With checksums, which have failed, what is left to tell
// is whether by a tear or by rot. Without them a tear has to prove itself: there
// no hints set a page's LSN, so the first sector is of the version whose LSN it has.
func (v *Versions) torn(checksums bool) (a, b sectorMask, ok bool) {
	if v.equal > 0 || slices.ContainsFunc(v.masks, func(m sectorMask) bool { return !slices.Contains(m.has[:], false) }) {
		return a, b, false
	}
	enough, masks := 4, v.masks
	if !checksums {
		enough, masks = 16, slices.Clone(v.masks)
		for i := range masks {
			masks[i].has[0] = masks[i].has[0] && masks[i].own
		}
	}
	for i := len(masks) - 1; i >= 0; i-- {
		for j := i - 1; j >= 0; j-- {
			if a, b = masks[i], masks[j]; tornBetween(a.has, b.has) && v.proves(&a, &b, enough) && v.proves(&b, &a, enough) {
				return a, b, true
			}
		}
	}
	return a, b, false
}

// proves reports whether some sectors are of version a for a reason, and not
// of b. Where a has free space anything may be a's, and a byte may be a's by
// chance: bytes count that are what they mean to a and that b cannot have;
// zeros count less. enough is how much is wanted: a byte is worth 4, a zero 1.
func (v *Versions) proves(a, b *sectorMask, enough int) bool {
	n := 0
	for i := range a.has {
		if !a.has[i] || b.has[i] {
			continue
		}
		for at := i * sectorSize; at < (i+1)*sectorSize; at++ {
			switch {
			case at < page.HeaderSize || !a.agree.has(at) || !b.against.has(at):
			case v.official[at] != 0:
				n += 4
			default:
				n++
			}
		}
	}
	return n >= enough
}
