package storage

import (
	"errors"
	"fmt"
)

// ErrConflict says that another content is stored under a name. Nothing was
// overwritten.
var ErrConflict = errors.New("another content is stored there under this name")

// Digest tells contents apart, decompressed.
type Digest struct {
	Size   int64 // bytes
	SHA256 [32]byte
}

func (d Digest) String() string { return fmt.Sprintf("%d bytes with SHA-256 %x", d.Size, d.SHA256) }

// ConflictError names the object that holds another content. It is an
// ErrConflict.
type ConflictError struct {
	Location string // redacted
	Key      string // with the end of its compression
	Stored   Digest // what is stored, as far as it can be decompressed
	Ours     Digest // what was to be stored
	Damage   string // why the object can't be decompressed; empty if it can
}

func (e *ConflictError) Error() string {
	if e.Damage != "" {
		return fmt.Sprintf("store %q at %s: an object is there that can't be read: %s; ours is %s; nothing was overwritten (look at both; see redoubt scan --repair)",
			e.Key, e.Location, e.Damage, e.Ours)
	}
	return fmt.Sprintf("store %q at %s: %v: it is %s, ours is %s; nothing was overwritten (are two clusters archived to one place?)",
		e.Key, e.Location, ErrConflict, e.Stored, e.Ours)
}

func (e *ConflictError) Unwrap() error { return ErrConflict }
