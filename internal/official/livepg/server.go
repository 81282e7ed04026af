package livepg

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"strings"
	"sync"
	"time"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"github.com/jackc/pgx/v5/pgconn/ctxwatch"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// Server is a running PostgreSQL. Its methods may be called by several
// goroutines; they share one connection.
type Server struct {
	opt  Options
	cfg  *pgx.ConnConfig
	name string
	info Info

	mu   sync.Mutex
	conn queryer
	pace *pacer

	redo  pg.LSN // newest that is known
	reads pg.LSN // known before the newest read began

	memory   *pgx.Conn // to the database that memory was read of last
	memoryDB pg.OID
	noMemory map[pg.OID]bool // databases without the function
}

// queryer is what is wanted of a connection; tests make their own.
type queryer interface {
	Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error)
	IsClosed() bool
	Close(ctx context.Context) error
}

// Info says what the server is.
type Info struct {
	Major          int
	CatalogVersion uint32
	SystemID       uint64
	SegmentSize    int64 // of WAL, bytes
	Standby        bool
	TLI            pg.TLI // of the last checkpoint or restartpoint
	Checksums      bool
}

// connectTimeout bounds connecting where the URL does not.
const connectTimeout = 30 * time.Second

// Open connects and says what is wrong with the server or the role, if
// anything is. The URL is one of libpq's.
func Open(ctx context.Context, location string, o Options) (*Server, error) {
	cfg, err := pgx.ParseConfig(location)
	if err != nil {
		return nil, fmt.Errorf("read the address of the server %s: %w", Redacted(location), redactedError(err))
	}
	quiet(cfg)
	s := newServer(nil, Redacted(location), o)
	s.cfg = cfg
	err = s.again(ctx, func() error {
		conn, err := pgx.ConnectConfig(ctx, cfg.Copy())
		if err == nil {
			s.conn = conn
		}
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("connect to %s: %w", Redacted(location), err)
	}
	if err := s.begin(ctx); err != nil {
		return nil, errors.Join(err, s.Close())
	}
	return s, nil
}

// newServer is a server behind a connection.
func newServer(conn queryer, name string, o Options) *Server {
	o = o.withDefaults()
	s := &Server{opt: o, name: name, conn: conn, noMemory: make(map[pg.OID]bool)}
	s.pace = &pacer{Pace: o.Pace, now: o.now, sleep: o.sleep, note: o.Note, lag: s.lag}
	return s
}

// begin learns what the server is.
func (s *Server) begin(ctx context.Context) error {
	if err := s.checkRights(ctx); err != nil {
		return err
	}
	if err := s.identify(ctx); err != nil {
		return err
	}
	_, err := s.Position(ctx)
	return err
}

// quiet makes a connection one that can write nothing, waits for no lock and
// whose statements are cancelled when their context ends.
func quiet(cfg *pgx.ConnConfig) {
	if cfg.ConnectTimeout == 0 {
		cfg.ConnectTimeout = connectTimeout
	}
	for k, v := range map[string]string{
		"application_name": "redoubt", "default_transaction_read_only": "on", "lock_timeout": "1s",
		"statement_timeout": "5min", "search_path": "pg_catalog", "jit": "off", "max_parallel_workers_per_gather": "0",
	} {
		cfg.RuntimeParams[k] = v
	}
	cfg.BuildContextWatcherHandler = func(c *pgconn.PgConn) ctxwatch.Handler {
		return &pgconn.CancelRequestContextWatcherHandler{Conn: c, DeadlineDelay: 5 * time.Second}
	}
}

// Close closes the connections.
func (s *Server) Close() error {
	ctx, cancel := context.WithTimeout(context.Background(), 5*time.Second)
	defer cancel()
	s.mu.Lock()
	defer s.mu.Unlock()
	err := s.conn.Close(ctx)
	if s.memory != nil {
		err = errors.Join(err, s.memory.Close(ctx))
		s.memory = nil
	}
	return err
}

// Name is the server's address without its password.
func (s *Server) Name() string { return s.name }

// Info says what the server is.
func (s *Server) Info() Info { return s.info }

// Rested is how long reading rested for lag or latency.
func (s *Server) Rested() time.Duration { return s.pace.total }

// row reads the single row of a query, again if that may help.
func (s *Server) row(ctx context.Context, doing, sql string, args []any, dest ...any) error {
	return s.again(ctx, func() error {
		found, err := s.rows(ctx, doing, sql, args, func(r pgx.Rows) error { return r.Scan(dest...) })
		if err == nil && found != 1 {
			err = fmt.Errorf("%s: %d rows, want one", doing, found)
		}
		return err
	})
}

// rows calls fn for each row of a query.
func (s *Server) rows(ctx context.Context, doing, sql string, args []any, fn func(pgx.Rows) error) (n int, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	r, err := s.conn.Query(ctx, sql, args...)
	if err != nil {
		return 0, s.explain(ctx, doing, err)
	}
	defer r.Close()
	for r.Next() {
		n++
		if err := fn(r); err != nil {
			return n, s.explain(ctx, doing, err)
		}
	}
	if err := r.Err(); err != nil {
		return n, s.explain(ctx, doing, err)
	}
	return n, nil
}

func (s *Server) identify(ctx context.Context) error {
	const sql = `SELECT current_setting('server_version_num')::int / 10000, current_setting('block_size')::int,
		(SELECT setting::bigint * CASE unit WHEN '8kB' THEN 8192 WHEN 'kB' THEN 1024 WHEN 'MB' THEN 1048576 ELSE 1 END
		   FROM pg_settings WHERE name = 'wal_segment_size'),
		pg_is_in_recovery(), s.system_identifier, s.catalog_version_no::bigint, i.data_page_checksum_version <> 0,
		(SELECT timeline_id FROM pg_control_checkpoint())
		FROM pg_control_system() s, pg_control_init() i`
	var major, block, tli int
	var segment, system, catalog int64
	err := s.row(ctx, "ask what the server is", sql, nil, &major, &block, &segment, &s.info.Standby, &system, &catalog, &s.info.Checksums, &tli)
	if err != nil {
		return err
	}
	if major < pg.MinMajor || major > pg.MaxMajor {
		return fmt.Errorf("%s is PostgreSQL %d: want %d to %d", s.name, major, pg.MinMajor, pg.MaxMajor)
	}
	if block != pg.BlockSize {
		return fmt.Errorf("%s has blocks of %d bytes: want %d", s.name, block, pg.BlockSize)
	}
	s.info.Major, s.info.SegmentSize, s.info.SystemID = major, segment, uint64(system)
	s.info.CatalogVersion, s.info.TLI = uint32(catalog), pg.TLI(tli)
	return nil
}

// Position is where the server is.
type Position struct {
	Redo pg.LSN // of the last checkpoint, or restartpoint, that is complete
	// Reached is what is flushed, on a standby what is replayed, the record
	// included whose redo is under way if a page that it changed is on disk
	// (UpdateMinRecoveryPoint, access/transam/xlog.c): no page has a later LSN
	// that was read before.
	Reached pg.LSN
	TLI     pg.TLI
}

// reachedSQL is Position.Reached, given pg_control_recovery() as r. What is
// replayed is said after a record's redo only, while pg_control has the end of
// the record before a page with its LSN is written.
const reachedSQL = `CASE WHEN pg_is_in_recovery() THEN greatest(pg_last_wal_replay_lsn(), r.min_recovery_end_lsn) ELSE pg_current_wal_flush_lsn() END`

// Position asks where the server is now.
func (s *Server) Position(ctx context.Context) (p Position, err error) {
	const sql = `SELECT c.redo_lsn::text, greatest(c.timeline_id, r.min_recovery_end_timeline), pg_is_in_recovery(), ` + reachedSQL + `::text
		FROM pg_control_checkpoint() c, pg_control_recovery() r`
	var redo, reached string
	var tli int
	var standby bool
	err = s.row(ctx, "ask where the server is", sql, nil, &redo, &tli, &standby, &reached)
	if err != nil {
		return p, err
	}
	if standby != s.info.Standby {
		return p, fmt.Errorf("%s was promoted while it was read: its history parts from what was read before; read it again", s.name)
	}
	if p.Redo, err = pg.ParseLSN(redo); err == nil {
		p.Reached, err = pg.ParseLSN(reached)
	}
	if err != nil {
		return p, fmt.Errorf("ask where the server is: %w", err)
	}
	p.TLI = pg.TLI(tli)
	s.learn(p.Redo)
	return p, nil
}

// Inserted is up to where the server has made WAL, flushed or not: files of
// relations that an abort removes are gone before its record is flushed
// (smgrDoPendingDeletes after RecordTransactionAbort, access/transam/xact.c).
func (s *Server) Inserted(ctx context.Context) (pg.LSN, error) {
	const sql = `SELECT CASE WHEN pg_is_in_recovery() THEN ` + reachedSQL + ` ELSE pg_current_wal_insert_lsn() END::text FROM pg_control_recovery() r`
	var at string
	if err := s.row(ctx, "ask how far the server's WAL is", sql, nil, &at); err != nil {
		return 0, err
	}
	return pg.ParseLSN(at)
}

func (s *Server) learn(redo pg.LSN) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.redo = max(s.redo, redo)
}

