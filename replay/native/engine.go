package native

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"runtime"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
	"redoubt/replay/redo"
)

// Config sizes an Engine. The zero value of a field means its default.
type Config struct {
	Workers int // default: one per core
	// Memory is held in bytes: pages of all workers, and, unless they are read on
	// demand, a quarter of it WAL between Scan and Replay; default 1 GiB.
	Memory int64
	// Scratch is the directory for pages beyond Memory; default os.TempDir().
	Scratch string
	// ScratchMinFree is what stays free in Scratch, bytes.
	ScratchMinFree int64
	// Filter, if set, says which blocks are replayed; the others are ignored,
	// but for the sizes of their relations.
	Filter func(pg.RelFork, pg.BlockNumber) bool
	// MaxFindings bounds the consistency mismatches that are kept; all are counted.
	MaxFindings int
	// Progress, if set, is called as WAL is read, with the LSN reached. It must be quick.
	Progress func(pg.LSN)
	// DetectDialect lets Scan find out the dialect of the WAL. Without it the
	// WAL is of the one that its source says (replay.InDialect), or stock PostgreSQL's.
	DetectDialect bool
	// KeepStates keeps the states of prepared transactions, for Result.Prepares.
	KeepStates bool
	// Extensions is the redo of resource managers that PostgreSQL itself has
	// not; the blocks of all others are tainted.
	Extensions redo.Extensions
	// NameForks lets Scan also learn which relations the WAL makes, drops or
	// cuts without touching a block of them, for TouchedForks.
	NameForks bool
}

// Span is what an Engine replays: records that start in [From, To).
type Span struct {
	pg.Range
	TLI pg.TLI // of From; informational
	// Clean says that the base is of exactly From: a page newer than the
	// record that is applied to it is a finding, and not an LSN interlock.
	Clean bool
}

// Engine replays one span over one base. Use it once, in this order: Scan,
// the base through the Engine as a datadir.Visitor, SetBase, Replay; or, where
// the base's pages can be read in any order, its sizes and small files through
// the Engine, SetBase, ReplayOnDemand. It is not safe for concurrent use; it
// runs goroutines of its own.
type Engine struct {
	cfg     Config
	src     replay.WALSource
	dialect wal.Dialect      // of src
	records recordCache      // between Scan and Replay
	pages   replay.BasePages // of ReplayOnDemand, else nil
	span    Span
	workers int

	touched map[pg.RelFork]*touch
	keepDB  map[dbKey]bool
	named   map[pg.RelFork]bool // forks that records make, drop or cut, with Config.NameForks

	rels          map[pg.RelFork]*relation
	recentRels    recent[relation] // of rels
	recentTouched recent[touch]    // of touched
	stores        []*store
	spare         *spare // of records, for the stores
	env           redo.Env

	maps      map[dbKey][]byte // relation map files as replayed so far; {GlobalTablespaceOID, 0} is the global one
	commitTs  bool
	checksums bool
	slruCut   [pg.NumSLRUs]*redo.SLRUCut   // what truncations removed
	slruGone  [pg.NumSLRUs]bool            // the base's pages were removed
	copied    map[dbKey]pg.LSN             // databases created by file copy, and the record
	walLogged map[dbKey]bool               // databases created page by page
	dropped   map[pg.RelFileLocator]pg.LSN // relations that the span drops and does not make again, and the record
	prepared  map[pg.XID]bool              // prepared in the span and not ended, subtransactions included
	states    map[pg.XID][]byte            // main data of their PREPARE records, with Config.KeepStates
	ended     map[pg.XID]bool              // ended by COMMIT PREPARED or ROLLBACK PREPARED in the span
	origins   map[uint16]pg.LSN            // how far replication origins got
	restart   *uint64                      // next transaction id at the last restart in the span
	promoted  bool                         // a recovery ended in the span without a checkpoint
}

// walShare is the part of the memory that WAL records may take: a quarter.
const walShare = 4

type dbKey struct{ spc, db pg.OID }

// touch is what Scan learns of one relation fork.
type touch struct {
	all  blockSet // blocks that a record of the span references or implies
	need blockSet // those of them whose first such record builds on the base's page
}

