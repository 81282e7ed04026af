package verify_test

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/official/livepg"
	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
	"redoubt/replay"
	"redoubt/replay/native"
	"redoubt/verify"
)

// running is a running server as verify wants it.
type running struct{ *livepg.Server }

var _ verify.Moving = running{}

func (s running) Meta(ctx context.Context) (verify.Meta, error) {
	p, err := s.Server.Position(ctx)
	i := s.Info()
	return verify.Meta{Major: i.Major, SystemID: i.SystemID, Online: true, Redo: p.Redo, Consistent: p.Redo, TLI: i.TLI}, err
}

func (s running) Position(ctx context.Context) (redo, reached pg.LSN, err error) {
	p, err := s.Server.Position(ctx)
	return p.Redo, p.Reached, err
}

func (s running) Problems() []string { return nil }

// role makes the role that reads, with the rights that the docs name and no more.
func role(c *pgtest.Cluster) {
	c.Exec("CREATE ROLE reader LOGIN")
	c.Exec(livepg.Grants("reader")...)
}

// memoryFunction is the one of docs/live.md.
const memoryFunction = `
CREATE EXTENSION IF NOT EXISTS pageinspect;
CREATE SCHEMA IF NOT EXISTS redoubt;
GRANT USAGE ON SCHEMA redoubt TO reader;
CREATE OR REPLACE FUNCTION redoubt.get_page(tablespace oid, filenode oid, fork text, block bigint) RETURNS bytea
LANGUAGE sql SECURITY DEFINER SET search_path = pg_catalog, pg_temp
AS $$ SELECT public.get_raw_page(pg_filenode_relation(tablespace, filenode)::text, fork, block) $$;
REVOKE ALL ON FUNCTION redoubt.get_page FROM PUBLIC;
GRANT EXECUTE ON FUNCTION redoubt.get_page TO reader`

// open connects to a running server as the reader.
func openRunning(t *testing.T, c *pgtest.Cluster, o livepg.Options) running {
	t.Helper()
	s, err := livepg.Open(context.Background(), c.DSN("postgres")+" user=reader", o)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = s.Close() })
	return running{s}
}

// against is a verification of a running server from a base on.
func against(s running, c *pgtest.Cluster, base string) verify.Options {
	var src replay.WALSource = dirWAL{c.Archive, c.SegmentSize}
	return verify.Options{
		Base: dirSnap{base}, Official: s, WAL: s.WAL(src), Timeline: "test", Native: native.Config{Workers: 2, Memory: 256 << 20},
	}
}

// manyNights are how many times a healthy server under load is compared: a few in
// CI, some twenty on each major and on a standby of each with REDOUBT_PROVE=1,
// as many as fit into REDOUBT_SOAK.
type manyNights struct {
	most  int
	until time.Time
}

func newNights(t *testing.T, some, all, subtests int) manyNights {
	t.Helper()
	soak := os.Getenv("REDOUBT_SOAK")
	if soak == "" {
		return manyNights{most: pick(some, all)}
	}
	d, err := time.ParseDuration(soak)
	if err != nil {
		t.Fatalf("REDOUBT_SOAK: %v", err)
	}
	return manyNights{until: time.Now().Add(d / time.Duration(subtests))}
}

// more says whether there is another night after n.
func (n manyNights) more(done int) bool {
	if n.until.IsZero() {
		return done < n.most
	}
	return time.Now().Before(n.until)
}

// nightsPerBase is after how many nights the next ones begin at a new base
// backup, so that a long run does not read ever more WAL.
const nightsPerBase = 5

// soaked are the majors of long runs.
func soaked(some int) []int {
	if os.Getenv("REDOUBT_SOAK") != "" {
		return pgtest.Majors
	}
	return pick([]int{some}, majors)
}

func TestMovingNights(t *testing.T) {
	for _, major := range soaked(17) {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			n := newNights(t, 3, 20, 2*len(pgtest.Majors))
			c := pgtest.Server(t, major, pgtest.Checksums(major%2 == 1), pgtest.Autovacuum(true), pgtest.Conf("autovacuum_naptime", "1s"))
			role(c)
			defer underLoad(c)()
			base := ""
			done := 0
			for ; n.more(done); done++ {
				if done%nightsPerBase == 0 {
					base = newBase(t, c, done, base).Dir
					c.Checkpoint()
				}
				night(t, c, c, base)
			}
			t.Logf("%d nights", done)
		})
	}
}

// newBase takes a base backup and removes the one before.
func newBase(t *testing.T, c *pgtest.Cluster, n int, before string) pgtest.Backup {
	t.Helper()
	dir := filepath.Dir(before)
	if before == "" {
		dir = c.Dir("backups")
	} else {
		if err := errors.Join(os.RemoveAll(before), os.RemoveAll(before+".tblspc")); err != nil {
			t.Fatal(err)
		}
	}
	return c.BaseBackup(filepath.Join(dir, fmt.Sprint("base", n)))
}

// underLoad runs the mixed workload until the function that it returns is called.
// Databases, which are copied while the server is read and so cannot be
// compared until the next base, it makes now and then, and drops them.
func underLoad(c *pgtest.Cluster) (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for seed := uint64(1); ; seed++ {
			select {
			case <-over:
				return
			default:
			}
			load := pgtest.Mixed{Seed: seed, Clients: 2, Operations: 8}
			if seed%40 != 3 {
				load.Without = []string{"database"}
			}
			load.Run(c)
			dropDatabases(c)
		}
	}()
	return func() { close(over); <-done }
}

func dropDatabases(c *pgtest.Cluster) {
	for _, db := range strings.Fields(c.Query("SELECT coalesce(string_agg(datname, ' '), '') FROM pg_database WHERE datname LIKE 'db\\_%'")) {
		c.Exec("DROP DATABASE " + db)
	}
}

// night verifies a running server, which must be clean or, for blocks that it
// changes too fast, inconclusive. c has the archive.
func night(t *testing.T, c, server *pgtest.Cluster, base string) *finding.Verification {
	t.Helper()
	s := openRunning(t, server, livepg.Options{})
	o := against(s, c, base)
	v := mustVerify(t, o)
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v.Verdict == finding.Discrepancies {
		t.Fatalf("a healthy server: %s", describe(v))
	}
	t.Logf("%.1fs %s %s %d compared, not caught %v, %q", v.Timing.WallSeconds, v.Span, v.Verdict, v.Coverage.BlocksCompared, v.Coverage.BlocksNotCaught, v.Reasons)
	return v
}
