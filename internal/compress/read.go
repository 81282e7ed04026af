package compress

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"redoubt/internal/pg/walfile"
)

// maxWindow is how far back compressed data may refer, and so what a
// decompressor may hold: 128 MiB, what `zstd -d` accepts without being told.
const maxWindow = 128 << 20

// NewReader returns the decompressed bytes of r. Its errors are those of r, or
// say what is wrong with the compressed data. Closing it does not close r. How
// much it yields is for the caller to bound.
func NewReader(r io.Reader, c walfile.Compression) (io.ReadCloser, error) {
	switch c {
	case walfile.None:
		return io.NopCloser(r), nil
	case walfile.Zstd:
		return newZstd(r)
	case walfile.LZ4:
		return io.NopCloser(lz4.NewReader(r)), nil
	case walfile.Gzip:
		return gzip.NewReader(bufio.NewReaderSize(r, 64<<10))
	case walfile.Bzip2:
		return io.NopCloser(bzip2.NewReader(bufio.NewReaderSize(r, 64<<10))), nil
	case walfile.XZ:
		d, err := xz.NewReader(newXZGuard(r))
		if err != nil {
			return nil, err
		}
		return io.NopCloser(d), nil
	}
	return nil, fmt.Errorf("unknown compression %s", c)
}

// zstdPool keeps decoders, which are dear to make. One that works alone, as
// these do, has no goroutines to leak.
var zstdPool sync.Pool

type zstdReader struct{ *zstd.Decoder }

func newZstd(r io.Reader) (io.ReadCloser, error) {
	d, ok := zstdPool.Get().(*zstd.Decoder)
	if !ok {
		var err error
		d, err = zstd.NewReader(nil, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
	}
	if err := d.Reset(r); err != nil {
		return nil, err
	}
	return &zstdReader{d}, nil
}

// Close gives the decoder back; nothing may be read after that.
func (z *zstdReader) Close() error {
	d := z.Decoder
	if d == nil {
		return nil
	}
	z.Decoder = nil
	if err := d.Reset(nil); err == nil {
		zstdPool.Put(d)
	}
	return nil
}

func (z *zstdReader) Read(p []byte) (int, error) {
	if z.Decoder == nil {
		return 0, io.ErrClosedPipe
	}
	return z.Decoder.Read(p)
}
