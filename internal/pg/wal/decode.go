package wal

import (
	"encoding/binary"
	"fmt"

	"redoubt/internal/pg"
)

// Ids of record fragments (access/xlogrecord.h, XLR_BLOCK_ID_*).
const (
	maxBlockID  = 32
	idTopXID    = 252
	idOrigin    = 253
	idDataLong  = 254
	idDataShort = 255
)

// Bits of fork_flags.
const (
	blockForkMask = 0x0F
	blockHasImage = 0x10
	blockHasData  = 0x20
	blockWillInit = 0x40
	blockSameRel  = 0x80
)

// imageFlags are the bits of bimg_info, which moved in 15.
type imageFlags struct {
	hasHole, apply, pglz, lz4, zstd, all uint8
}

var (
	imageFlags14 = imageFlags{hasHole: 0x01, pglz: 0x02, apply: 0x04, all: 0x07}
	imageFlags15 = imageFlags{hasHole: 0x01, apply: 0x02, pglz: 0x04, lz4: 0x08, zstd: 0x10, all: 0x1F}
)

// compression is the method named by info; false if several are.
func (f *imageFlags) compression(info uint8) (Compression, bool) {
	switch info & (f.pglz | f.lz4 | f.zstd) {
	case 0:
		return NoCompression, true
	case f.pglz:
		return PGLZ, true
	case f.lz4:
		return LZ4, true
	case f.zstd:
		return Zstd, true
	}
	return NoCompression, false
}

// What is wrong with a record whose CRC fits.
const (
	detailShort = "its fragments do not add up to its length"
	detailNone  = ""
)

// decoder walks the fragment headers of one record.
type decoder struct {
	rec       *Record
	hdr       cursor
	payload   uint64 // bytes that the headers so far announce behind the headers
	mainLen   uint64
	lastBlock int
	rel       pg.RelFileLocator
	hasRel    bool
}

// decode fills rec from the bytes of a whole record, at least a header long.
// It returns what is wrong with it, "" if nothing. LSN, End, TLI and Major
// are set by the caller.
//
// Source: access/transam/xlogreader.c, DecodeXLogRecord.
func (rec *Record) decode(raw []byte) string {
	rec.Length = uint32(len(raw))
	rec.XID = pg.XID(binary.LittleEndian.Uint32(raw[4:]))
	rec.Prev = pg.LSN(binary.LittleEndian.Uint64(raw[8:]))
	rec.Info, rec.Rmgr = raw[16], pg.RmgrID(raw[17])
	rec.TopXID, rec.Origin, rec.Main, rec.sound = 0, 0, nil, false
	rec.Blocks = rec.Blocks[:0]

	d := decoder{rec: rec, hdr: newCursor(raw[recordHeaderSize:]), lastBlock: -1}
	if detail := d.headers(); detail != "" {
		return detail
	}
	if d.hdr.err() != nil || uint64(d.hdr.remaining()) != d.payload {
		return detailShort
	}
	d.assign(d.hdr.rest())
	return detailNone
}

// Decode fills rec, of which LSN, End, TLI, Major and Dialect are set, from
// the bytes that NextInto returned for it. It looks at their framing, not at
// the CRC.
func (rec *Record) Decode(raw []byte) error {
	if len(raw) < recordHeaderSize {
		return &EndError{rec.LSN, EndBadRecordContent, detailShort}
	}
	if detail := rec.decode(raw); detail != "" {
		return &EndError{rec.LSN, EndBadRecordContent, detail}
	}
	return nil
}

// headers reads fragment headers up to the main data's, which is the last, or
// until what follows is the payload announced.
func (d *decoder) headers() string {
	for d.hdr.err() == nil && uint64(d.hdr.remaining()) > d.payload {
		id := d.hdr.u8()
		switch {
		case id <= maxBlockID:
			if detail := d.block(id); detail != "" {
				return detail
			}
		case id == idDataShort:
			d.mainData(uint64(d.hdr.u8()))
			return detailNone
		case id == idDataLong:
			d.mainData(uint64(d.hdr.u32()))
			return detailNone
		case id == idOrigin:
			d.rec.Origin = d.hdr.u16()
		case id == idTopXID:
			d.rec.TopXID = pg.XID(d.hdr.u32())
		default:
			return fmt.Sprintf("fragment id %d does not exist", id)
		}
	}
	return detailNone
}

func (d *decoder) mainData(n uint64) {
	d.mainLen = n
	d.payload += n
}

