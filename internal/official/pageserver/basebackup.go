package pageserver

import (
	"archive/tar"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// maxFile bounds the small files of a base backup; an SLRU segment has 256 KiB.
const maxFile = 1 << 20

// maxFiles bounds how many of them there may be: some 82,000 segments of
// pg_multixact/members are the most that an SLRU has.
const maxFiles = 1 << 20

// maxBackup bounds a base backup: the pages of all SLRUs, and no relations.
const maxBackup = 64 << 30

// Files streams the files of the base backup of an LSN that are neither
// relations nor settings: pg_control, relation maps, SLRU segments unless the
// tenant leaves these for later, states of prepared transactions, replication
// origins. pg_control comes last, and without it the backup is not whole.
func (c *Client) Files(ctx context.Context, lsn pg.LSN, fn func(name string, content []byte) error) error {
	server := c.shards[0].server
	conn, err := c.dialAgain(ctx, server)
	if err != nil {
		return sorted(server, "read the base backup", err)
	}
	ctx, stalled := context.WithCancelCause(ctx)
	defer stalled(nil)
	defer func() { hangUp(context.WithoutCancel(ctx), conn) }()
	timer := time.AfterFunc(c.opt.Timeout, func() { stalled(errStalled) })
	defer timer.Stop()

	out, in := io.Pipe()
	copied := make(chan error, 1)
	go func() {
		_, err := conn.CopyTo(ctx, &moving{w: in, timer: timer, timeout: c.opt.Timeout}, fmt.Sprintf("basebackup %s %s %s", c.target.Tenant, c.target.Timeline, lsn))
		_ = in.CloseWithError(err) // nil: io.EOF
		copied <- err
	}()
	whole, err := eachFile(out, fn)
	var own *visitError
	if errors.As(err, &own) {
		_ = out.CloseWithError(err)
		<-copied //nolint:errcheck // it ends because nobody reads any more
		return own.error
	}
	if err == nil {
		_, err = io.Copy(io.Discard, out)
	}
	_ = out.CloseWithError(io.ErrClosedPipe)
	switch sent := <-copied; {
	case sent != nil && context.Cause(ctx) != nil:
		return sorted(server, "read the base backup", context.Cause(ctx))
	case sent != nil && !errors.Is(sent, io.ErrClosedPipe):
		return sorted(server, "read the base backup", sent)
	case err != nil:
		return &Error{Reason: Protocol, Server: server, Doing: "read the base backup", Err: err}
	case !whole:
		return &Error{Reason: Protocol, Server: server, Doing: "read the base backup", Err: errors.New("it has no " + datadir.ControlPath + ", which comes last")}
	}
	return nil
}

var errStalled = errors.New("nothing came for too long")

// moving puts off the end of a time limit as long as something comes.
type moving struct {
	w       io.Writer
	timer   *time.Timer
	timeout time.Duration
	n       int64
}

func (m *moving) Write(b []byte) (int, error) {
	m.timer.Reset(m.timeout)
	if m.n += int64(len(b)); m.n > maxBackup {
		return 0, fmt.Errorf("a base backup of more than %d bytes", int64(maxBackup))
	}
	return m.w.Write(b)
}

// visitError is an error of the visitor's own.
type visitError struct{ error }

// eachFile reads a tar and says whether pg_control was in it.
func eachFile(in io.Reader, fn func(name string, content []byte) error) (whole bool, err error) {
	t := tar.NewReader(in)
	seen := make(map[string]bool)
	for {
		h, err := t.Next()
		if err == io.EOF {
			return whole, nil
		}
		if err != nil {
			return whole, err
		}
		name := path.Clean(h.Name)
		if h.Typeflag != tar.TypeReg || !wanted(name) {
			continue
		}
		if h.Size > maxFile {
			return whole, fmt.Errorf("%s has %d bytes", name, h.Size)
		}
		if seen[name] {
			return whole, fmt.Errorf("%s is in it twice", name)
		}
		if len(seen) == maxFiles {
			return whole, fmt.Errorf("it has more than %d files", maxFiles)
		}
		seen[name] = true
		content, err := io.ReadAll(t)
		if err != nil {
			return whole, err
		}
		whole = whole || name == datadir.ControlPath
		if err := fn(name, content); err != nil {
			return whole, &visitError{err}
		}
	}
}

func wanted(name string) bool {
	switch datadir.Classify(name).Class {
	case datadir.ControlFile, datadir.RelationMap, datadir.SLRUSegment, datadir.TwoPhaseFile, datadir.OriginsFile, datadir.VersionFile:
		return true
	}
	return false
}
