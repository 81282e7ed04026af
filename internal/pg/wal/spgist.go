package wal

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// Operations of resource manager SPGist (access/spgxlog.h).
const (
	SPGistAddLeaf        = 0x10
	SPGistMoveLeafs      = 0x20
	SPGistAddNode        = 0x30
	SPGistSplitTuple     = 0x40
	SPGistPickSplit      = 0x50
	SPGistVacuumLeaf     = 0x60
	SPGistVacuumRoot     = 0x70
	SPGistVacuumRedirect = 0x80
)

// SPGistState is spgxlogState: how dead tuples are made.
type SPGistState struct {
	RedirectXID pg.XID
	Build       bool // an index is being built: no redirects
}

func (c *cursor) spgState() SPGistState {
	c.align(4)
	s := SPGistState{RedirectXID: pg.XID(c.u32()), Build: c.bool()}
	c.align(4)
	return s
}

func (c *cursor) bool() bool { return c.u8() != 0 }

// Sizes that a tuple's header says: the header is a word whose low two bits are
// the state. Both kinds are multiples of 8 bytes; a leaf tuple can hold a dead one.
const (
	spgInnerHeader = 8
	spgLeafMin     = 16
)

// innerTuple reads an SpGistInnerTuple, nil if its size makes no sense.
func (c *cursor) innerTuple() []byte {
	size := 0
	if b := c.buf[min(c.pos, len(c.buf)):]; len(b) >= spgInnerHeader {
		size = int(binary.LittleEndian.Uint16(b[4:]))
	}
	return c.spgTuple(size, spgInnerHeader)
}

// leafTuple reads an SpGistLeafTuple, nil if its size makes no sense.
func (c *cursor) leafTuple() []byte {
	size := 0
	if b := c.buf[min(c.pos, len(c.buf)):]; len(b) >= spgLeafMin {
		size = int(binary.LittleEndian.Uint32(b) >> 2)
	}
	return c.spgTuple(size, spgLeafMin)
}

func (c *cursor) spgTuple(size, least int) []byte {
	if size < least || size%8 != 0 {
		c.bad = true
	}
	return c.bytes(size)
}

// wantAll turns a cursor that has read too much, or not all, of a record's
// main data into an error.
func (r *Record) wantAll(c *cursor) error {
	if c.err() != nil || c.remaining() > 0 {
		return r.bodyError("its parts do not add up")
	}
	return nil
}

// SPGistLeaf is spgxlogAddLeaf: a leaf tuple comes to block 0.
type SPGistLeaf struct {
	NewPage, Nulls bool
	Offset         int // of the tuple
	Head           int // of the chain's head, 0 if there is none; equal to Offset if a dead tuple is replaced
	Parent, Node   int // the downlink on block 1; Parent 0 if it stays
	Tuple          []byte
}

// DecodeSPGistAddLeaf decodes ADD_LEAF.
func DecodeSPGistAddLeaf(r *Record) (SPGistLeaf, error) {
	c := newCursor(r.Main)
	l := SPGistLeaf{NewPage: c.bool(), Nulls: c.bool(), Offset: int(c.u16()), Head: int(c.u16()),
		Parent: int(c.u16()), Node: int(c.u16())}
	l.Tuple = c.leafTuple()
	return l, r.wantAll(&c)
}

// SPGistTuples are leaf tuples, one behind the other.
type SPGistTuples struct{ c cursor }

// Next is the next tuple, nil behind the last.
func (t *SPGistTuples) Next() []byte {
	if t.c.remaining() == 0 {
		return nil
	}
	return t.c.leafTuple()
}

// leafTuples reads what remains, which must be n leaf tuples.
func (c *cursor) leafTuples(n int) SPGistTuples {
	all := SPGistTuples{c: newCursor(c.rest())}
	t := all
	for range n {
		if t.Next() == nil {
			c.bad = true
			break
		}
	}
	if t.c.remaining() > 0 {
		c.bad = true
	}
	return all
}

// SPGistMove is spgxlogMoveLeafs: leaf tuples move from block 0 to block 1.
type SPGistMove struct {
	NewPage, Nulls bool
	Parent, Node   int // the downlink on block 2
	State          SPGistState
	Delete, Insert Offsets // on block 0, on block 1
	Tuples         SPGistTuples
}

// DecodeSPGistMoveLeafs decodes MOVE_LEAFS.
func DecodeSPGistMoveLeafs(r *Record) (SPGistMove, error) {
	c := newCursor(r.Main)
	moves := int(c.u16())
	m := SPGistMove{NewPage: c.bool()}
	replaceDead := c.bool()
	m.Nulls = c.bool()
	c.align(2)
	m.Parent, m.Node, m.State = int(c.u16()), int(c.u16()), c.spgState()
	inserts := moves + 1
	if replaceDead {
		inserts = 1
	}
	m.Delete, m.Insert = c.offsets(moves), c.offsets(inserts)
	m.Tuples = c.leafTuples(inserts)
	return m, r.wantAll(&c)
}

// SPGistNode is spgxlogAddNode: an inner tuple is replaced by a wider one.
type SPGistNode struct {
	Offset               int // of the old tuple, on block 0
	NewOffset            int // of the new one, on block 1; in place if there is no block 1
	NewPage              bool
	ParentBlock          int // which block the downlink is on; -1 if it stays
	ParentOffset, Parent int // tuple and node of the downlink
	State                SPGistState
	Tuple                []byte
}

