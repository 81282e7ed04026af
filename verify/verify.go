// Package verify proves one span, end to end: replay the WAL over the base,
// then compare every page with the official one.
//
//	base  --redo [from, to)-->  replayed   must equal   official
//
// Each side is streamed once, front to back. Of a base only the pages that
// redo builds on are kept; for the others a hash of their normal form is,
// because blocks that no WAL touches must be the same at both ends. An
// official side that is an online backup is first brought to the span's end by
// its own WAL, in a second, small engine; pages that this WAL replaced whole
// are no evidence and are not counted as compared.
package verify

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"os"
	"runtime"
	"runtime/debug"
	"time"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay"
	"redoubt/replay/native"
	"redoubt/replay/server"
)

// Snapshot is all pages of a cluster at one LSN, or becoming consistent at
// one: a base backup or a data directory.
type Snapshot interface {
	// Meta says what the snapshot is, reading as little as possible.
	Meta(ctx context.Context) (Meta, error)
	// Walk streams all files once.
	Walk(ctx context.Context, v datadir.Visitor) error
	// Fetch reads single blocks again; blocks that are not there are left out.
	Fetch(ctx context.Context, blocks []pg.Block, fn func(pg.Block, []byte) error) error
	// Problems lists what is wrong with the snapshot's own files as far as they
	// have been read: a manifest's checksum that does not fit.
	Problems() []string
	// Name names it in messages.
	Name() string
}

// Meta identifies a snapshot.
type Meta struct {
	Major       int    // 0 if not known before a walk
	SystemID    uint64 // 0 if not known before a walk
	Online      bool   // taken from a running server: consistent only after some WAL
	FromStandby bool   // consistent at pg_control's minRecoveryPoint, without a BACKUP_END record
	Redo        pg.LSN // where replay starts; a clean snapshot is of exactly this LSN
	TLI         pg.TLI
	// Consistent is the LSN from which an online snapshot may be judged, where
	// it is known without reading WAL; 0 if it is not.
	Consistent pg.LSN
	// Running says of a snapshot of exactly Redo that its server went on:
	// transactions may be under way.
	Running bool
	// Unsummed says that its pages' checksums mean nothing: they are not those
	// that a server wrote to a disk.
	Unsummed bool
	// MapsStamped says that clearing bits of a visibility map sets the LSN of its
	// page, which PostgreSQL leaves alone: LSNs of maps say nothing then.
	MapsStamped bool
}

// Options say what to verify.
type Options struct {
	Base, Official Snapshot
	WAL            replay.WALSource
	From, To       pg.LSN // 0: the base's own, the official side's own
	Rel            *pg.RelFileLocator
	Sample         float64 // fraction of blocks, 0 or 1: all
	Seed           int64   // of Sample and Untouched
	// Untouched is the fraction of the blocks that no WAL touches which is read
	// of both sides where these are Sparse; others are read whole anyway.
	Untouched float64
	Native    native.Config
	Engine    string        // what replays: EngineNative (default), EngineServer, EngineBoth
	Confirm   bool          // a server replays the span, too, if there are critical discrepancies
	Server    server.Config // how servers are run, where one is
	// AcceptUnproven lets spans of WAL dialects be clean whose redo was made from
	// published definitions only (wal.Dialect.Proven).
	AcceptUnproven bool
	All            bool   // list all discrepancies, not 1,000
	ShowBytes      bool   // pages of discrepancies are kept whole; otherwise without what their users stored in them
	Timeline       string // names the timeline in the ids of discrepancies
	// Progress, if set, is told how far a stage is, in bytes; a total of 0 is
	// not known. It may be called by several goroutines.
	Progress func(stage string, done, total int64)
	Moving   MovingOptions // of an official side that is a running server
}

// maxListed is how many discrepancies are listed without Options.All.
const maxListed = 1000

// InputError says that what was asked for makes no sense: nothing was checked.
type InputError struct{ msg string }

func (e *InputError) Error() string { return e.msg }

func inputErrorf(format string, args ...any) error {
	return &InputError{fmt.Sprintf(format, args...)}
}

