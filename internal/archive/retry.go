package archive

import (
	"context"
	"fmt"
	"io"
	"time"

	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// Retry says how often an operation that failed for a reason of the moment is
// tried again, and how long to wait: Wait, then twice as long each time.
type Retry struct {
	Attempts int           // including the first; 0 means 4
	Wait     time.Duration // 0 means 200 ms
}

func (r Retry) attempts() int {
	if r.Attempts <= 0 {
		return 4
	}
	return r.Attempts
}

// pause waits before attempt number n (1 is the first repetition).
func (r Retry) pause(ctx context.Context, n int) error {
	wait := r.Wait
	if wait <= 0 {
		wait = 200 * time.Millisecond
	}
	t := time.NewTimer(wait << min(n-1, 6))
	defer t.Stop()
	select {
	case <-ctx.Done():
		return ctx.Err()
	case <-t.C:
		return nil
	}
}

// do runs try until it succeeds, fails for good, or has been tried enough.
func (r Retry) do(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		if err == nil || !storage.Transient(err) || n >= r.attempts() {
			return err
		}
		if err := r.pause(ctx, n); err != nil {
			return err
		}
	}
}

// objectReader reads an object from start to end and goes on where it was
// when a read fails, as long as the object is still the same.
type objectReader struct {
	ctx   context.Context
	store *storage.Store
	entry walfile.Entry
	retry Retry

	off   int64
	rc    io.ReadCloser // nil between a failure and the next try
	tries int           // failures since the last byte
	err   error         // the end; io.EOF too
}

func newObjectReader(ctx context.Context, s *storage.Store, e walfile.Entry, off int64, retry Retry) *objectReader {
	return &objectReader{ctx: ctx, store: s, entry: e, off: off, retry: retry}
}

func (r *objectReader) Read(p []byte) (int, error) {
	if len(p) == 0 {
		return 0, nil
	}
	for r.err == nil {
		n, err := r.readOnce(p)
		if n > 0 {
			r.off += int64(n)
			r.tries = 0
			return n, nil
		}
		if err != nil {
			r.err = r.failed(err)
		}
	}
	return 0, r.err
}

// readOnce reads with at most one new request.
func (r *objectReader) readOnce(p []byte) (int, error) {
	if r.rc == nil {
		if r.tries > 0 {
			if err := r.sameObject(); err != nil {
				return 0, err
			}
		}
		rc, err := r.store.OpenRange(r.ctx, r.entry.Key, r.off, -1)
		if err != nil {
			return 0, err
		}
		r.rc = rc
	}
	n, err := r.rc.Read(p)
	if n == 0 && err == io.EOF && r.off < r.entry.Size {
		err = fmt.Errorf("read %q at %s: it ended after %d of %d bytes", r.entry.Key, r.store.Location(), r.off, r.entry.Size)
	}
	return n, err
}

// failed decides what a failure means: nil to try again, else the error that
// ends the reading.
func (r *objectReader) failed(err error) error {
	r.drop()
	if err == io.EOF || !storage.Transient(err) {
		return err
	}
	if r.tries++; r.tries >= r.retry.attempts() {
		return err
	}
	return r.retry.pause(r.ctx, r.tries)
}

// sameObject makes sure that what is read next belongs to what was read.
func (r *objectReader) sameObject() error {
	if r.off == 0 {
		return nil
	}
	o, err := r.store.Stat(r.ctx, r.entry.Key)
	if err != nil {
		return err
	}
	if o.Size != r.entry.Size || o.ETag != r.entry.ETag {
		return &replacedError{key: r.entry.Key, location: r.store.Location()}
	}
	return nil
}

func (r *objectReader) drop() {
	if r.rc != nil {
		_ = r.rc.Close() // it was only read
		r.rc = nil
	}
}

// Close ends the reading.
func (r *objectReader) Close() error {
	r.drop()
	if r.err == nil {
		r.err = io.ErrClosedPipe
	}
	return nil
}

// replacedError ends a read whose object became another one meanwhile.
type replacedError struct{ key, location string }

func (e *replacedError) Error() string {
	return fmt.Sprintf("read %q at %s: it was replaced while it was read; try again", e.key, e.location)
}
