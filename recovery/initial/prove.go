package initial

import (
	"context"
	"errors"
	"fmt"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay/native"
)

// Proof is what was done to prove a snapshot.
type Proof struct {
	Replayed pg.Range // of WAL
	Records  int64
	Blocks   int64 // that records were applied to
}

// Pages are the snapshot's; *snapshot.Snapshot fits it.
type Pages interface {
	Walk(ctx context.Context, v datadir.Visitor) error
}

// Prove replays the WAL of a fit over the snapshot's pages. A record that does
// not apply is a *MismatchError.
func Prove(ctx context.Context, cfg native.Config, info snapshot.Info, pages Pages, src Source, fit Fit) (p Proof, err error) {
	cfg.DetectDialect = true
	e := native.New(cfg, src, native.Span{Range: fit.Replay, TLI: info.StartTLI, Clean: !info.Online})
	defer func() { err = errors.Join(err, e.Close()) }()
	scanned, err := e.Scan(ctx)
	if err != nil {
		return p, err
	}
	if scanned.Major != 0 && scanned.Major != info.Major {
		return p, mismatch("the WAL is of PostgreSQL %d, the data directory of %d", scanned.Major, info.Major)
	}
	if err := pages.Walk(ctx, e); err != nil {
		return p, err
	}
	e.SetBase(native.Base{Checksums: info.Checksums, WALLogHints: info.WALLogHints, CommitTs: info.TrackCommitTimestamp})
	res, err := e.Replay(ctx)
	if err != nil {
		return p, err
	}
	if res.MismatchCount > 0 {
		m := res.Mismatches[0]
		return p, mismatch("the image of %s after the record at %s is not what redo made (%d such)", m.Block, m.Record.LSN, res.MismatchCount)
	}
	p = Proof{Replayed: fit.Replay, Records: scanned.WAL.Records, Blocks: res.BlocksReplayed}
	return p, applied(res)
}

// applied wants every record to have found the page that it was made for.
func applied(res *native.Result) error {
	buf := make([]byte, pg.BlockSize)
	for _, f := range res.Forks() {
		err := res.EachTouched(f.RelFork, func(b pg.BlockNumber) error {
			if b >= f.Size {
				return nil // truncated since
			}
			p, err := res.Page(f.RelFork, b, buf)
			switch {
			case err != nil:
				return err
			case p.Failed != nil:
				return mismatch("%s block %d: %v", f, b, p.Failed)
			case p.Invalid != 0:
				return mismatch("%s block %d is missing or zero, and the record at %s changes it", f, b, p.Invalid)
			case p.Future != 0:
				return mismatch("%s block %d is newer than the record at %s", f, b, p.Future)
			}
			return nil
		})
		if err != nil {
			return fmt.Errorf("replay over the snapshot: %w", err)
		}
	}
	return nil
}