// New makes an Engine for span of src.
func New(cfg Config, src replay.WALSource, span Span) *Engine {
	if cfg.Workers <= 0 {
		cfg.Workers = runtime.GOMAXPROCS(0)
	}
	if cfg.Memory <= 0 {
		cfg.Memory = 1 << 30
	}
	if cfg.MaxFindings <= 0 {
		cfg.MaxFindings = 1000
	}
	if cfg.Scratch == "" {
		cfg.Scratch = os.TempDir()
	}
	e := &Engine{
		cfg: cfg, span: span,
		src: src, dialect: replay.DialectOf(src), records: recordCache{limit: cfg.Memory / walShare},
		workers: cfg.Workers, env: redo.Env{Extensions: cfg.Extensions},
		rels: make(map[pg.RelFork]*relation), spare: new(spare),
		maps:   make(map[dbKey][]byte),
		copied: make(map[dbKey]pg.LSN), walLogged: make(map[dbKey]bool), prepared: make(map[pg.XID]bool),
		dropped: make(map[pg.RelFileLocator]pg.LSN),
		states:  make(map[pg.XID][]byte), ended: make(map[pg.XID]bool), origins: make(map[uint16]pg.LSN),
	}
	e.forgetTouched()
	for range e.workers {
		e.stores = append(e.stores, &store{spare: e.spare, scratch: scratch{dir: cfg.Scratch, minFree: cfg.ScratchMinFree}})
	}
	e.share(cfg.Memory - cfg.Memory/walShare)
	return e
}

// share shares memory for pages among the workers.
func (e *Engine) share(bytes int64) {
	for _, s := range e.stores {
		s.budget = max(int(bytes/pg.BlockSize)/e.workers, 16)
	}
}

// Close frees the scratch files.
func (e *Engine) Close() error {
	var errs []error
	for _, s := range e.stores {
		errs = append(errs, s.scratch.close())
	}
	return errors.Join(errs...)
}

// ScratchBytes is how much scratch space is, or was, reserved for pages that did
// not fit into memory. It is not to be asked while a replay is under way.
func (e *Engine) ScratchBytes() (n int64) {
	for _, s := range e.stores {
		n += s.scratch.size
	}
	return n
}

// Base is what redo must know of the base besides its pages, from pg_control.
type Base struct {
	Checksums   bool // data checksums
	WALLogHints bool
	CommitTs    bool // track_commit_timestamp
}

// SetBase tells the engine about the base; call it before Replay.
func (e *Engine) SetBase(b Base) {
	e.checksums = b.Checksums
	e.env.HintBitsLogged = b.Checksums || b.WALLogHints
	e.commitTs = b.CommitTs
}

// Touched reports whether the span's WAL references or implies the block.
func (e *Engine) Touched(f pg.RelFork, b pg.BlockNumber) bool {
	t := e.touched[f]
	return t != nil && t.all.has(b)
}

// Needs reports whether redo builds on the base's page of a block: its first
// record in the span neither replaces it nor makes it anew, or its database is copied.
func (e *Engine) Needs(f pg.RelFork, b pg.BlockNumber) bool {
	t := e.touched[f]
	return t != nil && t.need.has(b) || e.keepDB[dbKey{f.Spc, f.DB}]
}

// TouchedForks lists, sorted, the relation forks that the span's WAL
// references or implies a block of, or makes, drops or cuts (Config.NameForks).
func (e *Engine) TouchedForks() []pg.RelFork {
	var out []pg.RelFork
	for f := range e.touched {
		if _, slru := slruOf(f); !slru && !e.named[f] {
			out = append(out, f)
		}
	}
	out = slices.AppendSeq(out, maps.Keys(e.named))
	slices.SortFunc(out, pg.RelFork.Compare)
	return out
}

// TouchesFork reports whether the span's WAL references or implies a block of
// the fork, or names it (Config.NameForks).
func (e *Engine) TouchesFork(f pg.RelFork) bool { return e.touched[f] != nil || e.named[f] }

// TouchedSLRUs lists the SLRU pages that the span's WAL writes, sorted.
func (e *Engine) TouchedSLRUs() (out []pg.SLRUPage) {
	for s := range pg.SLRU(pg.NumSLRUs) {
		e.EachTouched(slruFork(s), func(b pg.BlockNumber) {
			out = append(out, pg.SLRUPage{SLRU: s, Page: uint32(b)})
		})
	}
	return out
}

