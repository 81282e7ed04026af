package verify

import (
	"bytes"
	"context"
	"slices"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// maxTouches bounds how many records of blocks that differ are remembered at
// a time, some 40 bytes each. Where there are more, the block with the most
// is given up.
const maxTouches = 1 << 20

// blockHistory is what the span's records did to one block that differs.
type blockHistory struct {
	touches  []native.Touch
	ordinals []int32 // of the version that each left, 0: it is not known
	total    int64
	last     native.RecordRef
	cut      bool // touches were given up

	versions *compare.Versions // nil where there is no official page
	n        int32             // versions shown
	base     page.Page         // the base's page, nil if there is none
	end      []byte            // the last version, nil if it is not known
	missing  bool              // a version of the span is not known
	hashes   []uint64          // normal hashes of the versions, 0: not known; where the official side is Timed
}

// follow replays the span for the blocks that differ and holds their official
// pages against every version they had.
func (r *run) follow(ctx context.Context, mm []mismatch, base map[pg.Block][]byte) (map[pg.Block]*blockHistory, error) {
	f := &follower{run: r, blocks: make(map[pg.Block]*blockHistory, len(mm))}
	pages := make(map[pg.Block][]byte, len(mm))
	for _, m := range mm {
		official, err := r.spool.get(m.official)
		if err != nil {
			return nil, err
		}
		f.blocks[m.Block] = r.newHistory(m, official, base[m.Block])
		pages[m.Block] = base[m.Block]
	}
	return f.blocks, f.pass(ctx, pages)
}

// newHistory starts with the base's version. Of an online base only a page
// whose checksum is right is known to be one.
func (r *run) newHistory(m mismatch, official, base page.Page) *blockHistory {
	h := &blockHistory{}
	if len(official) == pg.BlockSize {
		h.versions = compare.NewVersions(m.Block, official)
		if m.checksum && official.ChecksumOK(m.Number) {
			h.versions.WholeOnly()
		}
	}
	if len(base) != pg.BlockSize {
		return h
	}
	if r.base.Online && r.baseSums() && !base.ChecksumOK(m.Number) {
		h.missing = true
		return h
	}
	h.base = base
	h.show(base)
	return h
}

// show shows a version to those who wait for one.
func (h *blockHistory) show(p []byte) {
	h.n++
	if h.versions != nil {
		h.versions.Add(p)
	}
	h.end = append(h.end[:0], p...)
}

// complete says that every version of the block is known, up to the replayed one.
func (h *blockHistory) complete(replayed []byte) bool {
	return !h.missing && !h.cut && h.versions != nil && bytes.Equal(h.end, replayed)
}

// feed tells the comparison what is known.
func (h *blockHistory) feed(in *compare.Input) {
	in.HistoryKnown = !h.cut
	for _, t := range h.touches {
		if t.SetsLSN {
			in.History = append(in.History, compare.Touch{End: t.End, MaySetLSN: t.MaySetLSN})
		}
	}
	if n := len(h.touches); n > 0 {
		last := h.touches[n-1]
		in.LastWhole = last.Image && !last.Init
	}
	if h.versions != nil {
		in.Versions, in.AllVersions = h.versions, h.complete(in.Replayed)
		if !bytes.Equal(h.end, in.Replayed) {
			h.versions.Add(in.Replayed)
		}
	}
}

// follower is one pass over the WAL.
type follower struct {
	*run
	blocks map[pg.Block]*blockHistory
	held   int // touches of all blocks
}

func (f *follower) pass(ctx context.Context, pages map[pg.Block][]byte) error {
	c := f.baseControl
	base := native.Base{Checksums: c.Checksums(), WALLogHints: c.WALLogHints, CommitTs: c.TrackCommitTimestamp}
	err := native.Versions(ctx, f.WAL, f.historySpan(), base, f.Native.Extensions, pages, f.version)
	return f.walError("read the history of the blocks that differ", err)
}

// version takes one version of one block.
func (f *follower) version(v *native.Version) error {
	h := f.blocks[v.Block]
	if f.moving != nil && v.LSN >= f.moving.stopOf(v.Block, f.out.Span.To) {
		return nil // behind what the official page is compared with
	}
	if v.Gone {
		h.end = h.end[:0]
		return nil
	}
	h.total++
	h.last = v.RecordRef
	ordinal := int32(0)
	if v.Page == nil {
		h.missing, h.end = true, h.end[:0]
	} else {
		h.show(v.Page)
		ordinal = h.n
	}
	if !h.cut {
		h.touches, h.ordinals = append(h.touches, v.Touch), append(h.ordinals, ordinal)
		f.hash(h, v)
		if f.held++; f.held > maxTouches {
			f.giveUp()
		}
	}
	return nil
}

// giveUp forgets the longest list of records.
func (f *follower) giveUp() {
	var most *blockHistory
	for _, h := range f.blocks {
		if most == nil || len(h.touches) > len(most.touches) {
			most = h
		}
	}
	f.held -= len(most.touches)
	most.touches, most.ordinals, most.hashes, most.cut = nil, nil, nil, true
}

// hash keeps the hash of a version where the official side knows the past.
func (f *follower) hash(h *blockHistory, v *native.Version) {
	if _, ok := f.Official.(Timed); !ok {
		return
	}
	sum := uint64(0)
	if v.Page != nil {
		sum = f.hashOf(v.Block, v.Page)
	}
	h.hashes = append(h.hashes, sum)
}

// diverges says which record is the first that is missing from the official
// page, or why that is not known.
func (h *blockHistory) diverges() (int, string) {
	switch {
	case h.cut:
		return -1, "the block has more records than are kept in memory"
	case h.versions == nil:
		return -1, "there is no official page"
	}
	common, why := h.versions.LastCommon()
	if why != "" {
		return -1, why
	}
	at := slices.Index(h.ordinals, int32(common.Ordinal)) // the touch that left it
	if at < 0 && (h.base == nil || common.Ordinal != 1) {
		return -1, "not every version of the block is known"
	}
	for i := at + 1; i < len(h.touches); i++ {
		t := h.touches[i]
		switch {
		case t.SetsLSN && t.End <= common.LSN: // an online base's page had it already
		case t.OnlyHints(): // the page may rightly be without its LSN
		case h.ordinals[i] == 0 && (!t.SetsLSN || common.Torn):
			return -1, "what the next record makes of the block is not known"
		default:
			return i, ""
		}
	}
	return -1, "the official page lacks none of the block's records"
}

// maxRecords is how many records of a block a discrepancy lists.
const maxRecords = 40

// around are the records to list: those around the one at i, or else around
// the place that the LSN has among them.
func (h *blockHistory) around(i int, lsn pg.LSN) []native.Touch {
	if i < 0 {
		for i = 0; i < len(h.touches) && h.touches[i].End <= lsn; i++ {
			continue
		}
	}
	from := max(0, min(i-maxRecords/2, len(h.touches)-maxRecords))
	return h.touches[from:min(len(h.touches), from+maxRecords)]
}

// addRecords adds a block's history to its discrepancy.
func (r *run) addRecords(d *finding.Discrepancy, h *blockHistory) {
	i, why := h.diverges()
	switch {
	case d.FirstDivergentLSN != nil: // found by other means
		for i = 0; i < len(h.touches) && h.touches[i].LSN < *d.FirstDivergentLSN; i++ {
			continue
		}
	case d.FirstDivergentReason != "":
		i = -1
	case i >= 0:
		lsn := h.touches[i].LSN
		d.FirstDivergentLSN = &lsn
	default:
		d.FirstDivergentReason = whyNoRecord(d, why)
	}
	d.RecordsTotal = h.total
	if h.total > 0 && d.LastRecord == nil {
		d.LastRecord = r.recordRef(h.last)
	}
	lsn := ^pg.LSN(0)
	if d.OfficialLSN != nil {
		lsn = *d.OfficialLSN
	}
	for _, t := range h.around(i, lsn) {
		d.Records = append(d.Records, finding.BlockRecord{RecordRef: *r.recordRef(t.RecordRef), End: t.End, Image: t.Image})
	}
}

// whyNoRecord says in the terms of the kind why no record is named.
func whyNoRecord(d *finding.Discrepancy, why string) string {
	same := d.OfficialLSN != nil && d.ReplayedLSN != nil && *d.OfficialLSN == *d.ReplayedLSN
	switch {
	case d.Severity == finding.Benign:
		return ""
	case d.Kind == finding.ZeroedPage:
		return "a page without contents has no LSN: nothing says when it lost them"
	case d.Kind == finding.BitRot && d.RecordsTotal == 0:
		return "no record of the span touches the block: it changed without WAL"
	case d.Kind == finding.BitRot:
		return "no record made it: the page was changed outside of PostgreSQL"
	case d.Kind == finding.PhantomWrite && d.OfficialLSN != nil:
		return "the official page's LSN " + d.OfficialLSN.String() + " is that of no record of the block"
	case same:
		return "both pages are of the same LSN: that they differ is known only of the span's end"
	}
	return why
}

// completeHistory sees to it that each listed discrepancy has its records, and
// a first divergent record or the reason why there is none.
func (r *run) completeHistory(ctx context.Context, listed []finding.Discrepancy) error {
	var mm []mismatch
	for i := range listed {
		if d := &listed[i]; d.Kind == finding.WrongRedo && d.Relation != nil && d.Block != nil && d.RecordsTotal == 0 {
			b := pg.Block{RelFork: forkOf(d.Relation), Number: pg.BlockNumber(*d.Block)}
			mm = append(mm, mismatch{Block: b, official: -1})
		}
	}
	histories := make(map[pg.Block]*blockHistory)
	if len(mm) > 0 {
		var err error
		if histories, err = r.follow(ctx, mm[:min(len(mm), maxListed)], nil); err != nil {
			return err
		}
	}
	for i := range listed {
		d := &listed[i]
		if d.Relation != nil && d.Block != nil {
			if h := histories[pg.Block{RelFork: forkOf(d.Relation), Number: pg.BlockNumber(*d.Block)}]; h != nil && d.RecordsTotal == 0 {
				r.addRecords(d, h)
			}
		}
		if d.FirstDivergentLSN == nil && d.FirstDivergentReason == "" && d.Severity != finding.Benign {
			d.FirstDivergentReason = "it is known of the span's ends only"
		}
	}
	return nil
}
