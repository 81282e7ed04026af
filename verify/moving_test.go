package verify_test

import (
	"context"
	"fmt"
	"path/filepath"
	"testing"

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

func TestMovingNights(t *testing.T) {
	for _, major := range pick([]int{17}, majors) {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			c := pgtest.Server(t, major, pgtest.Checksums(major%2 == 1), pgtest.Autovacuum(true), pgtest.Conf("autovacuum_naptime", "1s"))
			role(c)
			base := filepath.Join(c.Dir("backups"), "base")
			c.Exec("CREATE TABLE warm AS SELECT i, repeat('w', 100) pad FROM generate_series(1, 20000) i")
			c.BaseBackup(base)
			c.Checkpoint()
			done := make(chan struct{})
			go func() {
				defer close(done)
				pgtest.Mixed{Seed: uint64(major), Rounds: pick(1, 4)}.Run(c)
			}()
			nights := 0
			for over := false; !over; nights++ {
				select {
				case <-done:
					over = true
				default:
				}
				night(t, c, base)
			}
			t.Logf("%d nights", nights)
		})
	}
}

// night verifies a running server, which must be clean or, for blocks that it
// changes too fast, inconclusive.
func night(t *testing.T, c *pgtest.Cluster, base string) *finding.Verification {
	t.Helper()
	s := openRunning(t, c, livepg.Options{})
	v := mustVerify(t, against(s, c, base))
	if err := s.Close(); err != nil {
		t.Fatal(err)
	}
	if v.Verdict == finding.Discrepancies {
		t.Fatalf("a healthy server: %s", describe(v))
	}
	t.Logf("%.1fs %s %s %d compared, not caught %v, %q", v.Timing.WallSeconds, v.Span, v.Verdict, v.Coverage.BlocksCompared, v.Coverage.BlocksNotCaught, v.Reasons)
	return v
}
