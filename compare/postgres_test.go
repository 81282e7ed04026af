package compare_test

import (
	"io/fs"
	"os"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"testing"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
)

// beforeBackup and afterBackup make pages of every kind, with everything that
// one side of a comparison may have and the other not: hints, killed index
// items, holes, row locks, dead subtransactions, sequences between two logs.
var beforeBackup = []string{
	`CREATE TABLE t (id int PRIMARY KEY, v int, pad text) WITH (fillfactor = 80)`,
	`CREATE TABLE toasted (id int, big text)`,
	`ALTER TABLE toasted ALTER big SET STORAGE EXTERNAL`,
	`CREATE TABLE spec (k int PRIMARY KEY, v text)`,
	`CREATE TABLE g (id int, words text[], p point, r int4range, b int)`,
	`CREATE INDEX t_v ON t (v)`, `CREATE INDEX g_gin ON g USING gin (words)`, `CREATE INDEX g_gist ON g USING gist (p)`,
	`CREATE INDEX g_spgist ON g USING spgist (p)`, `CREATE INDEX g_brin ON g USING brin (b) WITH (pages_per_range = 2)`,
	`CREATE INDEX g_hash ON g USING hash (b)`,
	`CREATE SEQUENCE s1`, `CREATE SEQUENCE s7 INCREMENT 7 CACHE 3`, `CREATE SEQUENCE down INCREMENT -2 MINVALUE -1000000`,
	`CREATE SEQUENCE idle`, `CREATE SEQUENCE short MAXVALUE 20 CYCLE`,
	`INSERT INTO t SELECT i, i % 97, repeat('x', i % 50) FROM generate_series(1, 6000) i`,
	`INSERT INTO toasted SELECT i, repeat(md5(i::text), 200) FROM generate_series(1, 60) i`,
	`INSERT INTO g SELECT i, ARRAY[md5(i::text), (i % 30)::text], point(i % 100, i / 100), int4range(i, i + 5), i FROM generate_series(1, 4000) i`,
	`SELECT nextval('s1') FROM generate_series(1, 40)`,
	`CREATE DATABASE template_seq`,
	`VACUUM t`,
}

var inTemplate = []string{`CREATE TABLE copied AS SELECT i AS id FROM generate_series(1, 5000) i`, `CREATE SEQUENCE cs`, `VACUUM (FREEZE) copied`}

var afterBackup = []string{
	`SET synchronous_commit = on`, // a hint that a transaction committed waits until its commit is flushed
	`UPDATE t SET v = v + 1 WHERE id % 7 = 0`,
	`UPDATE t SET v = v + 1 WHERE id % 11 = 0`,
	`DELETE FROM t WHERE id % 13 = 0`,
	`BEGIN; INSERT INTO t SELECT i, 1, 'gone' FROM generate_series(7000, 7400) i; ROLLBACK`,
	`BEGIN; SAVEPOINT a; INSERT INTO t VALUES (8001, 1, ''); ROLLBACK TO a; INSERT INTO t VALUES (8002, 1, ''); COMMIT`,
	`BEGIN; SELECT count(*) FROM (SELECT 1 FROM t WHERE id < 300 FOR UPDATE) x; COMMIT`,
	`BEGIN; SELECT count(*) FROM (SELECT 1 FROM t WHERE id < 200 FOR KEY SHARE) x; SAVEPOINT b; UPDATE t SET v = 5 WHERE id < 100; ROLLBACK TO b; COMMIT`,
	`INSERT INTO spec SELECT i % 50, 'x' FROM generate_series(1, 100) i ON CONFLICT DO NOTHING`,
	`INSERT INTO spec SELECT i % 70, 'y' FROM generate_series(1, 70) i ON CONFLICT (k) DO UPDATE SET v = 'z'`,
	`DELETE FROM toasted WHERE id % 3 = 0`,
	`SET enable_seqscan = off`,
	`SELECT count(*) FROM t WHERE v = 5`, `SELECT count(*) FROM t WHERE id BETWEEN 1 AND 6000`,
	`SELECT sum(v) FROM t`,
	`DELETE FROM g WHERE id % 5 = 0`,
	`SET enable_bitmapscan = off; SELECT count(*) FROM g WHERE b BETWEEN 1 AND 3000; SELECT count(*) FROM g WHERE p <@ box(point(0,0), point(50,50))`,
	`SELECT count(*) FROM generate_series(1, 500) i, LATERAL (SELECT 1 FROM g WHERE b = i) x`,
	`VACUUM (INDEX_CLEANUP ON) g`,
	`UPDATE g SET words = ARRAY['w'] WHERE id % 9 = 1`,
	`INSERT INTO g SELECT i, ARRAY['n' || i], point(i, i), int4range(i, i + 1), i FROM generate_series(10000, 11000) i`,
	`SELECT nextval('s1') FROM generate_series(1, 45)`,
	`SELECT nextval('s7') FROM generate_series(1, 10)`,
	`SELECT nextval('down') FROM generate_series(1, 5)`,
	`SELECT nextval('short') FROM generate_series(1, 25)`,
	`SELECT setval('idle', 900, false)`,
	`DELETE FROM t WHERE id > 5000`, `VACUUM t`,
	`VACUUM (FREEZE) spec`,
	`CREATE TABLE dropped AS SELECT 1 AS a`, `DROP TABLE dropped`,
	`CREATE INDEX t_late ON t (pad, id)`,
	`DELETE FROM t WHERE id % 17 = 0`, `DELETE FROM g WHERE id % 19 = 0`,
	`SET enable_bitmapscan = off`, `SET enable_indexonlyscan = off`, // plain index scans kill the items of dead tuples
	`SELECT count(pad) FROM t WHERE id BETWEEN 1 AND 5000`, `SELECT count(pad) FROM t WHERE v BETWEEN 1 AND 50`,
	`SELECT count(id) FROM g WHERE p <@ box(point(0,0), point(99,99))`,
	`SELECT count(x.id) FROM generate_series(1, 900) i, LATERAL (SELECT g.id FROM g WHERE b = i OFFSET 0) x`,
}

