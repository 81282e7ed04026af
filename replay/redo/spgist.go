package redo

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// redoSPGist redoes the part of an SPGist record that belongs to one block.
// All of the payload is in the main data, so it does not matter which of the
// other blocks came as full-page images.
//
// Source: access/spgist/spgxlog.c, spg_redo.
func redoSPGist(c *call) error {
	id := c.ref.ID
	switch op := c.rec.Op(); {
	case op == wal.SPGistAddLeaf && id <= 1:
		return c.spgAddLeaf()
	case op == wal.SPGistMoveLeafs && id <= 2:
		return c.spgMoveLeafs()
	case op == wal.SPGistAddNode && id <= 2:
		return c.spgAddNode()
	case op == wal.SPGistSplitTuple && id <= 1:
		return c.spgSplitTuple()
	case op == wal.SPGistPickSplit && id <= 3:
		return c.spgPickSplit()
	case op == wal.SPGistVacuumLeaf && id == 0:
		return c.spgVacuumLeaf()
	case op == wal.SPGistVacuumRoot && id == 0:
		return c.spgVacuumRoot()
	case op == wal.SPGistVacuumRedirect && id == 0:
		return c.spgVacuumRedirect()
	}
	return c.spgUnexpected()
}

func (c *call) spgUnexpected() error { return c.errorf("unexpected block reference %d", c.ref.ID) }

