package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
	"redoubt/replay/native"
)

// Moving is an official side that goes on changing while it is read: a running
// server. Its Meta has the redo pointer of its last checkpoint as Redo, which
// is where the span ends: there the replayed side is compared with it first. A page that
// is not the same is held against the later versions of its block, up to its
// own LSN, when the walk is over.
type Moving interface {
	Snapshot
	// Position is where the side is now: up to where all changes are on disk,
	// and beyond which no page has an LSN that was read before.
	Position(ctx context.Context) (redo, reached pg.LSN, err error)
	// Inserted is up to where there is WAL, be it on disk or not yet.
	Inserted(ctx context.Context) (pg.LSN, error)
	// Redo is up to where all changes are on pages that Walk or Fetch deliver
	// now: the records that begin before it.
	Redo() pg.LSN
	// Size is a fork's size in blocks, -1 if it has no file.
	Size(ctx context.Context, f pg.RelFork) (int64, error)
	// ReadFile reads a small file, nil if it is not there.
	ReadFile(ctx context.Context, path string) ([]byte, error)
	// Dropped reports whether the server is about to drop a database, or has
	// done so: its files are removed before the record is written that says so.
	Dropped(ctx context.Context, db pg.OID) (bool, error)
	// Memory reads a block as the server has it in memory; known is false
	// where that cannot be had.
	Memory(ctx context.Context, b pg.Block) (p []byte, known bool, err error)
}

// MovingOptions say how a moving side is compared. The zero value of a field
// means its default.
type MovingOptions struct {
	// Rounds is how often blocks are read again that cannot be accounted for; default 7.
	Rounds int
	// FirstWait is how long to wait before the first of these, twice as long
	// before each next; default 200 ms.
	FirstWait time.Duration
	// WALWait is how long to wait for WAL that is not there yet; default 5 minutes, negative: not at all.
	WALWait time.Duration
	// Memory: compare what the server has in memory as well.
	Memory bool
}

func (o MovingOptions) withDefaults() MovingOptions {
	if o.Rounds <= 0 {
		o.Rounds = 7
	}
	if o.FirstWait <= 0 {
		o.FirstWait = 200 * time.Millisecond
	}
	if o.WALWait == 0 {
		o.WALWait = 5 * time.Minute
	}
	return o
}

// movingSide is what is kept of a moving side.
type movingSide struct {
	Moving
	opt      MovingOptions
	pending  []*pending
	runs     map[pg.RelFork][]readRun
	maxRedo  pg.LSN    // of runs
	deadline time.Time // of waiting for WAL
	reached  pg.LSN    // the newest position that was asked for
	end      pg.LSN    // up to where there is WAL
	early    []string  // what else than blocks is newer than that
	stops    map[pg.Block]pg.LSN
	words    map[pg.Block]string
	engine   *native.Engine // from the span's end to end
	ahead    *native.Result
	slruBase map[pg.SLRUPage][]byte
}

// readRun says from which block of a fork on pages were read when all changes
// before redo were on disk.
type readRun struct {
	from pg.BlockNumber
	redo pg.LSN
}

// pending is a block that is not what replay has at the span's end.
type pending struct {
	pg.Block
	official int64  // place in the spool, -1: it is not read, or not there
	lsn      pg.LSN // of the page
	redo     pg.LSN // all changes before are on disk
	checksum bool
	memory   bool  // read from the server's memory
	base     int64 // place of the base's page in the spool, -1: not read, or there is none
	same     int   // how many reads before gave the very same page
	stop     int64 // place of the version that it should have at least, -1: not known
	stopLSN  pg.LSN
	touched  bool // a record of the span or behind it changes the block
	outcome  outcome
}

// outcome is what a round says of a pending block.
type outcome uint8

const (
	unaccounted outcome = iota // no version is this page
	accounted                  // a version is
	notThere                   // neither side has the block
	tooNew                     // its LSN is beyond the WAL at hand
	noRedo                     // redo of one of its records is not known
	byCopy                     // of a database copied since the span's end
	nobodys                    // no record knows of the block
	numOutcomes
)

// setMoving notes that the official side moves.
func (r *run) setMoving() error {
	m, ok := r.Official.(Moving)
	if !ok {
		return nil
	}
	if r.Engine == EngineServer {
		return inputErrorf("the official side %s is a running server: its blocks are of different LSNs, at which engine server cannot stop; use native or both", r.Official.Name())
	}
	r.Confirm = false // a server cannot stop at each block's LSN
	r.moving = &movingSide{
		Moving: m, opt: r.Options.Moving.withDefaults(), runs: make(map[pg.RelFork][]readRun),
		stops: make(map[pg.Block]pg.LSN), words: make(map[pg.Block]string), slruBase: make(map[pg.SLRUPage][]byte),
	}
	return nil
}

