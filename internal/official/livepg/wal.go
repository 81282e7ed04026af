package livepg

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// WAL is the WAL of src and, where src has no more, of the server's pg_wal up
// to what the server has flushed.
func (s *Server) WAL(src replay.WALSource) replay.WALSource { return &walSource{src, s} }

type walSource struct {
	replay.WALSource
	server *Server
}

// SystemID is the system identifier of the server.
func (w *walSource) SystemID() uint64 { return w.server.info.SystemID }

// Open fits replay.WALSource.
func (w *walSource) Open(ctx context.Context, from pg.LSN) (replay.WALStream, error) {
	st, err := w.WALSource.Open(ctx, from)
	if err != nil {
		return nil, err
	}
	return &walStream{ctx: ctx, source: w, archived: st}, nil
}

// walStream reads the archive until a segment is missing there, and then the
// server; what the server has removed meanwhile is in the archive.
type walStream struct {
	ctx      context.Context
	source   *walSource
	archived replay.WALStream // nil while the server is read
	reached  pg.LSN           // what the server had flushed when it was asked last
}

// walChunk is how much one read of pg_wal asks for, bytes.
const walChunk = 1 << 20

// ReadPages fits replay.WALStream.
func (w *walStream) ReadPages(at pg.LSN) ([]byte, error) {
	var missing *wal.MissingError
	if w.archived != nil {
		p, err := w.archived.ReadPages(at)
		if !errors.As(err, &missing) {
			return p, err
		}
		err = w.archived.Close()
		if w.archived = nil; err != nil {
			return nil, err
		}
	}
	p, err := w.local(at)
	if err != nil || p != nil {
		return p, err
	}
	if missing == nil { // the archive may have it by now
		if w.archived, err = w.source.WALSource.Open(w.ctx, at); err != nil {
			return nil, err
		}
		return w.archived.ReadPages(at)
	}
	return nil, missing
}

// local reads from pg_wal; nil if the server has not got so far, or has no such file.
func (w *walStream) local(at pg.LSN) ([]byte, error) {
	s := w.source.server
	if at >= w.reached {
		p, err := s.Position(w.ctx)
		if err != nil {
			return nil, err
		}
		if w.reached = p.Reached; at >= w.reached {
			return nil, nil
		}
	}
	size := w.source.SegmentSize()
	n := pg.SegmentOf(at, size)
	end := min((w.reached+wal.PageSize-1)&^(wal.PageSize-1), (n + 1).Start(size), at+walChunk)
	path := "pg_wal/" + pg.SegmentName(s.info.TLI, n, size)
	data, err := s.read(w.ctx, path, int64(at-n.Start(size)), int64(end-at))
	if err != nil {
		return nil, fmt.Errorf("read the server's WAL at %s: %w", at, err)
	}
	if whole := len(data) / wal.PageSize * wal.PageSize; whole > 0 {
		return data[:whole], nil
	}
	return nil, nil
}

// Close fits replay.WALStream.
func (w *walStream) Close() error {
	if w.archived == nil {
		return nil
	}
	return w.archived.Close()
}
