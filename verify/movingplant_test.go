package verify_test

import (
	"context"
	"fmt"
	"path/filepath"
	"strconv"
	"strings"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/official/livepg"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
	"redoubt/verify"
)

// moved is a running server in whose files something is planted.
type moved struct {
	*pgtest.Cluster
	t    *testing.T
	base string
}

// newMoved has a table whose blocks are all touched by the span, one of which
// none is, and a copy of its data directory from before the last changes.
func newMoved(t *testing.T, major int, checksums bool) *moved {
	t.Helper()
	c := pgtest.Server(t, major, pgtest.Checksums(checksums))
	role(c)
	c.Exec(memoryFunction)
	m := &moved{Cluster: c, t: t, base: filepath.Join(c.Dir("backups"), "base")}
	c.Exec("CREATE TABLE changed AS SELECT i, 0 v, repeat('w', 100) pad FROM generate_series(1, 4000) i",
		"CREATE TABLE still AS SELECT i, repeat('s', 100) pad FROM generate_series(1, 4000) i",
		"VACUUM changed, still")
	c.BaseBackup(m.base)
	c.Exec("UPDATE changed SET v = 1", "CHECKPOINT")
	return m
}

// verify reads the server once.
func (m *moved) verify(o livepg.Options, change func(*verify.Options)) *finding.Verification {
	m.t.Helper()
	return m.verifyWith(m.Cluster, o, change)
}

// verifyWith reads the server once, with the archive of another cluster.
func (m *moved) verifyWith(c *pgtest.Cluster, o livepg.Options, change func(*verify.Options)) *finding.Verification {
	m.t.Helper()
	s := openRunning(m.t, m.Cluster, o)
	opt := against(s, c, m.base)
	opt.Moving.FirstWait = 5 * time.Millisecond
	if change != nil {
		change(&opt)
	}
	v := mustVerify(m.t, opt)
	if err := s.Close(); err != nil {
		m.t.Fatal(err)
	}
	return v
}

// anyKind stands for a kind that depends on whether the server logged hints.
const anyKind = "any"

// only demands exactly these findings: KIND FILE BLOCK.
func (m *moved) only(v *finding.Verification, want ...string) {
	m.t.Helper()
	var got []string
	for _, d := range v.Discrepancies {
		if d.Severity == finding.Benign {
			continue
		}
		block := int64(-1)
		if d.Block != nil {
			block = *d.Block
		}
		kind := string(d.Kind)
		if i := len(got); i < len(want) && strings.HasPrefix(want[i], anyKind) {
			kind = anyKind
		}
		got = append(got, fmt.Sprintf("%s %s %d", kind, d.File, block))
	}
	if strings.Join(got, "\n") != strings.Join(want, "\n") {
		m.t.Errorf("found %q, want %q\n%s", got, want, describe(v))
	}
}

func (m *moved) says(v *finding.Verification, words string) {
	m.t.Helper()
	for _, d := range v.Discrepancies {
		if strings.Contains(d.Explanation, words) {
			return
		}
	}
	m.t.Errorf("nothing says %q: %s", words, describe(v))
}

const (
	onDiskOnly = "on disk only"
	inMemory   = "has the same page in memory"
	memoryOnly = "This is the page in the server's memory; the one on disk is right"
)

func TestMovingPlanted(t *testing.T) {
	for _, major := range pick([]int{17}, majors) {
		for _, checksums := range pick([]bool{major == 17}, []bool{false, true}) {
			t.Run(fmt.Sprintf("%d/checksums=%v", major, checksums), func(t *testing.T) { plantAll(newMoved(t, major, checksums)) })
		}
	}
}

// plantAll plants what is wrong on disk, in memory or in both.
func plantAll(m *moved) {
	changed, still := m.RelationPath("postgres", "changed"), m.RelationPath("postgres", "still")
	// Rot of a block that no WAL touches, and the base's version of one that the
	// WAL changes, its checksum right. What queries have read stays in memory.
	m.Exec("SELECT count(*) FROM still", "SELECT count(*) FROM changed")
	old := pgtest.ReadBlock(m.t, m.base, changed, 3)
	undo := m.plant(still, 7, func(p page.Page) { p[5000] ^= 1 })
	undo2 := m.plant(changed, 3, func(p page.Page) { copy(p, old) })
	v := m.verify(livepg.Options{}, nil)
	m.exactly(v, "bit_rot "+still+" 7", "lost_write "+changed+" 3")
	m.says(v, onDiskOnly)
	undo()
	undo2()

	// Other contents with a right checksum, which the server reads into memory.
	m.Stop(pgtest.Fast)
	undo = m.plant(still, 9, func(p page.Page) { p[5000] ^= 1; m.seal(p, 9) })
	m.Start()
	m.Exec("SELECT count(*) FROM still")
	v = m.verify(livepg.Options{}, nil)
	m.only(v, anyKind+" "+still+" 9")
	m.says(v, inMemory)

	// The same, but the file is right again: only memory is wrong.
	undo()
	m.clean("the disk is right")
	v = m.verify(livepg.Options{}, func(o *verify.Options) { o.Moving.Memory, o.Rel = true, m.locator("still") })
	m.only(v, anyKind+" "+still+" 9")
	m.says(v, memoryOnly)
	m.cutMeanwhile()
	m.lostMeanwhile()
}

