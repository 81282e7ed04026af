package recovery

import (
	"context"
	"errors"
	"fmt"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
	"redoubt/replay/native"
	"redoubt/replay/redo"
)

// Base is where recovery starts from: a base backup, or a data directory that
// was stopped cleanly. internal/official/snapshot fits it.
type Base interface {
	// Name is for people: the location without credentials.
	Name() string
	// Meta is what is known without reading all of it.
	Meta(ctx context.Context) (Meta, error)
	// Walk streams all files to v. It is called twice, or once for one that is
	// replay.OnDemand and has pages.
	Walk(ctx context.Context, v datadir.Visitor) error
	// Tablespaces lists those besides pg_default and pg_global; complete after a Walk.
	Tablespaces() []pg.OID
}

// Meta says where a base stands.
type Meta struct {
	Redo pg.LSN // where replay starts
	// Checkpoint is where the record of the checkpoint starts that Redo belongs
	// to: at Redo for a cluster that was shut down, else behind it.
	Checkpoint pg.LSN
	TLI        pg.TLI // at Redo
	Online     bool   // pages are those of one moment from Consistent on only
	// Consistent is where an online base is consistent, 0 if the BACKUP_END
	// record in the WAL that names Redo says it.
	Consistent pg.LSN
}

// HistoryFile is a history file of the archive.
type HistoryFile struct {
	TLI     pg.TLI
	Content []byte
}

// Config says what is recovered, and how.
type Config struct {
	Base Base
	WAL  replay.WALSource
	// Histories are the history files there are in the archive. They go to
	// pg_wal, so that the new timeline gets a number that none there has.
	Histories []HistoryFile
	// LastSegment is the newest segment of the history in the archive, 0 if it
	// is not known: WAL that ends before it is not at its end, but has a gap.
	LastSegment pg.SegmentNo

	// To is where recovery stops: before the first record that starts at or
	// after it. 0: at the end of the WAL.
	To pg.LSN
	// ToTime, if set, is the moment instead: recovery stops before the first
	// commit or abort after it, as PostgreSQL's recovery_target_time does.
	ToTime time.Time

	Sink Sink
	// ControlFirst hands pg_control over before all else: for a sink that no
	// server can start on before it is whole, and whose readers want to know at once what it is.
	ControlFirst bool
	// Plain leaves all of the WAL to PostgreSQL, as where no checkpoint fits.
	Plain bool

	Memory         int64  // bytes of pages held; default 1 GiB
	Workers        int    // default: one per core
	Scratch        string // directory for pages beyond Memory
	ScratchMinFree int64
	Extensions     redo.Extensions

	// Found, if set, is the target, as FindTarget found it in this WAL for this
	// base: it is not looked for again.
	Found *Target
	// Every is after how many bytes of WAL ToDirectory makes its state durable, so
	// that it goes on from there after a kill; 0: never. See Directory.Open.
	Every uint64

	// Planned, if set, is told the target once it is known.
	Planned func(Target)
	// Progress, if set, is called with the LSN reached by the replay.
	Progress func(pg.LSN)
	// Stage, if set, is told what is being done, and how much of it: bytes
	// done of total, 0 if that is not known.
	Stage func(stage string, done, total int64)
	// Reached, if set, is told the redo pointer of each durable point once it is one.
	Reached func(pg.LSN)
	// Resumed, if set, is told the redo pointer of the durable point that it goes on from.
	Resumed func(pg.LSN)
	// Note, if set, is told what is done about durable points, in words for people.
	Note func(string)
}

// Report says what was recovered.
type Report struct {
	Target
	Major            int
	SystemID         uint64
	Segments         int64 // of the WAL tail
	Files            int64 // written
	Bytes            int64
	BlocksReplayed   int64    // by the native engine
	Prepared         int      // transactions that were prepared at the checkpoint
	Tablespaces      []pg.OID // that the target has
	DamagedPages     int64    // of the base, not touched by the WAL, whose checksum fails
	Damaged          []string // the first of them
	FuturePages      int64    // of a base that was stopped cleanly, newer than it
	RecoverySettings string   // those of the first start, as they were written
	Redone           pg.LSN   // start of the last record that the first start redoes: its target; 0 if it redoes none
	FirstStart       string   // version of the server that has made the first start already, empty: none
	Resumed          pg.LSN   // redo pointer of the durable point that this went on from, 0: it began with the base
	Durable          []pg.LSN // redo pointers of the durable points that were made on the way
}

// Run recovers into a sink. What the errors mean: *InputError: it cannot be
// had from these; *WALError: WAL is missing or damaged; *BlocksError: the
// native engine could not do it for sure. After an error the sink has no
// pg_control.
func Run(ctx context.Context, cfg Config) (*Report, error) {
	r := &run{Config: cfg}
	if err := r.plan(ctx); err != nil {
		return nil, err
	}
	if err := r.make(ctx); err != nil {
		return nil, err
	}
	return &r.out, nil
}

// make replays up to the target's redo pointer and writes what is there then.
func (r *run) make(ctx context.Context) error {
	if err := r.replay(ctx); err != nil {
		return err
	}
	defer func() { _ = r.engine.Close() }() // scratch files without a name
	return r.write(ctx)
}

// run is one recovery under way.
type run struct {
	Config
	meta   Meta
	target Target
	survey *survey
	engine *native.Engine
	result *native.Result
	sink   *counting
	// history is that of the target's timeline, as historyFile says it.
	history     wal.History
	historyFile []byte
	out         Report
	// Durable points: after is the one that Base is, nil if it is none; halfway
	// says that this makes one; start is where the first base starts.
	after   *point
	halfway bool
	start   pg.LSN
}

