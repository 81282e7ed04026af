package verify_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pgtest"
)

// corpusSlice is what CI has time for: a seventh of the corpus, with records of
// all resource managers but those of logical decoding.
var corpusSlice = pgtest.Corpus{
	Regress: []string{"test_setup", "rangetypes", "copy", "insert_conflict", "create_index", "create_index_spgist", "index_including", "vacuum",
		"update", "delete", "prepared_xacts", "brin", "brin_bloom", "cluster", "truncate", "sequence", "largeobject", "alter_table", "tablespace"},
	Contrib: []string{"bloom", "btree_gist", "ltree"},
}

// TestCorpus verifies what PostgreSQL's own regression SQL and that of its
// contrib modules leave, with the image of each block in each record.
func TestCorpus(t *testing.T) {
	for _, major := range pick([]int{17}, pgtest.Majors) {
		s := settings{major, true, true, true}
		t.Run(s.String(), func(t *testing.T) {
			w := pick(corpusSlice, pgtest.Corpus{})
			opts := append(s.options(), pgtest.WALSegmentMiB(64), pgtest.CompressArchive("zst"), pgtest.Autovacuum(true),
				pgtest.Conf("wal_level", "logical"), pgtest.Conf("max_replication_slots", "10"), pgtest.Conf("restart_after_crash", "on"),
				pgtest.Conf("max_wal_size", "4GB"))
			p := live(t, major, w.Run, opts...).prove(t)
			p.want(t, slices.Concat(indexOps, []string{"Gist PAGE_SPLIT", "SPGist PICKSPLIT", "Heap2 MULTI_INSERT+INIT", "Transaction PREPARE", "Sequence LOG"})...)
			if p.Images == 0 {
				t.Error("not one consistency image was checked")
			}
		})
	}
}

// TestCorpusCompressed is the same without these images: with no compression,
// and with each method of wal_compression that a server knows. All servers know
// pglz, only some of Debian's lz4 and zstd.
func TestCorpusCompressed(t *testing.T) {
	pgtest.LeaveToProve(t)
	for _, major := range pgtest.Majors {
		for _, method := range []string{"off", "pglz", "lz4", "zstd"} {
			t.Run(fmt.Sprintf("%d/%s", major, method), func(t *testing.T) {
				c := compressing(t, major, method)
				if c == nil {
					t.Skipf("no server of %d here knows %s", major, method)
				}
				liveOn(c, pgtest.Corpus{}.Run).prove(t).want(t, indexOps...)
			})
		}
	}
}

// compressing is a cluster that compresses images in the WAL with a method; nil
// if no server of this major here knows it.
func compressing(t *testing.T, major int, method string) *pgtest.Cluster {
	t.Helper()
	setting := method
	if major < 15 {
		setting = strings.Replace(method, "pglz", "on", 1)
	}
	for _, in := range pgtest.Builds(major) {
		c := pgtest.New(t, in, pgtest.NoStart(), pgtest.Checksums(method != "pglz"), pgtest.CompressArchive("zst"), pgtest.WALSegmentMiB(4),
			pgtest.Conf("restart_after_crash", "on"), pgtest.Conf("wal_compression", setting))
		err := c.TryStart()
		if err == nil {
			return c
		}
		if !strings.Contains(err.Error(), "wal_compression") {
			t.Fatal(err)
		}
	}
	return nil
}
