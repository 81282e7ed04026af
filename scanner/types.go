package scanner

import (
	"context"
	"io"
	"iter"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// WAL is the stored WAL of one timeline; *archive.Timeline fits it.
type WAL interface {
	Tenant() string
	ID() string
	// Identify reads segment size and system identifier from the WAL itself.
	// It is called first. Without any segment the error is walfile.ErrNoWAL.
	Identify(ctx context.Context) (walfile.Identity, error)
	// List yields all stored files in the order of their keys.
	List(ctx context.Context) iter.Seq2[walfile.Entry, error]
	// Find looks up the stored copies of one segment.
	Find(ctx context.Context, tli pg.TLI, n pg.SegmentNo) ([]walfile.Entry, error)
	// OpenEntry opens a file, decompressed. What is wrong with the file itself
	// is a *walfile.DamagedError; a segment that does not hold exactly a
	// segment's size is damaged.
	OpenEntry(ctx context.Context, e walfile.Entry) (io.ReadCloser, error)
	// ReadHistory reads a history file.
	ReadHistory(ctx context.Context, e walfile.Entry) (wal.History, error)
}

// Seen is an object that was read and found valid, as it was then.
type Seen struct {
	Name    string // the object's key
	Size    int64  // bytes, as stored
	ETag    string // empty where the store has none
	ModTime time.Time
	State   []byte // of the chain at its end; the scanner's own
}

// Memory remembers what was read; internal/ledger is behind it.
type Memory interface {
	// Recall finds what was remembered under a key.
	Recall(ctx context.Context, tenant, timeline, name string) (Seen, bool, error)
	// Remember replaces what was remembered under the same keys.
	Remember(ctx context.Context, tenant, timeline string, seen []Seen) error
}

// Requeuer hands missing segments to whoever can upload them again.
type Requeuer interface {
	// Requeue returns the status of the gap: requeued, or missing if nobody
	// has its segments any more.
	Requeue(ctx context.Context, tenant, timeline string, gap finding.Gap) (status string, err error)
}

// Backup is a retained base backup, which needs WAL from Start on.
type Backup struct {
	Name  string
	TLI   pg.TLI
	Start pg.LSN
	Stop  pg.LSN // its end, where it becomes consistent
	// Alone marks a backup outside of continuous retention: it needs the WAL
	// from Start to Stop, and none after that.
	Alone bool
}

// Recorded is WAL of a TLI of which it was recorded, elsewhere than in the
// archive, that the archive has it.
type Recorded struct {
	TLI         pg.TLI
	From, To    pg.LSN
	SegmentSize int64
}

// Said is what the servers say that write a timeline's WAL: it begins at From,
// and up to To it is in the archive. Segments behind may be on their way.
type Said struct {
	From, To pg.LSN
	Servers  []finding.ServerWord // each one's word, for the result
}

// Options say what to scan and how.
type Options struct {
	// From and To override what is expected: segments from the one that holds
	// From to the one before To. Zero means: from the oldest retained backup's
	// start or, without one, from the first segment; to the newest segment.
	From, To pg.LSN
	Backups  []Backup
	// Recorded extends what is expected beyond the newest segment that is there.
	Recorded []Recorded
	// Said, if not nil, is all that is expected, if From and To don't say otherwise.
	Said *Said
	// BeginsLate says that the first segment may be zeros before the first record
	// though no record tells that Neon wrote it: by the layout it did.
	BeginsLate bool

	Deep  bool
	Audit bool // check full-page images against the LSN chain of each block, in WAL that is there
	// AuditBlocks is how many blocks an audit remembers at a time; 0 means audit.DefaultBlocks.
	AuditBlocks int
	Reread      bool // read also what Memory knows
	Workers     int  // runs of segments read at the same time; default 2
	Memory      Memory
	// Requeuer may be nil: gaps stay missing.
	Requeuer Requeuer
	// Settle is waited, once, before segments that the listing did not show are
	// looked up again: they may be on their way.
	Settle time.Duration
	// Listing, if not nil, is told how many objects were listed, from time to
	// time and at the end of the listing.
	Listing func(objects int64)
	// Progress, if not nil, is told how many segments of those found a deep
	// scan is done with. It is not called by two goroutines at once.
	Progress func(done, total int64)
}

// Result is what a scan of one timeline found.
type Result struct {
	finding.ScanTimeline
	ObjectsListed int64
	SegmentsRead  int64 // whole, by a deep scan
	Remembered    int64 // segments not read because Memory knew them
}
