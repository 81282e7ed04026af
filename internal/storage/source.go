package storage

import (
	"fmt"
	"io"
	"os"
)

// Source is content that can be read as often as it takes to store it.
type Source struct {
	Size int64 // bytes; content that turns out longer or shorter is an error
	Open func() (io.ReadCloser, error)
}

// FileSource is a file as it is now: its size is looked up here.
func FileSource(path string) (Source, error) {
	fi, err := os.Stat(path)
	if err != nil {
		return Source{}, &SourceError{Err: err}
	}
	if !fi.Mode().IsRegular() {
		return Source{}, &SourceError{Err: fmt.Errorf("open %s: it is no regular file", path)}
	}
	return Source{Size: fi.Size(), Open: func() (io.ReadCloser, error) { return os.Open(path) }}, nil
}

// SourceError is a failure of what was to be stored, not of the store: the
// file is gone (fs.ErrNotExist), can't be read, or changed its size.
type SourceError struct{ Err error }

func (e *SourceError) Error() string { return "read what is to be stored: " + e.Err.Error() }

func (e *SourceError) Unwrap() error { return e.Err }

// open opens the source; reads fail if it is longer or shorter than it says.
func (s Source) open() (*sourceReader, error) {
	rc, err := s.Open()
	if err != nil {
		return nil, &SourceError{Err: err}
	}
	return &sourceReader{rc: rc, left: s.Size, size: s.Size}, nil
}

// sourceReader remembers its error, which what reads it may hide.
type sourceReader struct {
	rc         io.ReadCloser
	left, size int64
	err        error
}

func (r *sourceReader) Read(p []byte) (int, error) {
	if r.err != nil {
		return 0, r.err
	}
	n, err := r.rc.Read(p)
	r.left -= int64(n)
	switch {
	case r.left < 0, err == io.EOF && r.left > 0:
		r.err = &SourceError{Err: fmt.Errorf("it changed: it has %s than the %d bytes it had", longer(r.left < 0), r.size)}
		return 0, r.err
	case err == io.EOF:
		r.err = io.EOF
	case err != nil:
		r.err = &SourceError{Err: err}
	}
	return n, r.err
}

func longer(yes bool) string {
	if yes {
		return "more"
	}
	return "less"
}

// again is the source as something that can be read more than once, nil if it
// can't be. Each time it must have its size.
func (r *sourceReader) again() io.ReadSeeker {
	s, ok := r.rc.(io.Seeker)
	if !ok {
		return nil
	}
	return &rereader{r, s}
}

type rereader struct {
	*sourceReader
	s io.Seeker
}

// Seek fits io.Seeker. The end is where the source was said to end.
func (r *rereader) Seek(offset int64, whence int) (int64, error) {
	switch whence {
	case io.SeekCurrent:
		offset += r.size - r.left
	case io.SeekEnd:
		offset += r.size
	}
	if err := r.failure(); err != nil {
		return 0, err
	}
	at, err := r.s.Seek(offset, io.SeekStart)
	if err != nil {
		r.err = &SourceError{Err: err}
		return 0, r.err
	}
	r.left, r.err = r.size-at, nil
	return at, nil
}

func (r *sourceReader) Close() error { return r.rc.Close() }

// failure is the error that ended the source, nil if it was read well so far.
func (r *sourceReader) failure() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}

// withSeek gives a reader that wraps r the Seek of r, if r has one: what sends
// it may read it more than once. moved is called with where it is after each.
func withSeek(wrapped, r io.Reader, moved func(at int64)) io.Reader {
	s, ok := r.(io.Seeker)
	if !ok {
		return wrapped
	}
	return &seeking{wrapped, s, moved}
}

type seeking struct {
	io.Reader
	s     io.Seeker
	moved func(at int64)
}

func (s *seeking) Seek(offset int64, whence int) (int64, error) {
	at, err := s.s.Seek(offset, whence)
	if err == nil {
		s.moved(at)
	}
	return at, err
}
