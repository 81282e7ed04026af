package snapshot

import (
	"compress/bzip2"
	"context"
	"fmt"
	"io"
	"strings"
	"sync/atomic"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
)

// codec is a compression of tars.
type codec struct {
	suffix string
	open   func(r io.Reader, o *Options) (io.ReadCloser, error) // nil: none
}

var codecs = []codec{
	{".tar", nil},
	{".tar.gz", openGzip}, {".tgz", openGzip},
	{".tar.zst", openZstd}, {".tzst", openZstd},
	{".tar.lz4", openLZ4},
	{".tar.bz2", openBzip2}, {".tbz2", openBzip2},
}

// tarName splits the name of a tar into what stands before its suffix and how it is compressed.
func tarName(name string) (stem string, c codec, ok bool) {
	for _, c := range codecs {
		if stem, ok := strings.CutSuffix(name, c.suffix); ok {
			return stem, c, true
		}
	}
	return "", codec{}, false
}

func openGzip(r io.Reader, _ *Options) (io.ReadCloser, error) { return gzip.NewReader(r) }

func openZstd(r io.Reader, o *Options) (io.ReadCloser, error) {
	d, err := zstd.NewReader(r, zstd.WithDecoderMaxWindow(o.maxWindow()))
	if err != nil {
		return nil, err
	}
	return d.IOReadCloser(), nil
}

func openLZ4(r io.Reader, _ *Options) (io.ReadCloser, error) {
	return io.NopCloser(lz4.NewReader(r)), nil
}

func openBzip2(r io.Reader, _ *Options) (io.ReadCloser, error) {
	return io.NopCloser(bzip2.NewReader(r)), nil
}

// meter counts what goes into a decompressor and what comes out of it.
type meter struct {
	in    atomic.Int64 // bytes; zstd reads ahead in a goroutine
	out   int64        // bytes
	limit int64        // of out per byte of in, beyond free
	free  int64        // bytes
}

// check returns an error once the archive expanded too far.
func (m *meter) check() error {
	if over, in := m.out-m.free, m.in.Load(); over > 0 && over/m.limit > in {
		return fmt.Errorf("%d bytes expanded to more than %d: a decompression bomb? If the backup really is that compressible, raise the limit of expansion (%d)", in, m.out, m.limit)
	}
	return nil
}

// countIn counts what is read from the archive, and ends with its context.
type countIn struct {
	ctx context.Context
	r   io.Reader
	m   *meter
}

func (c *countIn) Read(p []byte) (int, error) {
	if err := c.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := c.r.Read(p)
	c.m.in.Add(int64(n))
	return n, err
}

// stream is a decompressed tar: it counts, and while watch is set it notes
// whether anything but zeros went by.
type stream struct {
	r       io.Reader
	m       *meter
	pos     int64 // bytes read
	watch   bool
	nonzero bool
}

func (s *stream) Read(p []byte) (int, error) {
	n, err := s.r.Read(p)
	s.pos += int64(n)
	s.m.out += int64(n)
	if s.watch && !allZero(p[:n]) {
		s.nonzero = true
	}
	if cerr := s.m.check(); cerr != nil {
		return n, cerr
	}
	return n, err
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
