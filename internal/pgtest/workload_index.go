package pgtest

import (
	"context"
	"fmt"
)

// indexTables are tables with indexes other than btree, for Mixed's setUp.
var indexTables = []string{
	"CREATE TABLE entry (id bigserial, tags int[], doc jsonb, words tsvector)",
	"CREATE INDEX entry_tags ON entry USING gin (tags) WITH (fastupdate = off)",
	"CREATE INDEX entry_doc ON entry USING gin (doc)",
	"CREATE INDEX entry_words ON entry USING gin (words)",
	"INSERT INTO entry (tags) SELECT ARRAY[1, i % 3] FROM generate_series(1, 3000) i",
	"CREATE TABLE place (id bigserial, at point, name text, span int4range, addr inet)",
	"CREATE INDEX place_at ON place USING spgist (at)",
	"CREATE INDEX place_kd ON place USING spgist (at kd_point_ops)",
	"CREATE INDEX place_name ON place USING spgist (name) INCLUDE (id)",
	"CREATE INDEX place_span ON place USING spgist (span)",
	"CREATE INDEX place_addr ON place USING spgist (addr)",
}

// entries fills GIN indexes: common and rare keys, nulls, rows whose keys need
// several pages of a pending list; sometimes it merges these lists.
func entries(ctx context.Context, w *worker) error {
	seed := w.between(1, 1000)
	statements := []string{
		fmt.Sprintf(`INSERT INTO entry (tags, doc, words) SELECT ARRAY[i %% 3, i, %[1]d], jsonb_build_object('k' || i %% 7, i, 'on', i %% 2 = 0),
			CASE WHEN i %% 5 > 0 THEN to_tsvector('simple', 'all word' || i %% 11 || ' rare' || i * %[1]d) END FROM generate_series(1, %[2]d) i`, seed, w.between(20, 80)),
		fmt.Sprintf(`UPDATE entry SET doc = doc || '{"changed": %d}' WHERE id %% 97 = %d`, seed, w.between(0, 96)),
	}
	if w.between(0, 3) == 0 {
		statements = append(statements, fmt.Sprintf(`INSERT INTO entry (doc) SELECT jsonb_object_agg('key' || i * %d, i) FROM generate_series(1, 400) i`, seed),
			"SELECT gin_clean_pending_list('entry_doc')")
	}
	return w.do(ctx, statements...)
}

// places fills SP-GiST indexes: equal and scattered points, texts with long
// common beginnings, nulls.
func places(ctx context.Context, w *worker) error {
	seed := w.between(1, 1000)
	return w.do(ctx,
		fmt.Sprintf(`INSERT INTO place (at, name, span, addr) SELECT CASE WHEN i %% 4 = 0 THEN point(1, 1) WHEN i %% 9 > 0 THEN point(i * %[1]d %% 1009, i * 31 %% %[1]d) END,
			left('https://www.example.com/path/', i %% 29) || chr(40 + (i * %[1]d) %% 80) || repeat('z', i %% 20) || i,
			int4range(i %% 40, i %% 40 + %[1]d), ('10.' || i %% 7 || '.' || %[1]d %% 250 || '.' || i %% 250)::inet FROM generate_series(1, %[2]d) i`, seed, w.between(20, 80)),
		fmt.Sprintf("UPDATE place SET name = name || 'y', at = at + point(%d, 0) WHERE id %% 61 = %d", w.between(0, 5), w.between(0, 60)))
}

// thinOut deletes rows of these tables, often many, and vacuums.
func thinOut(ctx context.Context, w *worker) error {
	table := []string{"entry", "place"}[w.between(0, 1)]
	where := fmt.Sprintf("id %% 4 = %d", w.between(0, 3))
	if w.between(0, 2) == 0 {
		where = fmt.Sprintf("id < (SELECT avg(id) FROM %s)", table)
	}
	return w.do(ctx, "DELETE FROM "+table+" WHERE "+where, "VACUUM "+table, "SELECT pg_current_xact_id()", "VACUUM (INDEX_CLEANUP ON) "+table)
}