// run is one verification under way.
type run struct {
	Options
	base, official Meta
	clean          bool   // the base is of exactly From
	consistentAt   pg.LSN // from where an online base may be judged
	wanted         func(pg.RelFork, pg.BlockNumber) bool
	out            *finding.Verification
	a, b           *native.Engine // base's replay, official side's replay
	ra, rb         *native.Result
	index          *baseIndex
	tally          *tally
	baseControl    *datadir.Control
	officialCtl    *datadir.Control
	spool          *spool
	xacts          *baseXacts
	unlogged       map[pg.RelFileLocator]bool  // relations with an init fork on either side
	leftovers      map[pg.OID]string           // databases that a crash left behind, and how they are counted
	orphans        map[pg.RelFileLocator]bool  // relations that no transaction committed, of those that differ
	increments     map[pg.RelFileLocator]int64 // of sequences that differ, as the catalogs have them
	sizes          []sizeFinding
	prepared       map[pg.XID]bool // when the base was taken
	preparedKnown  bool
	wrongRedo      map[pg.Block]bool // blocks with a consistency image that does not fit
	found          []finding.Discrepancy
	pages          map[finding.Severity]int // discrepancies that carry their pages
	witness        witness
	undecided      int64               // records that fit several dialects, where nothing decides
	disputed       map[pg.Block]bool   // blocks on which the engines differ
	stopped        *failedServer       // the server stopped at a record
	unwitnessed    []string            // what the second engine could not do
	asked          map[pg.RelFork]bool // forks of a Sparse official side that were asked for
	known          int64               // blocks of the official forks that were asked for
	traced         int                 // blocks whose official past was asked for
	lacks          []pg.RelFork        // relations that a Sparse base's catalogs name and it has not
	moving         *movingSide         // nil if the official side stands still
}

// sizeFinding is a relation fork whose size differs, or that one side lacks.
type sizeFinding struct {
	pg.RelFork
	in compare.SizeInput
	finding.Discrepancy
}

// Run verifies one span. The Verification is filled as far as it got. The
// error is nil whenever a verdict was reached, inconclusive ones for reasons
// in the data included; it is an *InputError if nothing could be checked, the
// context's error, or what reading a source met.
func Run(ctx context.Context, o Options) (*finding.Verification, error) {
	start := time.Now()
	r := newRun(o)
	err := r.guarded(ctx)
	err = errors.Join(err, r.close())
	r.finish(err, time.Since(start))
	var data *inconclusive
	if errors.As(err, &data) {
		err = nil
	}
	return r.out, err
}

func newRun(o Options) *run {
	if o.Native.Workers <= 0 {
		o.Native.Workers = runtime.GOMAXPROCS(0)
	}
	scratch := cmp.Or(o.Native.Scratch, os.TempDir())
	r := &run{
		Options: o, out: newVerification(), tally: newTally(), pages: make(map[finding.Severity]int), spool: &spool{dir: scratch},
		xacts: &baseXacts{spool: &spool{dir: scratch}, at: make(map[uint32]int64)}, disputed: make(map[pg.Block]bool),
	}
	r.Engine = cmp.Or(r.Engine, EngineNative)
	r.out.Engine = r.Engine
	return r
}

// guarded turns a panic, which is our own bug, into an error.
func (r *run) guarded(ctx context.Context) (err error) {
	defer func() {
		if p := recover(); p != nil {
			err = fmt.Errorf("panic: %v\n%s", p, debug.Stack())
		}
	}()
	return r.verify(ctx)
}

func newVerification() *finding.Verification {
	return &finding.Verification{
		Verdict: finding.Inconclusive, Engine: "native", Reasons: []string{},
		Postgres:      finding.Postgres{Dialect: finding.UnknownDialect},
		Coverage:      finding.Coverage{BlocksNotCaught: map[string]int64{}, TaintedBy: map[string]int64{}, RelationsSkipped: map[string]int64{"unlogged": 0, "temporary": 0, "fsm": 0, "invalid_database": 0, "orphan_database": 0, "orphan": 0}},
		Discrepancies: []finding.Discrepancy{}, Gaps: []finding.Gap{}, LostWrites: []finding.StaleImage{},
	}
}

func (r *run) close() error {
	err := errors.Join(r.spool.close(), r.xacts.spool.close(), r.witness.close())
	engines := []*native.Engine{r.a, r.b}
	if r.moving != nil {
		engines = append(engines, r.moving.engine)
	}
	for _, e := range engines {
		if e != nil {
			err = errors.Join(err, e.Close())
		}
	}
	return err
}

// inconclusive ends a verification for a reason that lies in the data.
type inconclusive struct{ reason string }

func (e *inconclusive) Error() string { return e.reason }

func (r *run) verify(ctx context.Context) error {
	if err := r.meta(ctx); err != nil {
		return err
	}
	if err := r.bounds(ctx); err != nil {
		return err
	}
	if err := r.awaitSpan(ctx); err != nil {
		return err
	}
	if err := r.replayBase(ctx); err != nil {
		return err
	}
	r.auditImages()
	return r.judgeSides(ctx)
}

