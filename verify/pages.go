package verify

import (
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/pageview"
)

// maxPages is how many of the listed discrepancies carry their pages.
const maxPages = 100

// addPages adds to a discrepancy which rows or index entries differ and,
// unless enough have them, the two pages: without what their users stored in
// them, unless that may be shown.
func (r *run) addPages(d *finding.Discrepancy, m mismatch, official, replayed []byte) {
	d.Items = pageview.Differing(official, replayed, m.Block)
	if d.Severity == finding.Benign || r.pages[d.Severity] >= maxPages {
		return
	}
	r.pages[d.Severity]++
	d.Pages = &finding.PagePair{Official: official, Replayed: replayed, Masked: !r.ShowBytes}
	if p := page.Page(official); m.checksum && len(p) == pg.BlockSize && !p.IsZero() {
		d.Pages.OfficialChecksum = p.ComputeChecksum(m.Number)
	}
	if d.Pages.Masked {
		d.Pages.Official = concealed(official, m.Fork)
		d.Pages.Replayed = concealed(replayed, m.Fork)
	}
}

func concealed(p []byte, fork pg.ForkNumber) []byte {
	if p == nil {
		return nil
	}
	return pageview.Conceal(p, fork)
}

// trimPages takes the pages away from all but the first of the sorted list.
func trimPages(list []finding.Discrepancy) {
	n := 0
	for i := range list {
		if list[i].Pages == nil {
			continue
		}
		if n++; n > maxPages {
			list[i].Pages = nil
		}
	}
}
