package verify_test

import (
	"encoding/binary"
	"fmt"
	"os"
	"path/filepath"
	"slices"
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

// TestMovingMutations plants the kinds of damage of TestMutations into the files
// of a server that is under load, many at once.
func TestMovingMutations(t *testing.T) {
	pgtest.LeaveToProve(t)
	for _, major := range pick([]int{17}, majors) {
		for _, checksums := range pick([]bool{major == 17}, []bool{false, true}) {
			t.Run(fmt.Sprintf("%d/checksums=%v", major, checksums), func(t *testing.T) {
				m := newMutated(t, major, checksums)
				m.pages()
				m.slrus()
				m.aheadOfWAL()
				m.brokenWAL()
			})
		}
	}
}

// newMutated has tables for each kind of damage, what they were when the base
// was taken, and multixacts.
func newMutated(t *testing.T, major int, checksums bool) *moved {
	t.Helper()
	c := pgtest.Server(t, major, pgtest.Checksums(checksums), pgtest.Conf("track_commit_timestamp", "on"))
	role(c)
	m := &moved{Cluster: c, t: t, base: filepath.Join(c.Dir("backups"), "base")}
	// VACUUM marks as visible what it knows to be on disk.
	c.Exec("ALTER SYSTEM SET synchronous_commit = on", "SELECT pg_reload_conf()")
	for _, table := range []string{"changed", "still", "cut", "gone", "grown", "seen", "unseen"} {
		c.Exec("CREATE TABLE " + table + " AS SELECT i, 0 v, repeat('w', 100) pad FROM generate_series(1, 2000) i")
	}
	c.Exec("CREATE TABLE torn (i int, v int, pad text) WITH (fillfactor = 45)",
		"INSERT INTO torn SELECT i, 0, repeat('t', 100) FROM generate_series(1, 100) i",
		"CREATE TABLE older (i int, v int, pad text) WITH (fillfactor = 40)",
		"INSERT INTO older SELECT i, 0, repeat('o', 100) FROM generate_series(1, 200) i",
		"CREATE TABLE busy AS SELECT i, 0 v FROM generate_series(1, 500) i",
		"VACUUM (FREEZE) changed, still, cut, gone, grown, seen, unseen, older, busy")
	c.BaseBackup(m.base)
	c.Exec("UPDATE changed SET v = 1", "UPDATE torn SET v = 1", "UPDATE older SET v = 1", "DELETE FROM seen WHERE ctid < '(3,0)'",
		"BEGIN; SELECT * FROM older WHERE i = 1 FOR KEY SHARE; SAVEPOINT s; UPDATE older SET v = 2 WHERE i = 1; COMMIT",
		"BEGIN; SELECT * FROM older WHERE i = 2 FOR KEY SHARE; SAVEPOINT s; UPDATE older SET v = 2 WHERE i = 2; COMMIT")
	// A restart looks at the multixact that comes next.
	m.evict()
	c.Exec("CHECKPOINT")
	return m
}

// busy changes rows of a table of its own until the function that it returns
// is called, and writes checkpoints, if asked.
func (m *moved) busy(checkpoints bool) (stop func()) {
	over, done := make(chan struct{}), make(chan error, 1)
	conn := m.Connect("postgres")
	go func() {
		ctx := m.t.Context()
		for i := 0; ; i++ {
			select {
			case <-over:
				done <- nil
				return
			default:
			}
			sql := fmt.Sprintf("UPDATE busy SET v = v + 1 WHERE i %% 100 = %d", i%100)
			switch {
			case checkpoints && i%50 == 25:
				sql = "CHECKPOINT"
			case i%10 == 5:
				sql = "VACUUM busy"
			}
			if _, err := conn.Exec(ctx, sql); err != nil {
				done <- err
				return
			}
		}
	}()
	return func() {
		close(over)
		if err := <-done; err != nil {
			m.t.Fatal(err)
		}
	}
}

// exactly demands these findings in any order: KIND FILE BLOCK.
func (m *moved) exactly(v *finding.Verification, want ...string) {
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
		at := fmt.Sprintf("%s %d", d.File, block)
		kind := string(d.Kind)
		if slices.Contains(want, anyKind+" "+at) {
			kind = anyKind
		}
		got = append(got, kind+" "+at)
	}
	slices.Sort(got)
	slices.Sort(want)
	if !slices.Equal(got, want) {
		m.t.Errorf("found\n%s\nwant\n%s\n%s", strings.Join(got, "\n"), strings.Join(want, "\n"), describe(v))
	}
}