// judgeSides compares the replayed side with the official one.
func (r *run) judgeSides(ctx context.Context) error {
	compareOfficial := r.compareOfficial
	if r.moving != nil {
		compareOfficial = r.compareMoving
	}
	if err := compareOfficial(ctx); err != nil {
		return err
	}
	if err := r.compareEngines(ctx); err != nil {
		return err
	}
	return r.discrepancies(ctx)
}

func (r *run) progress(stage string, done, total int64) {
	if r.Progress != nil {
		r.Progress(stage, done, total)
	}
}

// walProgress tells how far a pass over the span's WAL is.
func (r *run) walProgress(stage string, span pg.Range) func(pg.LSN) {
	return func(at pg.LSN) { r.progress(stage, int64(at-span.From), int64(span.Bytes())) }
}

// counter is a visitor that tells how much of a snapshot was read.
type counter struct {
	*run
	stage string
	done  int64
}

func (c *counter) Blocks(_ datadir.RelFile, _ pg.BlockNumber, pages []byte) error {
	c.done += int64(len(pages))
	c.progress(c.stage, c.done, 0)
	return nil
}

func (*counter) EndRelation(datadir.RelFile, int64) error { return nil }
func (*counter) File(string, []byte) error                { return nil }

// meta reads what both sides are and refuses sides that cannot belong together.
func (r *run) meta(ctx context.Context) (err error) {
	if r.base, err = r.Base.Meta(ctx); err != nil {
		return fmt.Errorf("read base: %w", err)
	}
	if r.official, err = r.Official.Meta(ctx); err != nil {
		return fmt.Errorf("read official side: %w", err)
	}
	r.out.Postgres.Major = max(r.base.Major, r.official.Major)
	r.setSystemID(max(r.base.SystemID, r.official.SystemID))
	if err := r.sparseFits(); err != nil {
		return err
	}
	if err := r.setMoving(); err != nil {
		return err
	}
	return r.sameCluster()
}

func (r *run) setSystemID(id uint64) {
	if id != 0 {
		r.out.Postgres.SystemIdentifier = fmt.Sprint(id)
	}
}

func (r *run) sameCluster() error {
	b, o := r.base, r.official
	if b.SystemID != 0 && o.SystemID != 0 && b.SystemID != o.SystemID {
		return inputErrorf("%s is of cluster %d, %s of cluster %d (system identifiers): they have no history in common",
			r.Base.Name(), b.SystemID, r.Official.Name(), o.SystemID)
	}
	if b.Major != 0 && o.Major != 0 && b.Major != o.Major {
		return inputErrorf("%s is of PostgreSQL %d, %s of %d: WAL does not lead from one major version to another",
			r.Base.Name(), b.Major, r.Official.Name(), o.Major)
	}
	if w, ok := r.WAL.(interface{ SystemID() uint64 }); ok && b.SystemID != 0 && w.SystemID() != 0 && w.SystemID() != b.SystemID {
		return inputErrorf("%s is of cluster %d, the WAL of cluster %d (system identifiers)", r.Base.Name(), b.SystemID, w.SystemID())
	}
	return nil
}

// bounds settles the span.
func (r *run) bounds(ctx context.Context) error {
	r.out.Span.From = r.base.Redo
	if r.From != 0 && r.From != r.base.Redo {
		return inputErrorf("--from %s: the base %s starts at %s; leave --from out, or name a base that starts there",
			r.From, r.Base.Name(), r.base.Redo)
	}
	own, err := r.officialLSN(ctx)
	if err != nil {
		return err
	}
	r.out.Span.To = own
	if r.To != 0 {
		r.out.Span.To = r.To
	}
	switch {
	case r.out.Span.To < own:
		return inputErrorf("--to %s: the official side %s is of %s; it cannot be taken back", r.To, r.Official.Name(), own)
	case r.out.Span.To < r.out.Span.From:
		return inputErrorf("the base %s starts at %s, after the official side %s, which is of %s; swap them",
			r.Base.Name(), r.out.Span.From, r.Official.Name(), r.out.Span.To)
	}
	return nil
}

// officialLSN is where the official side may first be judged.
func (r *run) officialLSN(ctx context.Context) (pg.LSN, error) {
	switch {
	case !r.official.Online:
		return r.official.Redo, nil
	case r.official.Consistent != 0:
		return r.official.Consistent, nil
	case r.official.FromStandby:
		return 0, inputErrorf("%s was taken from a standby and does not say where it is consistent", r.Official.Name())
	}
	e := native.New(r.Native, r.WAL, native.Span{})
	end, err := e.FindBackupEnd(ctx, r.official.Redo)
	if err != nil {
		return 0, r.walError(fmt.Sprintf("look for the end of the backup %s that started at %s", r.Official.Name(), r.official.Redo), err)
	}
	return end, nil
}
