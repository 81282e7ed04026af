package snapshot

import (
	"context"
	"errors"
	"fmt"
	"hash"
	"io"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// chunk is how much of a relation is handed over at once.
const chunk = 256 << 10

// Lender is a datadir.Visitor that wants relations in memory of its own.
type Lender interface {
	// Lend returns n bytes for the next run of pages. What Blocks is handed is
	// their beginning.
	Lend(n int) ([]byte, error)
}

// Chooser is a datadir.Visitor that does not want all pages.
type Chooser interface {
	// Wants says how many blocks from first on, at least one and at most limit, are
	// alike in that they are wanted or are not, and which.
	Wants(f datadir.RelFile, first pg.BlockNumber, limit int) (n int, wanted bool)
}

// Walk streams the files of the snapshot to v, each once, in the order in
// which they are stored: relations by chunks of whole pages, small files
// whole. Relations of every persistence and fork are delivered; what holds no
// pages (WAL, logs, statistics, temporary files, slots) is not, but for
// configuration of up to 1 MiB. If there is a backup_manifest of this very backup, the files are checked
// against it, and Problems is complete afterwards.
//
// If v is a Lender, relations are read into what it lends. If it is a Chooser,
// what it does not want of them is passed over where no checksum of the file is
// to be made and reading can go on anywhere.
//
// An error of v ends the walk and is returned as it is. Any other error means
// that the snapshot could not be read whole; what was delivered until then is
// not all of it. After a walk without error, Info is complete.
func (s *Snapshot) Walk(ctx context.Context, v datadir.Visitor) error {
	w := &walker{v: v, g: newGather(), sums: newVerifier(s.manifest, s.form == Tar && s.broken == nil), buf: make([]byte, chunk)}
	w.g.manifest = s.manifest
	if err := s.src.each(ctx, w.member(ctx)); err != nil {
		return s.walkFail(ctx, w, err)
	}
	info, err := s.finish(ctx, w)
	if err == nil {
		err = s.lateManifest(ctx, w, &info)
	}
	if err != nil {
		return s.walkFail(ctx, w, err)
	}
	s.info, s.problems = info, nil
	switch owned := s.manifest != nil && info.owns(s.manifest); {
	case owned, s.manifest == nil && (info.Online || s.marked):
		s.problems = slices.Concat(s.broken, w.sums.finish(&info))
	case s.marked:
		s.problems = []Problem{{datadir.ManifestPath, "starts at " + s.manifest.Start().String() + ", and the snapshot at " + info.Redo.String() + ": they are not of one snapshot"}}
	default:
		s.manifest = nil // so that nothing is said of it
	}
	return nil
}

func (s *Snapshot) walkFail(ctx context.Context, w *walker, err error) error {
	switch {
	case w.visitor != nil:
		return w.visitor
	case ctx.Err() != nil:
		return ctx.Err()
	}
	return s.fail(err)
}

// finish checks that the snapshot is whole and is what it was taken for.
func (s *Snapshot) finish(ctx context.Context, w *walker) (Info, error) {
	info, err := w.g.info(s.form)
	if err != nil {
		return info, err
	}
	if err := w.g.complete(&info); err != nil {
		return info, err
	}
	if s.info.Known && (info.Online != s.info.Online || info.Redo != s.info.Redo || info.StartTLI != s.info.StartTLI) {
		return info, fmt.Errorf("it was taken for one that starts at %s (online: %t), and starts at %s (online: %t): it changed, or a backup_label stands behind pg_control",
			s.info.Redo, s.info.Online, info.Redo, info.Online)
	}
	return info, s.unchanged(ctx)
}

// lateManifest uses a manifest that a tar holds itself.
func (s *Snapshot) lateManifest(ctx context.Context, w *walker, info *Info) error {
	late := w.sums.late
	w.sums.late = nil
	if w.manifest == nil {
		return nil
	}
	s.setManifest(w.manifest)
	if s.manifest == nil || !info.owns(s.manifest) {
		return nil
	}
	info.setManifest(s.manifest)
	if w.sums.settle(s.manifest, late) {
		return nil
	}
	again := &walker{g: newGather(), sums: newVerifier(s.manifest, false), buf: w.buf}
	w.sums = again.sums
	return s.src.each(ctx, again.member(ctx))
}

// walker hands members to a visitor and to the checks.
type walker struct {
	v        datadir.Visitor // nil: only check sums
	g        *gather
	sums     *verifier
	buf      []byte
	outline  bool   // no pages
	manifest []byte // content of a backup_manifest within a tar
	visitor  error  // the visitor's own
}

func (w *walker) member(ctx context.Context) func(*member) error {
	return func(m *member) error {
		w.g.path(m)
		switch {
		case m.kind == file:
			return w.file(ctx, m)
		case m.kind == folder || !matters(m.path):
			return nil
		case m.kind == link && datadir.Classify(m.path).Class == datadir.TablespaceFolder:
			return nil // gather wants what it leads to
		case m.kind == link:
			return fmt.Errorf("refuse %s: it is a symbolic link; only those directly below %s are followed", m.path, tablespaces)
		}
		return fmt.Errorf("refuse %s: it is neither a file nor a directory", m.path)
	}
}

func (w *walker) file(ctx context.Context, m *member) error {
	c := datadir.Classify(m.path)
	if c.Class == datadir.IncrementalFile {
		return fmt.Errorf("read %s: %w", m.path, datadir.ErrIncremental)
	}
	h := w.sums.begin(m.path, m.size)
	deliver := w.v != nil && c.Class != datadir.Ignored && c.Class != datadir.TablespaceFolder &&
		(c.Class != datadir.BackupManifest || w.sums.late != nil) && (c.Class != datadir.ConfigFile || m.size <= maxSmall)
	if h == nil && !deliver {
		return nil
	}
	if w.outline && c.Class == datadir.Relation {
		if err := fits(c.Rel, m.size); err != nil {
			return err
		}
		return w.told(w.v.EndRelation(c.Rel, m.size))
	}
	rc, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = rc.Close() }() // only read from
	r := &exactly{ctx: ctx, r: rc, left: m.size, path: m.path}
	var in io.Reader = r
	if h != nil {
		in = io.TeeReader(r, h)
	}
	switch {
	case !deliver:
		_, err = io.CopyBuffer(struct{ io.Writer }{io.Discard}, in, w.buf)
	case c.Class == datadir.Relation:
		err = w.relation(c.Rel, m.size, in, w.chooser(rc, h, r))
	default:
		err = w.small(m, c, in)
	}
	if err == nil {
		w.sums.end(m.path, m.size, h)
	}
	return err
}

