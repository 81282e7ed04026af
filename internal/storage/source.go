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

func (r *sourceReader) Close() error { return r.rc.Close() }

// failure is the error that ended the source, nil if it was read well so far.
func (r *sourceReader) failure() error {
	if r.err == io.EOF {
		return nil
	}
	return r.err
}
