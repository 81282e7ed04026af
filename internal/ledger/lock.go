package ledger

import (
	"errors"
	"fmt"
	"net/url"
	"os"

	"golang.org/x/sys/unix"
)

// JobLock is held while a run of the job is under way.
type JobLock struct{ file *os.File }

// LockJob keeps all others, of this process and of others on the machine,
// from running the job. The kernel drops the lock when the process ends,
// however it ends; the file beside the ledger stays. A lock that is held is ErrRunning.
func (l *Ledger) LockJob(job string) (*JobLock, error) {
	path := l.path + "-" + url.PathEscape(job) + ".lock"
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return nil, fmt.Errorf("lock job %s: %w", job, err)
	}
	err = unix.Flock(int(f.Fd()), unix.LOCK_EX|unix.LOCK_NB)
	if err == nil {
		return &JobLock{f}, nil
	}
	if errors.Is(err, unix.EWOULDBLOCK) {
		err = ErrRunning
	}
	return nil, errors.Join(fmt.Errorf("lock job %s: %w", job, err), f.Close())
}

// Release lets others run the job.
func (l *JobLock) Release() error { return l.file.Close() }
