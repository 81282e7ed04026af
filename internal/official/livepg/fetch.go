package livepg

import (
	"context"
	"fmt"
	"slices"

	"github.com/jackc/pgx/v5"

	"redoubt/internal/pg"
)

// maxBatch is how many scattered blocks one statement reads.
const maxBatch = 64

// Fetch reads single blocks from the files again and calls fn for those that
// are there, in order of place. Redo is valid within fn.
func (s *Server) Fetch(ctx context.Context, blocks []pg.Block, fn func(pg.Block, []byte) error) error {
	sorted := slices.Clone(blocks)
	slices.SortFunc(sorted, pg.Block.Compare)
	for batch := range slices.Chunk(slices.Compact(sorted), maxBatch) {
		pages, err := s.fetch(ctx, batch)
		if err != nil {
			return err
		}
		for i, p := range pages {
			if p == nil {
				continue
			}
			if err := fn(batch[i], p); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *Server) fetch(ctx context.Context, blocks []pg.Block) ([][]byte, error) {
	const sql = `SELECT n, pg_read_binary_file(path, start, 8192, true), (SELECT redo_lsn::text FROM pg_control_checkpoint())
		FROM unnest($1::text[], $2::bigint[]) WITH ORDINALITY AS t(path, start, n)`
	paths, offsets := make([]string, len(blocks)), make([]int64, len(blocks))
	for i, b := range blocks {
		paths[i] = s.path(b.RelFork, uint32(b.Number/pg.BlocksPerFile))
		offsets[i] = int64(b.Number%pg.BlocksPerFile) * pg.BlockSize
	}
	if err := s.pace.before(ctx); err != nil {
		return nil, err
	}
	known, begin := s.newest(), s.opt.now()
	var out [][]byte
	redo := ""
	err := s.again(ctx, func() error {
		out = make([][]byte, len(blocks))
		_, err := s.rows(ctx, fmt.Sprintf("read %d blocks again", len(blocks)), sql, []any{paths, offsets}, func(r pgx.Rows) error {
			var n int64
			var p []byte
			if err := r.Scan(&n, &p, &redo); err != nil {
				return err
			}
			if n >= 1 && n <= int64(len(out)) && len(p) == pg.BlockSize {
				out[n-1] = p
			}
			return nil
		})
		return err
	})
	if err != nil {
		return nil, err
	}
	if err := s.delivered(known, redo); err != nil {
		return nil, err
	}
	return out, s.pace.after(ctx, len(blocks)*pg.BlockSize, s.opt.now().Sub(begin))
}
