package verify

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/native"
)

func lsnOf(p []byte) pg.LSN {
	if len(p) != pg.BlockSize {
		return 0
	}
	return page.Page(p).LSN()
}

// settle accounts for the blocks that are not what replay has at the span's
// end: each is held against the later versions of its block. Those that none
// accounts for are read again, with fresh WAL, a few times.
func (r *run) settle(ctx context.Context) error {
	m := r.moving
	if err := r.advance(ctx); err != nil {
		return err
	}
	if err := r.addStale(ctx); err != nil {
		return err
	}
	m.deadline = time.Now().Add(m.opt.WALWait)
	wait := m.waits()
	for round := 0; ; round++ {
		r.progress("follow the server", int64(round), int64(m.opt.Rounds))
		if err := r.follows(ctx, m.open(), round); err != nil {
			return err
		}
		bad, early := m.left()
		again := len(bad) > 0 && round < m.opt.Rounds
		if !again && (len(early) == 0 || !time.Now().Before(m.deadline)) {
			break
		}
		if err := wait.pause(ctx); err != nil {
			return err
		}
		if again {
			if err := r.readAgain(ctx, bad); err != nil {
				return err
			}
		}
		if err := r.advance(ctx); err != nil {
			return err
		}
	}
	return r.conclude(ctx)
}

const longestWait = 10 * time.Second

// waits are the pauses before a moving side is looked at again: each is twice
// as long as the one before.
type waits struct{ next time.Duration }

func (m *movingSide) waits() *waits { return &waits{m.opt.FirstWait} }

func (w *waits) pause(ctx context.Context) error {
	d := w.next
	w.next = min(2*d, longestWait)
	return pause(ctx, d)
}

// open are the pending blocks that more reading or more WAL may account for.
func (m *movingSide) open() []*pending {
	bad, early := m.left()
	return append(bad, early...)
}

// left are the blocks that are to be read again, and those that wait for WAL:
// they keep the page that was read, so that the WAL can catch up with it.
func (m *movingSide) left() (bad, early []*pending) {
	for _, p := range m.pending {
		switch p.outcome {
		case unaccounted, nobodys, noRedo:
			bad = append(bad, p)
		case tooNew:
			early = append(early, p)
		}
	}
	return bad, early
}

// advance learns where the server is and up to where there is WAL, and replays
// that WAL for sizes, relation maps and SLRUs, no pages.
func (r *run) advance(ctx context.Context) (err error) {
	m := r.moving
	if _, m.reached, err = m.Position(ctx); err != nil {
		return fmt.Errorf("read official side: %w", err)
	}
	before := m.end
	m.end = max(m.end, r.out.Span.To)
	if m.reached > m.end {
		if m.end, err = native.Reach(ctx, r.WAL, pg.Range{From: m.end, To: m.reached}); err != nil {
			return fmt.Errorf("read WAL from %s on: %w", m.end, err)
		}
	}
	if m.ahead != nil && m.end == before {
		return nil
	}
	span := pg.Range{From: r.out.Span.To, To: m.end}
	e, res, err := r.lookAhead(ctx, span)
	if err != nil {
		return err
	}
	if m.engine != nil {
		err = m.engine.Close()
	}
	m.engine, m.ahead = e, res
	return err
}

// advanceTo advances and, if asked, waits until there is WAL up to an LSN, as
// long as is waited for WAL at all: files other than relations', and the removal
// of these, are on disk before the WAL of it need be there.
func (r *run) advanceTo(ctx context.Context, to pg.LSN, await bool) error {
	for wait := r.moving.waits(); ; {
		if err := r.advance(ctx); err != nil {
			return err
		}
		if !await || r.moving.end >= to || !time.Now().Before(r.moving.deadline) {
			return nil
		}
		if err := wait.pause(ctx); err != nil {
			return err
		}
	}
}

// addStale adds the blocks that were equal at the span's end and that a record
// changes which the checkpoint before they were read must have put on disk.
func (r *run) addStale(ctx context.Context) error {
	m := r.moving
	span := pg.Range{From: r.out.Span.To, To: min(m.maxRedo, m.end)}
	if span.To <= span.From {
		return nil
	}
	known := make(map[pg.Block]bool, len(m.pending))
	for _, p := range m.pending {
		known[p.Block] = true
	}
	err := native.EachTouch(ctx, r.WAL, span, nil, func(b pg.Block, t native.Touch) error {
		if !t.SetsLSN || t.MaySetLSN || known[b] || b.Fork == pg.FSMFork || r.wanted != nil && !r.wanted(b.RelFork, b.Number) {
			return nil
		}
		redo := m.redoOf(b)
		if redo == 0 || t.LSN >= redo {
			return nil
		}
		if f, ok := r.rb.Fork(b.RelFork); !ok || b.Number >= f.Size {
			return nil // sizes are looked at by themselves
		}
		known[b] = true
		r.tally.fork(b.RelFork).compared--
		m.pending = append(m.pending, &pending{Block: b, official: -1, redo: redo, checksum: r.baseControl.Checksums(), base: -1, stop: -1})
		return nil
	})
	if err = r.walError("read WAL behind the span", err); err != nil {
		return err
	}
	var unread []*pending
	for _, p := range m.pending {
		if p.official < 0 {
			unread = append(unread, p)
		}
	}
	return r.readAgain(ctx, unread)
}

