package archive

import (
	"errors"
	"fmt"

	"redoubt/internal/storage"
)

// ErrNoWAL says that a timeline has no WAL segment at all.
var ErrNoWAL = errors.New("there are no WAL segments")

// DamagedError is about an object that could be read and is not what its name
// says: cut, not decompressible, too long, of another cluster.
type DamagedError struct {
	Location string // of the timeline's WAL, redacted
	Key      string
	Reason   string
}

func (e *DamagedError) Error() string {
	return fmt.Sprintf("WAL file %q at %s is damaged: %s", e.Key, e.Location, e.Reason)
}

func damaged(s *storage.Store, key, format string, args ...any) error {
	return &DamagedError{Location: s.Location(), Key: key, Reason: fmt.Sprintf(format, args...)}
}
