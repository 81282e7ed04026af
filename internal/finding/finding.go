// Package finding holds the nouns of the contract's JSON: what verify, scan
// and run report. It has no logic beyond names and the rules for verdicts, so
// that every room speaks of a discrepancy in the same words.
package finding

import (
	"time"

	"redoubt/internal/pg"
)

// Verdict is the outcome of a verification, a scan or a run.
type Verdict string

// The verdicts. Verify ends with Discrepancies where scan and run say Findings.
const (
	Clean         Verdict = "clean"
	Discrepancies Verdict = "discrepancies"
	Findings      Verdict = "findings"
	Inconclusive  Verdict = "inconclusive"
)

// Kind is the kind of a discrepancy, by evidence.
type Kind string

// The kinds of the contract's table; the first whose evidence fits wins.
const (
	MissingRelation Kind = "missing_relation"
	ExtraRelation   Kind = "extra_relation"
	SizeMismatch    Kind = "size_mismatch"
	ZeroedPage      Kind = "zeroed_page"
	BitRot          Kind = "bit_rot"
	TornPage        Kind = "torn_page"
	LostWrite       Kind = "lost_write"
	PhantomWrite    Kind = "phantom_write"
	WrongRedo       Kind = "wrong_redo"
	SLRUMismatch    Kind = "slru_mismatch"
	HintBits        Kind = "hint_bits"
	Unexplained     Kind = "unexplained"
)

// Severity says how bad a discrepancy is. Benign ones never change a verdict.
type Severity string

// The severities.
const (
	Critical Severity = "critical"
	Warning  Severity = "warning"
	Benign   Severity = "benign"
)

// Blame says which side the evidence speaks against.
type Blame string

// Whom a discrepancy may be blamed on.
const (
	BlameOfficial Blame = "official"
	BlameBase     Blame = "base"
	BlameWAL      Blame = "wal"
	BlameEngine   Blame = "engine"
	BlameUnknown  Blame = "unknown"
)

// Verification is the result of one span: the object `redoubt verify --format json` prints.
type Verification struct {
	Verdict           Verdict           `json:"verdict"`
	Reasons           []string          `json:"reasons"` // why inconclusive, one line each
	Span              pg.Range          `json:"span"`
	Engine            string            `json:"engine"`
	Postgres          Postgres          `json:"postgres"`
	WAL               WAL               `json:"wal"`
	Consistency       Consistency       `json:"consistency"`
	Coverage          Coverage          `json:"coverage"`
	Discrepancies     []Discrepancy     `json:"discrepancies"` // at most 1,000 unless all were asked for
	DiscrepancyCounts DiscrepancyCounts `json:"discrepancy_counts"`
	Gaps              []Gap             `json:"gaps"`
	LostWrites        []StaleImage      `json:"lost_writes"`     // of the primary, by the images in the WAL; at most 1,000 unless all were asked for, warnings
	Audit             *Audit            `json:"audit,omitempty"` // what lost_writes rest on; absent where the WAL was not replayed
	Timing            Timing            `json:"timing"`
	Maps              []RelationMap     `json:"maps,omitempty"`    // of relations with listed discrepancies, at most 100
	Witness           *Witness          `json:"witness,omitempty"` // where a second engine ran
}

// Postgres identifies the cluster.
type Postgres struct {
	Major            int    `json:"major"`
	SystemIdentifier string `json:"system_identifier"`
	// Dialect of the WAL: postgres or neon; unknown where nothing was read or a
	// record fits neither, mixed where records fit the one and the other.
	Dialect         string `json:"dialect"`
	DialectEvidence int64  `json:"dialect_evidence"` // records that no other dialect has; 0: its redo would be the same
	DialectProven   bool   `json:"dialect_proven"`   // its redo was held against real WAL of it
}

// What a dialect can be besides those that wal.Dialect names.
const (
	UnknownDialect = "unknown"
	MixedDialect   = "mixed"
)

// WAL counts what was replayed.
type WAL struct {
	Segments       int64 `json:"segments"`
	Bytes          int64 `json:"bytes"`
	Records        int64 `json:"records"`
	FullPageImages int64 `json:"full_page_images"`
}

