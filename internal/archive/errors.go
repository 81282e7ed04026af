package archive

import (
	"fmt"

	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// DamagedError is walfile's.
type DamagedError = walfile.DamagedError

// Identity is walfile's.
type Identity = walfile.Identity

// ErrNoWAL says that a timeline has no WAL segment at all.
var ErrNoWAL = walfile.ErrNoWAL

func damaged(s *storage.Store, key, format string, args ...any) error {
	return &DamagedError{Location: s.Location(), Key: key, Reason: fmt.Sprintf(format, args...)}
}
