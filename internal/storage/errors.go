package storage

import (
	"context"
	"errors"
	"fmt"
)

// What a store can answer, beside the data. Everything else that goes wrong
// is of the moment: the network, the service, the disk; see Transient.
var (
	ErrNotExist   = errors.New("it does not exist")
	ErrExist      = errors.New("it exists already")
	ErrPermission = errors.New("access is denied")
	ErrIrregular  = errors.New("not a regular file: links and devices are not followed")
	ErrKey        = errors.New("invalid key")
	// ErrUnsupported is a store's answer to what it can't do, such as a write on a condition.
	ErrUnsupported = errors.New("the store can't do that")
)

// Error names the location and the key of what failed. Its text holds no
// credentials.
type Error struct {
	Op       string // what was tried: open, read, list, …
	Location string // redacted
	Key      string // may be empty
	Err      error
}

func (e *Error) Error() string {
	msg := fmt.Sprintf("%s %s", e.Op, e.Location)
	if e.Key != "" {
		msg = fmt.Sprintf("%s %q at %s", e.Op, e.Key, e.Location)
	}
	msg += ": " + e.Err.Error()
	if c := cure(e.Op, e.Err); c != "" {
		msg += " (" + c + ")"
	}
	return msg
}

func (e *Error) Unwrap() error { return e.Err }

func cure(op string, err error) string {
	switch {
	case errors.Is(err, ErrPermission) && op == "write":
		return "check the credentials, and that they may write there"
	case errors.Is(err, ErrPermission):
		return "check the credentials, and that they may list and read there"
	case errors.Is(err, ErrStalled):
		return "check the network on the way there; the location's parameter idle_timeout says how long to wait"
	case errors.Is(err, ErrIrregular):
		return "put the file itself there"
	}
	return ""
}

// Transient reports whether trying again may help: not when the store
// answered, and not when the context ended.
func Transient(err error) bool {
	var damage *DamageError
	if err == nil || errors.As(err, &damage) {
		return false
	}
	for _, final := range []error{ErrNotExist, ErrExist, ErrPermission, ErrIrregular, ErrKey, ErrUnsupported, ErrConflict, errFile,
		context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, final) {
			return false
		}
	}
	return true
}
