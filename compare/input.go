package compare

import (
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// Input is one block: what production has, what redo made, and what is known
// about it. Only Block, Major, Official and Replayed must be given; more
// knowledge makes kinds and explanations sharper, never a difference smaller,
// unless the field says so.
type Input struct {
	Block pg.Block
	Major int // PostgreSQL major version

	// The two pages, pg.BlockSize long; nil where the fork has no such block.
	Official, Replayed []byte

	// Terse: a benign result needs no words and no byte ranges. For those who
	// compare many pages and list few.
	Terse bool

	// Checksums: data checksums are on, and Official is as PostgreSQL wrote
	// it. False for pages that redo changed to make an online backup
	// consistent: their checksums are stale.
	Checksums bool

	// Touched: a record of the span changes this block. If not, Replayed is
	// the base's page.
	Touched bool

	// History has the records of the span that touch the block, ascending by
	// End; HistoryKnown says that it is complete.
	History      []Touch
	HistoryKnown bool
	// BaseLSN is the page LSN of the base's version, 0 if there is none.
	BaseLSN pg.LSN
	// Versions are the versions of the page that are known, the replayed one
	// among them; nil: none is. AllVersions says that none of the span's is
	// missing.
	Versions    *Versions
	AllVersions bool
	// Span is the range of WAL that was replayed; of LSNs outside of it the
	// history says nothing. Empty: not known.
	Span pg.Range
	// LSNOwner is the record that ends at the official page's LSN, nil if that
	// was not looked up. It is looked up for LSNs within the span only.
	LSNOwner *LSNOwner
	// Elsewhere is another block whose page the official one is, nil if none is known.
	Elsewhere *pg.Block
	// BaseBad: the base's page fails its checksum, and redo built on it.
	BaseBad bool
	// LastWhole: the last record that changed the block carries all of its
	// page, so that neither base nor redo had a part in it.
	LastWhole bool

	// VMMayLackBits: the replayed visibility map may lack bits that the
	// official one rightly has: the fork was copied by CREATE DATABASE with
	// STRATEGY WAL_LOG, or the base was online with full_page_writes off.
	// It makes such differences benign, see Result.Claims.
	VMMayLackBits bool
	// SeqIncrement is pg_sequence.seqincrement, 0 if unknown.
	SeqIncrement int64
	// XactState says how a transaction ended by the official side's pg_xact.
	// With it, hint bits are checked instead of ignored. May be nil.
	XactState func(pg.XID) XactState
}

// Touch is one record that touches a block.
type Touch struct {
	End pg.LSN // the record's end, which redo stores as page LSN
	// MaySetLSN: the primary may or may not have stored End in the page
	// (wal.MaySetLSN).
	MaySetLSN bool
}

// LSNOwner says which record ends at an LSN.
type LSNOwner struct {
	Record string   // "Heap INSERT"; empty: none ends there
	At     pg.LSN   // where the record starts
	Block  pg.Block // the first block that it names, with Named
	Named  bool
}

// XactState is how a transaction ended.
type XactState uint8

// The states. Crashed and running transactions are XactUnknown.
const (
	XactUnknown XactState = iota
	XactCommitted
	XactAborted
	XactNotKnown // nobody can say: its page of pg_xact is not at hand
)

// Result is a verdict. The zero Result, but for Equal, never leaves this package.
type Result struct {
	// Equal: no byte differs but the stored checksum. All other fields are empty.
	Equal bool

	Kind        finding.Kind
	Severity    finding.Severity
	Blame       finding.Blame
	Rule        mask.RuleID // which rule beyond the normal form made it benign, if one did
	Ranges      [][2]int    // half open, ascending, disjoint; at most maxRanges
	Explanation string
	// LSNs as the pages have them; nil where there is no page.
	OfficialLSN, ReplayedLSN *pg.LSN

	// SeqIncrement is the only increment that makes two pages of a sequence the
	// same state, benign only if it is the sequence's: a caller that knows
	// pg_sequence checks that. 0 where no increment was inferred.
	SeqIncrement int64

	// Claims are heap blocks that the official visibility map calls
	// all-visible while the replayed map does not, benign only because the
	// replayed map may lack bits. The claim is right if the official heap
	// page has PD_ALL_VISIBLE: the caller checks that.
	Claims []pg.BlockNumber
}

// Benign reports whether the pages differ only in what may differ.
func (r Result) Benign() bool { return r.Severity == finding.Benign }

// pair is one comparison under way.
type pair struct {
	in   *Input
	o, r page.Page // both pg.BlockSize long
	kind page.Kind // of both, KindUnknown if they disagree
	// Normal forms under kind.
	on, rn page.Page
}

// result starts a verdict on the pair.
func (c *pair) result(k finding.Kind, s finding.Severity, b finding.Blame) Result {
	o, r := c.o.LSN(), c.r.LSN()
	return Result{Kind: k, Severity: s, Blame: b, OfficialLSN: &o, ReplayedLSN: &r}
}
