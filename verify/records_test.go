package verify_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// proof is what one verification has seen, a line of .cache/proofs.jsonl;
// TestRecordTable makes docs/records.md of them.
type proof struct {
	Name    string // of the test
	Server  string // its version
	Major   int
	Records int64
	Bytes   int64            // of WAL
	Images  int64            // of wal_consistency_checking, all of which were equal
	Blocks  int64            // compared with those of the stopped server
	Seen    map[string]int64 // records by resource manager and operation
}

// prove verifies a history, which must be clean, and counts the records it has of
// each kind. With REDOUBT_PROVE=1 it keeps the figures.
func (h history) prove(t *testing.T) proof {
	t.Helper()
	v := mustVerify(t, h.options())
	wantClean(t, v)
	return proved(t, h.Cluster, v, h.records(t, v.Span))
}

// proved is the proof that a clean verification was, kept with REDOUBT_PROVE=1.
func proved(t *testing.T, c *pgtest.Cluster, v *finding.Verification, seen map[string]int64) proof {
	t.Helper()
	p := proof{
		Name: t.Name(), Server: c.Version, Major: c.Major, Records: v.WAL.Records, Bytes: v.WAL.Bytes,
		Images: v.Consistency.ImagesChecked, Blocks: v.Coverage.BlocksCompared, Seen: seen,
	}
	t.Logf("%d kinds of records", len(p.Seen))
	if pgtest.Prove() && v.Verdict == finding.Clean {
		keepProof(t, p)
	}
	return p
}

// indexOps are records that only a workload on indexes of every method writes,
// bloom, for Generic ones, among them.
var indexOps = []string{"Btree SPLIT_L", "Hash INSERT", "Gin INSERT", "Gist PAGE_UPDATE", "SPGist ADD_LEAF", "BRIN INSERT", "Generic Generic"}

// want fails the test for each kind of records that was not seen.
func (p proof) want(t *testing.T, ops ...string) {
	t.Helper()
	for _, op := range ops {
		if p.Seen[op] == 0 {
			t.Errorf("the workload wrote no %s", op)
		}
	}
}

// records counts the records of a span by resource manager and operation.
func (h history) records(t *testing.T, span pg.Range) map[string]int64 {
	t.Helper()
	src := dirStream{d: dirWAL{h.wal, h.SegmentSize}}
	defer func() { _ = src.Close() }()
	byInfo := make(map[[2]uint8]int64)
	r := wal.NewReader(src.ReadPages, wal.Config{Start: span.From, SegmentSize: h.SegmentSize})
	var rec wal.Record
	for {
		// The span's last record ends at its end, or where the next segment begins.
		if err := r.Next(&rec); err != nil {
			t.Fatal(err)
		}
		byInfo[[2]uint8{uint8(rec.Rmgr), rec.Info}]++
		if rec.End+wal.LongHeaderSize >= span.To {
			break
		}
	}
	seen := make(map[string]int64)
	for key, n := range byInfo {
		seen[kind(pg.RmgrID(key[0]), key[1], h.Major)] += n
	}
	return seen
}

// kind names resource manager and operation.
func kind(rmgr pg.RmgrID, info uint8, major int) string {
	return rmgr.String() + " " + wal.OpName(rmgr, info, major)
}

func proofsPath(t *testing.T) string {
	t.Helper()
	root, err := pgtest.RepoRoot()
	if err != nil {
		t.Fatal(err)
	}
	return filepath.Join(root, ".cache", "proofs.jsonl")
}

func keepProof(t *testing.T, p proof) {
	t.Helper()
	line, err := json.Marshal(p)
	if err != nil {
		t.Fatal(err)
	}
	f, err := os.OpenFile(proofsPath(t), os.O_CREATE|os.O_APPEND|os.O_WRONLY, 0o600)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(append(line, '\n')); err != nil {
		t.Error(err)
	}
	if err := f.Close(); err != nil {
		t.Error(err)
	}
}
