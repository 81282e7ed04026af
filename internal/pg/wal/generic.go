package wal

// GenericRegions is the list of changed regions of a page as it lies in the
// data of a Generic record's block (access/transam/generic_xlog.c): offset,
// length, bytes.
type GenericRegions struct{ c cursor }

// DecodeGeneric reads the regions of one block.
func DecodeGeneric(b *BlockRef) GenericRegions { return GenericRegions{newCursor(b.Data)} }

// Next returns the next region; ok is false at the end and, with an error, if
// the data ends within a region.
func (g *GenericRegions) Next() (at int, bytes []byte, ok bool, err error) {
	if g.c.err() == nil && g.c.remaining() == 0 {
		return 0, nil, false, nil
	}
	at = int(g.c.u16())
	bytes = g.c.bytes(int(g.c.u16()))
	if err := g.c.err(); err != nil {
		return 0, nil, false, err
	}
	return at, bytes, true, nil
}
