package verify_test

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
)

// TestHintBits plants hint bits that pg_xact contradicts, with right
// checksums: rows of transactions that rolled back would appear, others
// vanish. Pages that the span's WAL changes and pages that it does not.
func TestHintBits(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) { hintBits(t, major) })
	}
}

func hintBits(t *testing.T, major int) {
	c := pgtest.Server(t, major)
	h := history{Cluster: c, base: filepath.Join(c.Dir("backups"), "base"), wal: c.Dir("wal"), scratch: c.Dir("scratch")}
	fill := func(name string) {
		c.Exec("INSERT INTO "+name+" SELECT i FROM generate_series(1, 20) i",
			"BEGIN; INSERT INTO "+name+" SELECT i FROM generate_series(101, 120) i; ROLLBACK",
			"DELETE FROM "+name+" WHERE i <= 5", "BEGIN; DELETE FROM "+name+" WHERE i BETWEEN 6 AND 10; ROLLBACK")
	}
	var still, moving [4]string
	for i := range 4 {
		still[i], moving[i] = fmt.Sprintf("still%d", i), fmt.Sprintf("moving%d", i)
		c.Exec("CREATE TABLE "+still[i]+" (i int)", "CREATE TABLE "+moving[i]+" (i int)")
		fill(still[i])
	}
	c.BaseBackup(h.base)
	paths := map[string]string{}
	for i := range 4 {
		fill(moving[i])
		paths[still[i]], paths[moving[i]] = c.RelationPath("postgres", still[i]), c.RelationPath("postgres", moving[i])
		c.Exec("SELECT count(*) FROM "+still[i], "SELECT count(*) FROM "+moving[i]) // hints that are right
	}
	c.Stop(pgtest.Fast)
	c.CollectWAL(h.wal)
	wantClean(t, mustVerify(t, h.options()))

	// By the order of insertion: 1-5 deleted, 6-10 deletion rolled back, 21-40 rolled back.
	plants := []func(p page.Page){
		func(p page.Page) { setHint(p, 25, 0x0300, 0x0100) }, // rolled back, now committed
		func(p page.Page) { setHint(p, 12, 0x0300, 0x0200) }, // committed, now rolled back
		func(p page.Page) { setHint(p, 3, 0x0C00, 0x0800) },  // deleted, now not
		func(p page.Page) { setHint(p, 7, 0x0C00, 0x0400) },  // deletion rolled back, now deleted
	}
	var want []string
	for _, names := range [][4]string{still, moving} {
		for i, plant := range plants {
			pgtest.ChangeBlock(t, h.Data, paths[names[i]], 0, func(raw []byte) {
				plant(raw)
				page.Page(raw).SetChecksum(page.Page(raw).ComputeChecksum(0))
			})
			want = append(want, paths[names[i]])
		}
	}
	v := mustVerify(t, h.options())
	var found []string
	for _, d := range v.Discrepancies {
		if d.Kind != finding.Unexplained || !strings.Contains(d.Explanation, "hint bits") {
			t.Errorf("%s: %s, %s", d.File, d.Kind, d.Explanation)
		}
		found = append(found, d.File)
	}
	slices.Sort(want)
	slices.Sort(found)
	if !slices.Equal(found, want) {
		t.Errorf("found in %q, planted in %q", found, want)
	}
}

// setHint replaces hint bits of a heap tuple.
func setHint(p page.Page, item int, mask, bits uint16) {
	tup, ok := p.HeapTuple(item)
	if !ok {
		panic(fmt.Sprintf("no tuple %d", item))
	}
	tup.SetInfomask(tup.Infomask()&^mask | bits)
}