// block reads one block reference's header.
func (d *decoder) block(id uint8) string {
	if int(id) <= d.lastBlock {
		return fmt.Sprintf("block reference %d follows block reference %d", id, d.lastBlock)
	}
	d.lastBlock = int(id)
	h := d.hdr.take(3)
	if h == nil {
		return detailShort
	}
	flags, dataLen := h[0], binary.LittleEndian.Uint16(h[1:])
	d.rec.Blocks = append(d.rec.Blocks, BlockRef{ID: id})
	ref := &d.rec.Blocks[len(d.rec.Blocks)-1]
	ref.Fork = pg.ForkNumber(flags & blockForkMask)
	ref.WillInit = flags&blockWillInit != 0
	ref.HasData = flags&blockHasData != 0
	ref.HasImage = flags&blockHasImage != 0
	if ref.Fork > pg.MaxFork {
		return fmt.Sprintf("block reference %d: fork %d does not exist", id, ref.Fork)
	}
	if ref.HasData != (dataLen > 0) {
		return fmt.Sprintf("block reference %d: data flag and data length %d contradict each other", id, dataLen)
	}
	ref.Data = d.reserve(dataLen)
	if ref.HasImage {
		if detail := d.image(&ref.Image); detail != "" {
			return fmt.Sprintf("block reference %d: %s", id, detail)
		}
	}
	return d.tag(ref, flags&blockSameRel != 0)
}

// tag reads which block is referenced: relation, unless it is the one before, and number.
func (d *decoder) tag(ref *BlockRef, sameRel bool) string {
	if !sameRel {
		h := d.hdr.take(12)
		if h == nil {
			return detailShort
		}
		d.rel.Spc = pg.OID(binary.LittleEndian.Uint32(h))
		d.rel.DB = pg.OID(binary.LittleEndian.Uint32(h[4:]))
		d.rel.Rel = pg.OID(binary.LittleEndian.Uint32(h[8:]))
		d.hasRel = true
	} else if !d.hasRel {
		return fmt.Sprintf("block reference %d: names the relation before, but is the first", ref.ID)
	}
	ref.RelFileLocator = d.rel
	ref.Number = pg.BlockNumber(d.hdr.u32())
	return detailNone
}

// reserve notes n bytes of payload. It returns a placeholder of that length
// over the bytes at hand, which assign replaces once all headers are known.
func (d *decoder) reserve(n uint16) []byte {
	d.payload += uint64(n)
	if int(n) > len(d.hdr.buf) {
		d.hdr.bad = true
		return nil
	}
	return d.hdr.buf[:n]
}

// image reads an image's header.
func (d *decoder) image(img *Image) string {
	length, holeOffset, info := d.hdr.u16(), d.hdr.u16(), d.hdr.u8()
	f := &imageFlags15
	if d.rec.Major < 15 {
		f = &imageFlags14
	}
	method, one := f.compression(info)
	if !one || info&^f.all != 0 {
		return fmt.Sprintf("image flags %02X do not exist", info)
	}
	hasHole := info&f.hasHole != 0
	hole := 0
	switch {
	case method == NoCompression:
		hole = pg.BlockSize - int(length)
	case hasHole:
		hole = int(d.hdr.u16())
	}
	if d.hdr.err() != nil {
		return detailShort
	}
	whole := method == NoCompression && hasHole && holeOffset == 0 && hole == pg.BlockSize // see Image.zero
	if hole < 0 || int(holeOffset)+hole > pg.BlockSize || hasHole != (hole > 0) || hasHole != (holeOffset > 0) && !whole {
		return fmt.Sprintf("image of %d bytes with flags %02X has a hole of %d bytes at %d", length, info, hole, holeOffset)
	}
	if method != NoCompression && int(length) >= pg.BlockSize {
		return fmt.Sprintf("image compressed to %d bytes", length)
	}
	img.HoleOffset, img.HoleLength = holeOffset, uint16(hole)
	img.Compression = method
	img.Apply = info&f.apply != 0
	img.Bytes = d.reserve(length)
	return detailNone
}

// assign gives each fragment its bytes, now that all lengths are known to add
// up: per block its image, then its data; the main data last.
func (d *decoder) assign(payload []byte) {
	c := newCursor(payload)
	for i := range d.rec.Blocks {
		ref := &d.rec.Blocks[i]
		if ref.HasImage {
			ref.Image.Bytes = c.bytes(len(ref.Image.Bytes))
		}
		if ref.HasData {
			ref.Data = c.bytes(len(ref.Data))
		} else {
			ref.Data = nil
		}
	}
	if d.mainLen > 0 {
		d.rec.Main = c.bytes(int(d.mainLen))
	}
}
