package storage

import (
	"context"
	"io"
	"iter"
	"strings"
	"time"
)

// Object is what a listing or Stat says of one object.
type Object struct {
	Key     string // relative to the handle; of a directory with a slash at its end
	Size    int64  // bytes
	ETag    string // changes when the content does; "" where the store knows none
	ModTime time.Time
	Dir     bool // a common prefix (ListOptions.Dirs); only Key is set
	// Irregular marks what is in a directory but no file: a symbolic link, a
	// device, a socket. It is listed so that it is seen; it can't be opened.
	Irregular bool
}

// ListOptions shapes a listing.
type ListOptions struct {
	// Dirs stops at the first slash after the prefix: what is below is shown as
	// one entry with Dir set. Without it a listing is recursive.
	Dirs bool
}

// PutOptions shapes a write.
type PutOptions struct {
	CreateOnly bool // ErrExist if the key exists; decided by the store, without a race
	// Sweep has a directory remove what writers that were killed left beside
	// the object. Buckets have rules of their own for unfinished uploads.
	Sweep bool
	// Expect is about how many bytes will come, at most, where that is known:
	// S3 takes no more than 10,000 parts, whose size is settled at the start.
	Expect int64
}

// Caps says what a store is good at.
type Caps struct {
	CheapStat bool // Stat costs microseconds, listing by prefix may not: a local directory
}

// Bucket is one place that holds objects, with keys as the place spells them.
// Store adds validation, prefixes and errors that name the object.
type Bucket interface {
	// List yields the objects whose key starts with prefix, in byte order of
	// their keys. It ends after the first error. Memory is bounded.
	List(ctx context.Context, prefix string, opt ListOptions) iter.Seq2[Object, error]
	// Open reads length bytes from offset, to the end if length is negative. A
	// range that starts at or behind the end is empty.
	Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error)
	Stat(ctx context.Context, key string) (Object, error)
	// Put stores all of r under key or, if it fails, nothing. When it returns
	// nil the object is durable.
	Put(ctx context.Context, key string, r io.Reader, opt PutOptions) error
	Caps() Caps
	Close() error
}

// Store is a handle on a bucket, or on a prefix of one. It is safe for
// concurrent use.
type Store struct {
	bucket   Bucket
	location string // redacted
	prefix   string // empty, or ends with a slash
	narrowed bool
}

// New makes a handle on b; location, redacted, is how errors call it.
func New(b Bucket, location string) *Store {
	return &Store{bucket: b, location: Redacted(location)}
}

// Sub is a handle on what is below prefix. Closing it does nothing.
func (s *Store) Sub(prefix string) (*Store, error) {
	prefix = strings.TrimSuffix(prefix, "/")
	if prefix == "" {
		n := *s
		n.narrowed = true
		return &n, nil
	}
	if err := ValidateKey(prefix); err != nil {
		return nil, s.fail("narrow to", prefix, err)
	}
	n := *s
	n.prefix += prefix + "/"
	n.narrowed = true
	return &n, nil
}

// Wrap is the same handle over a bucket that wraps the handle's own: with
// faults, retries, metrics.
func (s *Store) Wrap(wrap func(Bucket) Bucket) *Store {
	n := *s
	n.bucket = wrap(s.bucket)
	return &n
}

// Location is where the handle points, without credentials.
func (s *Store) Location() string {
	if s.prefix == "" {
		return s.location
	}
	base, query, found := strings.Cut(s.location, "?")
	loc := strings.TrimSuffix(base, "/") + "/" + strings.TrimSuffix(s.prefix, "/")
	if found {
		loc += "?" + query
	}
	return loc
}

// Caps says what the store is good at.
func (s *Store) Caps() Caps { return s.bucket.Caps() }

// List yields the objects whose key starts with prefix, which need not end at
// a slash. Keys come as they are in the store, even ones ValidateKey refuses.
func (s *Store) List(ctx context.Context, prefix string, opt ListOptions) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		for o, err := range s.bucket.List(ctx, s.prefix+prefix, opt) {
			if err != nil {
				yield(Object{}, s.fail("list", prefix, err))
				return
			}
			o.Key = strings.TrimPrefix(o.Key, s.prefix)
			if o.Key == "" {
				continue // the marker object some consoles make for a "directory"
			}
			if !yield(o, nil) {
				return
			}
		}
	}
}

// Open reads a whole object.
func (s *Store) Open(ctx context.Context, key string) (io.ReadCloser, error) {
	return s.OpenRange(ctx, key, 0, -1)
}

// OpenRange reads length bytes from offset, to the end if length is negative.
// A range that starts at or behind the end is empty.
func (s *Store) OpenRange(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	if err := ValidateKey(key); err != nil {
		return nil, s.fail("open", key, err)
	}
	rc, err := s.bucket.Open(ctx, s.prefix+key, max(offset, 0), length)
	if err != nil {
		return nil, s.fail("open", key, err)
	}
	return &reader{ReadCloser: rc, store: s, key: key}, nil
}

// Stat says what is known of one object; ErrNotExist if there is none.
func (s *Store) Stat(ctx context.Context, key string) (Object, error) {
	if err := ValidateKey(key); err != nil {
		return Object{}, s.fail("look up", key, err)
	}
	o, err := s.bucket.Stat(ctx, s.prefix+key)
	if err != nil {
		return Object{}, s.fail("look up", key, err)
	}
	o.Key = key
	return o, nil
}

// Put stores all of r under key. When it returns nil the object is durable;
// when it fails, what was there before is still there.
func (s *Store) Put(ctx context.Context, key string, r io.Reader, opt PutOptions) error {
	if err := ValidateKey(key); err != nil {
		return s.fail("write", key, err)
	}
	if err := s.bucket.Put(ctx, s.prefix+key, r, opt); err != nil {
		return s.fail("write", key, err)
	}
	return nil
}

// Close lets go of the bucket, unless the handle was made by Sub.
func (s *Store) Close() error {
	if s.narrowed {
		return nil
	}
	if err := s.bucket.Close(); err != nil {
		return s.fail("close", "", err)
	}
	return nil
}

func (s *Store) fail(op, key string, err error) error {
	return &Error{Op: op, Location: s.Location(), Key: key, Err: err}
}

// reader names the object in the errors of its reads.
type reader struct {
	io.ReadCloser
	store *Store
	key   string
}

func (r *reader) Read(p []byte) (int, error) {
	n, err := r.ReadCloser.Read(p)
	if err != nil && err != io.EOF {
		err = r.store.fail("read", r.key, err)
	}
	return n, err
}
