package verify_test

import (
	"context"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/replay/native"
	"redoubt/replay/redo"
)

// world is a history in which things are planted: its data directory is the
// official side, mid a copy of it half way.
type world struct {
	history
	t      *testing.T
	mid    string
	rng    *rand.Rand
	span   pg.Range
	blocks []pg.Block // that can be judged, shuffled
	recs   map[pg.Block][]native.Touch
	used   map[pg.Block]bool
	undo   map[string][]byte // files as they were, nil: not there
	files  map[string]string // of some tables, before the stop
}

// worldSetting is one cluster of the proof.
type worldSetting struct {
	major          int
	checksums, fpw bool
}

func (s worldSetting) String() string {
	return fmt.Sprintf("%d/checksums=%v/full_page_writes=%v", s.major, s.checksums, s.fpw)
}

// indexes that the world has, beside btrees.
var indexes = []string{"hash (k)", "gin (a)", "gist (p)", "spgist (p)", "brin (k)"}

func newWorld(t *testing.T, s worldSetting) *world {
	t.Helper()
	c := pgtest.Server(t, s.major, pgtest.Checksums(s.checksums), pgtest.FullPageWrites(s.fpw), pgtest.Conf("track_commit_timestamp", "on"))
	dirs := c.Dir("copies")
	w := &world{
		history: history{Cluster: c, base: filepath.Join(dirs, "base"), wal: c.Dir("wal"), scratch: c.Dir("scratch")},
		t:       t, mid: filepath.Join(dirs, "mid"), rng: rand.New(rand.NewPCG(uint64(s.major), 1)),
		used: make(map[pg.Block]bool), undo: make(map[string][]byte), files: make(map[string]string),
	}
	w.settle()
	for _, table := range tables {
		w.files[table] = c.RelationPath("postgres", table)
	}
	c.BaseBackup(w.base)
	w.live(1)
	c.BaseBackup(w.mid)
	w.live(2)
	c.Stop(pgtest.Fast)
	c.CollectWAL(w.wal)
	v := mustVerify(t, w.options())
	if v.DiscrepancyCounts.Critical+v.DiscrepancyCounts.Warning > 0 || len(v.Reasons) > 1 || len(v.Reasons) == 1 && v.Coverage.BlocksTainted == 0 {
		t.Fatalf("before anything was planted: %s", describe(v))
	}
	w.span = v.Span
	w.survey()
	return w
}

// farSequences is where some sequences start that are to be told from the others.
const farSequences = 1_000_000

// settle makes what the base has.
func (w *world) settle() {
	w.Exec(
		"CREATE TABLE hot (id int PRIMARY KEY, v int, pad text) WITH (fillfactor = 80)", "CREATE INDEX hot_v ON hot (v, id)",
		"INSERT INTO hot SELECT i, i % 100, repeat('h', 90) FROM generate_series(1, 16000) i",
		"CREATE TABLE cold (id int PRIMARY KEY, pad text)",
		"INSERT INTO cold SELECT i, repeat('c', 200) FROM generate_series(1, 8000) i",
		"CREATE TABLE many (k int, a int[], p point)",
		"INSERT INTO many SELECT i, ARRAY[i % 50, i % 77], point(i % 1000, i / 7) FROM generate_series(1, 3000) i",
		"CREATE TABLE shrinks AS SELECT i, repeat('s', 100) pad FROM generate_series(1, 2000) i",
		"CREATE TABLE goes AS SELECT i, repeat('g', 100) pad FROM generate_series(1, 500) i",
		"CREATE TABLE away AS SELECT i FROM generate_series(1, 500) i", "CREATE TABLE stays AS SELECT i FROM generate_series(1, 500) i",
		"CREATE TABLE reverted AS SELECT i, repeat('r', 150) pad FROM generate_series(1, 600) i",
		"CREATE TABLE short AS SELECT i, repeat('t', 150) pad FROM generate_series(1, 600) i",
		"CREATE SEQUENCE s1", "CREATE SEQUENCE s2 INCREMENT 5", "CREATE SEQUENCE s3 INCREMENT -1",
		fmt.Sprintf("CREATE SEQUENCE far1 START %d INCREMENT 5", farSequences), fmt.Sprintf("CREATE SEQUENCE far2 START %d MAXVALUE 2000000 INCREMENT -7", farSequences),
		fmt.Sprintf("CREATE SEQUENCE far3 START %d INCREMENT 2", farSequences), "CREATE DATABASE copied")
	for i, def := range indexes {
		w.Exec(fmt.Sprintf("CREATE INDEX many_%d ON many USING %s", i, def))
	}
	for i := range 6 {
		w.Exec(fmt.Sprintf("CREATE TABLE map%d AS SELECT i, 1 v FROM generate_series(1, 2000) i", i))
	}
	w.Exec("CHECKPOINT") // flushes commits, too: VACUUM calls nothing all-visible whose commit is not on disk
	w.Exec("VACUUM FREEZE cold", "VACUUM map0, map1, map2, map3, map4, map5")
}

