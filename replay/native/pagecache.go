package native

import (
	"context"

	"redoubt/internal/pg"
	"redoubt/replay"
)

// pageCache keeps WAL pages that one pass reads, up to a limit, for the next
// pass: what came from a bucket need not come from it twice.
type pageCache struct {
	limit int64 // bytes
	size  int64 // bytes held
	held  map[pg.LSN][]byte
}

// fill is src, whose pages are kept as they are read.
func (c *pageCache) fill(src replay.WALSource) replay.WALSource {
	c.held, c.size = make(map[pg.LSN][]byte), 0
	return &cachedSource{WALSource: src, cache: c, filling: true}
}

// empty is src, whose pages come from the cache where it has them and are let go of there.
func (c *pageCache) empty(src replay.WALSource) replay.WALSource {
	return &cachedSource{WALSource: src, cache: c}
}

type cachedSource struct {
	replay.WALSource
	cache   *pageCache
	filling bool
}

// Open starts a stream. That of the source itself is opened when it is needed.
func (s *cachedSource) Open(ctx context.Context, _ pg.LSN) (replay.WALStream, error) {
	return &cachedStream{source: s, ctx: ctx}, ctx.Err()
}

type cachedStream struct {
	source *cachedSource
	ctx    context.Context
	own    replay.WALStream // of the source itself, may be nil
}

func (s *cachedStream) ReadPages(at pg.LSN) (p []byte, err error) {
	c := s.source.cache
	if p, ok := c.held[at]; ok && !s.source.filling {
		delete(c.held, at)
		return p, s.ctx.Err()
	}
	if s.own == nil {
		if s.own, err = s.source.WALSource.Open(s.ctx, at); err != nil {
			return nil, err
		}
	}
	p, err = s.own.ReadPages(at)
	if err == nil && s.source.filling && c.size+int64(len(p)) <= c.limit {
		c.held[at], c.size = p, c.size+int64(len(p))
	}
	return p, err
}

func (s *cachedStream) Close() error {
	if s.own == nil {
		return nil
	}
	return s.own.Close()
}
