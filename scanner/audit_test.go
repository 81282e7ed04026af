package scanner

import (
	"fmt"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
)

// TestAuditHealthy: WAL of two TLIs, with a crash, a switch and a promotion.
func TestAuditHealthy(t *testing.T) {
	forMajors(t, func(t *testing.T, f *fixture) {
		r := scanFiles(t, f.all(), Options{Deep: true, Audit: true})
		if Verdict(&r.ScanTimeline) != finding.Clean || r.Audit.ImagesChecked == 0 || r.Audit.LostWrites != 0 {
			t.Errorf("%+v %+v", r.ScanTimeline, r.Audit)
		}
		t.Logf("%+v", *r.Audit)
	})
}

// TestAuditFindsLostWrites: an old version of a page is put back into a stopped
// server, with the right checksum, and written to. The archive tells.
func TestAuditFindsLostWrites(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			c := pgtest.Server(t, major, pgtest.WALSegmentMiB(1), pgtest.Autovacuum(false))
			c.Exec("CREATE TABLE t (a int, b int)", "INSERT INTO t SELECT i, 0 FROM generate_series(1, 2000) i")
			path := c.RelationPath("postgres", "t")
			c.Stop(pgtest.Fast)
			old := pgtest.ReadBlock(t, c.Data, path, 3)
			c.Start()
			c.Exec("DELETE FROM t WHERE a % 2 = 0")
			c.Stop(pgtest.Fast)
			lost := page.Page(pgtest.ReadBlock(t, c.Data, path, 3)).LSN()
			pgtest.ChangeBlock(t, c.Data, path, 3, func(p []byte) { copy(p, old) })
			c.Start()
			c.Exec("CREATE TABLE filler AS SELECT repeat('x', 500) FROM generate_series(1, 8000)", "DELETE FROM t")
			c.Stop(pgtest.Fast)
			dir := c.Dir("wal")
			f := &fixture{files: map[string][]byte{}}
			f.load(t, dir, c.CollectWAL(dir))

			r := scanFiles(t, f.files, Options{Audit: true})
			if len(r.LostWrites) != 1 || r.Audit.LostWrites != 1 || Verdict(&r.ScanTimeline) != finding.Findings {
				t.Fatalf("%+v", r.ScanTimeline)
			}
			w := r.LostWrites[0]
			if w.Block != 3 || w.ImageLSN != page.Page(old).LSN() || w.ExpectedLSN != lost || w.LastRecord.Rmgr != "Heap" || w.LastRecord.Op != "DELETE" {
				t.Errorf("%+v, want an image of %s where %s is expected", w, page.Page(old).LSN(), lost)
			}
			// With a segment gone nothing is known of the blocks before it.
			hole := pg.SegmentName(1, pg.SegmentOf(w.LastRecord.LSN, mib)+1, mib)
			if hole >= pg.SegmentName(1, pg.SegmentOf(w.At, mib), mib) {
				t.Fatalf("no whole segment between the records at %s and %s", w.LastRecord.LSN, w.At)
			}
			delete(f.files, hole)
			if r := scanFiles(t, f.files, Options{Audit: true}); len(r.LostWrites) != 0 || len(r.Gaps) != 1 {
				t.Errorf("behind a gap: %+v", r.ScanTimeline)
			}
		})
	}
}

// TestAuditOfDamage: behind damage the audit begins anew, and says so.
func TestAuditOfDamage(t *testing.T) {
	f := realWAL(t, 15)
	files := f.of(f.one...)
	name := f.one[2]
	bad := append([]byte(nil), files[name]...)
	bad[mib/2] ^= 1
	files[name] = bad
	r := scanFiles(t, files, Options{Audit: true})
	if len(r.Reasons) != 1 || r.Audit.Images == 0 {
		t.Errorf("%+v %+v", r.ScanTimeline, r.Audit)
	}
}