// live changes about a third of what there is, in many small records.
func (w *world) live(round int) {
	w.Exec(fmt.Sprintf("SELECT setseed(0.%d)", round),
		fmt.Sprintf("UPDATE hot SET v = v + 1 WHERE id %% 7 = %d AND id < 12000", round),
		fmt.Sprintf("INSERT INTO hot SELECT i, i %% 100, repeat('n', 90) FROM generate_series(%d, %d) i", 10000+round*10000, 12000+round*10000),
		fmt.Sprintf("DELETE FROM hot WHERE id %% 31 = %d AND id < 12000", round),
		fmt.Sprintf("INSERT INTO many SELECT i, ARRAY[i %% 50], point(i %% 1000, i) FROM generate_series(%d, %d) i", round*5000, round*5000+400),
		fmt.Sprintf("UPDATE reverted SET pad = repeat('%d', 150)", round),
		"SELECT nextval('s1'), nextval('s2'), nextval('s3'), nextval('far1'), nextval('far2'), nextval('far3') FROM generate_series(1, 10)",
		"BEGIN; INSERT INTO hot SELECT i, 0, 'aborted' FROM generate_series(900001, 900200) i; ROLLBACK")
	for i := range 6 {
		w.Exec(fmt.Sprintf("UPDATE map%d SET v = %d WHERE i BETWEEN %d AND %d", i, round, 100*i+700*round, 100*i+700*round+20))
	}
	w.lockTwice()
	w.Exec("VACUUM many", "SELECT count(*) FROM hot", "SELECT count(*) FROM cold", "CHECKPOINT")
	w.Exec("UPDATE hot SET v = v + 5 WHERE id % 53 = 0", "SELECT count(*) FROM hot")
	if round == 2 {
		w.Exec("ALTER SEQUENCE far3 INCREMENT 3", "SELECT nextval('far3')", "DELETE FROM shrinks WHERE i > 200", "VACUUM shrinks", "DROP TABLE goes", "CREATE DATABASE again TEMPLATE copied STRATEGY wal_log")
	}
}

// lockTwice makes multixacts.
func (w *world) lockTwice() {
	a, b := w.Connect("postgres"), w.Connect("postgres")
	for _, step := range []struct {
		of  int
		sql string
	}{{0, "BEGIN"}, {1, "BEGIN"}, {0, "SELECT 1 FROM short WHERE i < 30 FOR SHARE"}, {1, "SELECT 1 FROM short WHERE i < 30 FOR SHARE"}, {0, "COMMIT"}, {1, "COMMIT"}} {
		conn := a
		if step.of == 1 {
			conn = b
		}
		if _, err := conn.Exec(context.Background(), step.sql); err != nil {
			w.t.Fatal(err)
		}
	}
}

