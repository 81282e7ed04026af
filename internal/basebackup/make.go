package basebackup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"slices"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/storage"
)

// Facts are what a manifest says besides the files.
type Facts struct {
	Major    int
	SystemID uint64
	WAL      []datadir.WALRange // what the snapshot needs to be started on, newest TLI first
}

// Fill writes the files. It is called again where a store was away for too
// long, and must write the same then.
type Fill func(ctx context.Context, t *Tar) (Facts, error)

// marked is the content of the marker.
const marked = "{\"made_by\": \"redoubt\", \"finished_with\": \"" + manifest + "\"}\n"

// Put stores the files and returns their manifest once the tar was read back
// and is what the manifest says. That does not finish the snapshot: Finish
// does. If a tar is there already, it must have the same content; else, or if
// a finished snapshot has another manifest, the error is an ErrConflict.
// About so many bytes will come, 0 if nobody knows.
func (p *Place) Put(ctx context.Context, about int64, fill Fill) ([]byte, error) {
	state, stored, err := p.Look(ctx)
	if err != nil {
		return nil, err
	}
	if state == Absent {
		if err := p.putOnce(ctx, snapshot.Marker, []byte(marked)); err != nil {
			return nil, err
		}
	}
	var w written
	err = p.retry(ctx, func() (err error) {
		w, err = p.once(ctx, about, fill)
		return err
	})
	if err != nil {
		return nil, err
	}
	if stored != nil && !bytes.Equal(stored, w.manifest) {
		return nil, p.differs(stored, w.manifest)
	}
	if _, err := p.Check(ctx, w.manifest); err != nil {
		if errors.Is(err, errNotAsWritten) && !w.uploaded {
			err = fmt.Errorf("%w: %w; look at it, and remove it if it is of no use", ErrConflict, err)
		}
		return nil, err
	}
	return w.manifest, nil
}

// differs says where two manifests do.
func (p *Place) differs(stored, ours []byte) error {
	detail := "it is damaged"
	a, err1 := datadir.ParseManifest(stored)
	b, err2 := datadir.ParseManifest(ours)
	if err1 == nil && err2 == nil {
		detail = "they differ in the WAL they need"
		for _, path := range slices.Sorted(maps.Keys(b.Files)) {
			if a.Files[path] != b.Files[path] {
				detail = "they differ in " + path
				break
			}
		}
		if len(a.Files) != len(b.Files) {
			detail += fmt.Sprintf(" (%d files there, %d here)", len(a.Files), len(b.Files))
		}
	}
	return fmt.Errorf("%w: the snapshot at %s: %s; nothing was overwritten", ErrConflict, p.Store.Location(), detail)
}

// written is what a pass over the files gives.
type written struct {
	manifest []byte
	uploaded bool
}

// once streams the files into the store; where there is a tar, nowhere.
func (p *Place) once(ctx context.Context, about int64, fill Fill) (written, error) {
	_, err := p.Store.Stat(ctx, tarName)
	if errors.Is(err, storage.ErrNotExist) {
		if w, err := p.upload(ctx, about, fill); !errors.Is(err, storage.ErrExist) {
			return w, err
		} // another maker's, or of an attempt of ours whose answer was lost
	} else if err != nil {
		return written{}, err
	}
	m, err := pack(ctx, io.Discard, fill)
	return written{manifest: m}, err
}

// errStopped is what the files' writer meets when the store takes no more.
var errStopped = errors.New("the store takes no more")

func (p *Place) upload(ctx context.Context, about int64, fill Fill) (written, error) {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	pr, pw := io.Pipe()
	var w written
	done := make(chan error, 1)
	go func() {
		var err error
		w.manifest, err = squeeze(ctx, pw, fill)
		_ = pw.CloseWithError(err) // never fails
		done <- err
	}()
	err := p.Store.Put(ctx, tarName, pr, storage.PutOptions{CreateOnly: true, Expect: about, Sweep: true})
	if errors.Is(err, storage.ErrUnsupported) {
		err = p.Store.Put(ctx, tarName, pr, storage.PutOptions{Expect: about}) // nothing was read of it
	}
	_ = pr.CloseWithError(errStopped) // lets the writer end
	if err != nil {
		cancel()
	}
	if ours := <-done; ours != nil && !errors.Is(ours, errStopped) && !errors.Is(ours, context.Canceled) {
		return written{}, ours
	}
	w.uploaded = true
	return w, err
}

// squeeze is pack with compression.
func squeeze(ctx context.Context, w io.Writer, fill Fill) ([]byte, error) {
	z, err := newFrames(w)
	if err != nil {
		return nil, err
	}
	m, err := pack(ctx, z, fill)
	if cl := z.Close(); err == nil {
		err = cl
	}
	return m, err
}

// pack writes the tar and makes its manifest.
func pack(ctx context.Context, w io.Writer, fill Fill) (manifest []byte, err error) {
	defer func() {
		if r := recover(); r != nil {
			err = fmt.Errorf("write a snapshot: panic: %v", r)
		}
	}()
	t := newTar(w)
	f, err := fill(ctx, t)
	if err != nil {
		return nil, err
	}
	if err := t.close(); err != nil {
		return nil, err
	}
	m := &datadir.Manifest{Version: datadir.ManifestVersion(f.Major), SystemIdentifier: f.SystemID, WAL: f.WAL, Files: t.sums}
	maps.DeleteFunc(m.Files, func(name string, _ datadir.ManifestFile) bool { return unlisted(name) })
	return m.Encode(t.time)
}
