package redo

import (
	"encoding/binary"
	"math"
	"math/bits"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Layout of the metapage of a hash index (HashMetaPageData, access/hash.h), in
// bytes behind the page header.
const (
	hashmNTuples    = 8
	hashmFillFactor = 16
	hashmBSize      = 18
	hashmBMSize     = 20
	hashmBMShift    = 22
	hashmMaxBucket  = 24
	hashmHighMask   = 28
	hashmLowMask    = 32
	hashmOvflPoint  = 36
	hashmFirstFree  = 40
	hashmNMaps      = 44
	hashmProcID     = 48
	hashmSpares     = 52
	hashmMapp       = hashmSpares + 4*hashMaxSplitpoints
	hashmSize       = 4544 // sizeof(HashMetaPageData)

	hashMagic          = 0x6440640
	hashVersion        = 4
	hashMaxSplitpoints = 98
	hashMaxBitmaps     = 1024
	hashMaxBuckets     = 0x40000000
	invalidBucket      = math.MaxUint32

	hashBucketBytes = pg.BlockSize - page.HeaderSize - opaqueSize // HashGetMaxBitmapSize
	hashLog2Bitmap  = 12                                          // the largest power of two that fits

	// The first splitpoint groups have one phase, all others four.
	hashSingleGroups = 10
	hashPhaseBits    = 2
	hashPhases       = 1 << hashPhaseBits
)

// hashMetaData is the contents of a metapage.
type hashMetaData []byte

func (m hashMetaData) u32(at int) uint32       { return binary.LittleEndian.Uint32(m[at:]) }
func (m hashMetaData) setU32(at int, v uint32) { binary.LittleEndian.PutUint32(m[at:], v) }
func (m hashMetaData) setU16(at int, v uint16) { binary.LittleEndian.PutUint16(m[at:], v) }
func (m hashMetaData) setF64(at int, v float64) {
	binary.LittleEndian.PutUint64(m[at:], math.Float64bits(v))
}

// hashMeta finds the contents of the call's page, which must be a metapage.
func (c *call) hashMeta() (hashMetaData, error) {
	o, err := c.hashOpaque()
	if err != nil {
		return nil, err
	}
	m := hashMetaData(c.page[page.HeaderSize : page.HeaderSize+hashmSize])
	if o.flags()&hashMetaPage == 0 || m.u32(0) != hashMagic {
		return nil, c.errorf("not a metapage: flags 0x%04X, magic 0x%X", o.flags(), m.u32(0))
	}
	return m, nil
}

// hashInitMeta makes the metapage of an index for the expected number of
// tuples (_hash_init_metabuffer, access/hash/hashpage.c).
func (c *call) hashInitMeta() error {
	init, err := wal.DecodeHashMetaInit(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	want := init.Tuples / float64(init.FillFactor)
	if math.IsNaN(want) {
		return c.errorf("%v tuples, %d to a bucket", init.Tuples, init.FillFactor)
	}
	buckets := uint32(2)
	switch {
	case want >= hashMaxBuckets:
		buckets = hashMaxBuckets
	case want > 2:
		buckets = hashTotalBuckets(hashSpareIndex(uint32(want)))
	}
	spare := hashSpareIndex(buckets)
	if spare >= hashMaxSplitpoints {
		return c.errorf("%d buckets", buckets)
	}

	c.hashInit(invalidBlock, invalidBucket, hashMetaPage)
	m := hashMetaData(c.page[page.HeaderSize : page.HeaderSize+hashmSize])
	m.setU32(0, hashMagic)
	m.setU32(4, hashVersion)
	m.setU16(hashmFillFactor, init.FillFactor)
	m.setU16(hashmBSize, hashBucketBytes)
	m.setU16(hashmBMSize, 1<<hashLog2Bitmap)
	m.setU16(hashmBMShift, hashLog2Bitmap+3)
	m.setU32(hashmMaxBucket, buckets-1)
	high := uint32(1)<<bits.Len32(buckets) - 1
	m.setU32(hashmHighMask, high)
	m.setU32(hashmLowMask, high>>1)
	m.setU32(hashmOvflPoint, uint32(spare))
	m.setU32(hashmProcID, uint32(init.ProcID))
	m.setU32(hashmSpares+4*spare, 1)
	c.page.SetLower(page.HeaderSize + hashmSize)
	return nil
}

// hashSpareIndex is the splitpoint phase that n buckets belong to (_hash_spareindex).
func hashSpareIndex(n uint32) int {
	group := bits.Len32(max(n, 1) - 1) // pg_ceil_log2_32
	if group < hashSingleGroups {
		return group
	}
	within := (n - 1) >> (group - hashPhaseBits - 1) & (hashPhases - 1)
	return hashSingleGroups + (group-hashSingleGroups)<<hashPhaseBits + int(within)
}

// hashTotalBuckets is the number of buckets up to a splitpoint phase (_hash_get_totalbuckets).
func hashTotalBuckets(phase int) uint32 {
	if phase < hashSingleGroups {
		return 1 << phase
	}
	phase -= hashSingleGroups
	half := uint32(1) << (hashSingleGroups + phase>>hashPhaseBits - 1)
	return half + half>>hashPhaseBits*uint32(phase&(hashPhases-1)+1)
}

// addBitmap notes another bitmap page.
func (m hashMetaData) addBitmap(c *call, b uint32) error {
	n := m.u32(hashmNMaps)
	if n >= hashMaxBitmaps {
		return c.errorf("the metapage has %d bitmaps", n)
	}
	m.setU32(hashmMapp+4*int(n), b)
	m.setU32(hashmNMaps, n+1)
	return nil
}

// hashCountTuples adds to the number of tuples in the index.
func (c *call) hashCountTuples(n float64) error {
	m, err := c.hashMeta()
	if err == nil {
		m.setF64(hashmNTuples, math.Float64frombits(binary.LittleEndian.Uint64(m[hashmNTuples:]))+n)
	}
	return err
}

func (c *call) hashSetTuples() error {
	n, err := wal.DecodeHashTuples(c.rec)
	if err != nil {
		return c.errorf("%v", err)
	}
	m, err := c.hashMeta()
	if err == nil {
		m.setF64(hashmNTuples, n)
	}
	return err
}

func (c *call) hashSetFirstFree() error {
	m, err := c.hashMeta()
	if err != nil {
		return err
	}
	free, err := c.blockWord()
	if err == nil {
		m.setU32(hashmFirstFree, free)
	}
	return err
}

// hashMetaOverflow is what ADD_OVFL_PAGE does to the metapage: unless the page
// was a free one, the index grows by it, and by a bitmap page if the record
// has one.
func (c *call) hashMetaOverflow(a wal.HashOverflow) error {
	if err := c.hashSetFirstFree(); err != nil || a.BitmapFound {
		return err
	}
	m, err := c.hashMeta()
	if err != nil {
		return err
	}
	point := m.u32(hashmOvflPoint)
	if point >= hashMaxSplitpoints {
		return c.errorf("splitpoint %d does not exist", point)
	}
	grown := uint32(1)
	if bitmap := c.rec.Block(3); bitmap != nil {
		grown++
		if err := m.addBitmap(c, uint32(bitmap.Number)); err != nil {
			return err
		}
	}
	at := hashmSpares + 4*int(point)
	m.setU32(at, m.u32(at)+grown)
	return nil
}

// hashMetaSplit is what SPLIT_ALLOCATE_PAGE does to the metapage.
func (c *call) hashMetaSplit(s wal.HashSplit) error {
	m, err := c.hashMeta()
	if err != nil {
		return err
	}
	data, want := c.ref.Data, 0
	for _, flag := range []uint8{wal.HashSplitMasks, wal.HashSplitSplitpoint} {
		if s.Flags&flag != 0 {
			want += 8
		}
	}
	if len(data) != want {
		return c.errorf("block data of %d bytes, want %d", len(data), want)
	}
	m.setU32(hashmMaxBucket, s.NewBucket)
	if s.Flags&wal.HashSplitMasks != 0 {
		copy(m[hashmLowMask:], data[:4])
		copy(m[hashmHighMask:], data[4:8])
		data = data[8:]
	}
	if s.Flags&wal.HashSplitSplitpoint != 0 {
		point := binary.LittleEndian.Uint32(data)
		if point >= hashMaxSplitpoints {
			return c.errorf("splitpoint %d does not exist", point)
		}
		copy(m[hashmSpares+4*int(point):], data[4:8])
		m.setU32(hashmOvflPoint, point)
	}
	return nil
}
