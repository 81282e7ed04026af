package pgtest

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/jackc/pgx/v5"
)

// Digest says what a cluster holds, as SQL sees it: a line for every table of
// every database, catalogs, large objects, roles and settings included, with
// the number of its rows and a sum over them; and a line for every sequence,
// prepared transaction and replication origin. Two clusters with the same
// history have the same digest, whatever their pages look like.
type Digest map[string]string

// Digest reads all of the running cluster but its templates.
func (c *Cluster) Digest() Digest {
	c.t.Helper()
	d := Digest{}
	for _, db := range strings.Split(c.Query("SELECT string_agg(datname, ',' ORDER BY oid) FROM pg_database WHERE datallowconn AND NOT datistemplate AND datconnlimit <> -2"), ",") {
		c.check(c.digestDatabase(db, d))
	}
	d["prepared transactions"] = c.Query("SELECT coalesce(string_agg(concat_ws('/', gid, transaction, prepared, owner, database), ' ' ORDER BY gid), '') FROM pg_prepared_xacts")
	d["replication origins"] = c.Query("SELECT coalesce(string_agg(concat_ws('/', local_id, external_id, remote_lsn), ' ' ORDER BY local_id), '') FROM pg_replication_origin_status")
	d["databases"] = c.Query("SELECT string_agg(concat_ws('/', oid, datname, datallowconn, datconnlimit, dattablespace), ' ' ORDER BY oid) FROM pg_database")
	return d
}

func (c *Cluster) digestDatabase(db string, d Digest) error {
	ctx, cancel := context.WithTimeout(context.Background(), sqlTimeout)
	defer cancel()
	conn, err := pgx.Connect(ctx, c.DSN(db))
	if err != nil {
		return err
	}
	defer func() { _ = conn.Close(ctx) }()
	list, err := queryText(ctx, conn, `SELECT coalesce(string_agg(relkind::text || ' ' || oid::regclass, E'\n' ORDER BY oid), '') FROM pg_class
		WHERE relkind IN ('r', 'm', 'S') AND relpersistence <> 't'`)
	if err != nil {
		return err
	}
	for _, line := range strings.Split(list, "\n") {
		kind, name, ok := strings.Cut(line, " ")
		if !ok {
			continue
		}
		sql := "SELECT count(*) || ' rows, ' || coalesce(sum(hashtextextended(t::text, 0)::numeric), 0) FROM " + name + " t"
		if kind == "S" {
			sql = "SELECT concat_ws('/', last_value, log_cnt, is_called) FROM " + name
		}
		if d[db+" "+name], err = queryText(ctx, conn, sql); err != nil {
			return err
		}
	}
	return nil
}

// Differences lists where two digests part, at most 20 lines.
func (d Digest) Differences(o Digest) []string {
	var out []string
	keys := maps.Clone(d)
	maps.Copy(keys, o)
	for _, k := range slices.Sorted(maps.Keys(keys)) {
		if a, b := d[k], o[k]; a != b && len(out) < 20 {
			out = append(out, fmt.Sprintf("%s: %.300q, and %.300q", k, a, b))
		}
	}
	return out
}

// Amcheck lets PostgreSQL check all of the running cluster for corruption:
// heaps, and B-tree indexes against them. Where pg_amcheck of some version is
// installed it does; it makes the extension it needs.
func (c *Cluster) Amcheck() {
	c.t.Helper()
	out, err := c.Run(Tool(c.t, 0, "pg_amcheck"), "--all", "--install-missing", "--heapallindexed", "--no-strict-names", "-j", "2",
		"-h", c.Socket, "-U", "postgres")
	if err != nil {
		c.t.Fatalf("PostgreSQL %s: pg_amcheck: %v\n%s", c.Version, err, out)
	}
}
