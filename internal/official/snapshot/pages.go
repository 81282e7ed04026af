package snapshot

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"sync"

	"golang.org/x/sys/unix"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// Pages reads single pages of a local directory, in any order and by several
// goroutines at once.
type Pages struct {
	name    string
	tree    *localTree
	version string

	mu     sync.Mutex
	files  map[string]*os.File // nil: there is no such file
	opened int                 // of them

	stop context.CancelFunc // of warm
	warm sync.WaitGroup
}

// maxOpen is how many files Pages keeps open; others are opened for each page.
const maxOpen = 128

// OnDemand shows v what Walk does but pages: the ends of relations and the
// small files; and returns what pages can be read from. It returns nil, and v
// has seen nothing, for all but local directories whose relations fit into
// half of the memory that is free: what is read in no order is read fast only
// from there. The files are on their way into memory when it returns.
//
// Nothing is checked against a backup_manifest: Walk does it.
func (s *Snapshot) OnDemand(ctx context.Context, v datadir.Visitor) (*Pages, error) {
	d, ok := s.src.(*dirSource)
	if !ok {
		return nil, nil
	}
	t, ok := d.t.(*localTree)
	if !ok {
		return nil, nil
	}
	list, bytes, err := s.relations(ctx)
	switch {
	case ctx.Err() != nil:
		return nil, ctx.Err()
	case err != nil:
		return nil, s.fail(err)
	case bytes > available()/2:
		return nil, nil
	}
	w := &walker{v: v, g: newGather(), sums: newVerifier(nil, false), outline: true}
	w.g.manifest = s.manifest
	if err := s.src.each(ctx, w.member(ctx)); err != nil {
		return nil, s.walkFail(ctx, w, err)
	}
	info, err := s.finish(ctx, w)
	if err != nil {
		return nil, s.walkFail(ctx, w, err)
	}
	s.info = info
	p := &Pages{name: s.name, tree: t, version: d.version, files: map[string]*os.File{}}
	ctx, p.stop = context.WithCancel(ctx)
	p.warm.Go(func() { p.readAhead(ctx, list) })
	return p, nil
}

// relations lists the files of relations, and how many bytes they have.
func (s *Snapshot) relations(ctx context.Context) (list []string, bytes int64, err error) {
	err = s.src.each(ctx, func(m *member) error {
		if m.kind == file && datadir.Classify(m.path).Class == datadir.Relation {
			list, bytes = append(list, m.path), bytes+m.size
		}
		return nil
	})
	return list, bytes, err
}

// available is how many bytes of memory are free for new work, by the kernel's
// estimate; 0 if it does not say.
func available() int64 {
	f, err := os.Open("/proc/meminfo")
	if err != nil {
		return 0
	}
	defer func() { _ = f.Close() }() // only read from
	for s := bufio.NewScanner(f); s.Scan(); {
		var kib int64
		if _, err := fmt.Sscanf(s.Text(), "MemAvailable: %d kB", &kib); err == nil {
			return kib << 10
		}
	}
	return 0
}

// readAhead asks the system for all files; it is advice, and of what goes
// wrong here the reading itself will tell.
func (p *Pages) readAhead(ctx context.Context, list []string) {
	for _, path := range list {
		f, err := p.openFile(ctx, path)
		if err != nil {
			continue
		}
		_ = unix.Fadvise(int(f.Fd()), 0, 0, unix.FADV_WILLNEED)
		_ = f.Close() // only read from
	}
}

// Page reads a page of a relation; false if there is no such page.
func (p *Pages) Page(f pg.RelFork, n pg.BlockNumber, page []byte) (bool, error) {
	path := datadir.RelPath(f, uint32(n/pg.BlocksPerFile), p.version)
	return p.read(path, int64(n%pg.BlocksPerFile)*pg.BlockSize, page)
}

// SLRUPage reads a page of an SLRU; false if there is no such page.
func (p *Pages) SLRUPage(s pg.SLRUPage, page []byte) (bool, error) {
	return p.read(datadir.SLRUPath(s), int64(s.Page%pg.SLRUPagesPerSegment)*pg.BlockSize, page)
}

// Close waits until nothing is read any more; no page may be asked for then.
func (p *Pages) Close() error {
	p.stop()
	p.warm.Wait()
	var errs []error
	for _, f := range p.files {
		if f != nil {
			errs = append(errs, f.Close())
		}
	}
	return errors.Join(errs...)
}

func (p *Pages) read(path string, at int64, page []byte) (bool, error) {
	f, kept, err := p.file(path)
	if f == nil || err != nil {
		return false, p.fail(err)
	}
	_, err = f.ReadAt(page[:pg.BlockSize], at)
	if !kept {
		_ = f.Close() // only read from
	}
	if errors.Is(err, io.EOF) {
		return false, nil
	}
	return err == nil, p.fail(err)
}

func (p *Pages) fail(err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("read backup %s: %w", p.name, err)
}

// file opens a file, nil if there is none, and says whether it is kept open.
func (p *Pages) file(path string) (f *os.File, kept bool, err error) {
	p.mu.Lock()
	defer p.mu.Unlock()
	if f, ok := p.files[path]; ok {
		return f, true, nil
	}
	f, err = p.openFile(context.Background(), path)
	if errors.Is(err, fs.ErrNotExist) {
		p.files[path] = nil
		return nil, true, nil
	}
	if err != nil || p.opened == maxOpen {
		return f, false, err
	}
	p.files[path] = f
	p.opened++
	return f, true, nil
}

func (p *Pages) openFile(ctx context.Context, path string) (*os.File, error) {
	rc, err := p.tree.open(ctx, path, 0)
	if err != nil {
		return nil, err
	}
	f, ok := rc.(*os.File)
	if !ok {
		return nil, errors.Join(fmt.Errorf("open %s: it cannot be read at places", path), rc.Close())
	}
	return f, nil
}