// chooser is how what the visitor does not want of a file is passed over, nil
// if it cannot be.
func (w *walker) chooser(rc io.Reader, h hash.Hash, r *exactly) *chooser {
	c, ok := w.v.(Chooser)
	s, seeks := rc.(io.Seeker)
	if !ok || !seeks || h != nil {
		return nil
	}
	return &chooser{c, s, r}
}

type chooser struct {
	Chooser
	file io.Seeker
	left *exactly
}

// next passes over what is not wanted of the size bytes from block first on,
// and says how much that was and how much is to be read then. The last page is
// always read: where the file was cut, that fails.
func (c *chooser) next(f datadir.RelFile, first, size int64) (pass, read int64, err error) {
	last := (size - 1) / pg.BlockSize * pg.BlockSize
	for read = size - last; pass < last; {
		n, wanted := c.Wants(f, pg.BlockNumber(first+pass/pg.BlockSize), int(min(last-pass, chunk)/pg.BlockSize))
		if wanted {
			read = int64(n) * pg.BlockSize
			break
		}
		pass += int64(n) * pg.BlockSize
	}
	if pass > 0 {
		_, err = c.file.Seek(pass, io.SeekCurrent)
		c.left.left -= pass
	}
	return pass, read, err
}

// relation streams a file of a relation.
func (w *walker) relation(f datadir.RelFile, size int64, r io.Reader, c *chooser) error {
	first := int64(f.Segment) * pg.BlocksPerFile
	if err := fits(f, size); err != nil {
		return err
	}
	for left := size; left > 0; {
		n := min(left, chunk)
		if c != nil {
			pass, read, err := c.next(f, first, left)
			if err != nil {
				return err
			}
			n, left, first = read, left-pass, first+pass/pg.BlockSize
		}
		b, err := w.room(int(n))
		if err != nil {
			return w.told(err)
		}
		if _, err := io.ReadFull(r, b); err != nil {
			return err
		}
		left -= int64(len(b))
		pages := b[:len(b)/pg.BlockSize*pg.BlockSize]
		if len(pages) > 0 {
			if err := w.told(w.v.Blocks(f, pg.BlockNumber(first), pages)); err != nil {
				return err
			}
		}
		first += int64(len(pages) / pg.BlockSize)
	}
	if err := atEnd(r); err != nil {
		return err
	}
	return w.told(w.v.EndRelation(f, size))
}

