package basebackup

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"syscall"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/storage"
)

// Names of a snapshot's objects, besides snapshot.Marker.
const (
	tarName  = "base.tar.zst"
	manifest = datadir.ManifestPath
	// unproven is the manifest of a snapshot that waits for its WAL. Nobody
	// takes it for a backup_manifest.
	unproven = "backup_manifest.unproven"
)

// ErrConflict says that another content is stored under the snapshot's name.
// Nothing was overwritten.
var ErrConflict = errors.New("another content is stored under this name")

// Place is where one snapshot is kept.
type Place struct {
	Store *storage.Store // of this snapshot alone: <tenant>/<timeline>/snapshots/<name>
	Retry storage.Retry
	Log   *slog.Logger
}

// State is how far a snapshot is.
type State uint8

// The states.
const (
	Absent     State = iota
	Unfinished       // its maker was stopped, or is at it
	Unproven         // whole, and not yet held against its WAL
	Finished
)

// Look says how far the snapshot is, with its manifest if it has one.
func (p *Place) Look(ctx context.Context) (State, []byte, error) {
	for _, c := range []struct {
		key   string
		state State
	}{{manifest, Finished}, {unproven, Unproven}} {
		content, err := p.get(ctx, c.key)
		if err == nil {
			return c.state, content, nil
		}
		if !errors.Is(err, storage.ErrNotExist) {
			return Absent, nil, err
		}
	}
	state, alien := Absent, ""
	err := p.Retry.Do(ctx, func() error {
		state, alien = Absent, ""
		for o, err := range p.Store.List(ctx, "", storage.ListOptions{Dirs: true}) {
			switch {
			case err != nil:
				return err
			case o.Key == snapshot.Marker:
				state = Unfinished
			default:
				alien = o.Key
			}
		}
		return nil
	})
	if err == nil && state == Absent && alien != "" {
		err = fmt.Errorf("%w: at %s there is %s, which Redoubt did not put there", ErrConflict, p.Store.Location(), alien)
	}
	return state, nil, err
}

// Finish makes the stored files, which Put returned the manifest of, a
// snapshot. Nothing may follow it.
func (p *Place) Finish(ctx context.Context, content []byte) error {
	return p.putOnce(ctx, manifest, content)
}

// Wait keeps the manifest of stored files that can't be proven yet, so that
// another day can; it makes no snapshot of them.
func (p *Place) Wait(ctx context.Context, content []byte) error {
	return p.putOnce(ctx, unproven, content)
}

// Check reads the stored tar and holds each file against a manifest.
func (p *Place) Check(ctx context.Context, content []byte) (snapshot.Info, error) {
	var info snapshot.Info
	err := p.retry(ctx, func() error {
		s, err := snapshot.OpenStore(ctx, p.Store, snapshot.Options{Manifest: content})
		if err != nil {
			return err
		}
		defer func() { _ = s.Close() }() // it was only read
		if err := s.Walk(ctx, snapshot.Ignore{}); err != nil {
			return err
		}
		info = s.Info()
		if problems := s.Problems(); len(problems) > 0 {
			return fmt.Errorf("read %s back: %w: %s (%d such problems)", p.Store.Location(), errNotAsWritten, problems[0], len(problems))
		}
		return nil
	})
	return info, err
}

var errNotAsWritten = errors.New("it is not what was written")

// retry tries again what failed for a reason of the moment: only failures of
// the store are, and a full disk is none that making all again would cure.
func (p *Place) retry(ctx context.Context, try func() error) error {
	for n := 1; ; n++ {
		err := try()
		var store *storage.Error
		if err == nil || !errors.As(err, &store) || errors.Is(err, syscall.ENOSPC) || !p.Retry.More(n, err) {
			return err
		}
		p.Log.Warn("the store can't be reached; it is tried again", "location", p.Store.Location(), "attempt", n, "error", err)
		if ended := p.Retry.Pause(ctx, n); ended != nil {
			return fmt.Errorf("%w; before that: %w", ended, err)
		}
	}
}

// putOnce stores a small object, or finds it there with the same content.
func (p *Place) putOnce(ctx context.Context, key string, content []byte) error {
	err := p.Retry.Do(ctx, func() error {
		err := p.Store.Put(ctx, key, bytes.NewReader(content), storage.PutOptions{CreateOnly: true, Sweep: true})
		if errors.Is(err, storage.ErrUnsupported) {
			err = p.putUnconditionally(ctx, key, content)
		}
		return err
	})
	if err != nil && !errors.Is(err, storage.ErrExist) {
		return err
	}
	stored, err := p.get(ctx, key)
	if err == nil && !bytes.Equal(stored, content) {
		err = fmt.Errorf("%w: %s at %s is not what was to be stored", ErrConflict, key, p.Store.Location())
	}
	return err
}

// putUnconditionally is for stores without conditional writes.
func (p *Place) putUnconditionally(ctx context.Context, key string, content []byte) error {
	if _, err := p.Store.Stat(ctx, key); !errors.Is(err, storage.ErrNotExist) {
		if err == nil {
			err = storage.ErrExist
		}
		return err
	}
	return p.Store.Put(ctx, key, bytes.NewReader(content), storage.PutOptions{})
}

// maxManifest bounds what is read as a manifest: some 6 million files.
const maxManifest = 1 << 30

func (p *Place) get(ctx context.Context, key string) (content []byte, err error) {
	err = p.Retry.Do(ctx, func() error {
		rc, err := p.Store.Open(ctx, key)
		if err != nil {
			return err
		}
		defer func() { _ = rc.Close() }() // it was only read
		content, err = io.ReadAll(io.LimitReader(rc, maxManifest))
		return err
	})
	return content, err
}