// CopiesDatabases reports whether the span copies a database file by file:
// then all of it is needed, whatever TouchedForks says.
func (e *Engine) CopiesDatabases() bool { return len(e.keepDB) > 0 }

// EachTouched calls fn for every block of a fork that the span's WAL
// references or implies, ascending.
func (e *Engine) EachTouched(f pg.RelFork, fn func(pg.BlockNumber)) {
	if t := e.touched[f]; t != nil {
		t.all.each(fn)
	}
}

// TouchedSLRU is Touched for an SLRU page.
func (e *Engine) TouchedSLRU(p pg.SLRUPage) bool {
	return e.Touched(slruFork(p.SLRU), pg.BlockNumber(p.Page))
}

var _ datadir.Visitor = (*Engine)(nil)

// Blocks keeps the pages that redo needs.
func (e *Engine) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if f.Temp || f.Fork == pg.FSMFork {
		return nil
	}
	t := e.touched[f.RelFork]
	keepAll := e.keepDB[dbKey{f.Spc, f.DB}]
	if t == nil && !keepAll {
		return nil
	}
	for i := 0; i+pg.BlockSize <= len(pages); i += pg.BlockSize {
		b := first + pg.BlockNumber(i/pg.BlockSize)
		if keepAll || t.need.has(b) {
			if err := e.keep(e.baseRelation(f.RelFork), b, pages[i:i+pg.BlockSize]); err != nil {
				return fmt.Errorf("keep page of %s: %w", f.Path, err)
			}
		}
	}
	return nil
}

// EndRelation learns a relation's size.
func (e *Engine) EndRelation(f datadir.RelFile, size int64) error {
	if f.Temp || f.Fork == pg.FSMFork {
		return nil
	}
	r := e.baseRelation(f.RelFork)
	if f.Segment > 0 && size == 0 {
		return nil // what a truncation leaves of a long relation's later files
	}
	end := pg.BlockNumber(int64(f.Segment)*pg.BlocksPerFile + size/pg.BlockSize)
	if end > r.size {
		r.size, r.baseBlocks = end, end
	}
	return nil
}

// File keeps relation maps, the SLRU pages that redo needs and how far
// replication origins got. Origins that cannot be read are as good as none to
// all but a recovery, which reads them itself first.
func (e *Engine) File(path string, content []byte) error {
	switch c := datadir.Classify(path); c.Class {
	case datadir.OriginsFile:
		if known, err := datadir.ParseOrigins(content); err == nil {
			e.origins = known
		}
	case datadir.RelationMap:
		e.maps[dbKey{c.Spc, c.DB}] = append([]byte(nil), content...)
	case datadir.SLRUSegment:
		return e.baseSLRU(c.SLRU, c.First, content)
	}
	return nil
}

// SLRU gives the engine one page of the base, as File does of whole segments.
func (e *Engine) SLRU(p pg.SLRUPage, content []byte) error {
	return e.baseSLRU(p.SLRU, p.Page, content)
}

func (e *Engine) baseSLRU(s pg.SLRU, first uint32, content []byte) error {
	f := slruFork(s)
	t := e.touched[f]
	if t == nil {
		return nil
	}
	for i := 0; i+pg.BlockSize <= len(content); i += pg.BlockSize {
		b := pg.BlockNumber(first) + pg.BlockNumber(i/pg.BlockSize)
		if !t.all.has(b) {
			continue
		}
		if err := e.keep(e.relation(f), b, content[i:i+pg.BlockSize]); err != nil {
			return err
		}
	}
	return nil
}

// baseRelation is relation for one that the base has.
func (e *Engine) baseRelation(f pg.RelFork) *relation {
	r := e.relation(f)
	r.created = false
	return r
}

// keep puts a page of the base into the overlay.
func (e *Engine) keep(r *relation, b pg.BlockNumber, p []byte) error {
	w := e.owner(r.fork, b)
	bl := r.make(w, b)
	bl.inBase = true
	dst, err := e.stores[w].load(bl)
	if err != nil {
		return err
	}
	copy(dst, p)
	return nil
}

// errStop ends a pass early without being an error of its own.
var errStop = errors.New("stop")
