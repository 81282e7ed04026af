package basebackup

import (
	"io"
	"runtime"
	"sync/atomic"

	"github.com/klauspost/compress/zstd"
)

// frameSize is how much goes into one frame of zstd. Frames are made side by
// side; more in one compresses hardly better.
const frameSize = 4 << 20

// maxFrames bounds how many are made at once, and with that the memory for
// them, whatever the number of cores.
const maxFrames = 8

// frames is a stream of zstd as frames that follow each other (RFC 8878, 3),
// which every decompressor takes for one content. They are the same whatever
// the number of cores.
type frames struct {
	w      io.Writer
	enc    *zstd.Encoder
	buf    []byte
	order  chan chan frame // as they are to be written; its length bounds them
	spare  chan frame
	ended  chan struct{}
	failed atomic.Pointer[error] // of w
}

// frame is a piece of the content and what it became.
type frame struct{ content, packed []byte }

// newFrames must be closed, also after errors.
func newFrames(w io.Writer) (*frames, error) {
	n := min(runtime.GOMAXPROCS(0), maxFrames)
	enc, err := zstd.NewWriter(nil, zstd.WithEncoderCRC(true), zstd.WithEncoderConcurrency(n))
	if err != nil {
		return nil, err
	}
	f := &frames{w: w, enc: enc, order: make(chan chan frame, n), spare: make(chan frame, n+2), ended: make(chan struct{})}
	f.buf = make([]byte, 0, frameSize)
	go f.write()
	return f, nil
}

// Write adds to the content.
func (f *frames) Write(p []byte) (n int, err error) {
	for n < len(p) {
		if err := f.failed.Load(); err != nil {
			return n, *err
		}
		piece := p[n:min(len(p), n+frameSize-len(f.buf))]
		f.buf = append(f.buf, piece...)
		n += len(piece)
		if len(f.buf) == frameSize {
			f.pack()
		}
	}
	return n, nil
}

// pack hands the piece over to a goroutine, and waits while there are enough.
func (f *frames) pack() {
	done := make(chan frame, 1)
	f.order <- done
	next := frame{content: make([]byte, 0, frameSize)}
	select {
	case next = <-f.spare:
	default:
	}
	piece := frame{f.buf, next.packed[:0]}
	f.buf = next.content[:0]
	go func() {
		piece.packed = f.enc.EncodeAll(piece.content, piece.packed)
		done <- piece
	}()
}

// write writes frames in their order. After an error it only takes them.
func (f *frames) write() {
	defer close(f.ended)
	for done := range f.order {
		piece := <-done
		if f.failed.Load() == nil {
			if _, err := f.w.Write(piece.packed); err != nil {
				f.failed.Store(&err)
			}
		}
		f.spare <- piece // there is room for all
	}
}

// Close writes the last frame; without any content it is an empty one.
func (f *frames) Close() error {
	f.pack()
	close(f.order)
	<-f.ended
	if err := f.failed.Load(); err != nil {
		return *err
	}
	return nil
}