// fits refuses a file that is larger than one of a relation can be.
func fits(f datadir.RelFile, size int64) error {
	limit := min(pg.BlocksPerFile, int64(pg.InvalidBlock)-int64(f.Segment)*pg.BlocksPerFile) * pg.BlockSize
	if size > limit {
		return fmt.Errorf("read %s: it has %d bytes, and no relation file has more than %d", f.Path, size, limit)
	}
	return nil
}

// room is memory for the next n bytes of a relation.
func (w *walker) room(n int) ([]byte, error) {
	if l, ok := w.v.(Lender); ok {
		return l.Lend(n)
	}
	return w.buf[:n], nil
}

// small hands a small file over whole.
func (w *walker) small(m *member, c datadir.PathInfo, r io.Reader) error {
	limit := int64(maxSmall)
	switch c.Class {
	case datadir.SLRUSegment:
		limit = datadir.SLRUSegmentSize
	case datadir.BackupManifest:
		limit = maxManifest
	case datadir.TwoPhaseFile:
		limit = maxTwoPhase
	}
	content, err := readSmall(r, m.path, limit)
	if err != nil {
		return err
	}
	if c.Class == datadir.BackupManifest {
		w.manifest = content
		return nil
	}
	if err := w.g.content(m.path, content); err != nil {
		return err
	}
	return w.told(w.v.File(m.path, content))
}

// told remembers an error as the visitor's.
func (w *walker) told(err error) error {
	if err != nil {
		w.visitor = err
	}
	return err
}

// exactly reads a file whose size is known: more or fewer bytes are an error.
type exactly struct {
	ctx  context.Context
	r    io.Reader
	left int64
	path string
}

func (e *exactly) Read(p []byte) (int, error) {
	if err := e.ctx.Err(); err != nil {
		return 0, err
	}
	n, err := e.r.Read(p)
	e.left -= int64(n)
	switch {
	case e.left < 0:
		return n, fmt.Errorf("read %s: it grew while it was read; a server runs on it, or the copy is not finished", e.path)
	case err == io.EOF && e.left > 0:
		return n, fmt.Errorf("read %s: it ends %d bytes early: it was cut while it was read", e.path, e.left)
	case err != nil && err != io.EOF:
		return n, fmt.Errorf("read %s: %w", e.path, err)
	}
	return n, err
}

// atEnd checks that r has nothing left.
func atEnd(r io.Reader) error {
	var b [1]byte
	n, err := io.ReadFull(r, b[:])
	switch {
	case err == io.EOF:
		return nil
	case err == nil && n > 0:
		return errors.New("the file is longer than it said")
	}
	return err
}
