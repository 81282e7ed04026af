package verify

import (
	"sync"

	"redoubt/internal/pg"
)

// forkTally counts the blocks of one relation fork. A block of the official
// side is in exactly one of compared, tainted, overwritten, unverifiable and
// skipped. Counts are kept per fork because a fork may turn out to be
// unlogged only at the end of the walk.
type forkTally struct {
	compared     int64
	untouched    int64 // of compared
	overwritten  int64 // of an online official side, replaced whole by its own WAL
	unverifiable int64
	skipped      int64 // by --rel or --sample
	benign       int64
	beyond       int64 // not all zero, and beyond the replayed fork's end
	bloomInit    bool  // the first of these is such as compare.BloomInit describes
	tainted      map[pg.RmgrID]int64
	uncaught     [numOutcomes]int64 // of a moving side, by why
}

func (t *forkTally) add(o *forkTally) {
	t.compared += o.compared
	t.untouched += o.untouched
	t.overwritten += o.overwritten
	t.unverifiable += o.unverifiable
	t.skipped += o.skipped
	t.benign += o.benign
	t.beyond += o.beyond
	t.bloomInit = t.bloomInit || o.bloomInit
	for i, n := range o.uncaught {
		t.uncaught[i] += n
	}
	for m, n := range o.tainted {
		t.taint(m, n)
	}
}

func (t *forkTally) taint(m pg.RmgrID, n int64) {
	if t.tainted == nil {
		t.tainted = make(map[pg.RmgrID]int64)
	}
	t.tainted[m] += n
}

// add adds to the tally of one fork.
func (t *tally) add(f pg.RelFork, part forkTally) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fork(f).add(&part)
}

// mismatch is a block that differs, or is evidence by itself.
type mismatch struct {
	pg.Block
	official int64 // place in the spool
	replayed int64 // place in the spool, -1 if it is the base's page, or there is none
	touched  bool
	checksum bool // the official page's checksum says something
}

// tally collects what the comparison finds, from several goroutines.
type tally struct {
	mu         sync.Mutex
	forks      map[pg.RelFork]*forkTally
	mismatches []mismatch
	sequences  []sequenceClaim                 // benign if their increments are those of the catalog
	claims     map[pg.RelFork][]pg.BlockNumber // heap blocks that an official visibility map calls all-visible
	skipped    map[string]int64                // relation forks not compared, by why
}

func newTally() *tally {
	return &tally{
		forks:   make(map[pg.RelFork]*forkTally),
		claims:  make(map[pg.RelFork][]pg.BlockNumber),
		skipped: make(map[string]int64),
	}
}

// fork is the tally of one fork; hold mu, or be alone.
func (t *tally) fork(f pg.RelFork) *forkTally {
	ft := t.forks[f]
	if ft == nil {
		ft = &forkTally{}
		t.forks[f] = ft
	}
	return ft
}

// merge adds what a run of pages gave.
func (t *tally) merge(c *comparison) {
	t.mu.Lock()
	defer t.mu.Unlock()
	t.fork(c.fork).add(&c.part)
	t.mismatches = append(t.mismatches, c.found...)
	t.sequences = append(t.sequences, c.sequences...)
	if len(c.pended) > 0 { // only where something moves
		c.moving.pending = append(c.moving.pending, c.pended...)
	}
	if len(c.claims) > 0 {
		heap := pg.RelFork{RelFileLocator: c.fork.RelFileLocator}
		t.claims[heap] = append(t.claims[heap], c.claims...)
	}
}

// forgetChecksums says that checksums of official pages say nothing: they were
// switched off, and pages that were written since carry what they carried then.
func (t *tally) forgetChecksums() {
	for i := range t.mismatches {
		t.mismatches[i].checksum = false
	}
	for i := range t.sequences {
		t.sequences[i].checksum = false
	}
}
