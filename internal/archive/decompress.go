package archive

import (
	"bufio"
	"compress/bzip2"
	"fmt"
	"io"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"redoubt/internal/pg/walfile"
)

// maxWindow is how far back compressed data may refer, and so what a
// decompressor may hold: 128 MiB, what `zstd -d` accepts without being told.
const maxWindow = 128 << 20

// decompress returns the decompressed bytes of r. Its errors are those of r,
// or say what is wrong with the compressed data. Closing it does not close r.
func decompress(r io.Reader, c walfile.Compression) (io.ReadCloser, error) {
	switch c {
	case walfile.None:
		return io.NopCloser(r), nil
	case walfile.Zstd:
		d, err := zstd.NewReader(r, zstd.WithDecoderConcurrency(1), zstd.WithDecoderLowmem(true),
			zstd.WithDecoderMaxWindow(maxWindow))
		if err != nil {
			return nil, err
		}
		return d.IOReadCloser(), nil
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
