package pageserver

import (
	"context"
	"fmt"
	"iter"
	"slices"
	"sync"

	"redoubt/internal/official/pageserver/wire"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
)

// Side is a timeline as it is at one LSN.
type Side struct {
	client *Client
	lsn    pg.LSN
	leaser Leaser

	mu    sync.Mutex
	lease *held
	sizes map[pg.RelFork]pg.BlockNumber // of forks that were asked for; absent below
	gone  map[pg.RelFork]bool           // asked for, and not there
}

// At is a timeline as it is at an LSN. l gets the lease, the client itself if
// it is nil. The client is closed with the side.
func At(c *Client, lsn pg.LSN, l Leaser) *Side {
	if l == nil {
		l = c
	}
	return &Side{client: c, lsn: normalized(lsn), leaser: l, sizes: make(map[pg.RelFork]pg.BlockNumber), gone: make(map[pg.RelFork]bool)}
}

// normalized is an LSN as leases are kept by: where a page begins, that of the
// first record behind the page's header (normalize_lsn). No record ends between.
// Neon's segments are of 16 MiB (WAL_SEGMENT_SIZE).
func normalized(lsn pg.LSN) pg.LSN { return wal.NextRecord(lsn, pg.DefaultSegmentSize) }

// Name names timeline and LSN in messages.
func (s *Side) Name() string { return s.client.target.String() + " at " + s.lsn.String() }

// LSN is that of the side.
func (s *Side) LSN() pg.LSN { return s.lsn }

// Close lets go of the lease and the connections.
func (s *Side) Close() error {
	s.mu.Lock()
	lease := s.lease
	s.lease = nil
	s.mu.Unlock()
	if lease != nil {
		lease.release()
	}
	return s.client.Close()
}

// guarded reads something under the lease: what was read when the lease was no
// longer held is an error.
func (s *Side) guarded(ctx context.Context, read func() error) error {
	s.mu.Lock()
	if s.lease == nil {
		lease, err := hold(ctx, s.leaser, s.lsn)
		if err != nil {
			s.mu.Unlock()
			return err
		}
		s.lease = lease
	}
	lease := s.lease
	s.mu.Unlock()
	if err := read(); err != nil {
		return err
	}
	if err := lease.valid(); err != nil {
		return &Error{Reason: LeaseLost, Server: s.client.shards[0].server, Doing: "hold the lease of " + s.lsn.String(), Err: err}
	}
	return nil
}

// Sizes returns the blocks of those of the forks that exist.
func (s *Side) Sizes(ctx context.Context, forks []pg.RelFork) (map[pg.RelFork]pg.BlockNumber, error) {
	out := make(map[pg.RelFork]pg.BlockNumber, len(forks))
	s.mu.Lock()
	var unknown []pg.RelFork
	for _, f := range forks {
		if n, ok := s.sizes[f]; ok {
			out[f] = n
		} else if !s.gone[f] {
			unknown = append(unknown, f)
		}
	}
	s.mu.Unlock()
	for some := range slices.Chunk(unknown, batch) {
		var got map[pg.RelFork]pg.BlockNumber
		err := s.guarded(ctx, func() (err error) {
			got, err = s.client.Sizes(ctx, s.lsn, some)
			return err
		})
		if err != nil {
			return nil, err
		}
		s.mu.Lock()
		for _, f := range some {
			if n, ok := got[f]; ok {
				s.sizes[f], out[f] = n, n
			} else {
				s.gone[f] = true
			}
		}
		s.mu.Unlock()
	}
	return out, nil
}

// batch is how many blocks are read at a time: 4 MiB.
const batch = 512

// Fetch reads blocks; those that are not there are left out.
func (s *Side) Fetch(ctx context.Context, blocks []pg.Block, fn func(pg.Block, []byte) error) error {
	buf := make([]byte, min(len(blocks), batch)*pg.BlockSize)
	for some := range slices.Chunk(blocks, batch) {
		there, err := s.there(ctx, some)
		if err != nil {
			return err
		}
		if err := s.guarded(ctx, func() error { return s.client.Pages(ctx, s.lsn, there, buf) }); err != nil {
			return err
		}
		for i, b := range there {
			if err := fn(b, buf[i*pg.BlockSize:][:pg.BlockSize]); err != nil {
				return err
			}
		}
	}
	return nil
}

// FetchAt is Fetch of another LSN, which no lease protects: history that is
// collected by then is an error.
func (s *Side) FetchAt(ctx context.Context, lsn pg.LSN, b pg.Block) (page []byte, err error) {
	sizes, err := s.client.Sizes(ctx, lsn, []pg.RelFork{b.RelFork})
	if n, ok := sizes[b.RelFork]; err != nil || !ok || b.Number >= n {
		return nil, err
	}
	page = make([]byte, pg.BlockSize)
	return page, s.client.Pages(ctx, lsn, []pg.Block{b}, page)
}

