package redo

import (
	"encoding/binary"

	"redoubt/internal/pg"
)

// Layout of an index tuple (access/itup.h, access/nbtree.h): t_tid, six bytes
// (block number as two halves, offset number), then t_info.
const (
	indexTupleHeader = 8
	tidSize          = 6

	tupleSizeMask  = 0x1FFF // INDEX_SIZE_MASK of t_info
	tupleAltTID    = 0x2000 // INDEX_ALT_TID_MASK of t_info: t_tid means something else
	tidIsPosting   = 0x2000 // BT_IS_POSTING of t_tid's offset number
	tidCountMask   = 0x0FFF // BT_OFFSET_MASK: number of heap TIDs
	tidOffsetAt    = 4
	tupleInfoAt    = 6
	maxTupleOnPage = pg.BlockSize
	maxPadding     = 8
)

// tupleBuffer is where a tuple is made before it goes to its page.
type tupleBuffer [maxTupleOnPage + maxPadding]byte

// tupleSize is IndexTupleSize, 0 if b is too short for a header.
func tupleSize(b []byte) int {
	if len(b) < indexTupleHeader {
		return 0
	}
	return int(binary.LittleEndian.Uint16(b[tupleInfoAt:]) & tupleSizeMask)
}

func tidBlock(tid []byte) uint32 {
	return uint32(binary.LittleEndian.Uint16(tid))<<16 | uint32(binary.LittleEndian.Uint16(tid[2:]))
}

func setTIDBlock(tid []byte, b uint32) {
	binary.LittleEndian.PutUint16(tid, uint16(b>>16))
	binary.LittleEndian.PutUint16(tid[2:], uint16(b))
}

// indexTuple is a validated btree tuple: its key part and its heap TIDs, one
// for a plain tuple, several for a posting list.
type indexTuple struct {
	key     []byte // header included; for a posting list, up to the list
	tids    []byte // six bytes each
	posting bool
}

// parseTuple reads the tuple at the start of b, which may be longer than it.
func (c *call) parseTuple(b []byte) (indexTuple, error) {
	size := tupleSize(b)
	if size < indexTupleHeader || size > len(b) {
		return indexTuple{}, c.errorf("index tuple of %d bytes in %d bytes", size, len(b))
	}
	b = b[:size]
	info, off := binary.LittleEndian.Uint16(b[tupleInfoAt:]), binary.LittleEndian.Uint16(b[tidOffsetAt:])
	if info&tupleAltTID == 0 || off&tidIsPosting == 0 {
		return indexTuple{key: b, tids: b[:tidSize]}, nil
	}
	n, at := int(off&tidCountMask), uint64(tidBlock(b))
	if at < indexTupleHeader || at+uint64(n)*tidSize > uint64(size) || n == 0 {
		return indexTuple{}, c.errorf("posting list of %d heap TIDs at byte %d of a tuple of %d bytes", n, at, size)
	}
	return indexTuple{key: b[:at], tids: b[at : at+uint64(n)*tidSize], posting: true}, nil
}

// formTuple makes a tuple of t, which is a key part of key bytes and behind it
// heap TIDs (_bt_form_posting, access/nbtree/nbtdedup.c): a posting list if
// there are several, a plain tuple if there is one. It needs maxPadding bytes
// of t's capacity.
func formTuple(t []byte, key int) []byte {
	tids := t[key:]
	info := binary.LittleEndian.Uint16(t[tupleInfoAt:]) &^ (tupleSizeMask | tupleAltTID)
	if len(tids) > tidSize {
		info |= tupleAltTID
		setTIDBlock(t, uint32(key))
		binary.LittleEndian.PutUint16(t[tidOffsetAt:], uint16(len(tids)/tidSize)|tidIsPosting)
		t = append(t, make([]byte, maxAlign(len(t))-len(t))...)
	} else {
		copy(t, tids)
		t = t[:key]
	}
	binary.LittleEndian.PutUint16(t[tupleInfoAt:], info|uint16(len(t)))
	return t
}

// splitPosting inserts a new heap TID into the posting list at offset number n
// and pushes the list's highest TID out into the new item, which keeps the
// list's size (_bt_swap_posting, access/nbtree/nbtdedup.c). It returns the
// item to insert and the list, both copies.
func (c *call) splitPosting(newItem []byte, n, at int) (item, list []byte, err error) {
	if len(newItem) < indexTupleHeader {
		return nil, nil, c.errorf("new item of %d bytes", len(newItem))
	}
	list = append([]byte(nil), c.page.Item(n)...)
	t, err := c.parseTuple(list)
	if err != nil {
		return nil, nil, err
	}
	last := len(t.tids) - tidSize
	if !t.posting || at < 1 || at*tidSize > last {
		return nil, nil, c.errorf("split posting list at offset number %d before its heap TID %d", n, at)
	}
	item = append([]byte(nil), newItem...)
	var highest [tidSize]byte
	copy(highest[:], t.tids[last:])
	copy(t.tids[(at+1)*tidSize:], t.tids[at*tidSize:last])
	copy(t.tids[at*tidSize:], item[:tidSize])
	copy(item, highest[:])
	return item, list, nil
}
