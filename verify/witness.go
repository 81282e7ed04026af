package verify

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"github.com/cespare/xxhash/v2"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
	"redoubt/replay/server"
)

// What replays. The native engine always reads the WAL and keeps the books:
// which blocks records touch, which relations are dropped, what an online
// backup's own WAL replaced whole.
const (
	EngineNative = "native" // the default
	EngineServer = "server" // a real PostgreSQL's pages are compared with the official side
	EngineBoth   = "both"   // the native engine's are, and the two engines' pages with each other
)

// witness is what the second engine, a real PostgreSQL, left of both sides.
type witness struct {
	base     *server.Result
	inv      *server.Inventory // of base
	official *server.Result    // of an online official side, brought to the span's end by its own WAL
	runs     int               // of servers to bisect
}

func (w *witness) close() error {
	var errs []error
	for _, r := range []*server.Result{w.base, w.official} {
		if r != nil {
			errs = append(errs, r.Close())
		}
	}
	w.base, w.official = nil, nil
	return errors.Join(errs...)
}

// byServer says whether the server's pages stand for the replayed side.
func (r *run) byServer() bool { return r.Engine == EngineServer }

// wantsServer says whether a server replays whatever the comparison finds.
func (r *run) wantsServer() bool { return r.Engine == EngineServer || r.Engine == EngineBoth }

// serverAvailable refuses an engine that cannot run here, before anything large is read.
func (r *run) serverAvailable(ctx context.Context) error {
	if !r.wantsServer() {
		return nil
	}
	_, err := r.Server.Find(ctx, r.out.Postgres.Major)
	var none *server.UnavailableError
	if errors.As(err, &none) {
		return inputErrorf("engine %s: %v", r.Engine, none)
	}
	return err
}

// serve lets a server replay the span's end over a side, from where the side starts.
func (r *run) serve(ctx context.Context, side Snapshot, span pg.Range) (*server.Result, error) {
	r.progress("second engine", 0, 0)
	start := time.Now()
	res, err := server.Run(ctx, r.Server, r.WAL, side, server.Span{Range: span, Major: r.out.Postgres.Major})
	if r.out.Witness == nil {
		r.out.Witness = &finding.Witness{Engine: EngineServer}
	}
	r.out.Witness.Seconds += time.Since(start).Seconds()
	if res != nil {
		r.out.Witness.Version = res.Version
		if res.Failed != nil || r.out.Witness.Log == "" {
			r.out.Witness.Log = res.Log
		}
	}
	return res, err
}

// serveBase lets a server replay the span over the base, if one is wanted.
func (r *run) serveBase(ctx context.Context) error {
	if !r.wantsServer() {
		return nil
	}
	return r.settleServer(r.callBase(ctx))
}

// serveOfficial lets a server bring an online official side to the span's end.
func (r *run) serveOfficial(ctx context.Context) error {
	if !r.wantsServer() || r.witness.base == nil {
		return nil
	}
	return r.settleServer(r.callOfficial(ctx))
}

// settleServer sorts what a server that was asked for ended with. That of
// engine server ends the verification; that of both leaves the native engine alone.
func (r *run) settleServer(err error) error {
	var bad *inconclusive
	switch {
	case err == nil:
		return nil
	case errors.As(err, &bad) && r.Engine == EngineBoth:
		r.unwitnessed = append(r.unwitnessed, bad.reason)
		return nil
	}
	return err
}

// callBase has a server replay the base. An *inconclusive says why it could not.
func (r *run) callBase(ctx context.Context) (err error) {
	if err := r.noServer(); err != nil {
		return err
	}
	res, err := r.serve(ctx, r.Base, r.out.Span)
	if r.witness.base, err = r.served("the base", res, err); err != nil {
		return err
	}
	r.witness.inv, err = r.witness.base.Inventory()
	return err
}

// callOfficial has a server replay the official side's own WAL, if it is online.
func (r *run) callOfficial(ctx context.Context) (err error) {
	if !r.official.Online {
		return nil
	}
	res, err := r.serve(ctx, r.Official, pg.Range{From: r.official.Redo, To: r.out.Span.To})
	r.witness.official, err = r.served("the official side", res, err)
	return err
}

// failedServer says that a server stopped at a record.
type failedServer struct {
	inconclusive
	at pg.LSN
}

func (e *failedServer) Unwrap() error { return &e.inconclusive }

// served sorts the ways in which a server does not get to the span's end.
func (r *run) served(side string, res *server.Result, err error) (*server.Result, error) {
	var none *server.UnavailableError
	var limit *server.LimitError
	switch {
	case errors.As(err, &none), errors.As(err, &limit):
		return nil, &inconclusive{fmt.Sprintf("no server could replay %s: %v", side, err)}
	case err != nil:
		return nil, r.walError("replay "+side+" with a server", err)
	case res.Failed != nil:
		failed := &failedServer{inconclusive{fmt.Sprintf("PostgreSQL %s could not recover %s: %v", res.Version, side, res.Failed)}, res.Failed.LSN}
		return nil, errors.Join(res.Close(), failed)
	}
	return res, nil
}

// samePage reports whether two engines made the same page: every byte counts
// but the checksum, which is computed when a page is written, and what lies
// between pd_lower and pd_upper, which is nobody's; of a visibility map it is
// the map.
func samePage(f pg.ForkNumber, a, b []byte) bool {
	if len(a) != pg.BlockSize || len(b) != pg.BlockSize {
		return len(a) == len(b)
	}
	const checksum, lower, special = 8, 12, 16 // offsets in PageHeaderData (storage/bufpage.h)
	if !bytes.Equal(a[:checksum], b[:checksum]) || !bytes.Equal(a[checksum+2:special+8], b[checksum+2:special+8]) {
		return false
	}
	lo, hi := int(a[lower])|int(a[lower+1])<<8, int(a[lower+2])|int(a[lower+3])<<8
	if f == pg.VMFork || lo < special+8 || lo > hi || hi > pg.BlockSize {
		lo, hi = pg.BlockSize, pg.BlockSize
	}
	return bytes.Equal(a[special+8:lo], b[special+8:lo]) && bytes.Equal(a[hi:], b[hi:])
}

// addUnwitnessed says what the second engine could not do.
func (r *run) addUnwitnessed() {
	for _, why := range slices.Compact(slices.Sorted(slices.Values(r.unwitnessed))) {
		r.out.Reasons = append(r.out.Reasons, "second engine: "+why)
	}
}

// sameAsServer is samePage for a page that the native engine made. Whether
// VISIBLE sets a heap page's LSN depends on the settings of the server that
// replays it, of which this one has those of the span's end only: all else
// equal, any LSN will do that the page may rightly have.
func sameAsServer(f pg.ForkNumber, p native.Page, theirs page.Page) bool {
	if samePage(f, p.Bytes, theirs) {
		return true
	}
	if len(p.Bytes) != pg.BlockSize || len(theirs) != pg.BlockSize || !slices.Contains(p.Hints, theirs.LSN()) {
		return false
	}
	own := page.Page(bytes.Clone(p.Bytes))
	own.SetLSN(theirs.LSN())
	return samePage(f, own, theirs)
}

func xxhashOf(p []byte) uint64 { return xxhash.Sum64(p) }

// slruOf is the SLRU page that a discrepancy is about.
func slruOf(d *finding.Discrepancy) (pg.SLRUPage, bool) {
	s, _, ok := datadir.ParseSLRUPath(d.File)
	if !ok || d.Block == nil {
		return pg.SLRUPage{}, false
	}
	return pg.SLRUPage{SLRU: s, Page: uint32(*d.Block)}, true
}
