package redo

import (
	"encoding/binary"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// Layout of the special area of spgist pages (SpGistPageOpaqueData,
// access/spgist_private.h).
const (
	spgSpecialSize  = 8
	spgFlags        = 0 // offsets within the special area
	spgRedirects    = 2
	spgPlaceholders = 4
	spgPageID       = 6

	spgistPageID = 0xFF82
	spgLeafPage  = 0x0004 // SPGIST_LEAF
	spgNullsPage = 0x0008 // SPGIST_NULLS
)

// States of a tuple: the low two bits of its first word.
const (
	spgLive        = 0
	spgRedirect    = 1
	spgDead        = 2
	spgPlaceholder = 3
	spgStateMask   = 3
)

// Layout of tuples. A leaf tuple is a word (state, size), t_info with the
// offset number of the next tuple of its chain, and a heap TID. A dead tuple
// has a pointer in place of that, and an xid. An inner tuple is a word (state,
// flag, number of nodes, size of the prefix), its size, the prefix and nodes,
// which are index tuples.
const (
	spgDeadSize    = 16 // SGDTSIZE
	spgTupleSize   = 2  // the size's lowest bit in the first word of leaf and dead tuples
	spgInfo        = 4  // t_info
	spgNextMask    = 0x3FFF
	spgPointer     = 6
	spgXID         = 12
	spgInnerHeader = 8 // SGITHDRSZ
	spgNodesShift  = 3
	spgNodesMask   = 0x1FFF
	spgPrefixShift = 16

	// maxIndexTuples is more than MaxIndexTuplesPerPage: what line pointers allow.
	maxIndexTuples = pg.BlockSize / 4
)

// spgOpaque is the special area of an spgist page.
type spgOpaque []byte

func (o spgOpaque) u16(at int) int        { return int(binary.LittleEndian.Uint16(o[at:])) }
func (o spgOpaque) set(at int, v int)     { binary.LittleEndian.PutUint16(o[at:], uint16(v)) }
func (o spgOpaque) redirects() int        { return o.u16(spgRedirects) }
func (o spgOpaque) placeholders() int     { return o.u16(spgPlaceholders) }
func (o spgOpaque) setRedirects(n int)    { o.set(spgRedirects, n) }
func (o spgOpaque) setPlaceholders(n int) { o.set(spgPlaceholders, n) }

func spgNullFlag(nulls bool) int {
	if nulls {
		return spgNullsPage
	}
	return 0
}

func spgLeafFlags(nulls bool) int { return spgLeafPage | spgNullFlag(nulls) }

// spgPage finds the special area of the page; with init it makes an empty page
// with these flags first (SpGistInitPage).
func (c *call) spgPage(init bool, flags int) (spgOpaque, error) {
	if err := c.wantInit(init); err != nil {
		return nil, err
	}
	o := spgOpaque(c.page[pg.BlockSize-spgSpecialSize:])
	if init {
		pageInit(c.page, spgSpecialSize)
		o.set(spgFlags, flags)
		o.set(spgPageID, spgistPageID)
	}
	if c.page.Special() != pg.BlockSize-spgSpecialSize || o.u16(spgPageID) != spgistPageID {
		return nil, c.errorf("the page's special area starts at %d, its page id is %#x: not an spgist page", c.page.Special(), o.u16(spgPageID))
	}
	return o, nil
}

// spgState is the state of the tuple at offset number n; -1 if there is none.
func (c *call) spgState(n int) int {
	t := c.page.Item(n)
	if len(t) == 0 {
		return -1
	}
	return int(t[0] & spgStateMask)
}

// spgPut adds a tuple, in the place of a placeholder if the offset number is
// taken (addOrReplaceTuple).
func (c *call) spgPut(o spgOpaque, n int, tuple []byte) error {
	if n < 1 || n > c.page.NumItems() {
		return c.add(c.page, tuple, n)
	}
	if s := c.spgState(n); s != spgPlaceholder || o.placeholders() == 0 {
		return c.errorf("the tuple at offset number %d, to be replaced, has state %d, the page counts %d placeholders", n, s, o.placeholders())
	}
	o.setPlaceholders(o.placeholders() - 1)
	return c.spgReplace(n, tuple)
}

// spgReplace deletes the tuple at offset number n and adds another one there.
func (c *call) spgReplace(n int, tuple []byte) error {
	if err := pageIndexTupleDelete(c.page, n); err != nil {
		return c.errorf("replace a tuple: %v", err)
	}
	return c.add(c.page, tuple, n)
}

// spgLink is where a downlink or a redirect leads.
type spgLink struct {
	block  pg.BlockNumber
	offset int
}

func (l spgLink) put(tid []byte) {
	setTIDBlock(tid, uint32(l.block))
	binary.LittleEndian.PutUint16(tid[tidOffsetAt:], uint16(l.offset))
}

// spgDeadTuple makes a tuple without contents (spgFormDeadTuple). Only a
// redirect has a link and an xid.
func spgDeadTuple(state uint32, xid pg.XID, to spgLink) (t [spgDeadSize]byte) {
	binary.LittleEndian.PutUint32(t[:], spgDeadSize<<spgTupleSize|state)
	if state == spgRedirect {
		to.put(t[spgPointer:])
		binary.LittleEndian.PutUint32(t[spgXID:], uint32(xid))
	} else {
		spgLink{pg.InvalidBlock, 0}.put(t[spgPointer:])
	}
	return t
}

// spgDelete replaces tuples by ones without contents, the first of the list by
// one of state first, the others by ones of state rest; the offset numbers of
// all tuples stay (spgPageIndexMultiDelete).
func (c *call) spgDelete(o spgOpaque, offsets wal.Offsets, first, rest uint32, xid pg.XID, to spgLink) error {
	if offsets.Len() == 0 {
		return nil
	}
	head := int(offsets.At(0))
	sorted, err := c.spgSorted(offsets)
	if err != nil {
		return err
	}
	if err := c.spgRemove(sorted); err != nil {
		return err
	}
	for i := range sorted.Len() {
		n, state := int(sorted.At(i)), rest
		if n == head {
			state = first
		}
		t := spgDeadTuple(state, xid, to)
		if err := c.add(c.page, t[:], n); err != nil {
			return err
		}
		switch state {
		case spgRedirect:
			o.setRedirects(o.redirects() + 1)
		case spgPlaceholder:
			o.setPlaceholders(o.placeholders() + 1)
		}
	}
	return nil
}

// spgSorted is a sorted copy of offset numbers.
func (c *call) spgSorted(offsets wal.Offsets) (wal.Offsets, error) {
	n := offsets.Len()
	if n > maxIndexTuples {
		return nil, c.errorf("%d offset numbers", n)
	}
	var buf [maxIndexTuples]uint16
	for i := range n {
		buf[i] = offsets.At(i)
	}
	slices.Sort(buf[:n])
	sorted := make(wal.Offsets, 0, 2*n)
	for _, v := range buf[:n] {
		sorted = binary.LittleEndian.AppendUint16(sorted, v)
	}
	return sorted, nil
}

// spgRemove takes tuples off the page, given in ascending order.
func (c *call) spgRemove(offsets wal.Offsets) error {
	for i := 1; i < offsets.Len(); i++ {
		if offsets.At(i) <= offsets.At(i-1) {
			return c.errorf("offset number %d twice or out of order", offsets.At(i))
		}
	}
	if err := pageIndexMultiDelete(c.page, offsets); err != nil {
		return c.errorf("delete %d tuples: %v", offsets.Len(), err)
	}
	return nil
}

// spgLeaveRedirect replaces an inner tuple that moved by a redirect, or by a
// placeholder while the index is built.
func (c *call) spgLeaveRedirect(o spgOpaque, n int, s wal.SPGistState, to spgLink) error {
	state := uint32(spgRedirect)
	if s.Build {
		state = spgPlaceholder
		o.setPlaceholders(o.placeholders() + 1)
	} else {
		o.setRedirects(o.redirects() + 1)
	}
	t := spgDeadTuple(state, s.RedirectXID, to)
	return c.spgReplace(n, t[:])
}

// spgSetNext makes tuple next the one behind leaf tuple n in its chain
// (SGLT_SET_NEXTOFFSET).
func (c *call) spgSetNext(n, next int) error {
	t := c.page.Item(n)
	if len(t) < spgDeadSize || t[0]&spgStateMask != spgLive {
		return c.errorf("no live leaf tuple at offset number %d", n)
	}
	info := binary.LittleEndian.Uint16(t[spgInfo:])
	binary.LittleEndian.PutUint16(t[spgInfo:], info&^spgNextMask|uint16(next)&spgNextMask)
	return nil
}

// spgSetLink changes the downlink of a node of the inner tuple at offset
// number n (spgUpdateNodeLink).
func (c *call) spgSetLink(n, node int, to spgLink) error {
	t := c.page.Item(n)
	if len(t) < spgInnerHeader || t[0]&spgStateMask != spgLive {
		return c.errorf("no live inner tuple at offset number %d", n)
	}
	word := binary.LittleEndian.Uint32(t)
	nodes, at := int(word>>spgNodesShift&spgNodesMask), spgInnerHeader+int(word>>spgPrefixShift)
	for i := 0; i < nodes && at < len(t); i++ {
		size := tupleSize(t[at:])
		if size < indexTupleHeader {
			break
		}
		if i == node {
			to.put(t[at:])
			return nil
		}
		at += size
	}
	return c.errorf("the inner tuple at offset number %d has %d nodes, none is node %d", n, nodes, node)
}

// spgForgetRedirect makes a placeholder of a redirect, whose xid stays.
func (c *call) spgForgetRedirect(n int) error {
	t := c.page.Item(n)
	if len(t) < spgDeadSize || t[0]&spgStateMask != spgRedirect {
		return c.errorf("no redirect at offset number %d", n)
	}
	t[0] |= spgPlaceholder
	spgLink{pg.InvalidBlock, 0}.put(t[spgPointer:])
	return nil
}

// spgCutPlaceholders takes the tuples from offset number first on off the page,
// all of which are placeholders.
func (c *call) spgCutPlaceholders(o spgOpaque, first int) error {
	last := c.page.NumItems()
	n := last - first + 1
	if first < 1 || n < 1 || n > o.placeholders() {
		return c.errorf("remove tuples %d to %d, the page counts %d placeholders", first, last, o.placeholders())
	}
	gone := make(wal.Offsets, 0, 2*n)
	for i := first; i <= last; i++ {
		if s := c.spgState(i); s != spgPlaceholder {
			return c.errorf("the tuple at offset number %d has state %d, it is to be removed as a placeholder", i, s)
		}
		gone = binary.LittleEndian.AppendUint16(gone, uint16(i))
	}
	o.setPlaceholders(o.placeholders() - n)
	return c.spgRemove(gone)
}
