package server

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path"
	"sync"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// Result is what a server left. Unless Failed is set it holds the pages, SLRU
// segments and relation maps after the last record of the span; it may be read
// by several goroutines. Close removes it.
type Result struct {
	Version string        // of the server: 17.10
	Log     string        // the end of its log, at most 16 KiB
	Failed  *Failure      // why it did not get to the span's end; then there is nothing to read
	Last    pg.LSN        // start of the span's last record
	End     pg.LSN        // its end
	Took    time.Duration // copying included
	Control datadir.Control

	dir *scratch

	mu    sync.Mutex
	files map[string]*os.File // open for Page, nil where there is none
}

// maxOpen is how many files Page keeps open.
const maxOpen = 64

// settle checks that the server was stopped cleanly.
func (r *Result) settle() error {
	raw, err := r.dir.root.ReadFile(path.Join(dataDir, datadir.ControlPath))
	if err != nil {
		return err
	}
	if r.Control, err = datadir.ParseControl(raw); err != nil {
		return err
	}
	if s := r.Control.State; s != datadir.ShutDown {
		return fmt.Errorf("the server was to be stopped cleanly and was %s; its log ends:\n%s", s, r.Log)
	}
	return nil
}

// Close removes everything.
func (r *Result) Close() error {
	r.mu.Lock()
	defer r.mu.Unlock()
	var errs []error
	for _, f := range r.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	r.files = nil
	return errors.Join(append(errs, r.dir.close())...)
}

// Page reads one block into buf, which has pg.BlockSize bytes; ok is false if
// there is no such block.
func (r *Result) Page(b pg.Block, buf []byte) (ok bool, err error) {
	seg := uint32(b.Number / pg.BlocksPerFile)
	name := datadir.RelPath(b.RelFork, seg, datadir.VersionDir(r.Control.Major(), r.Control.CatalogVersion))
	return r.read(name, int64(b.Number%pg.BlocksPerFile), buf)
}

// SLRUPage is Page for an SLRU.
func (r *Result) SLRUPage(p pg.SLRUPage, buf []byte) (ok bool, err error) {
	return r.read(datadir.SLRUPath(p), int64(p.Page%pg.SLRUPagesPerSegment), buf)
}

// read reads the n-th page of a file.
func (r *Result) read(name string, n int64, buf []byte) (ok bool, err error) {
	if r.Failed != nil {
		return false, r.Failed
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	f, err := r.open(name)
	if f == nil || err != nil {
		return false, err
	}
	if _, err := f.ReadAt(buf[:pg.BlockSize], n*pg.BlockSize); errors.Is(err, io.EOF) {
		return false, nil
	} else if err != nil {
		return false, err
	}
	return true, nil
}

// open opens a file of the data directory, nil if it is not there; hold mu.
func (r *Result) open(name string) (*os.File, error) {
	if f, ok := r.files[name]; ok {
		return f, nil
	}
	f, err := r.dir.root.Open(path.Join(dataDir, name))
	if errors.Is(err, fs.ErrNotExist) {
		f, err = nil, nil
	}
	if err != nil {
		return nil, err
	}
	for n, old := range r.files {
		if len(r.files) < maxOpen {
			break
		}
		if old != nil {
			_ = old.Close() // only read from
		}
		delete(r.files, n)
	}
	if r.files == nil {
		r.files = make(map[string]*os.File)
	}
	r.files[name] = f
	return f, nil
}

// Walk shows a visitor the data directory that the server left: relations,
// SLRU segments, relation maps and pg_control.
func (r *Result) Walk(ctx context.Context, v datadir.Visitor) error {
	if r.Failed != nil {
		return r.Failed
	}
	w := &resultWalk{ctx: ctx, root: r.dir.root, v: v, buf: make([]byte, 1<<20)}
	return r.eachFile(func(name string, _ fs.DirEntry) error { return w.file(name) })
}

type resultWalk struct {
	ctx  context.Context
	root *os.Root
	v    datadir.Visitor
	buf  []byte
}

func (w *resultWalk) file(name string) error {
	if err := w.ctx.Err(); err != nil {
		return err
	}
	c := datadir.Classify(name)
	switch c.Class {
	case datadir.Relation:
		return w.relation(name, c.Rel)
	case datadir.ControlFile, datadir.SLRUSegment, datadir.RelationMap, datadir.VersionFile:
		content, err := w.root.ReadFile(path.Join(dataDir, name))
		if err != nil {
			return err
		}
		return w.v.File(name, content)
	}
	return nil
}

func (w *resultWalk) relation(name string, rel datadir.RelFile) error {
	f, err := w.root.Open(path.Join(dataDir, name))
	if err != nil {
		return err
	}
	defer func() { _ = f.Close() }() // only read from
	size := int64(0)
	for {
		n, err := io.ReadFull(f, w.buf)
		if whole := n / pg.BlockSize * pg.BlockSize; whole > 0 {
			first := pg.BlockNumber(int64(rel.Segment)*pg.BlocksPerFile + size/pg.BlockSize)
			if err := w.v.Blocks(rel, first, w.buf[:whole]); err != nil {
				return err
			}
		}
		size += int64(n)
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return w.v.EndRelation(rel, size)
		}
		if err != nil {
			return err
		}
		if err := w.ctx.Err(); err != nil {
			return err
		}
	}
}