// survey finds the blocks that can be judged and the records of each.
func (w *world) survey() {
	all := candidates(w.t, w.Data)
	wanted := make(map[pg.Block]bool)
	for _, b := range all {
		wanted[b] = true
		wanted[pg.Block{RelFork: pg.RelFork{RelFileLocator: b.RelFileLocator, Fork: pg.VMFork}}] = true
	}
	var err error
	if w.recs, err = native.History(context.Background(), dirWAL{w.wal, w.SegmentSize}, w.span, wanted); err != nil {
		w.t.Fatal(err)
	}
	for _, b := range all {
		if w.judged(b) {
			w.blocks = append(w.blocks, b)
		}
	}
	w.rng.Shuffle(len(w.blocks), func(i, j int) { w.blocks[i], w.blocks[j] = w.blocks[j], w.blocks[i] })
}

// judged says that no record without redo was the last to build on the block.
func (w *world) judged(b pg.Block) bool {
	ok := true
	for _, r := range w.recs[b] {
		ok = r.Image && !r.Init || (r.Init || ok) && new(redo.Env).Supported(&wal.Record{Rmgr: r.Rmgr})
	}
	return ok
}

// touched says that the span's WAL changes the block.
func (w *world) touched(b pg.Block) bool { return len(w.recs[b]) > 0 }

// knows says that an LSN is the base's or that of a record of the block.
func (w *world) knows(b pg.Block, lsn pg.LSN) bool {
	if p := pageAt(w.base, b); p != nil && p.LSN() == lsn {
		return true
	}
	for _, r := range w.recs[b] {
		if r.End == lsn {
			return true
		}
	}
	return false
}

// hinted says that the block's LSN may rightly be one of several.
func (w *world) hinted(b pg.Block) bool {
	return slices.ContainsFunc(w.recs[b], func(r native.Touch) bool { return r.MaySetLSN })
}

// lastWhole says that the block's last record carries all of its page.
func (w *world) lastWhole(b pg.Block) bool {
	n := len(w.recs[b])
	return n > 0 && w.recs[b][n-1].Image && !w.recs[b][n-1].Init
}

// keep remembers a file, to be put back.
func (w *world) keep(path string) {
	w.t.Helper()
	if _, kept := w.undo[path]; kept {
		return
	}
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	w.undo[path] = raw
}

// change rewrites a whole file; nil removes it.
func (w *world) change(path string, change func(raw []byte) []byte) {
	w.t.Helper()
	w.keep(path)
	raw, err := os.ReadFile(path)
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
	w.put(path, change(raw))
}

func (w *world) put(path string, raw []byte) {
	w.t.Helper()
	var err error
	if raw == nil {
		err = os.Remove(path)
	} else {
		err = os.WriteFile(path, raw, 0o644)
	}
	if err != nil && !os.IsNotExist(err) {
		w.t.Fatal(err)
	}
}

// write puts a page in a block's place in a data directory.
func (w *world) write(dir string, b pg.Block, p page.Page) {
	w.t.Helper()
	path := filepath.Join(dir, datadir.RelPath(b.RelFork, 0, ""))
	w.keep(path)
	f, err := os.OpenFile(path, os.O_WRONLY, 0)
	if err != nil {
		w.t.Fatal(err)
	}
	if _, err := f.WriteAt(p, int64(b.Number)*pg.BlockSize); err != nil {
		w.t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		w.t.Fatal(err)
	}
}

// restore puts everything back.
func (w *world) restore() {
	for path, raw := range w.undo {
		w.put(path, raw)
	}
	clear(w.undo)
	clear(w.used)
}

// fork is a fork of the relation whose main fork's first file is at path.
func (w *world) fork(path string, fork pg.ForkNumber) pg.RelFork {
	w.t.Helper()
	f, ok := datadir.ParseRelPath(path)
	if !ok {
		w.t.Fatalf("%s is no relation's path", path)
	}
	f.Fork = fork
	return f.RelFork
}
