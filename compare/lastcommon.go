package compare

import (
	"bytes"

	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// Common is the last version whose effects the official page has.
type Common struct {
	Ordinal int    // among the versions added, from 1
	LSN     pg.LSN // of the version
	Torn    bool   // the page has a part of another version as well
}

// LastCommon finds the last version that the official page is, or of a torn
// page the last that its older part is; why says why none can be named.
func (v *Versions) LastCommon() (c Common, why string) {
	switch {
	case v.equal > 0 && v.equal-v.firstEqual+1 != v.equals:
		return c, "the official page is what the block was at several times"
	case v.equal > 0:
		return Common{Ordinal: v.equal, LSN: v.equalLSN}, ""
	case v.tear.header == nil:
		return c, "the official page is none of the versions that the WAL gives the block"
	}
	return v.tear.older()
}

// tear tells which two versions a torn page is made of. Its first sector has
// the page's LSN, so it is known which version that is of, the header's. The
// other sectors are of one before or of one after that.
//
// A sector that lies in a version's hole fits that version whatever is in it.
// So a fit is sure only if putting the version's sector into the official
// page changes nothing, either.
type tear struct {
	before    []fit // of versions before the header's: the last of each
	header    *fit
	after     bool // the rest fits a version after the header's
	sureAfter bool
	olderOne  *fit // the last version before the header's that the rest fits
	sureOlder *fit
}

// fit says which sectors of the official page are those of a version.
type fit struct {
	has, sure [sectors]bool
	lsn       pg.LSN
	n         int
}

// covers says that a has all sectors that b lacks.
func covers(a, b *[sectors]bool) bool {
	for i := range a {
		if !a[i] && !b[i] {
			return false
		}
	}
	return true
}

// add takes the next version; header says that it is the one whose header and
// LSN the official page has.
func (t *tear) add(f fit, header bool) {
	switch {
	case header:
		t.setHeader(f)
	case t.header == nil:
		t.remember(f)
	default:
		t.after = t.after || covers(&f.has, &t.header.has)
		t.sureAfter = t.sureAfter || covers(&f.sure, &t.header.has)
	}
}

// setHeader settles which version before the header's has the other sectors.
func (t *tear) setHeader(f fit) {
	t.header = &f
	t.after, t.sureAfter, t.olderOne, t.sureOlder = false, false, nil, nil
	for i := range t.before {
		b := &t.before[i]
		if covers(&b.has, &f.has) {
			t.olderOne = b
		}
		if covers(&b.sure, &f.has) {
			t.sureOlder = b
		}
	}
}

// remember keeps the last version of each fit, in order.
func (t *tear) remember(f fit) {
	for i := range t.before {
		if t.before[i].has == f.has && t.before[i].sure == f.sure {
			copy(t.before[i:], t.before[i+1:])
			t.before[len(t.before)-1] = f
			return
		}
	}
	if len(t.before) == maxMasks {
		copy(t.before, t.before[1:])
		t.before = t.before[:maxMasks-1]
	}
	t.before = append(t.before, f)
}

// older is the older of the two versions.
func (t *tear) older() (c Common, why string) {
	after, before := t.sureAfter, t.sureOlder
	if !after && before == nil {
		after, before = t.after, t.olderOne
	}
	switch {
	case after && before != nil:
		return c, "the part of the torn page that is not of its header's version may be of an older or a newer one"
	case after:
		return Common{Ordinal: t.header.n, LSN: t.header.lsn, Torn: true}, ""
	case before != nil:
		return Common{Ordinal: before.n, LSN: before.lsn, Torn: true}, ""
	}
	return c, "the official page is none of the versions that the WAL gives the block, and not made of two of them"
}

// sure narrows has down to the sectors which are the version's for the
// official page's header, too.
func (v *Versions) sure(p page.Page, has *[sectors]bool) (out [sectors]bool) {
	kind := page.KindOf(v.official, v.block.Fork)
	var mixed [pg.BlockSize]byte
	for i := range out {
		from, to := i*sectorSize, (i+1)*sectorSize
		if !has[i] || bytes.Equal(v.official[from:to], p[from:to]) {
			out[i] = has[i]
			continue
		}
		copy(mixed[:], v.official)
		copy(mixed[from:to], p[from:to])
		mask.Normalize(mixed[:], mixed[:], kind, v.block.Number)
		out[i] = mixed == v.norm
	}
	return out
}
