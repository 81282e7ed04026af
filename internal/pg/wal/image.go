package wal

import (
	"fmt"
	"sync"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"redoubt/internal/pg"
)

// String is the method's name as the setting wal_compression has it.
func (c Compression) String() string {
	switch c {
	case NoCompression:
		return "none"
	case PGLZ:
		return "pglz"
	case LZ4:
		return "lz4"
	case Zstd:
		return "zstd"
	}
	return fmt.Sprintf("compression %d", uint8(c))
}

// maxZstdWindow bounds what a zstd frame may ask for. PostgreSQL compresses at
// most one page, so its frames ask for 8 KiB at most.
const maxZstdWindow = 1 << 20

// zstdDecoder decodes whole images only (DecodeAll), which starts no goroutine
// and, with the limit on the target's capacity, allocates no output.
var zstdDecoder = sync.OnceValues(func() (*zstd.Decoder, error) {
	return zstd.NewReader(nil,
		zstd.WithDecoderConcurrency(0),
		zstd.WithDecoderLowmem(true),
		zstd.WithDecoderMaxWindow(maxZstdWindow),
		zstd.WithDecoderMaxMemory(maxZstdWindow),
		zstd.WithDecodeAllCapLimit(true))
})

// zero reports whether the image is all hole, as Neon logs a page of zeros; a
// hole of stock PostgreSQL begins behind a page header.
//
// Source: access/transam/xloginsert.c of Neon's PostgreSQL, XLogRecordAssemble.
func (i *Image) zero() bool { return i.HoleLength == pg.BlockSize }

// Restore writes the image to dst, which is one page of pg.BlockSize bytes:
// decompressed, its hole filled with zeros. After an error dst is undefined.
//
// Source: access/transam/xlogreader.c, RestoreBlockImage.
func (i *Image) Restore(dst []byte) error {
	if len(dst) != pg.BlockSize {
		return fmt.Errorf("restore full-page image: target has %d bytes, want %d", len(dst), pg.BlockSize)
	}
	hole, end := int(i.HoleOffset), int(i.HoleOffset)+int(i.HoleLength)
	if end > pg.BlockSize {
		return fmt.Errorf("restore full-page image: hole of %d bytes at %d does not fit the page", i.HoleLength, hole)
	}
	n := pg.BlockSize - int(i.HoleLength)
	if i.Compression == NoCompression && len(i.Bytes) == n { // most: nothing is copied twice
		copy(dst[:hole], i.Bytes)
		clear(dst[hole:end])
		copy(dst[end:], i.Bytes[hole:])
		return nil
	}
	if err := i.decompress(dst[:n:n]); err != nil {
		return fmt.Errorf("restore full-page image (%s, %d bytes): %w", i.Compression, len(i.Bytes), err)
	}
	if i.HoleLength > 0 {
		copy(dst[end:], dst[hole:n])
		clear(dst[hole:end])
	}
	return nil
}

// decompress fills dst exactly.
func (i *Image) decompress(dst []byte) error {
	switch i.Compression {
	case NoCompression:
		return exactly(copy(dst, i.Bytes), len(i.Bytes), dst)
	case PGLZ:
		return pglzDecompress(dst, i.Bytes)
	case LZ4:
		n, err := lz4.UncompressBlock(i.Bytes, dst)
		if err != nil {
			return err
		}
		return exactly(n, n, dst)
	case Zstd:
		d, err := zstdDecoder()
		if err != nil {
			return err
		}
		out, err := d.DecodeAll(i.Bytes, dst[:0])
		if err != nil {
			return err
		}
		return exactly(copy(dst, out), len(out), dst)
	}
	return fmt.Errorf("unknown compression method %d", uint8(i.Compression))
}

// exactly checks that the image filled the page without its hole.
func exactly(copied, have int, dst []byte) error {
	if copied != len(dst) || have != len(dst) {
		return fmt.Errorf("image has %d bytes, the page without its hole %d", have, len(dst))
	}
	return nil
}
