package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
	"redoubt/replay/native"
	"redoubt/replay/redo"
)

// maxSteps is how many records of one block are held.
const maxSteps = 1 << 20

// BlockQuery asks for the history of one block.
type BlockQuery struct {
	Base     Snapshot
	Settings native.Base // of the base's pg_control
	// Extensions is the redo of resource managers that PostgreSQL itself has not.
	Extensions redo.Extensions
	Official   Snapshot // may be nil
	// OfficialFrom is where the own WAL of an official side starts that is an
	// online backup; 0 for one of a single moment.
	OfficialFrom pg.LSN
	WAL          replay.WALSource
	Span         pg.Range // To 0: to the end of the WAL
	Major        int
	Block        pg.Block
	At           []pg.LSN // versions whose pages are wanted
}

// BlockStep is a block after one record that touched it.
type BlockStep struct {
	finding.BlockRecord
	Page *PageState `json:"page"`           // null where it is not known
	Gone bool       `json:"gone,omitempty"` // the record dropped the relation or cut it before the block
}

// PageState is a page in short. The checksum is the one that the page should have.
type PageState struct {
	LSN      pg.LSN `json:"lsn"`
	Lower    int    `json:"lower"`
	Upper    int    `json:"upper"`
	Special  int    `json:"special"`
	Flags    uint16 `json:"flags"`
	Items    int    `json:"items"`
	Checksum uint16 `json:"checksum"`
}

// BlockHistory is what base and WAL say of one block, and what the official side has.
type BlockHistory struct {
	Span     pg.Range
	Base     []byte // nil: the base has no such block
	Official []byte
	Steps    []BlockStep
	// At are the pages after all records that end at or before the LSNs that
	// were asked for; nil where the page is not known or there is none.
	At [][]byte
	// End says why the WAL ended before the span did, nil if it did not.
	End error
	// Rewritten: the official side is an online backup whose own WAL replaces
	// the block whole, so that its page proves nothing.
	Rewritten bool
	// Compared is what comparing the official page with the last version
	// says, nil if there is none; Common describes the last version that the
	// official page has.
	Compared *compare.Result
	Common   string
}

// Block replays a span for one block.
func Block(ctx context.Context, q BlockQuery) (*BlockHistory, error) {
	out := &BlockHistory{Span: q.Span, At: make([][]byte, len(q.At))}
	span := q.Span
	if span.To == 0 {
		span.To = ^pg.LSN(0)
	}
	dialect, err := native.FindDialect(ctx, q.WAL, span)
	if err != nil {
		return nil, fmt.Errorf("read WAL %s: %w", q.Span, err)
	}
	q.WAL = replay.InDialect(q.WAL, dialect)
	if out.Base, err = fetchOne(ctx, q.Base, q.Block); err != nil {
		return nil, fmt.Errorf("read the base: %w", err)
	}
	if q.Official != nil {
		if out.Official, err = fetchOne(ctx, q.Official, q.Block); err != nil {
			return nil, fmt.Errorf("read the official side: %w", err)
		}
	}
	t := &blockTrace{q: &q, out: out, last: out.Base}
	if t.official, err = out.bring(ctx, &q); err != nil {
		return nil, err
	}
	if len(t.official) == pg.BlockSize {
		t.h.versions = compare.NewVersions(q.Block, t.official)
	}
	if out.Base != nil {
		t.h.base = out.Base
		t.h.show(out.Base)
	}
	for i := range out.At {
		out.At[i] = out.Base
	}
	err = native.Versions(ctx, q.WAL, span, q.Settings, q.Extensions, map[pg.Block][]byte{q.Block: out.Base}, t.step)
	var missing *wal.MissingError
	var end *wal.EndError
	switch {
	case errors.As(err, &missing), errors.As(err, &end):
		out.End = err
	case err != nil:
		return nil, fmt.Errorf("read WAL %s: %w", q.Span, err)
	}
	t.judge()
	return out, nil
}

