package walcmd

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// Place is where the files of one timeline go to and come from.
type Place struct {
	Timeline *storage.Timeline
	Retry    storage.Retry
	// State is a directory for what is remembered between calls; it is made if
	// it can be, and done without if not.
	State string
	// DataDir is PostgreSQL's data directory, whose pg_control says of which
	// cluster files have to be; without one that is not known.
	DataDir string
	// Unchecked hands out files as they are stored.
	Unchecked bool
	Log       *slog.Logger
}

// Identity is walfile's.
type Identity = walfile.Identity

// readFirst reads the first page of a segment, which says of which cluster and
// how long it is.
func readFirst(r io.Reader) (wal.PageHeader, error) {
	page := make([]byte, wal.PageSize)
	if _, err := io.ReadFull(r, page); err != nil {
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			return wal.PageHeader{}, errors.New("it holds not even one page")
		}
		return wal.PageHeader{}, err
	}
	h, err := wal.ParsePageHeader(page)
	if err != nil || h.Major() == 0 || !h.Long() || !pg.ValidSegmentSize(int64(h.SegmentSize)) {
		return wal.PageHeader{}, fmt.Errorf("it does not begin as a WAL segment of PostgreSQL %d to %d does", pg.MinMajor, pg.MaxMajor)
	}
	return h, nil
}

func identityOf(h *wal.PageHeader) Identity {
	return Identity{SegmentSize: int64(h.SegmentSize), SystemID: h.SystemID, Major: h.Major()}
}

// cluster is the system identifier in pg_control, 0 if there is none to read.
func (p *Place) cluster() uint64 {
	if p.DataDir == "" {
		return 0
	}
	data, err := os.ReadFile(filepath.Join(p.DataDir, "global", "pg_control"))
	if err != nil {
		return 0
	}
	c, err := datadir.ParseControl(data)
	if err != nil {
		return 0
	}
	return c.SystemIdentifier
}

// below is the timeline's own directory below State, which depends on the
// bucket too.
func (p *Place) below() string {
	sum := sha256.Sum256([]byte(p.Timeline.Location()))
	return filepath.Join(p.State, p.Timeline.Tenant()+"-"+p.Timeline.ID()+"-"+hex.EncodeToString(sum[:6]))
}

func (p *Place) identityFile() string { return filepath.Join(p.below(), "identity.json") }

// identity is of which cluster the stored WAL is; known is false while there
// is none. What was found out is remembered.
func (p *Place) identity(ctx context.Context) (id Identity, known bool, err error) {
	if data, err := os.ReadFile(p.identityFile()); err == nil && json.Unmarshal(data, &id) == nil && id.SystemID != 0 {
		return id, true, nil
	}
	err = p.Retry.Do(ctx, func() (err error) {
		id, known, err = p.storedIdentity(ctx)
		return err
	})
	if err == nil && known {
		p.remember(id)
	}
	return id, known, err
}

// tries is how many stored segments are opened to find one that can be read.
const tries = 16

func (p *Place) storedIdentity(ctx context.Context) (Identity, bool, error) {
	n := 0
	for e, err := range p.Timeline.List(ctx, "", pg.MinSegmentSize) {
		if err != nil {
			return Identity{}, false, err
		}
		if e.Irregular || e.Kind != wal.SegmentFile && e.Kind != wal.PartialFile {
			continue
		}
		id, err := p.identityBy(ctx, e.Key)
		if err == nil || storage.Transient(err) || errors.Is(err, storage.ErrPermission) {
			return id, err == nil, err
		}
		if n++; n == tries {
			return Identity{}, false, fmt.Errorf("learn of which cluster the WAL at %s is: %w", p.Timeline.Location(), err)
		}
	}
	return Identity{}, false, ctx.Err()
}

func (p *Place) identityBy(ctx context.Context, key string) (Identity, error) {
	rc, err := p.Timeline.Read(ctx, key)
	if err != nil {
		return Identity{}, err
	}
	defer func() { _ = rc.Close() }() // it was only read
	h, err := readFirst(&marked{rc})
	var bad *readError
	switch {
	case errors.As(err, &bad):
		return Identity{}, bad.err
	case err != nil:
		return Identity{}, &storage.DamageError{Location: p.Timeline.Location(), Key: key, Reason: err.Error()}
	}
	return identityOf(&h), nil
}

// marked marks errors of reading, so that they can be told from those of what
// was read.
type marked struct{ r io.Reader }

type readError struct{ err error }

func (e *readError) Error() string { return e.err.Error() }
func (e *readError) Unwrap() error { return e.err }

func (m *marked) Read(p []byte) (int, error) {
	n, err := m.r.Read(p)
	if err != nil && err != io.EOF {
		err = &readError{err}
	}
	return n, err
}

// remember keeps an identity for the next call, if it can.
func (p *Place) remember(id Identity) {
	data, err := json.Marshal(id)
	if err == nil {
		err = writeAtomic(p.identityFile(), data)
	}
	if err != nil && p.Log != nil {
		p.Log.Debug("nothing is remembered for the next call", "error", err)
	}
}

func writeAtomic(path string, data []byte) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.CreateTemp(filepath.Dir(path), ".new-*")
	if err != nil {
		return err
	}
	_, err = f.Write(data)
	if cl := f.Close(); err == nil {
		err = cl
	}
	if err == nil {
		err = os.Rename(f.Name(), path)
	}
	if err != nil {
		_ = os.Remove(f.Name()) // the write's error is what counts
	}
	return err
}
