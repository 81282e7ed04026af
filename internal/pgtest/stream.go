package pgtest

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgproto3"

	"redoubt/internal/pg"
)

// StreamBackup takes an online base backup as `pg_basebackup -Ft -X none`
// does, by the replication command BASE_BACKUP: base.tar, <oid>.tar for each
// tablespace and backup_manifest go to dir, which is made. PostgreSQL 15 and
// newer. midway, if not nil, is called when the server is sending: once at
// the start and once after mark bytes.
func (c *Cluster) StreamBackup(dir string, mark int64, midway func()) Backup {
	c.t.Helper()
	b, err := c.streamBackup(dir, mark, midway)
	c.check(err)
	return b
}

func (c *Cluster) streamBackup(dir string, mark int64, midway func()) (Backup, error) {
	ctx, cancel := context.WithTimeout(context.Background(), toolTimeout)
	defer cancel()
	if err := os.MkdirAll(dir, 0o755); err != nil {
		return Backup{}, err
	}
	conn, err := pgconn.Connect(ctx, c.DSN("postgres")+" replication=true")
	if err != nil {
		return Backup{}, err
	}
	defer func() { _ = conn.Close(context.Background()) }()
	conn.Frontend().Send(&pgproto3.Query{String: "BASE_BACKUP (LABEL 'pgtest', CHECKPOINT 'fast', MANIFEST 'yes', TABLESPACE_MAP, WAIT false)"})
	if err := conn.Frontend().Flush(); err != nil {
		return Backup{}, err
	}
	s := &backupStream{dir: dir, mark: mark, midway: midway}
	if err := errors.Join(s.receive(ctx, conn), s.closeFile()); err != nil {
		return Backup{}, fmt.Errorf("receive base backup: %w", err)
	}
	b := Backup{Dir: dir}
	if len(s.lsns) != 2 {
		return b, fmt.Errorf("receive base backup: LSNs %v, want start and end", s.lsns)
	}
	b.Start, b.Stop = s.lsns[0], s.lsns[1]
	return b, nil
}

// backupStream writes the archives of one COPY OUT (backup/basebackup_copy.c).
type backupStream struct {
	dir     string
	file    *os.File
	lsns    []pg.LSN // start and end, from the result sets around the COPY
	columns []string // names, of the current result set
	bytes   int64
	mark    int64
	midway  func()
}

func (s *backupStream) receive(ctx context.Context, conn *pgconn.PgConn) error {
	for {
		msg, err := conn.ReceiveMessage(ctx)
		if err != nil {
			return err
		}
		switch m := msg.(type) {
		case *pgproto3.ErrorResponse:
			return pgconn.ErrorResponseToPgError(m)
		case *pgproto3.RowDescription:
			s.columns = nil
			for _, f := range m.Fields {
				s.columns = append(s.columns, string(f.Name))
			}
		case *pgproto3.DataRow:
			if len(s.columns) > 0 && s.columns[0] == "recptr" && len(m.Values) > 0 {
				lsn, err := pg.ParseLSN(string(m.Values[0]))
				if err != nil {
					return err
				}
				s.lsns = append(s.lsns, lsn)
			}
		case *pgproto3.CopyData:
			if err := s.data(m.Data); err != nil {
				return err
			}
		case *pgproto3.ReadyForQuery:
			return nil
		}
	}
}

// data takes one message: n(ame of the next archive), m(anifest begins),
// d(ata), p(rogress).
func (s *backupStream) data(b []byte) error {
	if len(b) == 0 {
		return errors.New("empty message")
	}
	switch b[0] {
	case 'n':
		name, _, ok := strings.Cut(string(b[1:]), "\x00")
		if !ok || name != filepath.Base(name) {
			return fmt.Errorf("archive name %q", b[1:])
		}
		return s.open(name)
	case 'm':
		return s.open("backup_manifest")
	case 'd':
		if s.file == nil {
			return errors.New("data before the first archive")
		}
		if _, err := s.file.Write(b[1:]); err != nil {
			return err
		}
		before := s.bytes
		s.bytes += int64(len(b) - 1)
		if s.midway != nil && (before == 0 || before < s.mark && s.bytes >= s.mark) {
			s.midway()
		}
	}
	return nil
}

func (s *backupStream) open(name string) error {
	if err := s.closeFile(); err != nil {
		return err
	}
	f, err := os.OpenFile(filepath.Join(s.dir, name), os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o644)
	s.file = f
	return err
}

func (s *backupStream) closeFile() error {
	if s.file == nil {
		return nil
	}
	err := s.file.Close()
	s.file = nil
	return err
}
