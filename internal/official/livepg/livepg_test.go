package livepg

import (
	"context"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/jackc/pgx/v5"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
)

func TestHours(t *testing.T) {
	for _, tt := range []struct {
		hours, now string
		want       time.Duration
	}{
		{"", "12:00", 0}, {"22:00-06:00", "23:00", 0}, {"22:00-06:00", "05:59", 0}, {"22:00-06:00", "06:00", 16 * time.Hour},
		{"01:00-05:00", "00:30", 30 * time.Minute}, {"01:00-05:00", "04:00", 0}, {"01:00-05:00", "05:00", 20 * time.Hour},
	} {
		h, err := ParseHours(tt.hours)
		if err != nil {
			t.Fatal(err)
		}
		now, _ := time.Parse("15:04", tt.now)
		if got := h.wait(now); got != tt.want {
			t.Errorf("%s at %s: wait %v, want %v", tt.hours, tt.now, got, tt.want)
		}
	}
	for _, bad := range []string{"22-6", "25:00-01:00", "10:00", "10:00-10:00"} {
		if _, err := ParseHours(bad); err == nil {
			t.Errorf("%q is taken for hours", bad)
		}
	}
}

// clock is a time that only sleeping moves.
type clock struct{ at time.Time }

func (c *clock) now() time.Time { return c.at }

func (c *clock) sleep(_ context.Context, d time.Duration) error {
	c.at = c.at.Add(d)
	return nil
}

func TestPace(t *testing.T) {
	c := &clock{at: time.Unix(1e9, 0)}
	p := &pacer{Pace: Pace{PagesPerSecond: 128, Patience: time.Hour}, now: c.now, sleep: c.sleep}
	start, ctx := c.at, context.Background()
	for range 11 {
		if err := p.before(ctx); err != nil {
			t.Fatal(err)
		}
		if err := p.after(ctx, 128*pg.BlockSize, 0); err != nil {
			t.Fatal(err)
		}
	}
	if took := c.at.Sub(start); took != 10*time.Second {
		t.Errorf("11 reads of 128 pages at 128 pages a second began within %v, want 10s", took)
	}
}

func TestPaceRests(t *testing.T) {
	c := &clock{at: time.Unix(1e9, 0)}
	lag := int64(1000)
	p := &pacer{
		Pace: Pace{MaxLag: 100, MaxLatency: time.Second, Patience: 5 * time.Second}, now: c.now, sleep: c.sleep,
		lag: func(context.Context) (int64, error) { lag -= 500; return lag, nil },
	}
	ctx := context.Background()
	if err := p.before(ctx); err != nil || p.total != time.Second {
		t.Errorf("rested %v, %v; want one second for lag", p.total, err)
	}
	if err := p.after(ctx, 1, 2*time.Second); err != nil || p.total != 3*time.Second {
		t.Errorf("rested %v, %v; want two seconds more for latency", p.total, err)
	}
	lag = 1 << 40
	c.at = c.at.Add(time.Minute)
	if err := p.before(ctx); err == nil || !strings.Contains(err.Error(), "given up") {
		t.Errorf("%v, want an end of patience", err)
	}
}

