package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"redoubt/internal/config"
	"redoubt/internal/official/pageserver"
	"redoubt/internal/pg"
	"redoubt/verify"
)

// pageSide is a timeline of a pageserver at one LSN as verify wants it.
type pageSide struct{ *pageserver.Side }

var (
	_ verify.Sparse = pageSide{}
	_ verify.Timed  = pageSide{}
)

// Meta says what a pageserver's pages are: of exactly one LSN, in the middle
// of whatever its compute does. Neon's WAL has one timeline number, 1. Which
// PostgreSQL it is, the files that come with the pages say.
func (s pageSide) Meta(context.Context) (verify.Meta, error) {
	return verify.Meta{Redo: s.LSN(), TLI: 1, Running: true, Unsummed: true, MapsStamped: true}, nil
}

// side is what a verification compares, and what is closed after it.
type side interface {
	verify.Snapshot
	io.Closer
}

func isPageserver(location string) bool { return strings.HasPrefix(location, pageserver.Scheme+"://") }

// openPages opens a timeline at the LSN that a flag gives.
func openPages(location, flag string, lsn pg.LSN) (side, error) {
	t, err := pageserver.Parse(location)
	if err != nil {
		return nil, err
	}
	if lsn == 0 {
		return nil, fmt.Errorf("%s is missing: a pageserver has pages of many LSNs; its last_record_lsn, or another LSN at which a record ends, is wanted", flag)
	}
	return pageSide{pageserver.At(pageserver.New(t), lsn, nil)}, nil
}

// sides opens base and official side.
func (f *verifyFlags) sides(ctx context.Context, o verify.Options, l config.Live, note func(string)) (base, official side, err error) {
	if base, err = openAt(ctx, f.base, "--from", o.From); err != nil {
		return nil, nil, err
	}
	if isLive(f.official) {
		official, err = openLive(ctx, f.official, l, note)
	} else {
		official, err = openAt(ctx, f.official, "--to", o.To)
	}
	if err != nil {
		return nil, nil, errors.Join(err, base.Close())
	}
	return base, official, nil
}

func openAt(ctx context.Context, location, flag string, lsn pg.LSN) (side, error) {
	if isPageserver(location) {
		return openPages(location, flag, lsn)
	}
	return openSide(ctx, location)
}