// bring makes of the official page what the backup's own WAL makes of it; nil
// if that is no evidence.
func (h *BlockHistory) bring(ctx context.Context, q *BlockQuery) ([]byte, error) {
	if q.OfficialFrom == 0 || h.Official == nil {
		return h.Official, nil
	}
	last := h.Official
	own := pg.Range{From: q.OfficialFrom, To: q.Span.To}
	err := native.Versions(ctx, q.WAL, own, q.Settings, q.Extensions, map[pg.Block][]byte{q.Block: h.Official}, func(v *native.Version) error {
		h.Rewritten = h.Rewritten || v.Image
		if v.Page != nil {
			last = slices.Clone(v.Page)
		}
		return nil
	})
	var missing *wal.MissingError
	var end *wal.EndError
	switch {
	case errors.As(err, &missing), errors.As(err, &end):
		return nil, nil // the span's own pass says so
	case err != nil:
		return nil, fmt.Errorf("read WAL %s: %w", own, err)
	case h.Rewritten:
		return nil, nil
	}
	return last, nil
}

// ConsistentAt is the LSN from which a snapshot may be judged.
func ConsistentAt(ctx context.Context, m Meta, src replay.WALSource) (pg.LSN, error) {
	switch {
	case !m.Online:
		return m.Redo, nil
	case m.Consistent != 0:
		return m.Consistent, nil
	}
	return native.New(native.Config{}, src, native.Span{}).FindBackupEnd(ctx, m.Redo)
}

func fetchOne(ctx context.Context, s Snapshot, b pg.Block) (p []byte, err error) {
	err = s.Fetch(ctx, []pg.Block{b}, func(_ pg.Block, got []byte) error {
		p = slices.Clone(got)
		return nil
	})
	return p, err
}

// blockTrace collects the versions of one block.
type blockTrace struct {
	q        *BlockQuery
	out      *BlockHistory
	h        blockHistory
	last     []byte // nil: not known, or there is none
	official []byte // as its own WAL leaves it, nil if it is no evidence
}

func (t *blockTrace) step(v *native.Version) error {
	if len(t.out.Steps) == maxSteps {
		return fmt.Errorf("%s has more than %d records here: ask for less with --to, or for the span of a later base", v.Block, maxSteps)
	}
	s := BlockStep{Gone: v.Gone, BlockRecord: finding.BlockRecord{
		RecordRef: finding.RecordRef{LSN: v.LSN, Rmgr: v.Rmgr.String(), Op: v.OpName(t.q.Major), XID: v.XID}, End: v.End, Image: v.Image,
	}}
	t.last = nil
	if v.Page != nil {
		t.last = slices.Clone(v.Page)
		s.Page = StateOf(t.last, v.Block.Number)
	}
	for i, at := range t.q.At {
		if v.End <= at {
			t.out.At[i] = t.written(t.last, s.Page)
		}
	}
	t.out.Steps = append(t.out.Steps, s)
	t.h.touches = append(t.h.touches, v.Touch)
	ordinal := int32(0)
	if v.Page != nil {
		t.h.show(v.Page)
		ordinal = t.h.n
	} else if !v.Gone {
		t.h.missing = true
	}
	t.h.ordinals = append(t.h.ordinals, ordinal)
	return nil
}

// written is a page as PostgreSQL would write it: redo leaves the checksum stale.
func (t *blockTrace) written(p page.Page, s *PageState) []byte {
	if p == nil || !t.q.Settings.Checksums {
		return p
	}
	p = slices.Clone(p)
	p.SetChecksum(s.Checksum)
	return p
}

// StateOf describes a page in short.
func StateOf(p page.Page, n pg.BlockNumber) *PageState {
	return &PageState{
		LSN: p.LSN(), Lower: p.Lower(), Upper: p.Upper(), Special: p.Special(), Flags: p.Flags(), Items: p.NumItems(),
		Checksum: p.ComputeChecksum(n),
	}
}

// judge compares the official page with where the WAL leads.
func (t *blockTrace) judge() {
	if t.official == nil || t.last == nil || t.out.End != nil {
		return
	}
	in := compare.Input{
		Block: t.q.Block, Major: t.q.Major, Official: t.official, Replayed: t.last,
		Checksums: t.q.Settings.Checksums && t.q.OfficialFrom == 0, Touched: len(t.out.Steps) > 0,
	}
	if t.out.Base != nil {
		in.BaseLSN = page.Page(t.out.Base).LSN()
	}
	t.h.feed(&in)
	res := compare.Pages(in)
	t.out.Compared = &res
	if res.Equal || res.Benign() {
		return
	}
	i, why := t.h.diverges()
	if i >= 0 {
		why = fmt.Sprintf("the first record that it is without is %s %s of %s",
			t.out.Steps[i].Rmgr, t.out.Steps[i].Op, t.out.Steps[i].LSN)
	}
	t.out.Common = why
}
