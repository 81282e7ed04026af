package verify

import (
	"context"
	"errors"
	"fmt"
	"math"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay/native"
)

// filter says which blocks are verified, nil for all.
func (r *run) filter() func(pg.RelFork, pg.BlockNumber) bool {
	if r.Rel == nil && (r.Sample <= 0 || r.Sample >= 1) {
		return nil
	}
	return func(f pg.RelFork, b pg.BlockNumber) bool {
		if r.Rel != nil && f.RelFileLocator != *r.Rel {
			return false
		}
		return r.Sample <= 0 || chosen(f, b, r.Seed, r.Sample)
	}
}

// chosen says whether a block is in a sample of a fraction of all blocks.
func chosen(f pg.RelFork, b pg.BlockNumber, seed int64, fraction float64) bool {
	return fraction >= 1 || fraction > 0 && blockHash(f, b, seed) < uint64(fraction*math.MaxUint64)
}

// blockHash spreads blocks evenly over 64 bits (the finaliser of splitmix64).
func blockHash(f pg.RelFork, b pg.BlockNumber, seed int64) uint64 {
	h := uint64(seed)
	for _, v := range []uint64{uint64(f.Spc)<<32 | uint64(f.DB), uint64(f.Rel)<<32 | uint64(b), uint64(f.Fork)} {
		h ^= v
		h += 0x9E3779B97F4A7C15
		h = (h ^ h>>30) * 0xBF58476D1CE4E5B9
		h = (h ^ h>>27) * 0x94D049BB133111EB
		h ^= h >> 31
	}
	return h
}

// lending is a visitor whose pages are read into the memory of a pool.
type lending struct {
	datadir.Visitor
	*pool
}

// untouchedOnly is a visitor that wants only blocks that no WAL touches.
type untouchedOnly struct {
	lending
	touched func(pg.RelFork, pg.BlockNumber) bool
}

// Wants fits snapshot.Chooser.
func (u untouchedOnly) Wants(f datadir.RelFile, first pg.BlockNumber, limit int) (int, bool) {
	if !compared(f) {
		return limit, false
	}
	touched, n := u.touched(f.RelFork, first), 1
	for n < limit && u.touched(f.RelFork, first+pg.BlockNumber(n)) == touched {
		n++
	}
	return n, !touched
}

// tee hands every file to several visitors.
type tee []datadir.Visitor

func (t tee) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	for _, v := range t {
		if err := v.Blocks(f, first, pages); err != nil {
			return err
		}
	}
	return nil
}

func (t tee) EndRelation(f datadir.RelFile, size int64) error {
	for _, v := range t {
		if err := v.EndRelation(f, size); err != nil {
			return err
		}
	}
	return nil
}

func (t tee) File(path string, content []byte) error {
	for _, v := range t {
		if err := v.File(path, content); err != nil {
			return err
		}
	}
	return nil
}

// replayBase runs the span over the base.
func (r *run) replayBase(ctx context.Context) error {
	done, err := r.replayOnDemand(ctx)
	if done || err != nil {
		return err
	}
	span := r.out.Span
	r.clean = !r.base.Online
	r.wanted = r.filter()
	cfg := r.Native
	cfg.Filter = r.wanted
	stage := "read WAL"
	cfg.Progress = func(at pg.LSN) { r.walProgress(stage, span)(at) }
	cfg.DetectDialect, cfg.NameForks = true, sparse(r.Base) || sparse(r.Official)
	r.a = native.New(cfg, r.WAL, native.Span{Range: span, TLI: r.base.TLI, Clean: r.clean})
	scanned, err := r.a.Scan(ctx)
	if scanned != nil {
		r.describeWAL(scanned)
	}
	if err != nil {
		return r.walError(fmt.Sprintf("read WAL %s", span), err)
	}
	if err := errors.Join(r.sparseSpan(scanned), r.baseConsistent(scanned)); err != nil {
		return err
	}
	if err := r.serverAvailable(ctx); err != nil {
		return err
	}
	if err := r.walkBase(ctx, r.a); err != nil {
		return err
	}
	stage = "replay WAL"
	if r.ra, err = r.a.Replay(ctx); err != nil {
		return r.walError(fmt.Sprintf("replay WAL %s", span), err)
	}
	return r.serveBase(ctx)
}

