// Package compresstest compresses for tests, also in the ways that Redoubt only reads.
package compresstest

import (
	"bytes"
	"io"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"redoubt/internal/pg/walfile"
)

// As compresses data; bzip2, which Go only reads, by the program.
func As(t testing.TB, c walfile.Compression, data []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	var w io.WriteCloser
	var err error
	switch c {
	case walfile.None:
		return data
	case walfile.Zstd:
		w, err = zstd.NewWriter(&out)
	case walfile.LZ4:
		w = lz4.NewWriter(&out)
	case walfile.Gzip:
		w, err = gzip.NewWriterLevel(&out, gzip.BestSpeed)
	case walfile.XZ:
		w, err = xz.NewWriter(&out)
	case walfile.Bzip2:
		cmd := exec.Command("bzip2", "-c")
		cmd.Stdin = bytes.NewReader(data)
		packed, err := cmd.Output()
		if err != nil {
			t.Skipf("SKIPPED PROOF: the program bzip2 is needed: %v", err)
		}
		return packed
	}
	if err == nil {
		_, err = w.Write(data)
	}
	if err == nil {
		err = w.Close()
	}
	if err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}
