package compress

import (
	"fmt"
	"io"
	"sync"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"redoubt/internal/pg/walfile"
)

// Written lists the compressions that NewWriter can make.
func Written() []walfile.Compression {
	return []walfile.Compression{walfile.None, walfile.Zstd, walfile.LZ4, walfile.Gzip}
}

// names are what the compressions are called in configurations.
var names = map[string]walfile.Compression{
	"none": walfile.None, "zstd": walfile.Zstd, "lz4": walfile.LZ4, "gzip": walfile.Gzip,
}

// Parse reads the name of a compression that can be written: none, zstd, lz4
// or gzip.
func Parse(name string) (walfile.Compression, error) {
	c, ok := names[name]
	if !ok {
		return walfile.None, fmt.Errorf("%q is no compression: use none, zstd, lz4 or gzip", name)
	}
	return c, nil
}

// NewWriter compresses what is written to it into w, each at the level that
// its own program has by default. It must be closed, which does not close w;
// each of the formats has a checksum of the content at its end.
func NewWriter(w io.Writer, c walfile.Compression) (io.WriteCloser, error) {
	switch c {
	case walfile.None:
		return nopCloser{w}, nil
	case walfile.Zstd:
		return newZstdWriter(w)
	case walfile.LZ4:
		l := lz4.NewWriter(w)
		return l, l.Apply(lz4.ChecksumOption(true), lz4.BlockSizeOption(lz4.Block1Mb), lz4.ConcurrencyOption(1))
	case walfile.Gzip:
		return gzip.NewWriter(w), nil
	}
	return nil, fmt.Errorf("compress: %s is only read, not written", c)
}

type nopCloser struct{ io.Writer }

func (nopCloser) Close() error { return nil }

// zstdEncoders keeps encoders, which hold some MiB each.
var zstdEncoders sync.Pool

type zstdWriter struct{ *zstd.Encoder }

func newZstdWriter(w io.Writer) (io.WriteCloser, error) {
	e, ok := zstdEncoders.Get().(*zstd.Encoder)
	if !ok {
		var err error
		e, err = zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithEncoderCRC(true))
		if err != nil {
			return nil, err
		}
	}
	e.Reset(w)
	return &zstdWriter{e}, nil
}

// Write fails once the writer is closed.
func (z *zstdWriter) Write(p []byte) (int, error) {
	if z.Encoder == nil {
		return 0, io.ErrClosedPipe
	}
	return z.Encoder.Write(p)
}

// Close ends the frame and gives the encoder back.
func (z *zstdWriter) Close() error {
	e := z.Encoder
	if e == nil {
		return nil
	}
	z.Encoder = nil
	err := e.Close()
	e.Reset(nil)
	zstdEncoders.Put(e)
	return err
}
