package snapshot

import (
	"archive/tar"
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"path"
	"strings"

	"redoubt/internal/pg"
)

// Geometry of tars.
const (
	tarBlock = 512
	tarEnd   = 2 * tarBlock // of zeros: the end-of-archive marker
)

// maxSparse is the largest sparse entry that is read; a relation's file is no larger.
const maxSparse = pg.BlocksPerFile * pg.BlockSize

// tarFile is one archive of a snapshot.
type tarFile struct {
	t      tree
	name   string // in t
	prefix string // of its entries' paths: empty, or pg_tblspc/OID
	codec  codec
	opts   *Options
	seen   map[string]bool // files so far, of all archives of the snapshot
}

// each calls fn for the entries of the archive, and checks that it is whole.
func (a *tarFile) each(ctx context.Context, fn func(*member) error) error {
	raw, err := a.t.open(ctx, a.name, 0)
	if err != nil {
		return err
	}
	defer func() { _ = raw.Close() }() // only read from
	m := a.opts.meter()
	in := bufio.NewReaderSize(&countIn{ctx, raw, m}, 256<<10)
	s := &stream{r: in, m: m}
	if a.codec.open != nil {
		d, err := a.codec.open(in, a.opts)
		if err != nil {
			return a.fail("", err)
		}
		defer func() { _ = d.Close() }() // its errors came with its reads
		s.r = d
	}
	if err := a.entries(ctx, s, fn); err != nil {
		return err
	}
	return a.drain(ctx, s, in)
}

// entries reads up to and including the end-of-archive marker.
func (a *tarFile) entries(ctx context.Context, s *stream, fn func(*member) error) error {
	t := tar.NewReader(s)
	last := ""
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		h, err := a.next(t, s)
		if err == io.EOF {
			return nil
		}
		if err != nil {
			return a.fail(last, err)
		}
		last = h.Name
		if err := a.entry(h, t, s, fn); err != nil {
			return err
		}
		if _, err := io.Copy(io.Discard, t); err != nil { // so that next begins at a header
			return a.fail(last, err)
		}
	}
}

// next reads the header of the next entry. A clean io.EOF is the
// end-of-archive marker and nothing else: archive/tar takes the end of the
// file for one too, even behind an extended header.
func (a *tarFile) next(t *tar.Reader, s *stream) (*tar.Header, error) {
	start := (s.pos + tarBlock - 1) / tarBlock * tarBlock
	s.watch, s.nonzero = true, false
	h, err := t.Next()
	s.watch = false
	switch {
	case err == io.EOF && (s.nonzero || s.pos-start != tarEnd):
		return nil, errors.New("it has no end-of-archive marker: it is cut")
	case err != nil && !errors.Is(err, tar.ErrInsecurePath): // such names are refused by cleanPath
		return nil, err
	}
	if sparse(h) {
		if h.Size > maxSparse {
			return nil, fmt.Errorf("refuse sparse entry %.100q: it expands to %d bytes", h.Name, h.Size)
		}
		s.m.out += h.Size
	}
	return h, nil
}

func sparse(h *tar.Header) bool {
	if h.Typeflag == tar.TypeGNUSparse {
		return true
	}
	for k := range h.PAXRecords {
		if strings.HasPrefix(k, "GNU.sparse.") {
			return true
		}
	}
	return false
}

// entry hands one entry to fn.
func (a *tarFile) entry(h *tar.Header, t *tar.Reader, s *stream, fn func(*member) error) error {
	name, err := cleanPath(h.Name)
	if err != nil {
		return a.fail("", err)
	}
	if name == "" {
		if h.Typeflag != tar.TypeDir {
			return a.fail("", fmt.Errorf("refuse entry %.100q: it names the data directory itself and is no directory", h.Name))
		}
		return nil
	}
	m := &member{path: path.Join(a.prefix, name), size: h.Size}
	switch h.Typeflag {
	case tar.TypeReg, tar.TypeGNUSparse:
		if a.seen[m.path] {
			return a.fail("", fmt.Errorf("refuse entry %.100q: it comes twice", h.Name))
		}
		a.seen[m.path] = true
		m.open = func(context.Context) (io.ReadCloser, error) {
			return io.NopCloser(&entryReader{t, a, h.Name}), s.m.check()
		}
	case tar.TypeDir:
		m.kind = folder
	case tar.TypeSymlink:
		m.kind = link
	default:
		return a.fail("", fmt.Errorf("refuse entry %.100q: type %q is no file, directory or symbolic link", h.Name, h.Typeflag))
	}
	return fn(m)
}

// drain reads what follows the marker: padding of zeros, and nothing else.
func (a *tarFile) drain(ctx context.Context, s *stream, in *bufio.Reader) error {
	buf := make([]byte, 64<<10)
	s.watch, s.nonzero = true, false
	for {
		if err := ctx.Err(); err != nil {
			return err
		}
		_, err := s.Read(buf)
		if s.nonzero {
			return a.fail("", errors.New("something follows its end-of-archive marker; archives must not be concatenated"))
		}
		if err == io.EOF {
			break
		}
		if err != nil {
			return a.fail("", err)
		}
	}
	switch _, err := in.ReadByte(); err {
	case io.EOF:
		return nil
	case nil:
		return a.fail("", errors.New("something follows the end of its compressed data"))
	default:
		return a.fail("", err)
	}
}

// fail names the archive and the entry it was at.
func (a *tarFile) fail(at string, err error) error {
	if errors.Is(err, io.ErrUnexpectedEOF) || err == io.EOF {
		err = fmt.Errorf("the archive is cut (%w)", io.ErrUnexpectedEOF)
	}
	if at != "" {
		return fmt.Errorf("read %s, in or behind %s: %w", a.name, at, err)
	}
	return fmt.Errorf("read %s: %w", a.name, err)
}

// entryReader names the archive and the entry in the errors of its reads.
type entryReader struct {
	r    io.Reader
	a    *tarFile
	name string
}

func (r *entryReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = r.a.fail(r.name, err)
	}
	return n, err
}
