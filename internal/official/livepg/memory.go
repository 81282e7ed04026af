package livepg

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"

	"redoubt/internal/pg"
)

// errNoMemory says that pages in shared buffers cannot be had: the function
// for it is not there, or the role may not use it.
var errNoMemory = errors.New("pages in the server's memory cannot be read")

// Memory reads a block as it is in shared buffers, into which it is read if it
// is not there. It wants Options.MemoryFunction in the block's database
// (docs/live.md): known is false without it, or where the server will not read the block.
// A page from memory is never torn.
func (s *Server) Memory(ctx context.Context, b pg.Block) (p []byte, known bool, err error) {
	p, err = s.readMemory(ctx, b)
	if errors.Is(err, errNoMemory) {
		return nil, false, nil
	}
	return p, err == nil && p != nil, err
}

func (s *Server) readMemory(ctx context.Context, b pg.Block) ([]byte, error) {
	if s.noMemory[b.DB] {
		return nil, errNoMemory
	}
	conn, err := s.memoryConn(ctx, b.DB)
	if err != nil {
		return nil, err
	}
	var p []byte
	sql := "SELECT " + quoted(s.opt.MemoryFunction) + "($1::oid, $2::oid, $3::text, $4::bigint)"
	err = conn.QueryRow(ctx, sql, uint32(b.Spc), uint32(b.Rel), b.Fork.String(), int64(b.Number)).Scan(&p)
	switch {
	case ctx.Err() != nil:
		return nil, context.Cause(ctx)
	case unavailable(err), err != nil && conn.IsClosed():
		s.noMemory[b.DB] = s.noMemory[b.DB] || missing(err)
		return nil, fmt.Errorf("%w: %w", errNoMemory, err)
	case err != nil:
		return nil, fmt.Errorf("read %s from memory: %w", b, err)
	case p != nil && len(p) != pg.BlockSize:
		return nil, fmt.Errorf("read %s from memory: %d bytes, want %d", b, len(p), pg.BlockSize)
	}
	return p, nil
}

// unavailable reports errors that say that the function is not there or not
// allowed, or that it cannot do it now: a lock, a block beyond the end.
func unavailable(err error) bool {
	var p *pgconn.PgError
	return errors.As(err, &p)
}

// missing reports that the function is not there, or not for this role.
func missing(err error) bool {
	var p *pgconn.PgError
	return errors.As(err, &p) && slices.Contains([]string{"42883", "3F000", "42501"}, p.Code) // undefined_function, invalid_schema_name, insufficient_privilege
}

// quoted is a function's name with its schema, quoted.
func quoted(name string) string {
	return pgx.Identifier(strings.SplitN(name, ".", 2)).Sanitize()
}

// memoryConn connects to a block's database: pg_filenode_relation knows the
// relations of its own only. At most one such connection is open.
func (s *Server) memoryConn(ctx context.Context, db pg.OID) (*pgx.Conn, error) {
	if s.cfg == nil {
		return nil, errNoMemory
	}
	if s.memory != nil && (db == 0 || s.memoryDB == db) && !s.memory.IsClosed() {
		return s.memory, nil
	}
	cfg := s.cfg.Copy()
	if db != 0 {
		if err := s.row(ctx, "look for the database", "SELECT datname::text FROM pg_database WHERE oid = $1", []any{uint32(db)}, &cfg.Database); err != nil {
			return nil, fmt.Errorf("%w: %w", errNoMemory, err)
		}
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.memory != nil {
		_ = s.memory.Close(ctx) // nothing is under way on it
		s.memory = nil
	}
	conn, err := pgx.ConnectConfig(ctx, cfg)
	if err != nil {
		return nil, fmt.Errorf("%w: %w", errNoMemory, err)
	}
	s.memory, s.memoryDB = conn, db
	return conn, nil
}