// Redo is the redo pointer that was pg_control's before what Walk or Fetch
// delivers now was read.
func (s *Server) Redo() pg.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.reads
}

// lag is how far standbys are behind, or the server itself if it is one, bytes.
func (s *Server) lag(ctx context.Context) (n int64, err error) {
	const sql = `SELECT CASE WHEN pg_is_in_recovery()
		THEN coalesce(pg_wal_lsn_diff(pg_last_wal_receive_lsn(), pg_last_wal_replay_lsn()), 0)
		ELSE coalesce((SELECT max(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), replay_lsn)) FROM pg_stat_replication), 0) END::bigint`
	err = s.row(ctx, "ask how far replication lags", sql, nil, &n)
	return max(n, 0), err
}

// path is the path of a block's file.
func (s *Server) path(f pg.RelFork, segment uint32) string {
	return datadir.RelPath(f, segment, datadir.VersionDir(s.info.Major, s.info.CatalogVersion))
}

// Redacted is an address without its password.
func Redacted(location string) string {
	if u, err := url.Parse(location); err == nil && u.Scheme != "" {
		q := u.Query()
		for _, k := range []string{"password", "sslpassword"} {
			if q.Has(k) {
				q.Set(k, "xxxxx")
			}
		}
		if u.RawQuery != "" {
			u.RawQuery = q.Encode()
		}
		return u.Redacted()
	}
	scheme, _, _ := strings.Cut(location, "://")
	return scheme + "://…"
}

// redactedError is an error of parsing an address, which may hold its password.
func redactedError(err error) error {
	var p *pgconn.ParseConfigError
	if errors.As(err, &p) {
		return errors.New("it is no address of a PostgreSQL server: want postgres://USER@HOST:PORT/DATABASE")
	}
	return err
}
