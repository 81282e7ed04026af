package reports

import (
	"fmt"

	"redoubt/internal/finding"
)

// recordsView is the history of a block around the divergence.
type recordsView struct {
	Caption string
	Rows    []recordRow
}

type recordRow struct {
	LSN, End, Record, XID string
	Image                 bool
	Class                 string // kept: on the official page; lost: not on it; empty: not known
	Mark                  string // what this record is to the finding
}

// recordsOf lists the records that touched the block; the first one whose
// effect the official page lacks is marked.
func recordsOf(d *finding.Discrepancy) *recordsView {
	if len(d.Records) == 0 {
		return nil
	}
	v := &recordsView{Caption: "Records of the span that touch this block, the oldest first."}
	if total := d.RecordsTotal; total > int64(len(d.Records)) {
		v.Caption = fmt.Sprintf("%s of the %s of the span that touch this block, around the divergence, the oldest first.",
			number(int64(len(d.Records))), count(total, "record"))
	}
	for i := range d.Records {
		v.Rows = append(v.Rows, recordRowOf(d, &d.Records[i]))
	}
	return v
}

func recordRowOf(d *finding.Discrepancy, r *finding.BlockRecord) recordRow {
	row := recordRow{LSN: r.LSN.String(), End: r.End.String(), Record: plain(r.Rmgr + " " + r.Op), Image: r.Image}
	if r.XID != 0 {
		row.XID = fmt.Sprint(r.XID)
	}
	first := d.FirstDivergentLSN
	switch {
	case first != nil && r.LSN == *first:
		row.Class, row.Mark = "first", "the histories part here"
	case first != nil && r.LSN > *first:
		row.Class = "lost"
	case first != nil:
		row.Class = "kept"
	}
	if d.Kind == finding.LostWrite && d.OfficialLSN != nil {
		switch {
		case r.End == *d.OfficialLSN:
			row.Class, row.Mark = "kept", "the last one on the official page"
		case r.End < *d.OfficialLSN:
			row.Class = "kept"
		case row.Class == "lost":
			row.Mark = "missing from the official page"
		case row.Class == "":
			row.Class, row.Mark = "lost", "missing from the official page"
		}
	}
	return row
}
