package archive

import (
	"context"
	"fmt"
	"io"

	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// Retry is storage's.
type Retry = storage.Retry

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
	if r.tries++; !r.retry.More(r.tries, err) {
		return err
	}
	return r.retry.Pause(r.ctx, r.tries)
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
