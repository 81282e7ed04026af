package archive

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"testing"

	"github.com/klauspost/compress/gzip"
	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"
	"github.com/ulikunitz/xz"

	"redoubt/internal/pg/walfile"
)

// compressAs compresses data; bzip2, which Go only reads, by the program.
func compressAs(t testing.TB, c walfile.Compression, data []byte) []byte {
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

// What the guard lets pass is what it was given, for whatever xz writes.
func TestXZGuardPassesOn(t *testing.T) {
	data := segment(1, 1, testSysid)
	for _, args := range [][]string{{"-0"}, {"-6"}, {"-9"}, {"-1", "--block-size=65536"}, {"-C", "sha256"}, {"-C", "none"}, {"-T2", "-0"}} {
		cmd := exec.Command("xz", append(args, "-c")...)
		cmd.Stdin = bytes.NewReader(data)
		packed, err := cmd.Output()
		if err != nil {
			t.Skipf("SKIPPED PROOF: the program xz is needed: %v", err)
		}
		twice := append(append(bytes.Clone(packed), 0, 0, 0, 0), packed...) // two streams, padding
		for _, file := range [][]byte{packed, twice} {
			passed, err := io.ReadAll(newXZGuard(bytes.NewReader(file)))
			if err != nil || !bytes.Equal(passed, file) {
				t.Errorf("xz %v: passed on %d of %d bytes: %v", args, len(passed), len(file), err)
			}
		}
		d, err := decompress(bytes.NewReader(packed), walfile.XZ)
		if err != nil {
			t.Fatal(err)
		}
		if got, err := io.ReadAll(d); err != nil || !bytes.Equal(got, data) {
			t.Errorf("xz %v: %d bytes: %v", args, len(got), err)
		}
	}
}

// A header of 24 bytes can't make the decoder take gigabytes.
func TestXZGuardRefusesHugeDictionary(t *testing.T) {
	var out bytes.Buffer
	w, err := xz.WriterConfig{DictCap: 128 << 20}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil { // writes the header only
		t.Fatal(err)
	}
	w, err = xz.WriterConfig{DictCap: 128 << 20}.NewWriter(&out)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := w.Write([]byte("x")); err != nil {
		t.Fatal(err)
	}
	if err := w.Close(); err != nil {
		t.Fatal(err)
	}
	d, err := decompress(&out, walfile.XZ)
	if err == nil {
		_, err = io.ReadAll(d)
	}
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("dictionary")) {
		t.Errorf("a dictionary of 128 MiB: %v", err)
	}
}

func FuzzDecompress(f *testing.F) {
	data := segment(1, 1, testSysid)[:600] // small, or minimizing takes all the time
	for _, c := range walfile.All() {
		f.Add(uint8(c), compressAs(f, c, data))
		f.Add(uint8(c), []byte{})
	}
	f.Fuzz(func(t *testing.T, c uint8, data []byte) {
		d, err := decompress(bytes.NewReader(data), walfile.Compression(c%6))
		if err != nil {
			return
		}
		// The bound is the caller's; here it keeps bombs from taking the time.
		_, _ = io.Copy(io.Discard, io.LimitReader(d, 1<<20))
		_ = d.Close()
	})
}

func FuzzXZGuard(f *testing.F) {
	f.Add(compressAs(f, walfile.XZ, []byte("some text, some text, some text")))
	f.Fuzz(func(t *testing.T, data []byte) {
		passed, _ := io.ReadAll(newXZGuard(bytes.NewReader(data)))
		if !bytes.HasPrefix(data, passed) {
			t.Error("what was passed on is not what was given")
		}
	})
}

func BenchmarkDecompress(b *testing.B) {
	data := bytes.Repeat(segment(1, 1, testSysid), 4)
	for _, c := range walfile.All() {
		b.Run(c.String(), func(b *testing.B) {
			packed := compressAs(b, c, data)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				d, err := decompress(bytes.NewReader(packed), c)
				if err != nil {
					b.Fatal(err)
				}
				if n, err := io.Copy(io.Discard, d); err != nil || n != int64(len(data)) {
					b.Fatal(fmt.Errorf("%d bytes: %w", n, err))
				}
				if err := d.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}