// readAgain reads blocks once more.
func (r *run) readAgain(ctx context.Context, blocks []*pending) error {
	at := make(map[pg.Block]*pending, len(blocks))
	var disk []pg.Block
	for _, p := range blocks {
		if p.memory {
			if err := r.readMemory(ctx, p); err != nil {
				return err
			}
			continue
		}
		at[p.Block] = p
		disk = append(disk, p.Block)
	}
	seen := make(map[pg.Block]bool)
	err := r.moving.Fetch(ctx, disk, func(b pg.Block, page []byte) error {
		seen[b] = true
		return r.replace(at[b], page, r.moving.Redo())
	})
	if err != nil {
		return fmt.Errorf("read blocks of the official side again: %w", err)
	}
	for b, p := range at {
		if !seen[b] {
			p.official, p.lsn, p.same = -1, 0, 0
		}
	}
	return nil
}

// replace puts the page of a newer read in the place of the one before.
func (r *run) replace(p *pending, page []byte, redo pg.LSN) error {
	before, err := r.spool.get(p.official)
	if err != nil {
		return err
	}
	p.redo = redo
	if before != nil && string(before) == string(page) {
		p.same++
		return nil
	}
	p.same, p.lsn = 0, lsnOf(page)
	p.official, err = r.spool.put(page)
	return err
}

func (r *run) readMemory(ctx context.Context, p *pending) error {
	_, reached, err := r.moving.Position(ctx)
	if err != nil {
		return err
	}
	page, known, err := r.moving.Memory(ctx, p.Block)
	if err != nil {
		return err
	}
	if !known || page == nil {
		p.official, p.lsn = -1, 0
		return nil
	}
	return r.replace(p, page, reached)
}

// follows holds blocks against the versions behind the span's end, a batch at
// a time. Pages of the base are read only for what the first round left.
func (r *run) follows(ctx context.Context, blocks []*pending, round int) error {
	if round > 0 {
		if err := r.basesOf(ctx, blocks); err != nil {
			return err
		}
	}
	const pagesEach = 4
	n := max(int(r.Native.Memory/4/(pagesEach*pg.BlockSize)), 256)
	for batch := range slices.Chunk(blocks, n) {
		if err := r.followBatch(ctx, batch); err != nil {
			return err
		}
	}
	return nil
}

// basesOf reads the base's pages of blocks that the span's WAL does not touch.
func (r *run) basesOf(ctx context.Context, blocks []*pending) error {
	at := make(map[pg.Block][]*pending)
	var want []pg.Block
	var buf [pg.BlockSize]byte
	for _, p := range blocks {
		f, ok := r.ra.Fork(p.RelFork)
		if !ok || p.Number >= f.BaseBlocks || p.base >= 0 {
			continue
		}
		if held, err := r.ra.Page(p.RelFork, p.Number, buf[:]); err != nil {
			return err
		} else if held.Bytes == nil {
			at[p.Block] = append(at[p.Block], p)
			want = append(want, p.Block)
		}
	}
	if len(want) == 0 {
		return nil
	}
	err := r.Base.Fetch(ctx, want, func(b pg.Block, page []byte) error {
		place, err := r.spool.put(page)
		for _, p := range at[b] {
			p.base = place
		}
		return err
	})
	if err != nil {
		return fmt.Errorf("read blocks of the base again: %w", err)
	}
	return nil
}

// followBatch is one pass over the WAL behind the span for some blocks. One
// that was read from the files and from memory is followed twice.
func (r *run) followBatch(ctx context.Context, batch []*pending) error {
	chases := make(map[pg.Block][]*chase, len(batch))
	pages := make(map[pg.Block][]byte, len(batch))
	work := &workspace{}
	work.xacts.r = r
	for _, p := range batch {
		c, err := r.newChase(p, work)
		if err != nil {
			return err
		}
		chases[p.Block] = append(chases[p.Block], c)
		pages[p.Block] = c.start
	}
	span := pg.Range{From: r.out.Span.To, To: r.moving.end}
	if span.To > span.From {
		err := native.Versions(ctx, r.WAL, span, nativeBase(r.baseControl), r.Native.Extensions, pages, func(v *native.Version) error {
			for _, c := range chases[v.Block] {
				if err := c.version(v); err != nil {
					return err
				}
			}
			return nil
		})
		var missing *wal.MissingError
		var end *wal.EndError
		if err != nil && !errors.As(err, &missing) && !errors.As(err, &end) {
			return fmt.Errorf("read WAL from %s on: %w", span.From, err)
		}
		if err != nil {
			return r.walError("read WAL behind the span again", err)
		}
	}
	for _, list := range chases {
		for _, c := range list {
			if err := c.judge(); err != nil {
				return err
			}
		}
	}
	return work.xacts.err
}
