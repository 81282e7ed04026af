package pageview_test

import (
	"encoding/hex"
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/pageview"
	"redoubt/internal/pgtest"
)

// TestPageinspect holds what is said of pages of running servers against
// what their own contrib/pageinspect says.
func TestPageinspect(t *testing.T) {
	for _, major := range []int{15, 17} {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			c := pgtest.Server(t, major, pgtest.NoArchive())
			c.Exec(`CREATE EXTENSION pageinspect`, `CREATE TABLE a (id int PRIMARY KEY, b text, c int)`,
				`INSERT INTO a SELECT i, 'x' || i % 7, nullif(i % 3, 0) FROM generate_series(1, 3000) i`, `CREATE INDEX dups ON a (b)`,
				`UPDATE a SET c = 9 WHERE id % 5 = 0`, `DELETE FROM a WHERE id % 11 = 0`, `VACUUM a`, `UPDATE a SET c = 8 WHERE id % 7 = 0`,
				`BEGIN; SELECT * FROM a WHERE id < 20 FOR SHARE; COMMIT`)
			for block := range 4 {
				inspectHeap(t, c, block)
			}
			for _, index := range []string{"a_pkey", "dups"} {
				for block := 1; block <= 3; block++ {
					inspectBtree(t, c, index, block)
				}
			}
			for _, rel := range []string{"a", "a_pkey", "dups"} {
				inspectHeader(t, c, rel)
			}
		})
	}
}

func rawPage(t *testing.T, c *pgtest.Cluster, rel string, block int) page.Page {
	t.Helper()
	b, err := hex.DecodeString(c.Query(fmt.Sprintf("SELECT encode(get_raw_page('%s', %d), 'hex')", rel, block)))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

// shown writes an item as the queries below do: values by name, empty where there is none.
func shown(it *pageview.Item, names ...string) string {
	parts := []string{fmt.Sprint(it.Number)}
	for _, n := range names {
		value := ""
		for _, f := range it.Fields {
			if f.Name == n {
				value = f.Value
			}
		}
		parts = append(parts, value)
	}
	return strings.Join(parts, "|")
}

func inspectHeap(t *testing.T, c *pgtest.Cluster, block int) {
	t.Helper()
	v := pageview.Of(rawPage(t, c, "a", block), pg.MainFork, false)
	var got []string
	for i := range v.Items {
		got = append(got, shown(&v.Items[i], "t_xmin", "t_xmax", "t_field3", "t_ctid", "t_hoff", "t_bits"))
	}
	want := c.Query(fmt.Sprintf(`SELECT string_agg(concat_ws('|', lp, coalesce(t_xmin::text, ''), coalesce(t_xmax::text, ''), coalesce(t_field3::text, ''),
		coalesce(t_ctid::text, ''), coalesce(t_hoff::text, ''), coalesce(left(t_bits, t_infomask2 & 2047), '')), E'\n' ORDER BY lp) FROM heap_page_items(get_raw_page('a', %d))`, block))
	same(t, fmt.Sprintf("heap block %d", block), strings.Join(got, "\n"), want)
	flags := c.Query(fmt.Sprintf(`SELECT string_agg(lp || ':' || coalesce((SELECT string_agg(f, ', ' ORDER BY f) FROM unnest(x.raw_flags || x.combined_flags) f), ''), E'\n' ORDER BY lp)
		FROM heap_page_items(get_raw_page('a', %d)) h, LATERAL heap_tuple_infomask_flags(h.t_infomask, h.t_infomask2) x WHERE t_infomask IS NOT NULL`, block))
	for _, line := range strings.Split(flags, "\n") {
		var n int
		_, names, _ := strings.Cut(line, ":")
		if _, err := fmt.Sscan(line[:strings.Index(line, ":")], &n); err != nil {
			t.Fatal(err)
		}
		checkFlags(t, &v.Items[n-1], names)
	}
}

// checkFlags: every flag that is named must be one that PostgreSQL names, too.
func checkFlags(t *testing.T, it *pageview.Item, names string) {
	t.Helper()
	for _, f := range it.Fields {
		if f.Name != "t_infomask" && f.Name != "t_infomask2" {
			continue
		}
		for _, mine := range strings.Split(f.Value, ", ") {
			if mine == "none" || strings.Contains(mine, "attribute") {
				continue
			}
			if theirs := "HEAP_" + strings.TrimPrefix(mine, "HEAP_"); !strings.Contains(names, theirs) {
				t.Errorf("item %d: %s is not among %s", it.Number, mine, names)
			}
		}
	}
}

func inspectBtree(t *testing.T, c *pgtest.Cluster, index string, block int) {
	t.Helper()
	v := pageview.Of(rawPage(t, c, index, block), pg.MainFork, false)
	rows := c.Query(fmt.Sprintf(`SELECT string_agg(concat_ws('|', itemoffset, ctid, itemlen, coalesce(array_length(tids, 1), 0)), E'\n' ORDER BY itemoffset) FROM bt_page_items('%s', %d)`, index, block))
	for i, row := range strings.Split(rows, "\n") {
		f := strings.Split(row, "|")
		it := v.Items[i]
		if !strings.HasPrefix(it.Fields[1].Value, f[2]+" bytes") {
			t.Errorf("%s block %d item %d: %s, want %s bytes", index, block, it.Number, it.Fields[1].Value, f[2])
		}
		value := it.Fields[0].Value
		if strings.HasPrefix(value, "(") && value != f[1] || strings.HasPrefix(value, "posting list") && !strings.Contains(value, "list of "+f[3]+" ") {
			t.Errorf("%s block %d item %d: %s, want %s with %s heap TIDs", index, block, it.Number, value, f[1], f[3])
		}
	}
	special := map[string]string{}
	for _, f := range v.Special {
		special[f.Name] = f.Value
	}
	want := c.Query(fmt.Sprintf("SELECT concat_ws('|', btpo_prev, btpo_next, btpo_level) FROM bt_page_stats('%s', %d)", index, block))
	zero := strings.NewReplacer("none", "0")
	same(t, index, zero.Replace(special["btpo_prev"]+"|"+special["btpo_next"]+"|"+special["btpo_level"]), want)
}

func inspectHeader(t *testing.T, c *pgtest.Cluster, rel string) {
	t.Helper()
	h := pageview.Of(rawPage(t, c, rel, 0), pg.MainFork, false).Header
	want := c.Query(fmt.Sprintf("SELECT concat_ws('|', lsn, lower, upper, special, prune_xid) FROM page_header(get_raw_page('%s', 0))", rel))
	same(t, rel, strings.Join([]string{h[0].Value, h[3].Value, h[4].Value, h[5].Value, h[7].Value}, "|"), want)
}

func same(t *testing.T, what, got, want string) {
	t.Helper()
	if got != want {
		t.Errorf("%s:\n%s\npageinspect says\n%s", what, got, want)
	}
}
