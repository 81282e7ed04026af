package verify

import (
	"bytes"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/page/pagetest"
)

// TestAddPages: the first discrepancies of each severity carry their pages,
// without contents unless they may be shown, and all of them the rows hit.
func TestAddPages(t *testing.T) {
	f := pagetest.Load(t, "heap-hints")[0]
	official := page.Page(bytes.Clone(f.Official))
	at := official.ItemID(3).Offset()
	copy(official[at+40:], "a secret")
	m := mismatch{Block: pg.Block{Number: f.Block}, checksum: true}
	for _, show := range []bool{false, true} {
		r := &run{Options: Options{ShowBytes: show}, pages: make(map[finding.Severity]int)}
		var list []finding.Discrepancy
		for i := range 3 * maxPages {
			d := finding.Discrepancy{Severity: []finding.Severity{finding.Warning, finding.Critical, finding.Benign}[i%3]}
			r.addPages(&d, m, official, f.Replayed)
			list = append(list, d)
		}
		d := list[0]
		if len(d.Items) != 1 || d.Items[0] != [2]int{3, 4} || d.Pages == nil || d.Pages.Masked == show {
			t.Fatalf("%v, pages %v", d.Items, d.Pages)
		}
		if got := d.Pages.OfficialChecksum; got != official.ComputeChecksum(f.Block) || got == official.Checksum() {
			t.Errorf("checksum %#x", got)
		}
		if bytes.Contains(d.Pages.Official, []byte("secret")) != show || len(d.Pages.Official) != pg.BlockSize || len(d.Pages.Replayed) != pg.BlockSize {
			t.Errorf("shown %t: the official page is %q", show, d.Pages.Official[at:at+64])
		}
		if list[2].Pages != nil || list[2].Items == nil {
			t.Error("a benign one has pages, or no items")
		}
		trimPages(list)
		with := 0
		for i := range list {
			if list[i].Pages != nil {
				with++
			}
		}
		if with != maxPages || list[0].Pages == nil {
			t.Errorf("%d carry pages", with)
		}
	}
	r := &run{pages: make(map[finding.Severity]int)}
	var d finding.Discrepancy
	r.addPages(&d, m, nil, f.Replayed)
	if d.Pages.Official != nil || d.Pages.OfficialChecksum != 0 || len(d.Items) == 0 {
		t.Errorf("a missing official page: %+v", d)
	}
}
