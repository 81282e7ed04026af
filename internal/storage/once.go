package storage

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"
	"slices"

	"redoubt/internal/compress"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// Outcome is how a PutOnce succeeded.
type Outcome uint8

// The outcomes.
const (
	Uploaded     Outcome = iota + 1 // it was not there, and is now
	AlreadyThere                    // it was there, with the same content
)

func (o Outcome) String() string {
	switch o {
	case Uploaded:
		return "uploaded"
	case AlreadyThere:
		return "already there"
	}
	return fmt.Sprintf("outcome %d", uint8(o))
}

// Placed says where a file is stored.
type Placed struct {
	Outcome Outcome
	Key     string // with the end of its compression
	Stored  int64  // bytes as stored
}

// vanishings is how often a file may vanish while it is looked at.
const vanishings = 3

// PutOnce stores a file unless it is there already, under PostgreSQL's name
// for it and the end that its compression adds. When it returns nil the file
// is durable. Nothing is ever overwritten: if the name is taken, in whatever
// compression, contents are compared, decompressed; the same content is
// success, another one a *ConflictError.
//
// Of the errors, a *SourceError is about the source, and Transient tells
// whether trying again may help.
func (t *Timeline) PutOnce(ctx context.Context, name string, src Source) (Placed, error) {
	readBack := t.opt.ReadBack
	for n := 0; ; n++ {
		copies, err := t.Find(ctx, name)
		if err != nil {
			return Placed{}, err
		}
		if len(copies) > 0 {
			return t.compared(ctx, copies, src)
		}
		placed, err := t.put(ctx, name, src, PutOptions{CreateOnly: !readBack})
		switch {
		case err == nil:
			return placed, t.alone(ctx, name, placed, src, readBack)
		case errors.Is(err, ErrUnsupported) && !readBack:
			readBack = true
		case !errors.Is(err, ErrExist) || n == vanishings:
			return Placed{}, err
		}
	}
}

// Replace stores a begun segment (NAME.partial) in place of what was stored
// before under that name, whose compression it keeps. Any other file is never
// replaced.
func (t *Timeline) Replace(ctx context.Context, name string, src Source) (Placed, error) {
	if walfile.KindOf(name) != wal.PartialFile {
		return Placed{}, t.store.fail("replace", name, fmt.Errorf("%w: only a .partial file is ever replaced", ErrKey))
	}
	copies, err := t.Find(ctx, name)
	if err != nil {
		return Placed{}, err
	}
	as := *t
	if len(copies) > 0 && slices.Contains(compress.Written(), walfile.CompressionOf(copies[0].Key)) {
		as.opt.Compression = walfile.CompressionOf(copies[0].Key)
	}
	return as.put(ctx, name, src, PutOptions{})
}

// Compare holds the stored copies of a file against a source, decompressed:
// nil if there are some and all are the same, a *ConflictError if one is not,
// ErrNotExist if there is none.
func (t *Timeline) Compare(ctx context.Context, name string, src Source) error {
	copies, err := t.Find(ctx, name)
	if err != nil {
		return err
	}
	if len(copies) == 0 {
		return t.store.fail("look up", name, ErrNotExist)
	}
	_, err = t.compared(ctx, copies, src)
	return err
}

// compared is the outcome for copies that are there.
func (t *Timeline) compared(ctx context.Context, copies []Object, src Source) (Placed, error) {
	ours, err := digestOf(src)
	if err != nil {
		return Placed{}, err
	}
	for _, o := range copies {
		if err := t.same(ctx, o, ours); err != nil {
			return Placed{}, err
		}
	}
	return Placed{Outcome: AlreadyThere, Key: copies[0].Key, Stored: copies[0].Size}, nil
}

// alone makes sure of what was just created: that it has the size that was
// sent, that nobody else stored the file in another compression meanwhile, and,
// if it had to be put without a condition, that it is ours.
func (t *Timeline) alone(ctx context.Context, name string, placed Placed, src Source, readBack bool) error {
	copies, err := t.Find(ctx, name)
	if err != nil {
		return err
	}
	i := slices.IndexFunc(copies, func(o Object) bool { return o.Key == placed.Key })
	if i < 0 {
		return t.store.fail("store", placed.Key, errors.New("it was stored, but a listing doesn't show it"))
	}
	if len(copies) > 1 || readBack || copies[i].Size != placed.Stored {
		_, err = t.compared(ctx, copies, src)
	}
	return err
}

func (t *Timeline) put(ctx context.Context, name string, src Source, opt PutOptions) (Placed, error) {
	r, err := src.open()
	if err != nil {
		return Placed{}, err
	}
	defer func() { _ = r.Close() }() // it was only read
	packed := compressed(r, t.opt.Compression)
	key := name + t.opt.Compression.Suffix()
	if body := r.again(); body != nil && t.opt.Compression == walfile.None {
		err = t.store.Put(ctx, key, body, opt)
		packed.sent = src.Size
	} else {
		err = t.store.Put(ctx, key, packed, opt)
	}
	packed.stop() // nobody reads r from now on
	if bad := r.failure(); bad != nil {
		return Placed{}, bad
	}
	if err != nil {
		return Placed{}, err
	}
	return Placed{Outcome: Uploaded, Key: key, Stored: packed.sent}, nil
}

// same holds a stored copy against a digest.
func (t *Timeline) same(ctx context.Context, o Object, ours Digest) error {
	conflict := &ConflictError{Location: t.Location(), Key: o.Key, Ours: ours}
	if o.Irregular {
		conflict.Damage = ErrIrregular.Error()
		return conflict
	}
	rc, err := t.store.Open(ctx, o.Key)
	if err != nil {
		return err
	}
	defer func() { _ = rc.Close() }() // it was only read
	stored, damage, err := digestStored(rc, walfile.CompressionOf(o.Key))
	if err != nil {
		return err
	}
	if damage == "" && stored == ours {
		return nil
	}
	conflict.Stored, conflict.Damage = stored, damage
	return conflict
}

func digestOf(src Source) (Digest, error) {
	r, err := src.open()
	if err != nil {
		return Digest{}, err
	}
	defer func() { _ = r.Close() }() // it was only read
	h := sha256.New()
	n, err := io.Copy(h, r)
	if err != nil {
		return Digest{}, err
	}
	return Digest{Size: n, SHA256: [32]byte(h.Sum(nil))}, nil
}
