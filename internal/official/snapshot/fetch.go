package snapshot

import (
	"context"
	"errors"
	"io"
	"io/fs"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// fileKey is one file of a permanent relation.
type fileKey struct {
	rel     pg.RelFork
	segment uint32
}

// Fetch reads single blocks again and calls fn once for each that exists, in
// an order of its own; page is valid during the call only. A directory is
// read at these places; tars are read once more, up to the last file wanted.
// Blocks that the snapshot does not have are passed over: the caller, who
// knows the sizes from Walk, does not ask for them.
func (s *Snapshot) Fetch(ctx context.Context, blocks []pg.Block, fn func(b pg.Block, page []byte) error) error {
	want := map[fileKey][]pg.Block{}
	for _, b := range blocks {
		k := fileKey{b.RelFork, uint32(b.Number / pg.BlocksPerFile)}
		want[k] = append(want[k], b)
	}
	for k, list := range want {
		slices.SortFunc(list, pg.Block.Compare)
		want[k] = slices.Compact(list)
	}
	f := &fetcher{fn: fn, page: make([]byte, pg.BlockSize)}
	var err error
	if d, ok := s.src.(*dirSource); ok {
		err = f.directory(ctx, d, want)
	} else if len(want) > 0 {
		err = s.src.each(ctx, f.member(ctx, want))
	}
	switch {
	case f.caller != nil:
		return f.caller
	case ctx.Err() != nil:
		return ctx.Err()
	case err != nil && !errors.Is(err, errEnough):
		return s.fail(err)
	}
	return nil
}

type fetcher struct {
	fn     func(pg.Block, []byte) error
	page   []byte
	caller error // fn's own
}

// directory reads the wanted places, relation by relation.
func (f *fetcher) directory(ctx context.Context, d *dirSource, want map[fileKey][]pg.Block) error {
	keys := make([]fileKey, 0, len(want))
	for k := range want {
		keys = append(keys, k)
	}
	slices.SortFunc(keys, func(a, b fileKey) int { return want[a][0].Compare(want[b][0]) })
	for _, k := range keys {
		path := datadir.RelPath(k.rel, k.segment, d.version)
		if err := f.places(ctx, d.t, path, want[k]); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	return nil
}

// places reads blocks of one file; neighbours share an open.
func (f *fetcher) places(ctx context.Context, t tree, path string, blocks []pg.Block) error {
	for len(blocks) > 0 {
		n := 1
		for n < len(blocks) && blocks[n].Number == blocks[n-1].Number+1 {
			n++
		}
		rc, err := t.open(ctx, path, int64(blocks[0].Number%pg.BlocksPerFile)*pg.BlockSize)
		if err != nil {
			return err
		}
		err = f.read(ctx, rc, blocks[:n], blocks[0].Number)
		_ = rc.Close() // only read from
		if err != nil {
			return err
		}
		blocks = blocks[n:]
	}
	return nil
}

// member picks the wanted blocks of a tar's entry.
func (f *fetcher) member(ctx context.Context, want map[fileKey][]pg.Block) func(*member) error {
	return func(m *member) error {
		c := datadir.Classify(m.path)
		if m.kind != file || c.Class != datadir.Relation || c.Rel.Temp {
			return nil
		}
		k := fileKey{c.Rel.RelFork, c.Rel.Segment}
		blocks, ok := want[k]
		if !ok {
			return nil
		}
		rc, err := m.open(ctx)
		if err != nil {
			return err
		}
		defer func() { _ = rc.Close() }() // only read from
		if err := f.read(ctx, rc, blocks, pg.BlockNumber(c.Rel.Segment)*pg.BlocksPerFile); err != nil {
			return err
		}
		delete(want, k)
		if len(want) == 0 {
			return errEnough
		}
		return nil
	}
}

// read hands over blocks, ascending, from a stream that starts at block at;
// it ends early where the file does.
func (f *fetcher) read(ctx context.Context, r io.Reader, blocks []pg.Block, at pg.BlockNumber) error {
	for _, b := range blocks {
		for ; at <= b.Number; at++ {
			if err := ctx.Err(); err != nil {
				return err
			}
			_, err := io.ReadFull(r, f.page)
			if err == io.EOF || err == io.ErrUnexpectedEOF { // the file ends; where an archive is cut, the error says so and is neither
				return nil
			}
			if err != nil {
				return err
			}
		}
		if f.caller = f.fn(b, f.page); f.caller != nil {
			return f.caller
		}
	}
	return nil
}