// plan finds out where to stop, and up to where the native engine goes.
func (r *run) plan(ctx context.Context) (err error) {
	if r.To != 0 && !r.ToTime.IsZero() {
		return inputErrorf("both an LSN and a time are given as the target: name one")
	}
	if r.meta, err = r.Base.Meta(ctx); err != nil {
		return err
	}
	if r.meta.Redo == 0 {
		return inputErrorf("%s does not say where replay starts: it has no pg_control or backup_label", r.Base.Name())
	}
	if r.Found != nil && r.after == nil {
		r.target = *r.Found
	} else {
		r.target, err = FindTarget(ctx, r.WAL, Wanted{
			Meta: r.meta, To: r.To, ToTime: r.ToTime, LastSegment: r.LastSegment, Plain: r.Plain, Progress: r.walStage("read WAL"),
			Every: r.Every, after: r.after,
		})
	}
	r.start = r.meta.Redo
	if r.after != nil {
		r.start = r.after.Start
	}
	r.target.Start = r.start
	r.out.Target = r.target
	if err != nil {
		return err
	}
	if r.Planned != nil {
		r.Planned(r.target)
	}
	return r.findHistory()
}

// walStage tells how much of the WAL up to the target was read; before the
// target is known that is without a total.
func (r *run) walStage(stage string) func(pg.LSN) {
	if r.Stage == nil {
		return nil
	}
	return func(at pg.LSN) {
		r.Stage(stage, int64(at-r.meta.Redo), int64(pg.Range{From: r.meta.Redo, To: max(r.target.Redo, r.meta.Redo)}.Bytes()))
	}
}

// replay runs the native engine up to the redo pointer. Where there is
// nothing for it to do it only learns the sizes of the base's files.
func (r *run) replay(ctx context.Context) (err error) {
	stage := r.walStage("scan WAL")
	replaying := false
	cfg := native.Config{
		Workers: r.Workers, Memory: r.Memory, Scratch: r.Scratch, ScratchMinFree: r.ScratchMinFree,
		Extensions: r.Extensions, KeepStates: true,
		Progress: func(at pg.LSN) {
			if stage != nil {
				stage(at)
			}
			if replaying && r.Progress != nil {
				r.Progress(at)
			}
		},
	}
	span := native.Span{Range: pg.Range{From: r.meta.Redo, To: r.target.Redo}, TLI: r.meta.TLI, Clean: !r.meta.Online}
	r.engine = native.New(cfg, r.WAL, span)
	defer func() {
		if err != nil {
			err = errors.Join(err, r.engine.Close())
		}
	}()
	pages, err := r.onDemand(ctx)
	if err != nil {
		return err
	}
	if pages == nil && r.target.Native() {
		if _, err := r.engine.Scan(ctx); err != nil {
			return r.walError(err)
		}
	}
	if pages == nil {
		if err := r.readBase(ctx); err != nil {
			return err
		}
	}
	stage, replaying = r.walStage("replay WAL"), true
	if pages == nil {
		r.result, err = r.engine.Replay(ctx)
	} else {
		_, r.result, err = r.engine.ReplayOnDemand(ctx, pages)
		err = errors.Join(err, pages.Close())
	}
	if err != nil {
		return r.walError(err)
	}
	r.out.BlocksReplayed += r.result.BlocksReplayed
	return r.sure()
}

// walError is an error of the engine's passes over WAL that was read once.
func (r *run) walError(err error) error {
	var end *wal.EndError
	var missing *wal.MissingError
	switch {
	case errors.Is(err, wal.ErrDialect):
		return inputErrorf("replay WAL from %s to %s: %w", r.meta.Redo, r.target.Redo, err)
	case errors.As(err, &end):
		return &WALError{Reached: end.LSN, Want: fmt.Sprintf("and %s is to be reached", r.target.Redo), Err: err}
	case errors.As(err, &missing):
		return &WALError{Reached: missing.Range.From, Want: fmt.Sprintf("and %s is to be reached", r.target.Redo), Err: err}
	}
	return fmt.Errorf("replay WAL from %s to %s: %w", r.meta.Redo, r.target.Redo, err)
}

// readBase streams the base for the first time.
func (r *run) readBase(ctx context.Context) error {
	r.survey = newSurvey(r.engine.Needs, r.stageBytes("read base"))
	if err := r.Base.Walk(ctx, both{r.engine, r.survey}); err != nil {
		return fmt.Errorf("read base: %w", err)
	}
	return r.settleBase()
}

// settleBase checks what the survey found against the WAL.
func (r *run) settleBase() error {
	c, err := r.survey.settle(r.Base.Name(), r.meta)
	if err != nil {
		return err
	}
	if r.target.SystemID != 0 && r.target.SystemID != c.SystemIdentifier {
		return inputErrorf("%s is of cluster %d, the WAL of cluster %d (system identifiers)", r.Base.Name(), c.SystemIdentifier, r.target.SystemID)
	}
	if r.target.Major != 0 && c.Major() != r.target.Major {
		return inputErrorf("%s is of PostgreSQL %d, the WAL of %d", r.Base.Name(), c.Major(), r.target.Major)
	}
	if size := r.WAL.SegmentSize(); size != int64(c.SegmentSize) {
		return inputErrorf("the base's WAL segments have %d bytes, the WAL's %d: they are of different clusters", c.SegmentSize, size)
	}
	r.out.Major, r.out.SystemID = c.Major(), c.SystemIdentifier
	r.engine.SetBase(native.Base{Checksums: c.Checksums(), WALLogHints: c.WALLogHints, CommitTs: c.TrackCommitTimestamp})
	return nil
}

func (r *run) stageBytes(stage string) func(int64) {
	if r.Stage == nil {
		return func(int64) {}
	}
	var sum int64
	return func(n int64) {
		sum += n
		r.Stage(stage, sum, 0)
	}
}