// pages plants what concerns pages and files of relations.
func (m *moved) pages() {
	changed, still, older := m.RelationPath("postgres", "changed"), m.RelationPath("postgres", "still"), m.RelationPath("postgres", "older")
	cut, gone, grown := m.RelationPath("postgres", "cut"), m.RelationPath("postgres", "gone"), m.RelationPath("postgres", "grown")
	seen, unseen := m.RelationPath("postgres", "seen")+"_vm", m.RelationPath("postgres", "unseen")+"_vm"
	olderWas := m.file(older)
	m.Exec("UPDATE older SET v = 3", "CHECKPOINT")
	base := func(n pg.BlockNumber) []byte { return pgtest.ReadBlock(m.t, m.base, changed, n) }
	now := func(n pg.BlockNumber) []byte { return pgtest.ReadBlock(m.t, m.Data, changed, n) }
	rot := "bit_rot "
	if !m.Checksums {
		rot = anyKind + " "
	}
	var want []string
	var undo []func()
	block := func(kind, path string, n pg.BlockNumber, change func(page.Page)) {
		undo = append(undo, m.plant(path, n, change))
		want = append(want, fmt.Sprintf("%s%s %d", kind, path, n))
	}
	file := func(kind, path string, change func()) {
		was := m.file(path)
		change()
		undo = append(undo, func() { m.put(path, was) })
		want = append(want, kind+" "+path+" -1")
	}
	stop := m.busy(true)
	block(rot, still, 7, func(p page.Page) { p[5000] ^= 1 })
	block(rot, changed, 2, func(p page.Page) { p[5000] ^= 1 })
	block("lost_write ", changed, 3, func(p page.Page) { copy(p, base(3)) })
	block("bit_rot ", changed, 4, func(p page.Page) { copy(p[10:24], "garbage in the header") })
	block("phantom_write ", changed, 5, func(p page.Page) { p.SetLSN(p.LSN() + 1<<32); m.seal(p, 5) })
	block("zeroed_page ", changed, 6, func(p page.Page) { clear(p) })
	block("phantom_write ", changed, 8, func(p page.Page) { copy(p, now(9)); m.seal(p, 8) })
	torn := m.RelationPath("postgres", "torn")
	block("torn_page ", torn, 1, func(p page.Page) { copy(p[pg.BlockSize/2:], pgtest.ReadBlock(m.t, m.base, torn, 1)[pg.BlockSize/2:]) })
	block("unexplained ", seen, 0, func(p page.Page) { p[page.HeaderSize] |= 1; m.seal(p, 0) })
	block("bit_rot ", unseen, 0, func(p page.Page) { p[page.HeaderSize+2] &^= 1; m.seal(p, 0) })
	file("size_mismatch", cut, func() { m.Truncate(cut, 10) })
	file("missing_relation", gone, func() { m.RemoveFile(gone) })
	file("size_mismatch", grown, func() { m.put(grown, append(m.file(grown), now(9)...)) })
	olderNow := m.file(older)
	undo = append(undo, func() { m.put(older, olderNow) })
	m.put(older, append(olderWas, olderNow[len(olderWas):]...))
	for n := range len(olderWas) / pg.BlockSize {
		want = append(want, fmt.Sprintf("lost_write %s %d", older, n))
	}
	// The base, not the server.
	wasBase := pgtest.ReadBlock(m.t, m.base, still, 20)
	pgtest.ChangeBlock(m.t, m.base, still, 20, func(p []byte) { p[5000] ^= 1 })
	want = append(want, fmt.Sprintf("bit_rot %s 20", still))

	m.exactly(m.verify(livepg.Options{}, nil), want...)
	pgtest.ChangeBlock(m.t, m.base, still, 20, func(p []byte) { copy(p, wasBase) })
	for _, u := range undo {
		u()
	}
	stop()
	m.clean("what was planted in pages is undone")
}