// Consistency counts the images that wal_consistency_checking put into the WAL.
type Consistency struct {
	ImagesChecked int64 `json:"images_checked"`
	Mismatches    int64 `json:"mismatches"`
}

// Coverage says what was compared and what could not be. Counts are blocks
// unless named otherwise; a block is counted in exactly one of
// blocks_compared, blocks_tainted, blocks_overwritten_by_wal and
// blocks_unverifiable and blocks_skipped. blocks_untouched_compared is a part of blocks_compared.
type Coverage struct {
	Relations               int64            `json:"relations"`
	BlocksReplayed          int64            `json:"blocks_replayed"`
	BlocksCompared          int64            `json:"blocks_compared"`
	BlocksUntouchedCompared int64            `json:"blocks_untouched_compared"`
	BlocksTainted           int64            `json:"blocks_tainted"`
	BlocksOverwrittenByWAL  int64            `json:"blocks_overwritten_by_wal"`
	BlocksUnverifiable      int64            `json:"blocks_unverifiable"`         // databases copied file by file during a base backup
	BlocksSkipped           int64            `json:"blocks_skipped"`              // left out by --rel or --sample
	BlocksNotCaught         map[string]int64 `json:"blocks_not_caught,omitempty"` // of blocks_unverifiable, those of a running server, by why: too_new, too_hot, no_redo, copied
	SLRUPagesCompared       int64            `json:"slru_pages_compared"`
	TaintedBy               map[string]int64 `json:"tainted_by"`        // blocks, by resource manager
	RelationsSkipped        map[string]int64 `json:"relations_skipped"` // unlogged, temporary, fsm
}

// Relation names the storage a discrepancy is in; Name is empty where the
// catalog could not be read.
type Relation struct {
	Tablespace  pg.OID        `json:"tablespace"`
	Database    pg.OID        `json:"database"`
	RelFileNode pg.OID        `json:"relfilenode"`
	Fork        pg.ForkNumber `json:"fork"`
	Name        string        `json:"name,omitempty"` // schema.relation

	DatabaseName string `json:"database_name,omitempty"`
	IndexOf      string `json:"index_of,omitempty"` // schema.relation of the indexed table
	ToastOf      string `json:"toast_of,omitempty"` // schema.relation of the table that a TOAST table or its index belongs to
}

// RelationOf converts a fork's locator.
func RelationOf(r pg.RelFork) Relation {
	return Relation{Tablespace: r.Spc, Database: r.DB, RelFileNode: r.Rel, Fork: r.Fork}
}

// RecordRef points at one WAL record.
type RecordRef struct {
	LSN  pg.LSN `json:"lsn"`
	Rmgr string `json:"rmgr"`
	Op   string `json:"op"`
	XID  pg.XID `json:"xid"`
}

// BlockRecord is one record in the history of a block.
type BlockRecord struct {
	RecordRef
	End   pg.LSN `json:"end"`   // what redo stores as page LSN
	Image bool   `json:"image"` // it replaces the whole page
}

// PagePair holds the two versions of a block that differs, pg.BlockSize bytes
// each; an absent one is empty. They are customers' data: with Masked the
// contents of tuples and index items are zeros on both sides, headers are not.
type PagePair struct {
	Official []byte `json:"official,omitempty"`
	Replayed []byte `json:"replayed,omitempty"`
	Masked   bool   `json:"masked"`

	OfficialChecksum uint16 `json:"official_checksum,omitempty"` // what the contents of the page, before it was masked, add up to; never 0
}

// RelationMap shows where in a relation fork its discrepancies are.
type RelationMap struct {
	Relation       Relation   `json:"relation"`
	OfficialBlocks int64      `json:"official_blocks"` // -1: no such fork
	ReplayedBlocks int64      `json:"replayed_blocks"` // -1: no such fork
	Touched        [][2]int64 `json:"touched"`         // half-open ranges of blocks that the span's WAL touches, at most 256; where there are more, close ones are joined
	Tainted        [][2]int64 `json:"tainted"`         // the same, of blocks that could not be verified
	Different      [][2]int64 `json:"different"`       // the same, of blocks with a critical or warning discrepancy; these are never joined over an equal block unless there are more than 256
}