// TestPaceHours: reading waits for its hours, and says so once.
func TestPaceHours(t *testing.T) {
	hours, err := ParseHours("22:00-06:00")
	if err != nil {
		t.Fatal(err)
	}
	start := time.Date(2026, 3, 1, 20, 30, 10, 0, time.UTC)
	c := &clock{at: start}
	var said []string
	p := &pacer{Pace: Pace{Hours: hours}, now: c.now, sleep: c.sleep, note: func(s string) { said = append(said, s) }}
	for range 2 {
		if err := p.before(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
	if waited := c.at.Sub(start); waited != 89*time.Minute+50*time.Second || len(said) != 1 || !strings.Contains(said[0], "until 22:00") {
		t.Errorf("waited %v and said %q", waited, said)
	}
}

func TestRedacted(t *testing.T) {
	for _, s := range []string{"postgres://me:s3cret@h/db", "postgres://h/db?password=s3cret&user=x", "postgres://me:s3cret@h:port/%zz"} {
		if got := Redacted(s); strings.Contains(got, "s3cret") {
			t.Errorf("%s shows the password", got)
		}
	}
	if _, err := Open(context.Background(), "postgres://me:s3cret@h:notaport/db", Options{}); err == nil || strings.Contains(err.Error(), "s3cret") {
		t.Errorf("%v", err)
	}
}

// breaking closes its connection before query number left.
type breaking struct {
	*pgx.Conn
	left int
}

func (b *breaking) Query(ctx context.Context, sql string, args ...any) (pgx.Rows, error) {
	if b.left--; b.left < 0 {
		_ = b.Conn.PgConn().Conn().Close()
	}
	return b.Conn.Query(ctx, sql, args...)
}

// counts counts what a walk delivers.
type counts struct{ blocks, files, ends int }

func (c *counts) Blocks(_ datadir.RelFile, _ pg.BlockNumber, p []byte) error {
	c.blocks += len(p) / pg.BlockSize
	return nil
}
func (c *counts) EndRelation(datadir.RelFile, int64) error { c.ends++; return nil }
func (c *counts) File(string, []byte) error                { c.files++; return nil }

// TestServer: rights, a walk, a connection that is lost at any query, cancelling.
func TestServer(t *testing.T) {
	c := pgtest.Server(t, 15)
	ctx := context.Background()
	c.Exec("CREATE ROLE reader LOGIN", "CREATE TABLE t AS SELECT i FROM generate_series(1, 1000) i")
	dsn := c.DSN("postgres") + " user=reader"
	_, err := Open(ctx, dsn, Options{})
	var rights *RightsError
	if !errors.As(err, &rights) || len(rights.Missing) != 3 || !strings.Contains(err.Error(), `GRANT EXECUTE ON FUNCTION pg_catalog.pg_ls_dir(text,boolean,boolean) TO "reader";`) {
		t.Fatalf("without rights: %v", err)
	}
	c.Exec(Grants("reader")...)
	s, err := Open(ctx, dsn, Options{})
	if err != nil {
		t.Fatal(err)
	}
	var all counts
	if err := s.Walk(ctx, &all); err != nil || all.blocks < 800 || all.files < 5 {
		t.Fatalf("walk: %+v, %v", all, err)
	}
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if got := c.Query("SELECT has_table_privilege('reader', 't', 'SELECT')"); got != "f" {
		t.Errorf("the reader may read tables: %s", got)
	}
	limited := Options{Pace: Pace{MaxLag: 1 << 20}}
	if _, err := Open(ctx, dsn, limited); err == nil || !strings.Contains(err.Error(), `GRANT pg_read_all_stats TO "reader"`) {
		t.Errorf("a limit to a lag that the role can't see: %v", err)
	}
	c.Exec("GRANT pg_read_all_stats TO reader")
	if s, err = Open(ctx, dsn, limited); err != nil {
		t.Fatal(err)
	}
	if err := errors.Join(s.Walk(ctx, &all), s.Close()); err != nil {
		t.Errorf("with a limit to the lag: %v", err)
	}
	lost(t, c, dsn)
	cancelled(t, c, dsn)
	cutOff(t, c)
}

// lost breaks the connection at query 0, 1, 2, 4, 8 and so on until a walk gets through.
func lost(t *testing.T, c *pgtest.Cluster, dsn string) {
	t.Helper()
	ctx := context.Background()
	for n := 0; ; n = max(1, n*2) {
		conn, err := pgx.Connect(ctx, dsn)
		if err != nil {
			t.Fatal(err)
		}
		s := newServer(&breaking{conn, n}, "test", Options{})
		if err = s.begin(ctx); err == nil {
			err = s.Walk(ctx, &counts{})
		}
		_ = s.Close()
		if err == nil {
			break
		}
		if !strings.Contains(err.Error(), "test: ") {
			t.Errorf("query %d: %v does not name the server", n, err)
		}
		if n > 1<<20 {
			t.Fatal("no walk gets through")
		}
	}
	if err := c.TryExec("postgres", "SELECT 1"); err != nil {
		t.Error(err)
	}
}

// cancelled ends a walk while it rests; the server has no session of it then.
func cancelled(t *testing.T, c *pgtest.Cluster, dsn string) {
	t.Helper()
	ctx, cancel := context.WithCancelCause(context.Background())
	s, err := Open(ctx, dsn, Options{Pace: Pace{PagesPerSecond: 1}})
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	err = s.Walk(ctx, stopper{func() {
		// One session, in no transaction: no lock, and nothing for vacuum to wait for.
		const sql = `SELECT count(*) || ' ' || count(xact_start) || ' ' || count(backend_xmin) || ' ' ||
			(SELECT count(*) FROM pg_locks JOIN pg_stat_activity USING (pid) WHERE application_name = 'redoubt')
			FROM pg_stat_activity WHERE application_name = 'redoubt'`
		if got := c.Query(sql); got != "1 0 0 0" {
			t.Errorf("sessions, transactions, snapshots, locks: %s, want 1 0 0 0", got)
		}
		cancel(why)
	}})
	if !errors.Is(err, why) {
		t.Errorf("walk ended with %v, want %v", err, why)
	}
	if err := s.Close(); err != nil {
		t.Error(err)
	}
	for i := 0; c.Query("SELECT count(*) FROM pg_stat_activity WHERE application_name = 'redoubt'") != "0"; i++ {
		if i > 600 {
			t.Fatal("the server still has the session")
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// stopper calls a function at the first blocks.
type stopper struct{ stop func() }

func (s stopper) Blocks(datadir.RelFile, pg.BlockNumber, []byte) error { s.stop(); return nil }
func (stopper) EndRelation(datadir.RelFile, int64) error               { return nil }
func (stopper) File(string, []byte) error                              { return nil }

// cutOff: a standby that ends the connection between two statements is connected
// to again.
func cutOff(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	b := c.BaseBackup(c.Dir("backups") + "/base")
	standby := c.Standby(b)
	ctx := context.Background()
	s, err := Open(ctx, standby.DSN("postgres")+" user=reader", Options{})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	end := "SELECT count(pg_terminate_backend(pid)) FROM pg_stat_activity WHERE application_name = 'redoubt'"
	for range 3 {
		if n := standby.Query(end); n != "1" {
			t.Fatalf("%s sessions ended", n)
		}
		if _, err := s.Position(ctx); err != nil {
			t.Fatal(err)
		}
	}
	lagging(t, c, standby)
	standby.Stop(pgtest.Fast)
	if _, err := s.Position(ctx); err == nil || !strings.Contains(err.Error(), "again") {
		t.Errorf("a standby that is gone: %v", err)
	}
}

// lagging: reading rests while a standby is too far behind, and is given up.
func lagging(t *testing.T, c, standby *pgtest.Cluster) {
	t.Helper()
	standby.Exec("SELECT pg_wal_replay_pause()")
	c.Exec("GRANT pg_read_all_stats TO reader", "CREATE TABLE ahead AS SELECT i FROM generate_series(1, 1000) i")
	const lags = "SELECT coalesce(max(pg_wal_lsn_diff(pg_current_wal_flush_lsn(), replay_lsn)), 0) > 10000 FROM pg_stat_replication"
	for i := 0; c.Query(lags) != "t"; i++ {
		if i > 600 {
			t.Fatal("the standby does not lag")
		}
		time.Sleep(100 * time.Millisecond)
	}
	ctx := context.Background()
	rests := 0
	s, err := Open(ctx, c.DSN("postgres")+" user=reader", Options{
		Pace:  Pace{MaxLag: 10000, Patience: 5 * time.Second},
		sleep: func(context.Context, time.Duration) error { rests++; return nil },
	})
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	if err := s.Walk(ctx, &counts{}); err == nil || !strings.Contains(err.Error(), "replication lags") || rests == 0 {
		t.Errorf("rested %d times, %v", rests, err)
	}
	standby.Exec("SELECT pg_wal_replay_resume()")
}
