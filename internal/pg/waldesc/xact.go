package waldesc

// Bits of xinfo (XACT_XINFO_*, XACT_COMPLETION_*, access/xact.h).
const (
	hasDatabase   = 1 << 0
	hasSubxacts   = 1 << 1
	hasRels       = 1 << 2
	hasMessages   = 1 << 3
	hasTwophase   = 1 << 4
	hasOrigin     = 1 << 5
	hasGID        = 1 << 7
	hasStats      = 1 << 8
	applyFeedback = 1 << 29
	relcacheFile  = 1 << 30
	forceSync     = 1 << 31
)

// Sizes of items in bytes: of a RelFileNode, an xl_xact_stats_item, a SharedInvalidationMessage.
const (
	relSize     = 12
	statsSize   = 12
	messageSize = 16
)

// run is a number of items and where they begin.
type run struct {
	n  uint32
	at int
}

// runAt reads a number of items that are behind it, and says where they end.
func (f fields) runAt(at, size int) (r run, end int) {
	r = run{f.u32(at), at + 4}
	return r, r.at + f.items(r.n, r.at, size)*size
}

// xactEnd describes COMMIT, ABORT and their PREPARED variants.
func xactEnd(d *desc) {
	op := d.r.Op() & 0x70
	commit := op == 0x00 || op == 0x30
	at, info := 8, uint32(0)
	if d.r.Info&0x80 != 0 { // XLOG_XACT_HAS_INFO
		info, at = d.u32(at), at+4
	}
	var db, origin int
	var subs, rels, stats, messages run
	if info&hasDatabase != 0 {
		db, at = at, at+8
	}
	if info&hasSubxacts != 0 {
		subs, at = d.runAt(at, 4)
	}
	if info&hasRels != 0 {
		rels, at = d.runAt(at, relSize)
	}
	if info&hasStats != 0 {
		stats, at = d.runAt(at, statsSize)
	}
	if info&hasMessages != 0 && commit {
		messages, at = d.runAt(at, messageSize)
	}
	if info&hasTwophase != 0 {
		u4("", at)(d)
		d.text(": ")
		if at += 4; info&hasGID != 0 {
			at += len(d.cString(at)) + 1
		}
	}
	origin = at
	stamp("", 0)(d)
	d.rels("rels", rels)
	d.subxacts(subs)
	if commit {
		d.stats("", stats)
		d.messages(messages, db, info&relcacheFile != 0)
		d.flag(info&applyFeedback != 0, "; apply_feedback")
		d.flag(info&forceSync != 0, "; sync")
	}
	if info&hasOrigin != 0 {
		d.origin(origin)
	}
	if !commit {
		d.stats("", stats)
	}
}

// xactPrepare describes PREPARE, each part of which begins at a multiple of 8 bytes.
func xactPrepare(d *desc) {
	const header = 72 // of xl_xact_prepare
	gidLen, _ := d.uint(54, 2)
	at := header + align8(int(gidLen))
	next := func(field, size int) run {
		r := run{d.u32(field), at}
		at += align8(d.items(r.n, at, size) * size)
		return r
	}
	subs, commits, aborts := next(28, 4), next(32, relSize), next(36, relSize)
	commitStats, abortStats := next(40, statsSize), next(44, statsSize)
	messages := next(48, messageSize)
	d.text("gid " + d.cString(header) + ": ")
	stamp("", 16)(d)
	d.rels("rels(commit)", commits)
	d.rels("rels(abort)", aborts)
	d.stats("commit ", commitStats)
	d.stats("abort ", abortStats)
	d.subxacts(subs)
	// Its tablespace the record does not say.
	d.invalidations(messages, d.u32(12), 0, d.u8(52) != 0)
	if d.r.Origin != 0 {
		d.origin(56)
	}
}

func align8(n int) int { return (n + 7) &^ 7 }

func (d *desc) flag(on bool, text string) {
	if on {
		d.text(text)
	}
}

func (d *desc) rels(label string, r run) {
	if r.n == 0 {
		return
	}
	d.text("; " + label + ":")
	for i := range d.items(r.n, r.at, relSize) {
		d.text(" ")
		d.path(d.locator(r.at+i*relSize), 0)
	}
}

func (d *desc) subxacts(r run) {
	if r.n > 0 {
		d.text("; subxacts:")
		d.numbers(r.n, r.at)
	}
}

// stats are statistics that go with what is dropped.
func (d *desc) stats(label string, r run) {
	if r.n == 0 {
		return
	}
	d.text("; " + label + "dropped stats:")
	for i := range d.items(r.n, r.at, statsSize) {
		at := r.at + i*statsSize
		i4(" ", at)(d)
		u4("/", at+4)(d)
		u4("/", at+8)(d)
	}
}

func (d *desc) origin(at int) {
	d.text("; origin: node ")
	d.num(uint64(d.r.Origin))
	lsn(", lsn ", at)(d)
	stamp(", at ", at+8)(d)
}

// xactAssignment describes ASSIGNMENT.
func xactAssignment(d *desc) {
	u4("xtop ", 0)(d)
	d.text(": subxacts:")
	d.numbers(d.u32(4), 8)
}

func xactInvalidations(d *desc) {
	r, _ := d.runAt(0, messageSize)
	d.messages(r, 0, false)
}