// TestPostgresAgainstItsOwnReplay has PostgreSQL replay a base backup with the
// WAL of a server that was then stopped cleanly: nothing may differ that
// matters. It is the proof of the rules that does not depend on our redo.
func TestPostgresAgainstItsOwnReplay(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(strconv.Itoa(major), func(t *testing.T) { t.Parallel(); replayedCopy(t, major) })
	}
}

func replayedCopy(t *testing.T, major int) {
	c := pgtest.Server(t, major, pgtest.Conf("max_prepared_transactions", "5"))
	c.Exec(beforeBackup...)
	c.ExecIn("template_seq", inTemplate...)
	c.ExecIn("template_seq", `SELECT nextval('cs') FROM generate_series(1, 9)`)
	b := c.BaseBackup(filepath.Join(t.TempDir(), "base"))
	c.Exec(afterBackup...)
	c.Exec(`CREATE DATABASE copy_of TEMPLATE template_seq STRATEGY wal_log`)
	c.ExecIn("copy_of", `SELECT nextval('cs') FROM generate_series(1, 4)`)
	copied := c.Query(`SELECT oid::text FROM pg_database WHERE datname = 'copy_of'`)
	lockTwice(t, c)
	speculate(t, c)
	c.Stop(pgtest.Fast)
	wal := filepath.Join(t.TempDir(), "wal")
	c.CollectWAL(wal)
	r := c.Restore(b, wal, "autovacuum = off")
	r.Stop(pgtest.Fast)

	if major == 15 { // the servers of other majors may come without tools; the algorithm is one
		checksumsByPostgres(t, c)
	}
	w := &walker{t: t, major: major, official: c.Data, replayed: r.Data, copied: copied, rules: map[mask.RuleID]int{}, kinds: map[page.Kind]int{}}
	w.relations()
	w.slrus()
	t.Logf("%d pages: %d equal, %d benign, of these by a rule beyond the normal form: %v; benign by kind: %v; %d speculative tuples",
		w.pages, w.equal, w.benign, w.rules, w.kinds, w.specs)
	if w.equal == 0 || w.benign == 0 || w.rules[compare.RuleSequence] < 3 || w.rules[compare.RuleVMCopied] == 0 || w.specs == 0 {
		t.Error("the workload did not reach what it should prove")
	}
}

// checksumsByPostgres has pg_checksums judge a page with a checksum of ours: it
// accepts the one for the block and refuses the one for its neighbour. The
// block is changed back.
func checksumsByPostgres(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	tool := pgtest.Tool(t, c.Major, "pg_checksums")
	const file, block = "global/1260", 0 // pg_authid
	good := pgtest.ReadBlock(t, c.Data, file, block)
	check := func(number pg.BlockNumber) error {
		pgtest.ChangeBlock(t, c.Data, file, block, func(b []byte) {
			p := page.Page(b)
			p[p.Upper()-1] ^= 0xFF // in the hole
			p.SetChecksum(p.ComputeChecksum(number))
		})
		_, err := c.Run(tool, "--check", "-D", c.Data)
		return err
	}
	if err := check(block); err != nil {
		t.Errorf("pg_checksums refuses our checksum: %v", err)
	}
	if check(block+1) == nil {
		t.Error("pg_checksums accepts the checksum of another block")
	}
	pgtest.ChangeBlock(t, c.Data, file, block, func(b []byte) { copy(b, good) })
}

