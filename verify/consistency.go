package verify

import (
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay/native"
)

// consistency reports images that wal_consistency_checking put into the WAL
// and that redo does not reproduce: one finding a block, that of its first.
// What is wrong with the block later follows from it.
func (r *run) consistency() {
	r.out.Consistency = finding.Consistency{ImagesChecked: r.ra.ImagesChecked, Mismatches: r.ra.MismatchCount}
	if r.byServer() { // it holds its own pages against the images, and would not have come to the end
		r.out.Consistency.Mismatches = 0
		return
	}
	r.wrongRedo = make(map[pg.Block]bool)
	later := make(map[pg.Block]int)
	for _, m := range r.ra.Mismatches {
		later[m.Block]++
	}
	for _, m := range r.ra.Mismatches { // in WAL order
		if !r.wrongRedo[m.Block] {
			r.wrongRedo[m.Block] = true
			r.add(r.mismatchFinding(m, later[m.Block]-1))
		}
	}
	rest := r.ra.MismatchCount - int64(len(r.ra.Mismatches))
	r.out.DiscrepancyCounts.Critical += rest
}

// mismatchFinding names engine and record. Only where the page before the
// record was the WAL's own can nobody but the engine have made it wrong.
func (r *run) mismatchFinding(m native.Mismatch, later int) finding.Discrepancy {
	n := int64(m.Block.Number)
	rel := finding.RelationOf(m.Block.RelFork)
	d := finding.Discrepancy{
		Relation: &rel, Block: &n,
		File:   datadir.RelPath(m.Block.RelFork, uint32(n/pg.BlocksPerFile), r.versionDir()),
		Offset: n % pg.BlocksPerFile * pg.BlockSize,
		Kind:   finding.WrongRedo, Severity: finding.Critical, Blame: finding.BlameEngine,
		LastRecord: r.recordRef(m.Record), ByteRanges: m.Ranges, FirstDivergentLSN: &m.Record.LSN,
	}
	who := "the engine is wrong: the page before the record is proved by the WAL"
	if !m.Proved {
		d.Blame = finding.BlameUnknown
		who = "the engine is wrong, or the base's page that it started from"
	}
	d.Explanation = fmt.Sprintf("After the native engine redid %s %s at %s the page is not the one that wal_consistency_checking put into the record: %s.",
		m.Record.Rmgr, m.Record.OpName(r.out.Postgres.Major), m.Record.LSN, who)
	if later > 0 {
		d.Explanation += fmt.Sprintf(" Images of %d later records of the block do not fit either.", later)
	}
	return d
}
