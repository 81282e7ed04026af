package livepg

import (
	"context"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// read reads a part of a file; nil if the file is not there, shorter than
// asked for where it ends.
func (s *Server) read(ctx context.Context, path string, offset, length int64) (data []byte, err error) {
	const sql = `SELECT pg_read_binary_file($1, $2, $3, true), (SELECT redo_lsn::text FROM pg_control_checkpoint())`
	if err := s.pace.before(ctx); err != nil {
		return nil, err
	}
	var redo string
	known, begin := s.newest(), s.opt.now()
	err = s.row(ctx, "read "+path, sql, []any{path, offset, length}, &data, &redo)
	if err != nil {
		return nil, err
	}
	if err := s.delivered(known, redo); err != nil {
		return nil, err
	}
	if int64(len(data)) > length {
		return nil, fmt.Errorf("read %s: %d bytes, asked for %d", path, len(data), length)
	}
	return data, s.pace.after(ctx, len(data), s.opt.now().Sub(begin))
}

func (s *Server) newest() pg.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.redo
}

// delivered notes that what is handed over now was read when known was known
// already, and which redo pointer is known since.
func (s *Server) delivered(known pg.LSN, redo string) error {
	l, err := pg.ParseLSN(redo)
	if err != nil {
		return fmt.Errorf("read the redo pointer: %w", err)
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.reads, s.redo = known, max(s.redo, l)
	return nil
}

// smallFile bounds files that are read whole: SLRU segments are 256 KiB.
const smallFile = 1 << 20

// Walk streams the files once: relations first, directory by directory, then
// SLRUs and pg_control. Files that vanish meanwhile have no size: EndRelation is called
// for those only that were there. A last block of which only a part is there
// yet is left out.
func (s *Server) Walk(ctx context.Context, v datadir.Visitor) error {
	dirs, err := s.directories(ctx)
	if err != nil {
		return err
	}
	for _, dir := range dirs {
		if err := s.walkRelations(ctx, dir, v); err != nil {
			return err
		}
	}
	for slru := range pg.SLRU(pg.NumSLRUs) {
		dirs = append(dirs, slru.String())
	}
	dirs = append(dirs, "pg_twophase")
	for _, dir := range dirs {
		if err := s.walkFiles(ctx, dir, v); err != nil {
			return err
		}
	}
	return s.file(ctx, datadir.ControlPath, v)
}

func (s *Server) walkRelations(ctx context.Context, dir string, v datadir.Visitor) error {
	f, unlogged, err := s.folder(ctx, dir)
	if err != nil {
		return err
	}
	for _, rel := range f.rels {
		if f.unread(rel, unlogged) {
			err = v.EndRelation(rel, f.sizes[rel.Path]/pg.BlockSize*pg.BlockSize)
		} else {
			err = s.relation(ctx, rel, v)
		}
		if err != nil {
			return err
		}
	}
	return nil
}

func (s *Server) walkFiles(ctx context.Context, dir string, v datadir.Visitor) error {
	f, _, err := s.folder(ctx, dir)
	if err != nil {
		return err
	}
	for _, path := range f.files {
		if err := s.file(ctx, path, v); err != nil {
			return err
		}
	}
	return nil
}

// relation reads one file of a relation to its end.
func (s *Server) relation(ctx context.Context, f datadir.RelFile, v datadir.Visitor) error {
	chunk := int64(s.opt.ChunkPages) * pg.BlockSize
	first := int64(f.Segment) * pg.BlocksPerFile
	size, there := int64(0), false
	for size < pg.BlocksPerFile*pg.BlockSize {
		data, err := s.read(ctx, f.Path, size, min(chunk, pg.BlocksPerFile*pg.BlockSize-size))
		if err != nil {
			return err
		}
		if data == nil {
			break
		}
		there = true
		whole := int64(len(data)) / pg.BlockSize * pg.BlockSize
		if whole > 0 {
			if err := v.Blocks(f, pg.BlockNumber(first+size/pg.BlockSize), data[:whole]); err != nil {
				return err
			}
		}
		if size += whole; whole < chunk {
			break
		}
	}
	if !there && size == 0 {
		return nil
	}
	return v.EndRelation(f, size)
}

// file delivers a small file, if it is there.
func (s *Server) file(ctx context.Context, path string, v datadir.Visitor) error {
	data, err := s.ReadFile(ctx, path)
	if err != nil || data == nil {
		return err
	}
	return v.File(path, data)
}

// ReadFile reads a small file whole, nil if it is not there. pg_control is read
// until its CRC is right: a read may meet it half written.
func (s *Server) ReadFile(ctx context.Context, path string) (data []byte, err error) {
	const tries = 5
	for range tries {
		if data, err = s.read(ctx, path, 0, smallFile); err != nil || path != datadir.ControlPath {
			return data, err
		}
		if _, err = datadir.ParseControl(data); err == nil {
			return data, nil
		}
	}
	return nil, fmt.Errorf("read %s: %w", path, err)
}

// Dropped reports whether a database is not one to connect to any more: DROP
// DATABASE marks it before it removes the files, and writes the record when
// they are gone (dropdb, commands/dbcommands.c; remove_dbtablespaces).
func (s *Server) Dropped(ctx context.Context, db pg.OID) (dropped bool, err error) {
	if db == 0 {
		return false, nil
	}
	const sql = "SELECT NOT EXISTS (SELECT FROM pg_database WHERE oid = $1 AND datconnlimit <> -2)"
	err = s.row(ctx, "look for a database", sql, []any{uint32(db)}, &dropped)
	return dropped, err
}

// Size is a fork's size in blocks, -1 if it has no file.
func (s *Server) Size(ctx context.Context, f pg.RelFork) (int64, error) {
	total := int64(-1)
	for segment := uint32(0); ; segment++ {
		size := int64(-1)
		err := s.row(ctx, "look at "+s.path(f, segment), "SELECT coalesce((pg_stat_file($1, true)).size, -1)", []any{s.path(f, segment)}, &size)
		if err != nil || size < 0 {
			return total, err
		}
		total = int64(segment)*pg.BlocksPerFile + size/pg.BlockSize
		if size < pg.BlocksPerFile*pg.BlockSize {
			return total, nil
		}
	}
}