// Witness is what the second engine, a real PostgreSQL, said.
type Witness struct {
	Engine         string  `json:"engine"`          // server
	Version        string  `json:"version"`         // of the server: 17.10
	BlocksCompared int64   `json:"blocks_compared"` // with the native engine's
	Differing      int64   `json:"differing"`       // of them
	Seconds        float64 `json:"seconds"`
	Log            string  `json:"log,omitempty"` // the end of the server's log, at most 16 KiB
}

// Discrepancy is one block, relation or SLRU page that differs.
type Discrepancy struct {
	ID                string     `json:"id"` // stable hash of timeline, block and content
	Kind              Kind       `json:"kind"`
	Severity          Severity   `json:"severity"`
	Relation          *Relation  `json:"relation,omitempty"`
	Block             *int64     `json:"block,omitempty"` // within the fork, or page within the SLRU
	File              string     `json:"file"`            // relative to the data directory
	Offset            int64      `json:"offset"`          // bytes, within File
	OfficialLSN       *pg.LSN    `json:"official_lsn,omitempty"`
	ReplayedLSN       *pg.LSN    `json:"replayed_lsn,omitempty"`
	FirstDivergentLSN *pg.LSN    `json:"first_divergent_lsn,omitempty"`
	LastRecord        *RecordRef `json:"last_record,omitempty"`
	ByteRanges        [][2]int   `json:"byte_ranges"`     // half open, within the page
	Items             [][2]int   `json:"items,omitempty"` // half-open ranges of offset numbers: the tuples or index items that differ, wherever on the page they lie
	Blame             Blame      `json:"blame"`
	Explanation       string     `json:"explanation"`

	FirstDivergentReason string        `json:"first_divergent_reason,omitempty"` // why first_divergent_lsn is absent
	ConfirmedBy          string        `json:"confirmed_by,omitempty"`           // the second engine that replayed the block too: server
	Records              []BlockRecord `json:"records,omitempty"`                // of the span and the block, around the divergence, ascending; at most 40
	RecordsTotal         int64         `json:"records_total,omitempty"`          // of the span and the block
	Pages                *PagePair     `json:"pages,omitempty"`

	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"` // while it holds, the discrepancy does not count
}

// DiscrepancyCounts is complete even where the list is cut.
type DiscrepancyCounts struct {
	Critical int64 `json:"critical"`
	Warning  int64 `json:"warning"`
	Benign   int64 `json:"benign"`
}

// Add counts one discrepancy.
func (c *DiscrepancyCounts) Add(s Severity) {
	switch s {
	case Critical:
		c.Critical++
	case Warning:
		c.Warning++
	default:
		c.Benign++
	}
}

// Gap is a range of WAL that should be there and is not.
type Gap struct {
	From     pg.LSN   `json:"from"`
	To       pg.LSN   `json:"to"`
	Segments []string `json:"segments"`
	Status   string   `json:"status,omitempty"` // scan: missing, delayed, uploading, requeued, acknowledged
	ID       string   `json:"id,omitempty"`     // stable hash of timeline and content
	// Severity is a scan's: warning beyond the WAL backup LSN, where a segment
	// may be on its way, and critical everywhere else.
	Severity Severity `json:"severity,omitempty"`

	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"` // with the status acknowledged
}

// Timing says how long a verification took, and how much scratch space pages took.
type Timing struct {
	WallSeconds    float64 `json:"wall_seconds"`
	WALMBPerSecond float64 `json:"wal_mb_per_second"`
	ScratchBytes   int64   `json:"scratch_bytes"`
}

// Scan is the object `redoubt scan --format json` prints.
type Scan struct {
	Verdict   Verdict        `json:"verdict"`
	Reasons   []string       `json:"reasons"`
	Timelines []ScanTimeline `json:"timelines"`
	Timing    ScanTiming     `json:"timing"`
}

// ScanTiming says how long a scan took and how many objects it listed.
type ScanTiming struct {
	WallSeconds   float64 `json:"wall_seconds"`
	ObjectsListed int64   `json:"objects_listed"`
}