// slrus plants wrong entries into SLRUs. The load writes no checkpoint, which
// would put what the server has in memory over them.
func (m *moved) slrus() {
	xid := m.Query("SELECT xmin FROM older WHERE i = 3")
	m.Exec("CHECKPOINT")
	var n uint32
	if _, err := fmt.Sscan(xid, &n); err != nil {
		m.t.Fatal(err)
	}
	stop := m.busy(false)
	var want []string
	var undo []func()
	entry := func(path string, at int, change func(b []byte)) {
		undo = append(undo, m.plantBytes(path, at, change))
		want = append(want, "slru_mismatch "+path+" 0")
	}
	entry("pg_xact/0000", int(n/4), func(b []byte) { b[0] ^= 3 << (n % 4 * 2) }) // committed becomes aborted
	entry("pg_commit_ts/0000", int(n)*10, func(b []byte) { b[3] ^= 1 })
	entry("pg_multixact/offsets/0000", 2*4, func(b []byte) {
		binary.LittleEndian.PutUint32(b, binary.LittleEndian.Uint32(b)+1)
	})
	entry("pg_multixact/members/0000", 4+4, func(b []byte) { b[0] ^= 1 })
	m.exactly(m.verify(livepg.Options{}, nil), want...)
	for _, u := range undo {
		u()
	}
	stop()
	m.clean("what was planted in SLRUs is undone")
}

// aheadOfWAL: what is on disk before the archive has its WAL is no finding.
func (m *moved) aheadOfWAL() {
	m.Exec("CHECKPOINT")
	m.WaitArchived(m.SwitchWAL())
	m.Exec("VACUUM FULL pg_class") // writes a relation map; the segment is not full
	xid := m.Query("SELECT pg_current_xact_id()::text::int8 % 4294967296")
	var n uint32
	if _, err := fmt.Sscan(xid, &n); err != nil {
		m.t.Fatal(err)
	}
	undo := m.plantBytes("pg_xact/0000", int(n/4), func(b []byte) { b[0] |= 1 << (n % 4 * 2) }) // as a checkpoint under way would
	archived := func(o *verify.Options) {
		o.WAL = dirWAL{m.Archive, m.SegmentSize}
		o.Moving.WALWait = 50 * time.Millisecond
	}
	v := m.verify(livepg.Options{}, archived)
	if v.Verdict != finding.Inconclusive || !strings.Contains(fmt.Sprint(v.Reasons), "SLRU pages are newer than the WAL at hand") ||
		!strings.Contains(fmt.Sprint(v.Reasons), "relation maps are newer") {
		m.t.Errorf("what is newer than the archive: %s %s", v.Verdict, describe(v))
	}
	m.clean("the WAL of what is newer is read from the server")
	undo()
}

// brokenWAL flips a bit of an archived segment: nothing is found, nothing passed.
func (m *moved) brokenWAL() {
	names, err := pgtest.SegmentsIn(m.Archive, m.SegmentSize)
	if err != nil || len(names) == 0 {
		m.t.Fatalf("%v %v", names, err)
	}
	path := filepath.Join(m.Archive, names[len(names)/2])
	b, err := os.ReadFile(path)
	if err != nil {
		m.t.Fatal(err)
	}
	b[40000] ^= 1
	if err := os.WriteFile(path, b, 0o600); err != nil {
		m.t.Fatal(err)
	}
	if v := m.verify(livepg.Options{}, nil); v.Verdict != finding.Inconclusive || len(v.Reasons) == 0 {
		m.t.Errorf("WAL with a bit flipped: %s, %s", v.Verdict, describe(v))
	}
}

// clean demands that nothing is found.
func (m *moved) clean(when string) {
	m.t.Helper()
	if v := m.verify(livepg.Options{}, nil); v.Verdict != finding.Clean {
		m.t.Fatalf("%s: %s %s", when, v.Verdict, describe(v))
	}
}

func (m *moved) file(path string) []byte {
	m.t.Helper()
	b, err := os.ReadFile(filepath.Join(m.Data, path))
	if err != nil {
		m.t.Fatal(err)
	}
	return b
}

// put gives a file these contents and leaves it the server's.
func (m *moved) put(path string, b []byte) {
	m.t.Helper()
	full := filepath.Join(m.Data, path)
	if err := os.WriteFile(full, b, 0o600); err != nil {
		m.t.Fatal(err)
	}
	m.Own(full)
}

// plantBytes changes a file from a place on under the running server.
func (m *moved) plantBytes(path string, at int, change func([]byte)) (undo func()) {
	b := m.file(path)
	was := slices.Clone(b)
	change(b[at:])
	write := func(b []byte) {
		f, err := os.OpenFile(filepath.Join(m.Data, path), os.O_WRONLY, 0)
		if err != nil {
			m.t.Fatal(err)
		}
		if _, err := f.WriteAt(b[at:at+4], int64(at)); err != nil {
			m.t.Fatal(err)
		}
		if err := f.Close(); err != nil {
			m.t.Fatal(err)
		}
	}
	write(b)
	return func() { write(was) }
}
