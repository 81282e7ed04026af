package redo

import (
	"encoding/binary"
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// A compressed posting list (GinPostingList, access/ginblock.h):
//
//	first heap TID, 6 bytes | nbytes u16 | nbytes bytes | a zero if nbytes is odd
//
// The bytes are the differences between successive TIDs as numbers, block
// number above an offset number of 11 bits, each in groups of seven bits, the
// lowest first; the top bit of a byte says that another one follows.
//
// Source: access/gin/ginpostinglist.c.
const (
	postingHead     = 8
	postingOffset   = 11 // MaxHeapTuplesPerPageBits
	postingBytesMax = 7  // MaxBytesPerInteger
	postingMax      = uint64(1)<<(32+postingOffset) - 1
)

var (
	errPostingOrder = errors.New("heap TIDs are not in ascending order, or one is there twice")
	errPostingTID   = errors.New("a heap TID is out of range")
	errPostingShort = errors.New("the list ends within a number")
)

// postingTID is a heap TID as a number that sorts like it.
func postingTID(tid []byte) (uint64, error) {
	off := binary.LittleEndian.Uint16(tid[tidOffsetAt:])
	if off == 0 || off >= 1<<postingOffset {
		return 0, errPostingTID
	}
	return uint64(tidBlock(tid))<<postingOffset | uint64(off), nil
}

// readPostingTIDs reads TIDs, six bytes each, in ascending order.
func readPostingTIDs(b []byte) ([]uint64, error) {
	tids := make([]uint64, 0, len(b)/tidSize)
	for ; len(b) >= tidSize; b = b[tidSize:] {
		v, err := postingTID(b)
		if err != nil {
			return nil, err
		}
		if n := len(tids); n > 0 && v <= tids[n-1] {
			return nil, errPostingOrder
		}
		tids = append(tids, v)
	}
	return tids, nil
}

// decodePostingList reads one segment, which is as long as wal.GinListSize says.
func decodePostingList(seg []byte) ([]uint64, error) {
	if len(seg) < postingHead {
		return nil, errPostingShort
	}
	v, err := postingTID(seg)
	if err != nil {
		return nil, err
	}
	n := int(binary.LittleEndian.Uint16(seg[tidSize:]))
	if n > len(seg)-postingHead {
		return nil, errPostingShort
	}
	tids := append(make([]uint64, 0, n+1), v)
	for b := seg[postingHead : postingHead+n]; len(b) > 0; {
		delta, size := binary.Uvarint(b)
		switch {
		case size <= 0 || size > postingBytesMax:
			return nil, errPostingShort
		case delta == 0:
			return nil, errPostingOrder
		case delta > postingMax-v:
			return nil, errPostingTID
		}
		if v += delta; v&(1<<postingOffset-1) == 0 {
			return nil, errPostingTID
		}
		tids = append(tids, v)
		b = b[size:]
	}
	return tids, nil
}

// encodePostingList makes a segment of TIDs in ascending order, at least one.
func encodePostingList(tids []uint64) ([]byte, error) {
	seg := make([]byte, postingHead, postingHead+2*len(tids))
	setTIDBlock(seg, uint32(tids[0]>>postingOffset))
	binary.LittleEndian.PutUint16(seg[tidOffsetAt:], uint16(tids[0]&(1<<postingOffset-1)))
	for i := 1; i < len(tids); i++ {
		seg = binary.AppendUvarint(seg, tids[i]-tids[i-1])
	}
	n := len(seg) - postingHead
	if n > pg.BlockSize-postingHead {
		return nil, fmt.Errorf("%d heap TIDs make a list of %d bytes", len(tids), n)
	}
	binary.LittleEndian.PutUint16(seg[tidSize:], uint16(n))
	if n%2 != 0 {
		seg = append(seg, 0)
	}
	return seg, nil
}

// compressTIDs makes a segment of TIDs, six bytes each.
func compressTIDs(b []byte) ([]byte, error) {
	tids, err := readPostingTIDs(b)
	if err != nil {
		return nil, err
	}
	return encodePostingList(tids)
}

// addToPostingList merges TIDs, six bytes each, into a segment that has none
// of them.
func addToPostingList(seg, items []byte) ([]byte, error) {
	old, err := decodePostingList(seg[:min(len(seg), wal.GinListSize(seg))])
	if err != nil {
		return nil, err
	}
	more, err := readPostingTIDs(items)
	if err != nil {
		return nil, err
	}
	merged := make([]uint64, 0, len(old)+len(more))
	for len(old) > 0 && len(more) > 0 {
		switch {
		case old[0] < more[0]:
			merged, old = append(merged, old[0]), old[1:]
		case old[0] > more[0]:
			merged, more = append(merged, more[0]), more[1:]
		default:
			return nil, errPostingOrder
		}
	}
	return encodePostingList(append(append(merged, old...), more...))
}
