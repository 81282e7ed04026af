package recovery

import (
	"errors"
	"fmt"
	"strings"

	"redoubt/internal/pg"
)

// InputError says that what was asked for cannot be had of this base and this
// WAL, and how it could.
type InputError struct{ Err error }

func (e *InputError) Error() string { return e.Err.Error() }
func (e *InputError) Unwrap() error { return e.Err }

func inputErrorf(format string, args ...any) error {
	return &InputError{fmt.Errorf(format, args...)}
}

// WALError says that the WAL does not reach the target: something is missing
// or damaged. Err is a *wal.MissingError, a *wal.EndError or what reading met.
type WALError struct {
	Reached pg.LSN // end of the last whole record before
	Want    string // what was to be reached
	Err     error
}

func (e *WALError) Error() string {
	return fmt.Sprintf("the WAL is whole up to %s only, %s: %v", e.Reached, e.Want, e.Err)
}
func (e *WALError) Unwrap() error { return e.Err }

// BlocksError says that the native engine could not redo all blocks for sure.
type BlocksError struct {
	Blocks []string // the first ones, with the reason
	Count  int
}

func (e *BlocksError) Error() string {
	return fmt.Sprintf("the native engine could not redo %d blocks for sure (%s); nothing was recovered: let a real PostgreSQL do it, with --engine server",
		e.Count, strings.Join(e.Blocks, "; "))
}

// maxBlocks is how many blocks a BlocksError names.
const maxBlocks = 10

func (e *BlocksError) add(what string) {
	e.Count++
	if len(e.Blocks) < maxBlocks {
		e.Blocks = append(e.Blocks, what)
	}
}

func (e *BlocksError) orNil() error {
	if e.Count == 0 {
		return nil
	}
	return e
}

// ErrDialect says that the WAL is of servers for whose tail there is none to
// recover it.
var ErrDialect = errors.New("the WAL was written by Neon's PostgreSQL: no server recovers the records behind the last checkpoint, so no data directory can be made of it")
