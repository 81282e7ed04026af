package verify_test

import (
	"context"
	"fmt"
	"os"
	"strings"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/official/livepg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
	"redoubt/verify"
)

// follower is a standby of a primary under load.
type follower struct {
	primary, standby *pgtest.Cluster
	base             string
}

// newFollower has a standby that soon cancels whatever is in the way of
// replay. It streams, or reads the archive only.
func newFollower(t *testing.T, major int, streams bool) *follower {
	t.Helper()
	c := pgtest.Server(t, major, pgtest.Checksums(major%2 == 1), pgtest.Autovacuum(true), pgtest.Conf("autovacuum_naptime", "1s"))
	role(c)
	c.Exec("CREATE TABLE still AS SELECT i, repeat('s', 100) pad FROM generate_series(1, 4000) i",
		"CREATE TABLE changed AS SELECT i, 0 v, repeat('w', 100) pad FROM generate_series(1, 4000) i", "VACUUM still, changed")
	b := newBase(t, c, 0, "")
	conf := []string{"max_standby_streaming_delay = 100ms", "max_standby_archive_delay = 100ms", "hot_standby = on"}
	if !streams {
		conf = append(conf, "primary_conninfo = ''")
		c.SwitchWAL()
	}
	f := &follower{primary: c, standby: c.Standby(b, conf...), base: b.Dir}
	f.rebase(t, 1)
	return f
}

// rebase takes another base backup, and a restartpoint behind it.
func (f *follower) rebase(t *testing.T, n int) {
	t.Helper()
	b := newBase(t, f.primary, n, f.base)
	f.base = b.Dir
	f.restartpoint(t)
}

// restartpoint makes the standby write one that is not older than now.
func (f *follower) restartpoint(t *testing.T) {
	t.Helper()
	at := f.primary.LSN()
	f.primary.Checkpoint()
	f.primary.SwitchWAL()
	f.until(t, fmt.Sprintf("CHECKPOINT; SELECT 1 / (redo_lsn >= '%s')::int FROM pg_control_checkpoint()", at))
}

// until runs a statement on the standby until it has no error: replay may
// cancel it.
func (f *follower) until(t *testing.T, sql string) {
	t.Helper()
	for i := 0; ; i++ {
		err := f.standby.TryExec("postgres", strings.Split(sql, "; ")...)
		if err == nil {
			return
		}
		if i > 1800 {
			t.Fatal(err)
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// calm has the standby wait for statements from now on.
func (f *follower) calm(t *testing.T) {
	t.Helper()
	f.until(t, "ALTER SYSTEM SET max_standby_streaming_delay = -1; ALTER SYSTEM SET max_standby_archive_delay = -1; SELECT pg_reload_conf()")
	time.Sleep(time.Second) // until all processes have heard
	f.until(t, "SELECT 1")
}

// restless pauses and resumes replay and writes restartpoints, until the
// function that it returns is called.
func (f *follower) restless() (stop func()) {
	over, done := make(chan struct{}), make(chan struct{})
	go func() {
		defer close(done)
		for i := 0; ; i++ {
			sql := []string{"SELECT pg_wal_replay_pause()", "CHECKPOINT", "SELECT pg_wal_replay_resume()", "CHECKPOINT"}[i%4]
			_ = f.standby.TryExec("postgres", sql) // a conflict may cancel it
			select {
			case <-over:
				_ = f.standby.TryExec("postgres", "SELECT pg_wal_replay_resume()")
				return
			case <-time.After(300 * time.Millisecond):
			}
		}
	}()
	return func() { close(over); <-done }
}

func TestMovingStandby(t *testing.T) {
	if os.Getenv("REDOUBT_SOAK") == "" {
		pgtest.LeaveToProve(t)
	}
	for _, major := range soaked(15) {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			n := newNights(t, 2, 20, 2*len(pgtest.Majors))
			f := newFollower(t, major, true)
			rest, idle := f.restless(), underLoad(f.primary)
			done := 0
			for ; n.more(done); done++ {
				if done > 0 && done%nightsPerBase == 0 {
					f.rebase(t, done)
				}
				night(t, f.primary, f.standby, f.base)
			}
			idle()
			rest()
			f.calm(t)
			t.Logf("%d nights, %s statements cancelled for replay", done,
				f.standby.Query("SELECT sum(confl_tablespace + confl_lock + confl_snapshot + confl_bufferpin + confl_deadlock) FROM pg_stat_database_conflicts"))
			f.damage(t)
			f.promoted(t)
		})
	}
}

// TestMovingArchiveStandby: one that knows the archive only.
func TestMovingArchiveStandby(t *testing.T) {
	pgtest.LeaveToProve(t)
	for _, major := range majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			f := newFollower(t, major, false)
			rest, idle := f.restless(), underLoad(f.primary)
			for range 5 {
				night(t, f.primary, f.standby, f.base)
			}
			idle()
			rest()
			f.calm(t)
			f.damage(t)
		})
	}
}

// damage plants into the files of the standby, whose primary is well.
func (f *follower) damage(t *testing.T) {
	t.Helper()
	still, changed := f.primary.RelationPath("postgres", "still"), f.primary.RelationPath("postgres", "changed")
	f.primary.Exec("UPDATE changed SET v = v + 1")
	f.restartpoint(t)
	m := &moved{Cluster: f.standby, t: t, base: f.base}
	old := pgtest.ReadBlock(t, f.base, changed, 3)
	undo := m.plant(still, 7, func(p page.Page) { p[5000] ^= 1; m.seal(p, 7) })
	undo2 := m.plant(changed, 3, func(p page.Page) { copy(p, old) })
	v := m.verifyWith(f.primary, livepg.Options{}, nil)
	want := []string{"lost_write " + changed + " 3", anyKind + " " + still + " 7"}
	if v.Discrepancies[0].File == still {
		want[0], want[1] = want[1], want[0]
	}
	m.only(v, want...)
	undo()
	undo2()
	if v := m.verifyWith(f.primary, livepg.Options{}, nil); v.Verdict != finding.Clean {
		t.Fatalf("what was planted is undone: %s", describe(v))
	}
}

// promoted promotes the standby while it is read.
func (f *follower) promoted(t *testing.T) {
	t.Helper()
	s := openRunning(t, f.standby, livepg.Options{})
	opt := against(s, f.primary, f.base)
	opt.Official = &interrupted{running: s, before: f.standby.Promote}
	v, err := verify.Run(context.Background(), opt)
	if err == nil || !strings.Contains(err.Error(), "promoted while it was read") || v.Verdict != finding.Inconclusive {
		t.Errorf("%v: %s %q, want an inconclusive result that names the promotion", err, v.Verdict, v.Reasons)
	}
}
