package verify

import (
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
)

// auditImages reports images that are older than what the WAL had made of
// their blocks: the primary lost a write, whatever the official side is.
// Which LSNs images in WAL of Neon's may carry nobody has measured: it is not
// judged, and the result has no audit.
func (r *run) auditImages() {
	if replay.DialectOf(r.WAL) != wal.Postgres {
		return
	}
	a := &r.ra.Audit
	r.out.Audit = &finding.Audit{Images: a.Images, ImagesChecked: a.Checked, BlocksForgotten: a.Forgotten, LostWrites: a.LostWrites}
	for i := range a.Listed[:min(len(a.Listed), r.listLimit())] {
		f := &a.Listed[i]
		r.out.LostWrites = append(r.out.LostWrites, finding.StaleImage{
			Relation: finding.RelationOf(f.Block.RelFork), Block: int64(f.Block.Number),
			At: f.At, ImageLSN: f.ImageLSN, ExpectedLSN: f.Expected,
			LastRecord: finding.RecordRef{LSN: f.Last.LSN, Rmgr: f.Last.Rmgr.String(), XID: f.Last.XID,
				Op: wal.OpName(f.Last.Rmgr, f.Last.Info, r.out.Postgres.Major)},
		})
	}
}

// addNewerImages gives images that are newer than all records of their block
// as a reason why the verdict can be no better than inconclusive.
func (r *run) addNewerImages() {
	if r.ra == nil || r.out.Audit == nil || r.ra.Audit.Newer == 0 {
		return
	}
	f := r.ra.Audit.FirstNewer
	r.out.Reasons = append(r.out.Reasons, fmt.Sprintf(
		"%d full-page images are newer than all records of their blocks before them, the first at %s (%s, %s after %s): WAL is missing or of another history",
		r.ra.Audit.Newer, f.At, f.Block, f.ImageLSN, f.Expected))
}
