package native

import (
	"cmp"
	"slices"

	"redoubt/internal/pg/audit"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Audit is what the page LSNs in the full-page images of a span say of the
// primary's disk (internal/pg/audit).
type Audit struct {
	audit.Stats
	LostWrites int64           // images older than the last record of their block
	Listed     []audit.Finding // of them, at most Config.MaxFindings, in WAL order
	Newer      int64           // images newer than all that is known of their block
	FirstNewer *audit.Finding  // the first of them, nil without one
}

// auditor checks the images that one worker restores anyway.
type auditor struct {
	Audit
	max int // findings kept
}

// see checks the image of a record's reference, nil if it has none, against
// what is known of the block, and notes the record.
func (a *auditor) see(rec *wal.Record, ref *wal.BlockRef, known *audit.Block, img page.Page) {
	if img != nil {
		a.Images++
		if known.Known() && !ref.WillInit {
			a.Checked++
			if f, ok := known.Check(rec, ref, img); ok {
				a.found(f)
			}
		}
	}
	if known.Note(rec, ref, img) {
		a.Forgotten++
	}
}

func (a *auditor) found(f audit.Finding) {
	if f.Newer() {
		if a.Newer++; a.FirstNewer == nil {
			a.FirstNewer = &f
		}
		return
	}
	if a.LostWrites++; len(a.Listed) < a.max {
		a.Listed = append(a.Listed, f)
	}
}

// add adds what another worker saw.
func (a *Audit) add(b *Audit) {
	a.Images += b.Images
	a.Checked += b.Checked
	a.Forgotten += b.Forgotten
	a.LostWrites += b.LostWrites
	a.Listed = append(a.Listed, b.Listed...)
	a.Newer += b.Newer
	if b.FirstNewer != nil && (a.FirstNewer == nil || b.FirstNewer.At < a.FirstNewer.At) {
		a.FirstNewer = b.FirstNewer
	}
}

// sort puts the findings of all workers in WAL order, the first of them.
func (a *Audit) sort(limit int) {
	slices.SortFunc(a.Listed, func(x, y audit.Finding) int { return cmp.Or(cmp.Compare(x.At, y.At), x.Block.Compare(y.Block)) })
	a.Listed = a.Listed[:min(len(a.Listed), limit)]
}
