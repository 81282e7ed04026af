package snapshots

import (
	"bytes"
	"io"
	"time"

	"redoubt/internal/basebackup"
	"redoubt/internal/pg/datadir"
)

// sink is a recovery.Sink that writes a tar.
type sink struct{ tar *basebackup.Tar }

// Directory fits recovery.Sink.
func (s *sink) Directory(path string) error { return s.tar.Dir(path) }

// File fits recovery.Sink. What belongs to a recovery to a target is not taken
// along: how a server is to go on from a base backup is for its owner to say.
func (s *sink) File(path string, size int64) (io.WriteCloser, error) {
	switch path {
	case "recovery.signal", "postgresql.auto.conf":
		return written{io.Discard}, nil
	case datadir.ControlPath:
		return &control{sink: s}, nil
	}
	w, err := s.tar.File(path, size)
	return written{w}, err
}

// written is a file that needs no end.
type written struct{ io.Writer }

func (written) Close() error { return nil }

// control is pg_control. It comes first and says when all files were
// modified: at its checkpoint, whenever the snapshot is made.
type control struct {
	bytes.Buffer
	sink *sink
}

// Close writes it.
func (c *control) Close() error {
	ctl, err := datadir.ParseControl(c.Bytes())
	if err != nil {
		return err
	}
	c.sink.tar.SetTime(time.Unix(ctl.CheckPoint.Time, 0))
	return c.sink.tar.Content(datadir.ControlPath, c.Bytes())
}