func (r *run) describeWAL(s *native.Scanned) {
	r.out.WAL.Segments, r.out.WAL.Bytes = s.WAL.Segments, s.WAL.Bytes
	r.out.WAL.Records, r.out.WAL.FullPageImages = s.WAL.Records, s.WAL.FullPageImages
	if s.Major != 0 {
		r.out.Postgres.Major = s.Major
	}
	r.setSystemID(s.SystemID)
	r.speaks(s)
}

// baseConsistent refuses a span that ends before an online base is consistent:
// nothing may be judged before.
func (r *run) baseConsistent(s *native.Scanned) error {
	if !r.base.Online {
		return nil
	}
	at := r.base.Consistent
	for _, b := range s.BackupEnds {
		if b.Start == r.base.Redo {
			at = b.End
		}
	}
	r.consistentAt = at
	if at == 0 || at > r.out.Span.To {
		return inputErrorf("the base %s starts at %s and is not consistent before the span's end %s (its backup had not ended); take an older base or a later official side",
			r.Base.Name(), r.base.Redo, r.out.Span.To)
	}
	return nil
}

// walkBase streams the base: the hashes of pages that the WAL does not touch
// go to the index, and all of it to more visitors.
func (r *run) walkBase(ctx context.Context, more ...datadir.Visitor) error {
	p := newPool(ctx, r.Native.Workers)
	r.index = newBaseIndex(p, r.a.Touched)
	r.index.xacts = r.xacts
	if r.clean {
		r.index.limit = r.out.Span.From
	}
	all := lending{append(tee(more), r.index, &counter{run: r, stage: "read base"}), p}
	var v datadir.Visitor = all
	if len(more) == 0 && !r.clean { // redo has had its pages, and their LSNs may be any
		v = untouchedOnly{all, r.a.Touched}
	}
	err := r.readBase(p.ctx, v)
	if poolErr := p.wait(); poolErr != nil {
		err = poolErr
	}
	if err != nil {
		return fmt.Errorf("read base: %w", err)
	}
	if err := r.setControl(r.index.control); err != nil {
		return err
	}
	r.prepared, r.preparedKnown = basePrepared(r.index.twoPhase, r.baseControl.Major())
	return nil
}

// setControl takes the base's pg_control.
func (r *run) setControl(c *datadir.Control) error {
	if c == nil {
		return inputErrorf("the base %s has no %s: it is not a whole data directory", r.Base.Name(), datadir.ControlPath)
	}
	if err := r.controlFits(c, r.Base.Name()); err != nil {
		return err
	}
	r.baseControl = c
	r.a.SetBase(nativeBase(c))
	return nil
}

// baseSums says whether checksums of the base's pages mean something.
func (r *run) baseSums() bool { return r.baseControl.Checksums() && !r.base.Unsummed }

// nativeBase is what redo must know of a side's pg_control.
func nativeBase(c *datadir.Control) native.Base {
	return native.Base{Checksums: c.Checksums(), WALLogHints: c.WALLogHints, CommitTs: c.TrackCommitTimestamp}
}

// controlFits compares a side's pg_control with the WAL that was read.
func (r *run) controlFits(c *datadir.Control, name string) error {
	if id := fmt.Sprint(c.SystemIdentifier); r.out.Postgres.SystemIdentifier != "" && id != r.out.Postgres.SystemIdentifier {
		return inputErrorf("%s is of cluster %s, the WAL of cluster %s (system identifiers)", name, id, r.out.Postgres.SystemIdentifier)
	}
	if c.Major() != 0 && r.out.Postgres.Major != 0 && c.Major() != r.out.Postgres.Major {
		return inputErrorf("%s is of PostgreSQL %d, the WAL of %d", name, c.Major(), r.out.Postgres.Major)
	}
	return nil
}