// ScanTimeline is what a scan says of one timeline.
type ScanTimeline struct {
	Tenant      string    `json:"tenant"`
	Timeline    string    `json:"timeline"`
	TLI         pg.TLI    `json:"tli"`
	From        pg.LSN    `json:"from"`
	To          pg.LSN    `json:"to"`
	SegmentSize int64     `json:"segment_size"`
	Expected    int64     `json:"expected"` // segments
	Present     int64     `json:"present"`  // segments
	Gaps        []Gap     `json:"gaps"`     // at most 10,000
	Damaged     []Damaged `json:"damaged"`
	Unexpected  []string  `json:"unexpected"`
	Reasons     []string  `json:"reasons,omitempty"` // what could not be checked
	// MissingUnlisted is the number of segments in gaps beyond those listed; they count.
	MissingUnlisted int64 `json:"missing_unlisted,omitempty"`
	// Dialect of the WAL, by a deep scan: postgres or neon; mixed where records
	// are of the one and of the other, unknown where none tells or one is of neither.
	Dialect string `json:"dialect,omitempty"`

	// Servers is what the servers that write the WAL said of it, where some were asked.
	Servers []ServerWord `json:"servers,omitempty"`

	LostWrites []StaleImage `json:"lost_writes"`     // by the audit; at most 10,000, warnings
	Audit      *Audit       `json:"audit,omitempty"` // where one was asked for
}

// ServerWord is what one server, a safekeeper of Neon's, says of a timeline's WAL.
type ServerWord struct {
	Server    string `json:"server"`
	StartLSN  pg.LSN `json:"timeline_start_lsn"`
	BackupLSN pg.LSN `json:"backup_lsn"` // up to where it is in the bucket
	CommitLSN pg.LSN `json:"commit_lsn"`
	FlushLSN  pg.LSN `json:"flush_lsn"`
}

// StaleImage is a full-page image that is older than the last record of its
// block: the primary read an old version of the page back from its disk.
type StaleImage struct {
	Relation    Relation  `json:"relation"`
	Block       int64     `json:"block"`
	At          pg.LSN    `json:"at"`           // of the record with the image
	ImageLSN    pg.LSN    `json:"image_lsn"`    // the page LSN in the image
	ExpectedLSN pg.LSN    `json:"expected_lsn"` // what the last earlier record of the block left
	LastRecord  RecordRef `json:"last_record"`  // that record
	ID          string    `json:"id,omitempty"` // stable hash of timeline and content

	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"` // while it holds, the lost write does not count
}

// Audit counts what the check of full-page images saw.
type Audit struct {
	Images          int64 `json:"images"`
	ImagesChecked   int64 `json:"images_checked"`   // those whose block an earlier record had touched
	BlocksForgotten int64 `json:"blocks_forgotten"` // for want of memory: their next image was not checked
	LostWrites      int64 `json:"lost_writes"`      // all, also those not listed
}

// Damaged is a segment that is there and not valid.
type Damaged struct {
	Segment string `json:"segment"`
	Reason  string `json:"reason"`
	ID      string `json:"id,omitempty"` // stable hash of timeline and content; empty where Segment is

	Acknowledged *Acknowledgement `json:"acknowledged,omitempty"` // while it holds, the damage does not count
}

// Run is the object `redoubt run --format json` prints.
type Run struct {
	ID         string        `json:"run_id"`
	Job        string        `json:"job"`
	Seed       int64         `json:"seed"`
	StartedAt  time.Time     `json:"started_at"`
	FinishedAt *time.Time    `json:"finished_at"`
	Verdict    Verdict       `json:"verdict"`
	Reasons    []string      `json:"reasons"`
	Timelines  []RunTimeline `json:"timelines"`
}

// RunTimeline is one picked timeline of a run.
type RunTimeline struct {
	Tenant   string         `json:"tenant"`
	Timeline string         `json:"timeline"`
	Spans    []Verification `json:"spans"`
	Scan     *ScanTimeline  `json:"scan"`
	Reasons  []string       `json:"reasons,omitempty"` // what of it was not cut into spans, and why
}
