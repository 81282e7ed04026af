package ledger

import (
	"errors"
	"fmt"

	"github.com/mattn/go-sqlite3"
)

// ErrNotFound is returned for a run that the ledger does not have.
var ErrNotFound = errors.New("not in the ledger")

// ErrRunning is returned by LockJob while another run of the job is under way.
var ErrRunning = errors.New("a run of this job is under way")

// ErrUnfinished is returned by StartRun while the job has an unfinished run, to be resumed first.
var ErrUnfinished = errors.New("the job has an unfinished run")

// explain adds the cure to SQLite's errors that an operator can do something about.
func explain(err error) error {
	var e sqlite3.Error
	if !errors.As(err, &e) {
		return err
	}
	cure := ""
	switch e.Code {
	case sqlite3.ErrFull:
		cure = "the disk is full: free some space, then start again; nothing finished is lost"
	case sqlite3.ErrReadonly, sqlite3.ErrPerm, sqlite3.ErrCantOpen:
		cure = "make the file and its directory writable for the user that runs Redoubt"
	case sqlite3.ErrBusy, sqlite3.ErrLocked:
		cure = fmt.Sprintf("another process kept the ledger locked for more than %v: let it end", busyTimeout)
	case sqlite3.ErrCorrupt, sqlite3.ErrNotADB:
		cure = "the file is damaged or no ledger: move it away or restore a copy"
	case sqlite3.ErrIoErr:
		cure = "the disk cannot be read or written: look at the system's log"
	default:
		return err
	}
	return fmt.Errorf("%w (%s)", err, cure)
}

// busy reports whether another connection holds a lock.
func busy(err error) bool {
	var e sqlite3.Error
	return errors.As(err, &e) && (e.Code == sqlite3.ErrBusy || e.Code == sqlite3.ErrLocked)
}
