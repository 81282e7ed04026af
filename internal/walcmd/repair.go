package walcmd

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"redoubt/internal/compress"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// Repaired is a damaged object that was replaced.
type Repaired struct {
	Key    string // of the object
	Reason string // what was wrong with it
	Aside  string // the key under which it is kept
}

// Repair replaces the stored copies of a segment that are damaged, and only
// these, by the copy in the local directory good, which must be sound and of
// the cluster system. Each damaged object is first stored aside, byte by byte,
// under another key. wal is where the timeline's WAL is, opened with the
// credentials of a repair. What was done is returned with an error, too.
func Repair(ctx context.Context, wal *storage.Store, name, good string, system uint64) ([]Repaired, error) {
	src, err := soundCopy(name, good, system)
	if err != nil {
		return nil, fmt.Errorf("repair %s: %w", name, err)
	}
	defer func() { _ = os.Remove(src.Name()) }() // it was a copy
	defer func() { _ = src.Close() }()           // it was only read
	var done []Repaired
	sound := 0
	for o, err := range wal.List(ctx, name, storage.ListOptions{Dirs: true}) {
		if err != nil {
			return done, fmt.Errorf("repair %s: %w", name, err)
		}
		if o.Dir || o.Irregular || strings.TrimSuffix(o.Key, walfile.CompressionOf(o.Key).Suffix()) != name {
			continue
		}
		r, err := repairOne(ctx, wal, o, name, src, system)
		if err != nil {
			return done, fmt.Errorf("repair %s: %w", o.Key, err)
		}
		if r.Reason == "" {
			sound++
			continue
		}
		done = append(done, r)
	}
	if len(done) == 0 && sound == 0 {
		return nil, fmt.Errorf("repair %s: %w: what is missing is for the WAL backup agent, or archive-push", name, storage.ErrNotExist)
	}
	return done, nil
}

// soundCopy decompresses the local copy of a segment to a temporary file and
// checks it.
func soundCopy(name, dir string, system uint64) (*os.File, error) {
	if walfile.KindOf(name) != wal.SegmentFile {
		return nil, errors.New("it is no segment")
	}
	for _, c := range walfile.All() {
		f, err := os.Open(filepath.Join(dir, name+c.Suffix()))
		if errors.Is(err, os.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		temp, reason, err := unpack(f, name, c, system)
		_ = f.Close() // it was only read
		switch {
		case err != nil:
			return nil, err
		case reason != "":
			return nil, errors.Join(fmt.Errorf("the copy %s is no good: %s", f.Name(), reason), discard(temp))
		}
		return temp, nil
	}
	return nil, fmt.Errorf("%s has no copy of it", dir)
}

// unpack decompresses a segment to a temporary file, and says what is wrong
// with it.
func unpack(r io.Reader, name string, c walfile.Compression, system uint64) (temp *os.File, reason string, err error) {
	if temp, err = os.CreateTemp("", "redoubt-repair-*"); err != nil {
		return nil, "", err
	}
	raw := &marked{r}
	d, err := compress.NewReader(raw, c)
	if err == nil {
		_, err = io.Copy(temp, io.LimitReader(d, pg.MaxSegmentSize+1))
		_ = d.Close() // its errors came with the reads
	}
	var read *readError
	var local *os.PathError
	switch {
	case errors.As(err, &read), errors.As(err, &local):
		return nil, "", errors.Join(err, discard(temp))
	case err != nil:
		return temp, "it can't be decompressed: " + err.Error(), nil
	}
	return temp, checkFile(name, temp, system), nil
}

func discard(f *os.File) error {
	_ = f.Close() // nobody needs what was written
	return os.Remove(f.Name())
}

// repairOne replaces one object if it is damaged.
func repairOne(ctx context.Context, wal *storage.Store, o storage.Object, name string, src *os.File, system uint64) (r Repaired, err error) {
	c := walfile.CompressionOf(o.Key)
	r.Key = o.Key
	if r.Reason, err = judge(ctx, wal, o, name, c, system); err != nil || r.Reason == "" {
		return r, err
	}
	if !slices.Contains(compress.Written(), c) {
		return r, fmt.Errorf("it is damaged, and %s is not written: store it yourself", c)
	}
	r.Aside = o.Key + ".damaged-" + time.Now().UTC().Format("20060102T150405Z")
	if err := keepAside(ctx, wal, o, r.Aside); err != nil {
		return r, fmt.Errorf("keep it aside: %w", err)
	}
	if err := replace(ctx, wal, o.Key, src, c); err != nil {
		return r, err
	}
	now, err := wal.Stat(ctx, o.Key)
	if err != nil {
		return r, err
	}
	if left, err := judge(ctx, wal, now, name, c, system); err != nil || left != "" {
		return r, errors.Join(errors.New("what was stored in its place is no good: "+left), err)
	}
	return r, nil
}

func judge(ctx context.Context, wal *storage.Store, o storage.Object, name string, c walfile.Compression, system uint64) (reason string, err error) {
	rc, err := wal.Open(ctx, o.Key)
	if err != nil {
		return "", err
	}
	defer func() { _ = rc.Close() }() // it was only read
	temp, reason, err := unpack(rc, name, c, system)
	if err != nil {
		return "", err
	}
	return reason, discard(temp)
}

// keepAside copies an object, which must not change meanwhile.
func keepAside(ctx context.Context, wal *storage.Store, o storage.Object, aside string) error {
	rc, err := wal.Open(ctx, o.Key)
	if err != nil {
		return err
	}
	defer func() { _ = rc.Close() }() // it was only read
	if err := wal.Put(ctx, aside, rc, storage.PutOptions{CreateOnly: true}); err != nil {
		return err
	}
	kept, err := wal.Stat(ctx, aside)
	if err != nil {
		return err
	}
	now, err := wal.Stat(ctx, o.Key)
	if err != nil {
		return err
	}
	if kept.Size != o.Size || now.Size != o.Size || now.ETag != o.ETag {
		return errors.New("it changed while it was looked at; try again")
	}
	return nil
}

// replace overwrites an object with the sound copy.
func replace(ctx context.Context, wal *storage.Store, key string, src *os.File, c walfile.Compression) error {
	packed, err := os.CreateTemp("", "redoubt-repair-*")
	if err != nil {
		return err
	}
	defer func() { _ = discard(packed) }() // it is stored, or there is an error
	w, err := compress.NewWriter(packed, c)
	if err != nil {
		return err
	}
	_, err = src.Seek(0, io.SeekStart)
	if err == nil {
		_, err = io.Copy(w, src)
	}
	if cl := w.Close(); err == nil {
		err = cl
	}
	if err == nil {
		_, err = packed.Seek(0, io.SeekStart)
	}
	if err != nil {
		return err
	}
	return wal.Put(ctx, key, packed, storage.PutOptions{})
}