// there are those of the blocks that lie within their relations.
func (s *Side) there(ctx context.Context, blocks []pg.Block) (out []pg.Block, err error) {
	var forks []pg.RelFork
	seen := make(map[pg.RelFork]bool)
	for _, b := range blocks {
		if !seen[b.RelFork] {
			seen[b.RelFork] = true
			forks = append(forks, b.RelFork)
		}
	}
	sizes, err := s.Sizes(ctx, forks)
	for _, b := range blocks {
		if n, ok := sizes[b.RelFork]; ok && b.Number < n {
			out = append(out, b)
		}
	}
	return out, err
}

// Walk streams everything that is not a relation.
func (s *Side) Walk(ctx context.Context, v datadir.Visitor) error {
	return s.WalkOnly(ctx, datadir.Selection{}, v)
}

// WalkOnly streams what is not a relation, then what is wanted of relations.
func (s *Side) WalkOnly(ctx context.Context, w datadir.Selection, v datadir.Visitor) error {
	if err := s.files(ctx, w, v); err != nil {
		return err
	}
	forks := w.Forks
	if w.More != nil {
		more, err := w.More()
		if err != nil {
			return err
		}
		forks = slices.Concat(forks, more)
		slices.SortFunc(forks, pg.RelFork.Compare)
		forks = slices.Compact(forks)
	}
	sizes, err := s.Sizes(ctx, forks)
	if err != nil {
		return err
	}
	for _, f := range forks {
		size, ok := sizes[f]
		if !ok {
			continue
		}
		file := datadir.RelFile{RelFork: f, Path: datadir.RelPath(f, 0, "")}
		if w.Blocks != nil {
			if err := s.blocks(ctx, file, w.Blocks(f, size), v); err != nil {
				return err
			}
		}
		if err := v.EndRelation(file, int64(size)*pg.BlockSize); err != nil {
			return err
		}
	}
	return nil
}

// blocks streams blocks of one fork, a batch at a time.
func (s *Side) blocks(ctx context.Context, f datadir.RelFile, numbers iter.Seq[pg.BlockNumber], v datadir.Visitor) error {
	some := make([]pg.BlockNumber, 0, batch)
	for n := range numbers {
		if some = append(some, n); len(some) == batch {
			if err := s.runs(ctx, f, some, v); err != nil {
				return err
			}
			some = some[:0]
		}
	}
	return s.runs(ctx, f, some, v)
}

// runs reads some blocks and hands them over in runs of neighbours.
func (s *Side) runs(ctx context.Context, f datadir.RelFile, some []pg.BlockNumber, v datadir.Visitor) error {
	blocks := make([]pg.Block, len(some))
	for i, n := range some {
		blocks[i] = pg.Block{RelFork: f.RelFork, Number: n}
	}
	buf := make([]byte, len(some)*pg.BlockSize)
	if err := s.guarded(ctx, func() error { return s.client.Pages(ctx, s.lsn, blocks, buf) }); err != nil {
		return err
	}
	for from := 0; from < len(some); {
		to := from + 1
		for to < len(some) && some[to] == some[to-1]+1 {
			to++
		}
		if err := v.Blocks(f, some[from], buf[from*pg.BlockSize:to*pg.BlockSize]); err != nil {
			return err
		}
		from = to
	}
	return nil
}

// files streams the base backup's files and, where it has no SLRUs, the
// segments of the pages that are wanted.
func (s *Side) files(ctx context.Context, w datadir.Selection, v datadir.Visitor) error {
	slrus := false
	err := s.guarded(ctx, func() error {
		return s.client.Files(ctx, s.lsn, func(name string, content []byte) error {
			slrus = slrus || datadir.Classify(name).Class == datadir.SLRUSegment
			return v.File(name, content)
		})
	})
	if err != nil || slrus {
		return err
	}
	done := make(map[string]bool)
	for _, p := range w.SLRUs {
		kind, ok := wire.KindOf(p.SLRU)
		if !ok || done[datadir.SLRUPath(p)] {
			continue
		}
		done[datadir.SLRUPath(p)] = true
		var content []byte
		err := s.guarded(ctx, func() (err error) {
			content, err = s.client.SLRUSegment(ctx, s.lsn, kind, p.Page/pg.SLRUPagesPerSegment)
			return err
		})
		if w.MayLack && isAbsent(err) {
			continue
		}
		if err != nil {
			return fmt.Errorf("read %s: %w", datadir.SLRUPath(p), err)
		}
		if err := v.File(datadir.SLRUPath(p), content); err != nil {
			return err
		}
	}
	return nil
}

// DatabaseBlocks is how many blocks the relations of a database have, all forks.
func (s *Side) DatabaseBlocks(ctx context.Context, db pg.OID) (n int64, err error) {
	err = s.guarded(ctx, func() (err error) {
		n, err = s.client.DatabaseSize(ctx, s.lsn, db)
		return err
	})
	return n / pg.BlockSize, err
}

// Keeps says whether a pageserver keeps an SLRU: commit timestamps it does not.
func (s *Side) Keeps(slru pg.SLRU) bool {
	_, ok := wire.KindOf(slru)
	return ok
}

// Problems lists what is wrong with the side's own files: there are none to have any.
func (s *Side) Problems() []string { return nil }
