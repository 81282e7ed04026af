package redo

import (
	"bytes"
	"encoding/binary"
	"encoding/hex"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// tids is heap TIDs as they lie in a record.
func tids(pairs ...uint32) (b []byte) {
	for i := 0; i < len(pairs); i += 2 {
		b = append(b, make([]byte, tidSize)...)
		setTIDBlock(b[len(b)-tidSize:], pairs[i])
		binary.LittleEndian.PutUint16(b[len(b)-2:], uint16(pairs[i+1]))
	}
	return b
}

// TestPostingList has lists worked out by hand: the first TID whole, then
// differences in groups of seven bits, a zero where their number is odd.
func TestPostingList(t *testing.T) {
	for _, c := range []struct {
		tids []byte
		want string
	}{
		{tids(0, 1), "000000000100" + "0000"},
		{tids(0, 1, 0, 2), "000000000100" + "0100" + "0100"},
		{tids(0, 1, 0, 2, 0, 130), "000000000100" + "0300" + "01" + "8001" + "00"},
		{tids(7, 3, 8, 3, 8, 4), "000007000300" + "0300" + "8010" + "01" + "00"},
		{tids(0, 1, 0xFFFFFFFE, 291), "000000000100" + "0700" + "a2e2ffffffff01" + "00"},
	} {
		got, err := compressTIDs(c.tids)
		if err != nil || hex.EncodeToString(got) != c.want {
			t.Errorf("%x is packed to %x, error %v, want %s", c.tids, got, err, c.want)
			continue
		}
		list, err := decodePostingList(got)
		want, wantErr := readPostingTIDs(c.tids)
		if err != nil || wantErr != nil || !slices.Equal(list, want) {
			t.Errorf("%x is unpacked to %v, error %v, want %v", got, list, err, want)
		}
	}
}

// TestPostingListMerge cuts random lists in two and merges them.
func TestPostingListMerge(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 300 {
		var all, kept, more []byte
		block, off := rnd.Uint32N(3), uint32(0)
		for range 2 + rnd.IntN(300) {
			if off++; off > 290 || rnd.IntN(5) == 0 {
				block, off = block+1+rnd.Uint32N(1<<uint(rnd.IntN(20))), 1
			}
			one := tids(block, off)
			all = append(all, one...)
			if rnd.IntN(3) == 0 && len(kept) > 0 {
				more = append(more, one...)
			} else {
				kept = append(kept, one...)
			}
		}
		want, err1 := compressTIDs(all)
		seg, err2 := compressTIDs(kept)
		got, err3 := addToPostingList(seg, more)
		if err := errors.Join(err1, err2, err3); err != nil || !bytes.Equal(got, want) {
			t.Fatalf("merged %x into %x: %x, error %v, want %x", more, seg, got, err, want)
		}
	}
}

// TestPostingListDamage: what is no list, or would not be one, is an error.
func TestPostingListDamage(t *testing.T) {
	list, err := compressTIDs(tids(1, 1, 1, 5))
	if err != nil {
		t.Fatal(err)
	}
	for name, c := range map[string]struct {
		seg, items []byte
		want       error
	}{
		"there already":       {list, tids(1, 5), errPostingOrder},
		"out of order":        {list, tids(3, 1, 2, 1), errPostingOrder},
		"offset number 0":     {list, tids(3, 0), errPostingTID},
		"offset number 2048":  {list, tids(3, 2048), errPostingTID},
		"empty segment":       {nil, tids(3, 1), errPostingShort},
		"cut segment":         {list[:8], tids(3, 1), errPostingShort},
		"number without end":  {[]byte{0, 0, 1, 0, 1, 0, 2, 0, 0x80, 0x80}, tids(3, 1), errPostingShort},
		"difference 0":        {[]byte{0, 0, 1, 0, 1, 0, 2, 0, 0, 1}, tids(3, 1), errPostingOrder},
		"beyond the last TID": {[]byte{0xFF, 0xFF, 0xFF, 0xFF, 1, 0, 4, 0, 0xFF, 0xFF, 0xFF, 0x7F}, tids(3, 1), errPostingTID},
		"first TID":           {[]byte{0, 0, 1, 0, 0, 0, 0, 0}, tids(3, 1), errPostingTID},
		"number of 8 bytes":   {[]byte{0, 0, 1, 0, 1, 0, 8, 0, 0x81, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0}, tids(3, 1), errPostingShort},
		"ends on offset 0":    {[]byte{0, 0, 1, 0, 1, 0, 2, 0, 0xFF, 0x0F}, tids(9, 1), errPostingTID},
	} {
		if got, err := addToPostingList(c.seg, c.items); !errors.Is(err, c.want) {
			t.Errorf("%s: %x, error %v, want %v", name, got, err, c.want)
		}
	}
	var many []byte
	for i := range uint32(5000) {
		many = append(many, tids(1000*i, 1)...)
	}
	if got, err := compressTIDs(many); err == nil {
		t.Errorf("a list of %d bytes", len(got))
	}
}

// TestOldPostingLeaf: a leaf that PostgreSQL before 9.4 wrote, TIDs one by one
// and no pd_lower, is packed before anything else happens to it.
func TestOldPostingLeaf(t *testing.T) {
	for _, old := range [][]byte{tids(1, 1, 1, 2, 5, 7), nil} {
		p := make(page.Page, pg.BlockSize)
		pageInit(p, ginSpecialSize)
		o := ginOpaque(p[pg.BlockSize-ginSpecialSize:])
		o.setFlags(ginData | ginLeaf)
		o.setMaxOff(len(old) / tidSize)
		copy(p[ginDataStart:], old)
		added, err := compressTIDs(tids(9, 9))
		if err != nil {
			t.Fatal(err)
		}
		segment := min(len(old), 1) // behind the one that there is, if any
		rec := &wal.Record{End: 100, Rmgr: pg.RmgrGin, Info: wal.GinVacuumDataLeafPage, Major: 17,
			Blocks: []wal.BlockRef{{HasData: true, Data: append([]byte{1, 0, byte(segment), wal.GinSegmentInsert}, added...)}}}
		if _, err := Apply(&Env{}, rec, &rec.Blocks[0], p); err != nil {
			t.Fatal(err)
		}
		var want []byte
		if len(old) > 0 {
			if want, err = compressTIDs(old); err != nil {
				t.Fatal(err)
			}
		}
		want = append(want, added...)
		if got := p[ginDataStart:p.Lower()]; !bytes.Equal(got, want) || o.flags() != ginData|ginLeaf|ginCompressed || o.maxOff() != 0 {
			t.Errorf("%x, flags %#x, maxoff %d, want %x", got, o.flags(), o.maxOff(), want)
		}
	}
}
