package recovery

import "io"

// Sink takes the files of a data directory, one after the other. Paths are
// relative to it and have slashes; those of tablespaces are below
// pg_tblspc/OID, wherever that leads. Directories come before what is in them,
// and global/pg_control comes last: as long as it is not there, no server
// starts.
type Sink interface {
	// Directory makes a directory that is not there yet.
	Directory(path string) error
	// File begins a file. The writer gets exactly size bytes and is closed
	// before anything else is asked of the sink.
	File(path string, size int64) (io.WriteCloser, error)
}

// counting counts what goes into a sink.
type counting struct {
	Sink
	files, bytes int64
	wrote        func(int64)
}

func (c *counting) File(path string, size int64) (io.WriteCloser, error) {
	c.files++
	c.bytes += size
	c.wrote(size)
	return c.Sink.File(path, size)
}

// put writes a small file whole.
func (c *counting) put(path string, content []byte) error {
	w, err := c.File(path, int64(len(content)))
	if err != nil {
		return err
	}
	_, err = w.Write(content)
	if cerr := w.Close(); err == nil {
		err = cerr
	}
	return err
}
