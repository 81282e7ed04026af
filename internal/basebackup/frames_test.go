package basebackup

import (
	"bytes"
	"errors"
	"io"
	"math/rand/v2"
	"runtime"
	"testing"

	"github.com/klauspost/compress/zstd"
)

// TestFrames: whatever is written in whatever pieces comes back, and is packed
// the same on any number of cores.
func TestFrames(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for _, size := range []int{0, 1, frameSize, frameSize + 1, 3*frameSize - 1} {
		content := make([]byte, size)
		for i := range content {
			content[i] = byte(i >> (i / frameSize) * (i >> 12))
		}
		one := packed(t, content, 1, rnd)
		if many := packed(t, content, 5, rnd); !bytes.Equal(one, many) {
			t.Errorf("%d bytes: packed otherwise on one core than on five", size)
		}
		d, err := zstd.NewReader(bytes.NewReader(one))
		if err != nil {
			t.Fatal(err)
		}
		got, err := io.ReadAll(d)
		d.Close()
		if err != nil || !bytes.Equal(got, content) || len(one) > size/2+100 {
			t.Errorf("%d bytes became %d and %d again, %v", size, len(one), len(got), err)
		}
	}
}

func packed(t *testing.T, content []byte, cores int, rnd *rand.Rand) []byte {
	t.Helper()
	defer runtime.GOMAXPROCS(runtime.GOMAXPROCS(cores))
	var out bytes.Buffer
	f, err := newFrames(&out)
	if err != nil {
		t.Fatal(err)
	}
	for len(content) > 0 {
		n := 1 + rnd.IntN(min(len(content), 1<<20))
		if wrote, err := f.Write(content[:n]); wrote != n || err != nil {
			t.Fatalf("wrote %d of %d: %v", wrote, n, err)
		}
		content = content[n:]
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	return out.Bytes()
}

type broken struct{ left int }

var errBroken = errors.New("broken")

func (b *broken) Write(p []byte) (int, error) {
	if b.left--; b.left < 0 {
		return 0, errBroken
	}
	return len(p), nil
}

// TestFramesFail: whoever writes is told that nobody takes it any more.
func TestFramesFail(t *testing.T) {
	content := make([]byte, frameSize/2)
	for left := range 3 {
		f, err := newFrames(&broken{left})
		if err != nil {
			t.Fatal(err)
		}
		for range 10 * maxFrames {
			if _, err = f.Write(content); err != nil {
				break
			}
		}
		if cl := f.Close(); !errors.Is(err, errBroken) || !errors.Is(cl, errBroken) {
			t.Errorf("after %d frames: %v, close %v", left, err, cl)
		}
	}
}