// cutMeanwhile: blocks that VACUUM cut off and that came again since the last
// checkpoint are zeros on disk.
func (m *moved) cutMeanwhile() {
	m.Exec("CREATE TABLE cut AS SELECT i, repeat('c', 100) pad FROM generate_series(1, 2000) i", "CHECKPOINT")
	s := openRunning(m.t, m.Cluster, livepg.Options{})
	opt := against(s, m.Cluster, m.base)
	opt.Moving.FirstWait = 5 * time.Millisecond
	opt.Official = &interrupted{running: s, before: func() {
		m.Exec("DELETE FROM cut WHERE ctid >= '(5,0)'", "VACUUM cut")
		m.t.Logf("VACUUM left %s bytes", m.Query("SELECT pg_relation_size('cut')"))
		m.Exec("INSERT INTO cut SELECT i, repeat('d', 100) FROM generate_series(1, 1000) i")
	}}
	if v := mustVerify(m.t, opt); v.Verdict != finding.Clean {
		m.t.Errorf("blocks that were cut off and came again: %s %s", v.Verdict, describe(v))
	}
}

// seal gives a page the checksum that it should have, where there are any.
func (m *moved) seal(p page.Page, n pg.BlockNumber) {
	if m.Checksums {
		p.SetChecksum(p.ComputeChecksum(n))
	}
}

// plant changes a block on disk under the running server.
func (m *moved) plant(path string, n pg.BlockNumber, change func(page.Page)) (undo func()) {
	was := pgtest.ReadBlock(m.t, m.Data, path, n)
	pgtest.ChangeBlock(m.t, m.Data, path, n, func(p []byte) { change(p) })
	return func() { pgtest.ChangeBlock(m.t, m.Data, path, n, func(p []byte) { copy(p, was) }) }
}

// evict lets the server forget what it has in memory.
func (m *moved) evict() {
	m.Stop(pgtest.Fast)
	m.Start()
}

func (m *moved) locator(table string) *pg.RelFileLocator {
	l, err := pg.ParseRelFileLocator(m.Query("SELECT '1663/' || d.oid || '/' || pg_relation_filenode($1::regclass) FROM pg_database d WHERE datname = 'postgres'", table))
	if err != nil {
		m.t.Fatal(err)
	}
	return &l
}

// lostMeanwhile is a lost write of a page that changed while the server was read: a
// checkpoint began after the change, so that it must be on disk.
func (m *moved) lostMeanwhile() {
	path := m.RelationPath("postgres", "changed")
	m.Exec("SELECT count(*) FROM changed", "CHECKPOINT")
	live := m.Query("SELECT (ctid::text::point)[0]::int FROM changed ORDER BY i LIMIT 1")
	n, err := strconv.Atoi(live)
	if err != nil {
		m.t.Fatal(err)
	}
	block := pg.BlockNumber(n)
	before := pgtest.ReadBlock(m.t, m.Data, path, block)
	s := openRunning(m.t, m.Cluster, livepg.Options{})
	opt := against(s, m.Cluster, m.base)
	opt.Moving.FirstWait = 10 * time.Millisecond
	opt.Official = &interrupted{running: s, before: func() {
		// Behind the span's end, which is settled, and before the walk.
		rows := fmt.Sprintf(" WHERE ctid >= '(%d,0)' AND ctid < '(%d,0)'", block, block+1)
		m.Exec("UPDATE changed SET v = 2"+rows, "UPDATE changed SET v = v"+rows, "CHECKPOINT")
		pgtest.ChangeBlock(m.t, m.Data, path, block, func(p []byte) { copy(p, before) })
	}}
	v := mustVerify(m.t, opt)
	m.only(v, fmt.Sprintf("lost_write %s %d", path, block))
	m.says(v, onDiskOnly)
}

// interrupted does something between the span's end is settled and the walk.
type interrupted struct {
	running
	before func()
	asked  int
}

func (s *interrupted) Meta(ctx context.Context) (verify.Meta, error) {
	m, err := s.running.Meta(ctx)
	if s.asked++; s.asked == 1 && err == nil {
		s.before()
		_, err = s.running.Server.Position(ctx) // learns of the checkpoint
	}
	return m, err
}
