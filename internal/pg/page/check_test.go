package page_test

import (
	"errors"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/page/pagetest"
)

func TestRealPagesAreRight(t *testing.T) {
	for _, f := range pagetest.Load(t, "") {
		if err := f.Official.Check(); err != nil {
			t.Errorf("%s: %v", f.Name, err)
		}
		if !f.Official.ChecksumOK(f.Block) {
			t.Errorf("%s: checksum %#x, computed %#x", f.Name, f.Official.Checksum(), f.Official.ComputeChecksum(f.Block))
		}
		if f.Official.ChecksumOK(f.Block + 1) {
			t.Errorf("%s: the checksum fits another block as well", f.Name)
		}
	}
}

func TestCheckNamesTheField(t *testing.T) {
	zero := make(page.Page, pg.BlockSize)
	if err := zero.Check(); err != nil {
		t.Errorf("an all-zero page: %v", err)
	}
	cases := []struct {
		field string
		harm  func(page.Page)
	}{
		{"pd_flags", func(p page.Page) { p.SetFlags(p.Flags() | 8) }},
		{"pd_lower", func(p page.Page) { p.SetLower(20) }},
		{"pd_lower", func(p page.Page) { p.SetLower(p.Upper() + 1) }},
		{"pd_upper", func(p page.Page) { p.SetUpper(p.Special() + 8) }},
		{"pd_upper", func(p page.Page) { p.SetUpper(0) }},
		{"pd_special", func(p page.Page) { p.SetSpecial(pg.BlockSize + 8) }},
		{"pd_special", func(p page.Page) { p.SetSpecial(p.Special() - 1) }},
		{"pd_pagesize_version", func(p page.Page) { p.SetPageSizeVersion(pg.BlockSize | 3) }},
		{"pd_pagesize_version", func(p page.Page) { p.SetPageSizeVersion(4096 | 4) }},
	}
	for _, c := range cases {
		p := pagetest.Load(t, "heap-hints")[0].Official
		c.harm(p)
		var he *page.HeaderError
		if err := p.Check(); !errors.As(err, &he) || he.Field != c.field {
			t.Errorf("want an error about %s, got %v", c.field, err)
		}
	}
	var he *page.HeaderError
	if err := (page.Page{1, 2}).Check(); !errors.As(err, &he) || he.Field != "length" {
		t.Errorf("two bytes: %v", err)
	}
}

// A checksum of 16 bits misses about one of 65535 changes; more often would
// mean that some of the page does not count.
func TestChecksumFindsFlippedBits(t *testing.T) {
	f := pagetest.Load(t, "heap-hints")[0]
	missed := 0
	for bit := 0; bit < pg.BlockSize*8; bit += 5 {
		f.Official[bit/8] ^= 1 << (bit % 8)
		if f.Official.ChecksumOK(f.Block) {
			missed++
		}
		f.Official[bit/8] ^= 1 << (bit % 8)
	}
	if missed > 3 {
		t.Errorf("%d of %d flipped bits missed", missed, pg.BlockSize*8/5)
	}
}

func TestChecksumOfNewPages(t *testing.T) {
	p := make(page.Page, pg.BlockSize)
	if !p.ChecksumOK(3) {
		t.Error("an all-zero page needs no checksum")
	}
	p[8000] = 1
	if p.ChecksumOK(3) {
		t.Error("a page that looks new and is not all zeros passed")
	}
	if (page.Page{}).ChecksumOK(0) || (page.Page{}).ComputeChecksum(0) != 0 {
		t.Error("a page without bytes passed")
	}
}