// historySpan is the WAL that is known of blocks: up to where a moving side was followed.
func (r *run) historySpan() pg.Range {
	span := r.out.Span
	if r.moving != nil {
		span.To = max(span.To, r.moving.end)
	}
	return span
}

// awaitSpan waits until there is WAL up to the span's end.
func (r *run) awaitSpan(ctx context.Context) error {
	if r.moving == nil {
		return nil
	}
	m := r.moving
	m.deadline = time.Now().Add(m.opt.WALWait)
	for {
		there, err := r.hasWAL(ctx, r.out.Span.To-1)
		if err != nil || there {
			return err
		}
		if !time.Now().Before(m.deadline) {
			return &inconclusive{fmt.Sprintf("the WAL at hand ends before %s, the last checkpoint of %s: wait until it is archived, or let the server's own WAL be read, too",
				r.out.Span.To, r.Official.Name())}
		}
		if err := pause(ctx, time.Second); err != nil {
			return err
		}
	}
}

// hasWAL reports whether the page of WAL at an LSN is there.
func (r *run) hasWAL(ctx context.Context, at pg.LSN) (ok bool, err error) {
	at &^= wal.PageSize - 1
	st, err := r.WAL.Open(ctx, at)
	if err != nil {
		return false, fmt.Errorf("open WAL at %s: %w", at, err)
	}
	defer func() { err = errors.Join(err, st.Close()) }()
	_, err = st.ReadPages(at)
	var missing *wal.MissingError
	if errors.As(err, &missing) {
		return false, nil
	}
	if err != nil {
		return false, fmt.Errorf("read WAL at %s: %w", at, err)
	}
	return true, nil
}

func pause(ctx context.Context, d time.Duration) error {
	select {
	case <-time.After(d):
		return nil
	case <-ctx.Done():
		return context.Cause(ctx)
	}
}

// compareMoving compares a running server with the replayed side.
func (r *run) compareMoving(ctx context.Context) error {
	at := pg.Range{From: r.out.Span.To, To: r.out.Span.To}
	r.b = native.New(r.Native, r.WAL, native.Span{Range: at, TLI: r.official.TLI})
	s, err := r.walkOfficial(ctx)
	if err != nil {
		return err
	}
	if s.control == nil {
		return inputErrorf("the official side %s has no %s", r.Official.Name(), datadir.ControlPath)
	}
	if err := r.controlFits(s.control, r.Official.Name()); err != nil {
		return err
	}
	r.officialCtl = s.control
	if r.rb, err = r.b.Replay(ctx); err != nil {
		return fmt.Errorf("take in the official side: %w", err)
	}
	if err := r.memoryToo(ctx, s); err != nil {
		return err
	}
	if err := r.settle(ctx); err != nil {
		return err
	}
	if err := r.movingRelations(ctx, s); err != nil {
		return err
	}
	if err := r.movingMaps(ctx); err != nil {
		return err
	}
	return r.movingSLRUs(ctx, s)
}

// stopOf is the LSN at which a block stops: what the official page must have
// is what the records before it made. Other blocks stop at the span's end.
func (m *movingSide) stopOf(b pg.Block, end pg.LSN) pg.LSN {
	if at, ok := m.stops[b]; ok {
		return at
	}
	return end
}

// note notes when a run of pages was read.
func (m *movingSide) note(f pg.RelFork, first pg.BlockNumber) pg.LSN {
	redo := m.Redo()
	m.maxRedo = max(m.maxRedo, redo)
	runs := m.runs[f]
	if len(runs) == 0 || runs[len(runs)-1].redo != redo || first < runs[len(runs)-1].from {
		m.runs[f] = append(runs, readRun{first, redo})
	}
	return redo
}

// redoOf is the redo pointer that was known before a block was read, 0 if it was not.
func (m *movingSide) redoOf(b pg.Block) pg.LSN {
	runs := m.runs[b.RelFork]
	i, found := slices.BinarySearchFunc(runs, b.Number, func(r readRun, n pg.BlockNumber) int {
		return int(int64(r.from) - int64(n))
	})
	if found {
		return runs[i].redo
	}
	if i == 0 {
		return 0
	}
	return runs[i-1].redo
}

// pend puts a block of a moving side away until its own LSN is reached.
func (c *comparison) pend(b pg.BlockNumber, official []byte, counted, untouched bool) error {
	at, err := c.spool.put(official)
	if err != nil {
		return err
	}
	if counted {
		c.part.compared--
		if untouched {
			c.part.untouched--
		}
	}
	c.pended = append(c.pended, &pending{
		Block: pg.Block{RelFork: c.fork, Number: b}, official: at, lsn: lsnOf(official), redo: c.redo,
		checksum: c.checksums, memory: c.memory, base: -1, stop: -1,
	})
	return nil
}