var relFile = regexp.MustCompile(`^(?:base/(\d+)|global)/(\d+)(_fsm|_vm|_init)?(?:\.(\d+))?$`)

// walker compares two stopped data directories.
type walker struct {
	t                  *testing.T
	major              int
	official, replayed string
	copied             string // oid of a database copied by WAL_LOG

	pages, equal, benign int
	specs                int // speculative tuples on official pages
	saver                pageSaver
	rules                map[mask.RuleID]int
	kinds                map[page.Kind]int
}

func (w *walker) relations() {
	seen := map[string]bool{}
	for _, root := range []string{w.official, w.replayed} {
		err := filepath.WalkDir(root, func(p string, d fs.DirEntry, err error) error {
			rel, _ := filepath.Rel(root, p)
			if err == nil && !d.IsDir() && !seen[rel] && relFile.MatchString(rel) {
				seen[rel] = true
				w.relation(rel)
			}
			return err
		})
		if err != nil {
			w.t.Fatal(err)
		}
	}
}

func (w *walker) relation(rel string) {
	m := relFile.FindStringSubmatch(rel)
	b := pg.Block{}
	b.Spc = pg.DefaultTablespaceOID
	db, _ := strconv.ParseUint("0"+m[1], 10, 32)
	num, _ := strconv.ParseUint(m[2], 10, 32)
	b.DB, b.Rel = pg.OID(db), pg.OID(num)
	switch m[3] {
	case "_fsm":
		b.Fork = pg.FSMFork
	case "_vm":
		b.Fork = pg.VMFork
	case "_init":
		b.Fork = pg.InitFork
	}
	o, _ := os.ReadFile(filepath.Join(w.official, rel))
	r, _ := os.ReadFile(filepath.Join(w.replayed, rel))
	for at := 0; at < max(len(o), len(r)); at += pg.BlockSize {
		b.Number = pg.BlockNumber(at / pg.BlockSize)
		w.block(rel, b, cut(o, at), cut(r, at), m[1])
	}
}

func cut(file []byte, at int) []byte {
	if at+pg.BlockSize > len(file) {
		return nil
	}
	return file[at : at+pg.BlockSize]
}

func (w *walker) block(rel string, b pg.Block, o, r []byte, db string) {
	if b.Fork == pg.FSMFork {
		return
	}
	w.pages++
	w.saver.offer(w.t, w.major, b, o, r)
	w.specs += speculative(o, b.Fork)
	res := compare.Pages(compare.Input{
		Block: b, Major: w.major, Official: o, Replayed: r, Checksums: true, Touched: true,
		VMMayLackBits: db == w.copied,
	})
	switch {
	case res.Equal:
		w.equal++
	case res.Benign():
		w.benign++
		if res.Rule != "" {
			w.rules[res.Rule]++
		}
		w.kinds[page.KindOf(o, b.Fork)]++
		w.claims(rel, res)
	default:
		w.t.Errorf("%s block %d: %s, blame %s: %s", rel, b.Number, res.Kind, res.Blame, res.Explanation)
	}
}

// claims checks that the official heap says what the official map claims.
func (w *walker) claims(rel string, res compare.Result) {
	if len(res.Claims) == 0 {
		return
	}
	heap, err := os.ReadFile(filepath.Join(w.official, strings.TrimSuffix(rel, "_vm")))
	if err != nil {
		w.t.Fatal(err)
	}
	for _, h := range res.Claims {
		p := page.Page(cut(heap, int(h)*pg.BlockSize))
		if p == nil || p.Flags()&page.AllVisible == 0 {
			w.t.Errorf("%s: block %d is not all-visible by its heap page", rel, h)
		}
	}
}

func (w *walker) slrus() {
	for s := pg.SLRU(0); s < pg.NumSLRUs; s++ {
		files, err := filepath.Glob(filepath.Join(w.official, s.String(), "[0-9A-F]*"))
		if err != nil {
			w.t.Fatal(err)
		}
		for _, f := range files {
			o, _ := os.ReadFile(f)
			r, _ := os.ReadFile(filepath.Join(w.replayed, s.String(), filepath.Base(f)))
			seg, _ := strconv.ParseUint(filepath.Base(f), 16, 32)
			for at := 0; at < max(len(o), len(r)); at += pg.BlockSize {
				pageno := uint32(seg)*pg.SLRUPagesPerSegment + uint32(at/pg.BlockSize)
				res := compare.SLRUPages(compare.SLRUInput{Page: pg.SLRUPage{SLRU: s, Page: pageno}, Official: cut(o, at), Replayed: cut(r, at)})
				if !res.Equal && res.Severity != finding.Benign {
					w.t.Errorf("%s page %d: %s", s, pageno, res.Explanation)
				}
			}
		}
	}
}
