package reports

import (
	"fmt"

	"redoubt/internal/finding"
)

// recordsView is the history of a block around the divergence.
type recordsView struct {
	Caption       string
	Before, After string // how many more there are
	Rows          []recordRow
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
	v := &recordsView{Caption: "Of the " + count(max(d.RecordsTotal, int64(len(d.Records))), "record") + " of the span that touch this block, those around the divergence, the oldest first."}
	rows := make([]recordRow, 0, len(d.Records))
	at := 0 // the first divergent one
	for i := range d.Records {
		rows = append(rows, recordRowOf(d, &d.Records[i]))
		if rows[i].Class == "first" {
			at = i
		}
	}
	from, to := max(0, at-recordsBefore), min(len(rows), at+recordsAfter)
	v.Rows = rows[from:to]
	if from > 0 {
		v.Before = number(int64(from)) + " more before these in the JSON"
	}
	if n := len(rows) - to; n > 0 {
		v.After = number(int64(n)) + " more after these in the JSON"
	}
	return v
}

// How many records are shown around the first divergent one.
const (
	recordsBefore = 6
	recordsAfter  = 10
)

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
