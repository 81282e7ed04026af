package page

import (
	"bytes"
	"fmt"

	"redoubt/internal/pg"
)

// sizeVersion is the only pd_pagesize_version there is since PostgreSQL 8.3.
const sizeVersion = pg.BlockSize | LayoutVersion

var zeroPage [pg.BlockSize]byte

// HeaderError names the field of a page header that can't be right.
type HeaderError struct {
	Field  string // pd_lower, pd_flags, …
	Detail string
}

func (e *HeaderError) Error() string { return "page header: " + e.Field + " " + e.Detail }

// IsZero reports whether every byte of the page is zero, as a page that was
// added to its file and never written.
func (p Page) IsZero() bool { return bytes.Equal(p, zeroPage[:]) }

// Check reports the first header field that no page written by PostgreSQL
// can have, as a *HeaderError. An all-zero page is right. It asks what
// PageIsVerified asks (storage/page/bufpage.c) and, beyond that, that
// pd_lower lies behind the header and that the layout version is 4.
func (p Page) Check() error {
	if len(p) != pg.BlockSize {
		return &HeaderError{"length", fmt.Sprintf("is %d bytes, not %d", len(p), pg.BlockSize)}
	}
	if p.headerSane() {
		return nil
	}
	return p.headerError()
}

// headerSane is Check without the words.
func (p Page) headerSane() bool {
	l, u, s := p.Lower(), p.Upper(), p.Special()
	if u == 0 {
		return p.IsZero()
	}
	return HeaderSize <= l && l <= u && u <= s && s <= pg.BlockSize && s%8 == 0 &&
		p.Flags()&^ValidFlags == 0 && p.PageSizeVersion() == sizeVersion
}

func (p Page) headerError() error {
	l, u, s, v := p.Lower(), p.Upper(), p.Special(), p.PageSizeVersion()
	switch {
	case u == 0:
		return &HeaderError{"pd_upper", "is 0 as on a new page, but the page is not all zeros"}
	case v&0xFF != LayoutVersion:
		return &HeaderError{"pd_pagesize_version", fmt.Sprintf("says layout version %d, not %d", v&0xFF, LayoutVersion)}
	case v != sizeVersion:
		return &HeaderError{"pd_pagesize_version", fmt.Sprintf("says %d bytes, not %d", v&0xFF00, pg.BlockSize)}
	case p.Flags()&^ValidFlags != 0:
		return &HeaderError{"pd_flags", fmt.Sprintf("is %#04x, which has bits nobody sets", p.Flags())}
	case s > pg.BlockSize || s%8 != 0:
		return &HeaderError{"pd_special", fmt.Sprintf("is %d, not a multiple of 8 of at most %d", s, pg.BlockSize)}
	case u > s:
		return &HeaderError{"pd_upper", fmt.Sprintf("is %d, behind pd_special %d", u, s)}
	case l < HeaderSize:
		return &HeaderError{"pd_lower", fmt.Sprintf("is %d, inside the header of %d bytes", l, HeaderSize)}
	}
	return &HeaderError{"pd_lower", fmt.Sprintf("is %d, behind pd_upper %d", l, u)}
}
