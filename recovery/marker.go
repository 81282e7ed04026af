package recovery

import (
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"time"

	"golang.org/x/sys/unix"

	"redoubt/internal/fsync"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// markerFile is in a target as long as it is in the making. Who recovers into
// the target holds a lock on it. reportFile is there for the moment in which
// the target is finished and the marker still there.
const (
	markerFile = "redoubt-recovery.json"
	reportFile = "redoubt-report.json"
)

// request is what a target is made of: the content of its marker.
type request struct {
	Base        string
	To          pg.LSN
	ToTime      time.Time
	Plain       bool
	Tablespaces map[pg.OID]string `json:",omitempty"`
	Job         string            `json:",omitempty"`
}

func requestOf(c *Config, d Directory) request {
	return request{Base: c.Base.Name(), To: c.To, ToTime: c.ToTime, Plain: c.Plain, Tablespaces: d.Tablespaces, Job: d.Job}
}

func (a request) same(b request) bool {
	x, err1 := json.Marshal(a)
	y, err2 := json.Marshal(b)
	return err1 == nil && err2 == nil && string(x) == string(y)
}

// take locks the target, and says if it is none of ours.
func (d *directory) take(want request) (err error) {
	all, err := names(d.root)
	if err != nil {
		return err
	}
	ours := false
	for _, name := range all {
		ours = ours || name == markerFile
	}
	if len(all) > 0 && !ours {
		return inputErrorf("%s is not empty, and no unfinished recovery: name a directory that is empty or not there yet", d.path)
	}
	d.marker, err = d.root.OpenFile(markerFile, os.O_CREATE|os.O_RDWR, 0o600)
	if err != nil {
		return err
	}
	if err := unix.Flock(int(d.marker.Fd()), unix.LOCK_EX|unix.LOCK_NB); err != nil {
		return inputErrorf("another recovery into %s is under way: %w", d.path, err)
	}
	if gone, err := d.markerGone(); err != nil || gone {
		return errors.Join(err, inputErrorf("another recovery into %s has just ended", d.path))
	}
	if all, err = names(d.root); err != nil { // now that nobody else is at it
		return err
	}
	d.request = want
	old, err := readRequest(d.marker)
	switch {
	case err != nil && len(all) > 1:
		return inputErrorf("%s in %s is damaged, and there are other files: name another directory (%w)", markerFile, d.path, err)
	case err != nil: // it was made just now, or by one who was killed at once
		return d.note()
	case !old.same(want):
		return inputErrorf("%s is the unfinished target of another recovery (base %s, to %s): name another directory, or remove it", d.path, old.Base, old.goal())
	}
	d.resumed = true
	return d.finished()
}

// finished finds out whether a recovery was killed when only the marker was
// left to be removed. A server may have been started on the target since.
func (d *directory) finished() error {
	if _, err := d.root.Stat(datadir.ControlPath); errors.Is(err, os.ErrNotExist) {
		return nil
	} else if err != nil {
		return err
	}
	b, err := d.root.ReadFile(reportFile)
	if err == nil {
		d.report = new(Report)
		err = json.Unmarshal(b, d.report)
	}
	if err != nil {
		return inputErrorf("%s holds a %s that is not ours: name another directory (%w)", d.path, datadir.ControlPath, err)
	}
	return nil
}

// goal is what was to be reached, in words.
func (a request) goal() string {
	switch {
	case a.To != 0:
		return a.To.String()
	case !a.ToTime.IsZero():
		return a.ToTime.Format(time.RFC3339Nano)
	}
	return "the end of the WAL"
}

// markerGone reports whether the marker was removed before we had the lock.
func (d *directory) markerGone() (bool, error) {
	ours, err := d.marker.Stat()
	if err != nil {
		return false, err
	}
	now, err := d.root.Stat(markerFile)
	if errors.Is(err, os.ErrNotExist) {
		return true, nil
	}
	return err == nil && !os.SameFile(ours, now), err
}

// Unfinished reports whether a directory is the unfinished target of a job (see
// Directory.Job), which ToDirectory goes on with.
func Unfinished(dir, job string) bool {
	f, err := os.Open(filepath.Join(dir, markerFile))
	if err != nil {
		return false
	}
	defer func() { _ = f.Close() }() // it was only read
	r, err := readRequest(f)
	return err == nil && r.Job == job
}

// readRequest reads a marker.
func readRequest(f *os.File) (r request, err error) {
	const most = 1 << 20
	b, err := io.ReadAll(io.NewSectionReader(f, 0, most))
	if err != nil {
		return r, err
	}
	return r, json.Unmarshal(b, &r)
}

// note writes the marker.
func (d *directory) note() error {
	b, err := json.MarshalIndent(d.request, "", "  ")
	if err != nil {
		return err
	}
	if _, err := d.marker.WriteAt(b, 0); err != nil {
		return fmt.Errorf("write %s: %w", markerFile, err)
	}
	return errors.Join(d.own(d.root, markerFile), d.marker.Truncate(int64(len(b))), d.marker.Sync(), fsync.DirIn(d.root, "."))
}

// keepReport writes the report down until the marker is removed.
func (d *directory) keepReport(rep *Report) error {
	b, err := json.Marshal(rep)
	if err != nil {
		return err
	}
	return errors.Join(d.writeDurably(reportFile, b), fsync.DirIn(d.root, "."))
}

// writeDurably writes a file; its name is durable once its directory is.
func (d *directory) writeDurably(name string, content []byte) error {
	f, err := d.root.OpenFile(name, os.O_CREATE|os.O_TRUNC|os.O_WRONLY, 0o600)
	if err != nil {
		return err
	}
	_, err = f.Write(content)
	return errors.Join(err, d.own(d.root, name), f.Sync(), f.Close())
}
