package compress

import (
	"bytes"
	"fmt"
	"io"
	"os/exec"
	"testing"

	"github.com/ulikunitz/xz"

	"redoubt/internal/compress/compresstest"
	"redoubt/internal/pg/walfile"
)

// sample is compressible as WAL is: runs, and bytes that look like chance.
var sample = func() []byte {
	data := make([]byte, 1<<20)
	for i, x := 0, uint32(1); i < len(data); i++ {
		if x = x*1664525 + 1013904223; i%64 < 24 {
			data[i] = byte(x >> 24)
		}
	}
	return data
}()

// What is written is what is read, by us and by the programs of the formats.
func TestWriter(t *testing.T) {
	programs := map[walfile.Compression]string{walfile.Zstd: "zstd", walfile.LZ4: "lz4", walfile.Gzip: "gzip"}
	for _, c := range Written() {
		for range 2 { // the second time out of the pool
			var out bytes.Buffer
			w, err := NewWriter(&out, c)
			if err != nil {
				t.Fatal(err)
			}
			if _, err := io.Copy(w, bytes.NewReader(sample)); err != nil {
				t.Fatal(err)
			}
			if err := w.Close(); err != nil {
				t.Fatal(err)
			}
			r, err := NewReader(bytes.NewReader(out.Bytes()), c)
			if err != nil {
				t.Fatal(err)
			}
			if got, err := io.ReadAll(r); err != nil || !bytes.Equal(got, sample) {
				t.Errorf("%s: read %d bytes back: %v", c, len(got), err)
			}
			program, err := exec.LookPath(programs[c])
			if err != nil {
				continue
			}
			cmd := exec.Command(program, "-dc")
			cmd.Stdin = &out
			if got, err := cmd.Output(); err != nil || !bytes.Equal(got, sample) {
				t.Errorf("%s: %s reads %d bytes: %v", c, program, len(got), err)
			}
		}
	}
	for _, c := range []walfile.Compression{walfile.Bzip2, walfile.XZ, 99} {
		if _, err := NewWriter(io.Discard, c); err == nil {
			t.Errorf("%s is written", c)
		}
	}
}

func TestParse(t *testing.T) {
	for _, c := range Written() {
		found := false
		for name := range names {
			if got, err := Parse(name); err == nil && got == c {
				found = true
			}
		}
		if !found {
			t.Errorf("%s has no name", c)
		}
	}
	if _, err := Parse("bzip2"); err == nil {
		t.Error("bzip2 is written")
	}
}

func BenchmarkWriter(b *testing.B) {
	for _, c := range Written() {
		b.Run(c.String(), func(b *testing.B) {
			b.SetBytes(int64(len(sample)))
			for b.Loop() {
				w, err := NewWriter(io.Discard, c)
				if err != nil {
					b.Fatal(err)
				}
				if _, err := w.Write(sample); err != nil {
					b.Fatal(err)
				}
				if err := w.Close(); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// What the guard lets pass is what it was given, for whatever xz writes.
func TestXZGuardPassesOn(t *testing.T) {
	data := sample[:64<<10]
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
		d, err := NewReader(bytes.NewReader(packed), walfile.XZ)
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
	d, err := NewReader(&out, walfile.XZ)
	if err == nil {
		_, err = io.ReadAll(d)
	}
	if err == nil || !bytes.Contains([]byte(err.Error()), []byte("dictionary")) {
		t.Errorf("a dictionary of 128 MiB: %v", err)
	}
}

func FuzzDecompress(f *testing.F) {
	data := sample[:600] // small, or minimizing takes all the time
	for _, c := range walfile.All() {
		f.Add(uint8(c), compresstest.As(f, c, data))
		f.Add(uint8(c), []byte{})
	}
	f.Fuzz(func(t *testing.T, c uint8, data []byte) {
		d, err := NewReader(bytes.NewReader(data), walfile.Compression(c%6))
		if err != nil {
			return
		}
		// The bound is the caller's; here it keeps bombs from taking the time.
		_, _ = io.Copy(io.Discard, io.LimitReader(d, 1<<20))
		_ = d.Close()
	})
}

func FuzzXZGuard(f *testing.F) {
	f.Add(compresstest.As(f, walfile.XZ, []byte("some text, some text, some text")))
	f.Fuzz(func(t *testing.T, data []byte) {
		passed, _ := io.ReadAll(newXZGuard(bytes.NewReader(data)))
		if !bytes.HasPrefix(data, passed) {
			t.Error("what was passed on is not what was given")
		}
	})
}

func BenchmarkDecompress(b *testing.B) {
	data := bytes.Repeat(sample, 4)
	for _, c := range walfile.All() {
		b.Run(c.String(), func(b *testing.B) {
			packed := compresstest.As(b, c, data)
			b.SetBytes(int64(len(data)))
			for b.Loop() {
				d, err := NewReader(bytes.NewReader(packed), c)
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
