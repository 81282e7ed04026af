package catalog_test

import (
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/catalog"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
)

// pages reads a mapped catalog of a stopped cluster.
func pages(t *testing.T, dir, place string, oid pg.OID) []page.Page {
	t.Helper()
	raw, err := os.ReadFile(filepath.Join(dir, place, "pg_filenode.map"))
	if err != nil {
		t.Fatal(err)
	}
	maps, err := datadir.ParseRelMap(raw)
	if err != nil {
		t.Fatal(err)
	}
	i := slices.IndexFunc(maps, func(m datadir.RelMapping) bool { return m.Catalog == oid })
	if i < 0 {
		t.Fatalf("the relation map of %s does not map %d", place, oid)
	}
	if raw, err = os.ReadFile(filepath.Join(dir, place, strconv.Itoa(int(maps[i].Rel)))); err != nil {
		t.Fatal(err)
	}
	var out []page.Page
	for p := range slices.Chunk(raw, pg.BlockSize) {
		out = append(out, p)
	}
	return out
}

// TestCatalogs reads pg_database and pg_class of real servers as they say
// themselves what is in them.
func TestCatalogs(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(strconv.Itoa(major), func(t *testing.T) {
			c := pgtest.Server(t, major, pgtest.NoArchive())
			c.Exec("CREATE DATABASE broken", "CREATE TABLE things (a int)",
				"UPDATE pg_database SET datconnlimit = -2 WHERE datname = 'broken'")
			invalid := c.Query("SELECT oid FROM pg_database WHERE datname = 'broken'")
			node := c.Query("SELECT pg_relation_filenode('things')")
			count := c.Query("SELECT count(*) FROM pg_database")
			home := c.Query("SELECT oid FROM pg_database WHERE datname = 'postgres'")
			c.Stop(pgtest.Fast)

			live := make(map[pg.OID]bool)
			for _, p := range pages(t, c.Data, "global", catalog.DatabaseRelation) {
				for _, d := range catalog.Databases(p, major) {
					if d.XMax == 0 {
						live[d.OID] = d.Invalid
					}
				}
			}
			oid, _ := strconv.Atoi(strings.TrimSpace(invalid))
			if strconv.Itoa(len(live)) != strings.TrimSpace(count) || !live[pg.OID(oid)] {
				t.Errorf("pg_database reads as %v; there are %s databases, %s is invalid", live, count, invalid)
			}
			for db, bad := range live {
				if bad && db != pg.OID(oid) {
					t.Errorf("database %d reads as invalid", db)
				}
			}
			want, _ := strconv.Atoi(strings.TrimSpace(node))
			found := false
			for _, p := range pages(t, c.Data, filepath.Join("base", strings.TrimSpace(home)), catalog.ClassRelation) {
				found = found || slices.ContainsFunc(catalog.Classes(p, major), func(k catalog.Class) bool { return k.RelFileNode == pg.OID(want) })
			}
			if !found {
				t.Errorf("pg_class has no relfilenode %d", want)
			}
		})
	}
}

// FuzzCatalogs wants no more than that hostile pages do no harm.
func FuzzCatalogs(f *testing.F) {
	p := make(page.Page, pg.BlockSize)
	p.SetLower(page.HeaderSize + page.ItemIDSize)
	p.SetItemID(1, page.MakeItemID(8000, page.LPNormal, 190))
	p[8000+22] = 24
	f.Add([]byte(p), 17)
	f.Fuzz(func(t *testing.T, b []byte, major int) {
		if len(b) != pg.BlockSize {
			return
		}
		n := page.Page(b).NumItems()
		if len(catalog.Databases(b, major)) > n || len(catalog.Classes(b, major)) > n ||
			len(catalog.Indexes(b)) > n || len(catalog.Namespaces(b)) > n || len(catalog.Sequences(b)) > n {
			t.Error("more tuples than line pointers")
		}
	})
}