// DecodeSPGistAddNode decodes ADD_NODE.
func DecodeSPGistAddNode(r *Record) (SPGistNode, error) {
	c := newCursor(r.Main)
	n := SPGistNode{Offset: int(c.u16()), NewOffset: int(c.u16()), NewPage: c.bool(), ParentBlock: int(int8(c.u8())),
		ParentOffset: int(c.u16()), Parent: int(c.u16()), State: c.spgState()}
	n.Tuple = c.innerTuple()
	return n, r.wantAll(&c)
}

// SPGistSplit is spgxlogSplitTuple: an inner tuple is cut into a prefix, which
// takes its place on block 0, and a postfix.
type SPGistSplit struct {
	PrefixOffset, PostfixOffset int
	NewPage                     bool
	SamePage                    bool // the postfix is on block 0, too; otherwise on block 1
	Prefix, Postfix             []byte
}

// DecodeSPGistSplitTuple decodes SPLIT_TUPLE.
func DecodeSPGistSplitTuple(r *Record) (SPGistSplit, error) {
	c := newCursor(r.Main)
	s := SPGistSplit{PrefixOffset: int(c.u16()), PostfixOffset: int(c.u16()), NewPage: c.bool(), SamePage: c.bool()}
	s.Prefix = c.innerTuple()
	s.Postfix = c.innerTuple()
	return s, r.wantAll(&c)
}

// SPGistPick is spgxlogPickSplit: a chain of leaf tuples, on block 0, becomes an
// inner tuple on block 2 and chains on blocks 0 and 1. The parent is block 3.
type SPGistPick struct {
	Root              bool // the root is split: there is no block 0
	InitSrc, InitDest bool
	InnerOffset       int
	InitInner, Nulls  bool
	InnerIsParent     bool // the downlink is on block 2
	Parent, Node      int
	State             SPGistState
	Delete, Insert    Offsets
	OnDest            []byte // for each of Insert: 0 block 0, else block 1
	Inner             []byte
	Tuples            SPGistTuples
}

// DecodeSPGistPickSplit decodes PICKSPLIT.
func DecodeSPGistPickSplit(r *Record) (SPGistPick, error) {
	c := newCursor(r.Main)
	p := SPGistPick{Root: c.bool()}
	c.align(2)
	deletes, inserts := int(c.u16()), int(c.u16())
	p.InitSrc, p.InitDest, p.InnerOffset = c.bool(), c.bool(), int(c.u16())
	p.InitInner, p.Nulls, p.InnerIsParent = c.bool(), c.bool(), c.bool()
	c.align(2)
	p.Parent, p.Node, p.State = int(c.u16()), int(c.u16()), c.spgState()
	p.Delete, p.Insert = c.offsets(deletes), c.offsets(inserts)
	p.OnDest, p.Inner, p.Tuples = c.bytes(inserts), c.innerTuple(), c.leafTuples(inserts)
	return p, r.wantAll(&c)
}

// SPGistVacuum is spgxlogVacuumLeaf, in the order in which it is done.
type SPGistVacuum struct {
	State              SPGistState
	Dead, Placeholder  Offsets // become dead tuples, placeholders
	MoveFrom, MoveTo   Offsets // change places; then MoveFrom become placeholders
	ChainFrom, ChainTo Offsets // tuples whose next tuple is another
}

// DecodeSPGistVacuumLeaf decodes VACUUM_LEAF.
func DecodeSPGistVacuumLeaf(r *Record) (SPGistVacuum, error) {
	c := newCursor(r.Main)
	dead, placeholder, moves, chains := int(c.u16()), int(c.u16()), int(c.u16()), int(c.u16())
	v := SPGistVacuum{State: c.spgState(), Dead: c.offsets(dead), Placeholder: c.offsets(placeholder)}
	v.MoveFrom, v.MoveTo = c.offsets(moves), c.offsets(moves)
	v.ChainFrom, v.ChainTo = c.offsets(chains), c.offsets(chains)
	return v, r.wantAll(&c)
}

// DecodeSPGistVacuumRoot decodes spgxlogVacuumRoot: the tuples to delete.
func DecodeSPGistVacuumRoot(r *Record) (Offsets, error) {
	c := newCursor(r.Main)
	n := int(c.u16())
	c.spgState()
	o := c.offsets(n)
	return o, r.wantAll(&c)
}

// SPGistRedirects is spgxlogVacuumRedirect.
type SPGistRedirects struct {
	ToPlaceholder    Offsets // redirects that become placeholders
	FirstPlaceholder int     // from here on tuples are deleted; 0 if none is
}

// DecodeSPGistVacuumRedirect decodes VACUUM_REDIRECT; since 16 the record says
// whether the index is a catalog's.
func DecodeSPGistVacuumRedirect(r *Record) (SPGistRedirects, error) {
	c := newCursor(r.Main)
	n := int(c.u16())
	v := SPGistRedirects{FirstPlaceholder: int(c.u16())}
	c.skip(4) // snapshotConflictHorizon
	if r.Major >= 16 {
		c.skip(1)
		c.align(2)
	}
	v.ToPlaceholder = c.offsets(n)
	return v, r.wantAll(&c)
}
