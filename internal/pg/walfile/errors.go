package walfile

import (
	"errors"
	"fmt"
)

// Identity is what the WAL says of itself in the long page header of its
// segments.
type Identity struct {
	SegmentSize int64 // bytes
	SystemID    uint64
	Major       int // PostgreSQL's major version, of the segment it was read from
}

// ErrNoWAL says that a timeline has no WAL segment at all.
var ErrNoWAL = errors.New("there are no WAL segments")

// DamagedError is about an object that could be read and is not what its name
// says: cut, not decompressible, too long, of another cluster.
type DamagedError struct {
	Location string // of the timeline's WAL, without credentials
	Key      string
	Reason   string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("WAL file %q at %s is damaged: %s", e.Key, e.Location, e.Reason)
}
