package server

import (
	"fmt"

	"redoubt/internal/pg"
)

// UnavailableError says that no server can be run here: no binaries of the
// major version, no user to run them, a directory that user cannot enter.
type UnavailableError struct{ msg string }

func (e *UnavailableError) Error() string { return e.msg }

func unavailable(format string, args ...any) error {
	return &UnavailableError{fmt.Sprintf(format, args...)}
}

// LimitError says which limit ended a server.
type LimitError struct {
	What   string // memory, disk, time
	Limit  string // as a person writes it
	Detail string // what was met, may be empty
}

func (e *LimitError) Error() string {
	s := fmt.Sprintf("the server's limit of %s (%s) was reached", e.What, e.Limit)
	if e.Detail != "" {
		s += ": " + e.Detail
	}
	return s
}

// Failure is why a server's recovery ended before the span did.
type Failure struct {
	LSN     pg.LSN // of the record that could not be redone, 0 if the log names none
	Message string // the server's own, one line
}

func (f *Failure) Error() string {
	if f.LSN == 0 {
		return f.Message
	}
	return fmt.Sprintf("record at %s: %s", f.LSN, f.Message)
}