// spgAddLeaf redoes a new leaf tuple: in a chain of its own, as the second of a
// chain, or in the place of a dead tuple.
func (c *call) spgAddLeaf() error {
	l, err := wal.DecodeSPGistAddLeaf(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if c.ref.ID == 1 {
		if l.Parent == 0 {
			return c.spgUnexpected()
		}
		return c.spgParent(l.Parent, l.Node, spgLink{c.blockOf(0), l.Offset})
	}
	o, err := c.spgPage(l.NewPage, spgLeafFlags(l.Nulls))
	switch {
	case err != nil:
		return err
	case l.Offset == l.Head:
		return c.spgReplace(l.Offset, l.Tuple)
	}
	if err := c.spgPut(o, l.Offset, l.Tuple); err != nil || l.Head == 0 {
		return err
	}
	return c.spgSetNext(l.Head, l.Offset)
}

// spgMoveLeafs redoes moving a chain to another page.
func (c *call) spgMoveLeafs() error {
	m, err := wal.DecodeSPGistMoveLeafs(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	head := spgLink{c.blockOf(1), int(m.Insert.At(m.Insert.Len() - 1))} // the last one inserted
	switch c.ref.ID {
	case 0:
		o, err := c.spgPage(false, 0)
		if err != nil {
			return err
		}
		first := uint32(spgRedirect)
		if m.State.Build {
			first = spgPlaceholder
		}
		return c.spgDelete(o, m.Delete, first, spgPlaceholder, m.State.RedirectXID, head)
	case 1:
		o, err := c.spgPage(m.NewPage, spgLeafFlags(m.Nulls))
		if err != nil {
			return err
		}
		for i := range m.Insert.Len() {
			if err := c.spgPut(o, int(m.Insert.At(i)), m.Tuples.Next()); err != nil {
				return err
			}
		}
		return nil
	}
	return c.spgParent(m.Parent, m.Node, head)
}

// spgAddNode redoes an inner tuple that gets a node more, in its place or on
// another page.
func (c *call) spgAddNode() error {
	n, err := wal.DecodeSPGistAddNode(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	id := int(c.ref.ID)
	moves := c.rec.Block(1) != nil
	o, err := c.spgPage(n.NewPage && id == 1, 0)
	switch {
	case err != nil:
		return err
	case !moves && (id != 0 || n.ParentBlock != -1):
		return c.errorf("a downlink on block reference %d of a tuple that stays", n.ParentBlock)
	case !moves:
		return c.spgReplace(n.Offset, n.Tuple)
	}
	link := spgLink{c.blockOf(1), n.NewOffset}
	switch {
	case id == 0:
		err = c.spgLeaveRedirect(o, n.Offset, n.State, link)
	case id == 1:
		err = c.spgPut(o, n.NewOffset, n.Tuple)
	case n.ParentBlock != id:
		return c.spgUnexpected()
	}
	if err != nil || n.ParentBlock != id {
		return err
	}
	return c.spgSetLink(n.ParentOffset, n.Parent, link)
}

// spgSplitTuple redoes an inner tuple cut into prefix and postfix.
func (c *call) spgSplitTuple() error {
	s, err := wal.DecodeSPGistSplitTuple(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if c.ref.ID == 1 && s.SamePage {
		return c.spgUnexpected()
	}
	o, err := c.spgPage(s.NewPage && c.ref.ID == 1, 0)
	if err != nil {
		return err
	}
	if c.ref.ID == 0 {
		if err := c.spgReplace(s.PrefixOffset, s.Prefix); err != nil || !s.SamePage {
			return err
		}
	}
	return c.spgPut(o, s.PostfixOffset, s.Postfix)
}

// spgPickSplit redoes a chain of leaf tuples that becomes an inner tuple with
// several chains.
func (c *call) spgPickSplit() error {
	p, err := wal.DecodeSPGistPickSplit(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	inner := spgLink{c.blockOf(2), p.InnerOffset}
	switch c.ref.ID {
	case 0:
		return c.spgPickSource(&p, inner)
	case 1:
		o, err := c.spgPage(p.InitDest, spgLeafFlags(p.Nulls))
		if err != nil {
			return err
		}
		return c.spgPickLeaves(&p, o, true)
	case 2:
		o, err := c.spgPage(p.InitInner, spgNullFlag(p.Nulls))
		if err != nil {
			return err
		}
		if err := c.spgPut(o, p.InnerOffset, p.Inner); err != nil || !p.InnerIsParent {
			return err
		}
		return c.spgSetLink(p.Parent, p.Node, inner)
	}
	if p.Root || p.InnerIsParent {
		return c.spgUnexpected()
	}
	return c.spgParent(p.Parent, p.Node, inner)
}

// spgPickSource redoes the page that a split chain was on.
func (c *call) spgPickSource(p *wal.SPGistPick, inner spgLink) error {
	if p.Root {
		return c.spgUnexpected()
	}
	o, err := c.spgPage(p.InitSrc, spgLeafFlags(p.Nulls))
	if err != nil {
		return err
	}
	if !p.InitSrc {
		first := uint32(spgRedirect)
		if p.State.Build {
			first = spgPlaceholder
		}
		if err := c.spgDelete(o, p.Delete, first, spgPlaceholder, p.State.RedirectXID, inner); err != nil {
			return err
		}
	}
	return c.spgPickLeaves(p, o, false)
}

// spgPickLeaves puts those leaf tuples on the page that belong there.
func (c *call) spgPickLeaves(p *wal.SPGistPick, o spgOpaque, dest bool) error {
	tuples := p.Tuples
	for i := range p.Insert.Len() {
		t := tuples.Next()
		if dest != (p.OnDest[i] != 0) {
			continue
		}
		if err := c.spgPut(o, int(p.Insert.At(i)), t); err != nil {
			return err
		}
	}
	return nil
}

// spgParent changes a downlink on a page that nothing else happens to.
func (c *call) spgParent(tuple, node int, to spgLink) error {
	if _, err := c.spgPage(false, 0); err != nil {
		return err
	}
	return c.spgSetLink(tuple, node, to)
}

// spgVacuumLeaf redoes the removal of leaf tuples, which keeps the others'
// offset numbers.
func (c *call) spgVacuumLeaf() error {
	v, err := wal.DecodeSPGistVacuumLeaf(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, err := c.spgPage(false, 0)
	if err != nil {
		return err
	}
	nowhere := spgLink{pg.InvalidBlock, 0}
	if err := c.spgDelete(o, v.Dead, spgDead, spgDead, 0, nowhere); err != nil {
		return err
	}
	if err := c.spgDelete(o, v.Placeholder, spgPlaceholder, spgPlaceholder, 0, nowhere); err != nil {
		return err
	}
	for i := range v.MoveFrom.Len() {
		from, to := int(v.MoveFrom.At(i)), int(v.MoveTo.At(i))
		if n := c.page.NumItems(); from < 1 || to < 1 || from > n || to > n {
			return c.errorf("exchange items %d and %d of %d", from, to, n)
		}
		a, b := c.page.ItemID(from), c.page.ItemID(to)
		c.page.SetItemID(from, b)
		c.page.SetItemID(to, a)
	}
	if err := c.spgDelete(o, v.MoveFrom, spgPlaceholder, spgPlaceholder, 0, nowhere); err != nil {
		return err
	}
	for i := range v.ChainFrom.Len() {
		if err := c.spgSetNext(int(v.ChainFrom.At(i)), int(v.ChainTo.At(i))); err != nil {
			return err
		}
	}
	return nil
}

// spgVacuumRoot redoes the removal of leaf tuples from a root that is a leaf.
func (c *call) spgVacuumRoot() error {
	gone, err := wal.DecodeSPGistVacuumRoot(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	if _, err := c.spgPage(false, 0); err != nil {
		return err
	}
	return c.spgRemove(gone)
}

// spgVacuumRedirect redoes redirects that become placeholders, and
// placeholders that leave the end of the page.
func (c *call) spgVacuumRedirect() error {
	v, err := wal.DecodeSPGistVacuumRedirect(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	o, err := c.spgPage(false, 0)
	if err != nil {
		return err
	}
	n := v.ToPlaceholder.Len()
	if n > o.redirects() {
		return c.errorf("%d redirects become placeholders, the page counts %d", n, o.redirects())
	}
	for i := range n {
		if err := c.spgForgetRedirect(int(v.ToPlaceholder.At(i))); err != nil {
			return err
		}
	}
	o.setRedirects(o.redirects() - n)
	o.setPlaceholders(o.placeholders() + n)
	if v.FirstPlaceholder == 0 {
		return nil
	}
	return c.spgCutPlaceholders(o, v.FirstPlaceholder)
}
