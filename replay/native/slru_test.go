package native

import (
	"bytes"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// slruByte is a byte of a replayed SLRU page; -1 if replay did not write the page.
func slruByte(t *testing.T, res *Result, p pg.SLRUPage, at int) int {
	t.Helper()
	b, _, ok, err := res.SLRUPage(p, make([]byte, pg.BlockSize))
	if err != nil {
		t.Fatal(err)
	}
	if !ok {
		return -1
	}
	return int(b[at])
}

// TestSLRUs: statuses go on top of the base's page, and a page may appear.
func TestSLRUs(t *testing.T) {
	base := newMemory()
	base.files["pg_xact/0000"] = bytes.Repeat([]byte{0xFF}, 2*pg.BlockSize)
	s := &script{t: t}
	s.add(pg.RmgrTransaction, 0x20, make([]byte, 8)).XID = 5
	s.add(pg.RmgrCLOG, 0x00, u32(2, 0))
	s.add(pg.RmgrTransaction, 0x00, make([]byte, 8)).XID = 2*32768 + 1
	res := s.play(Config{Workers: 2}, base)
	for _, c := range []struct{ page, at, want int }{{0, 1, 0xFB}, {0, 0, 0xFF}, {1, 0, -1}, {2, 0, 0x04}, {2, 1, 0}} {
		if got := slruByte(t, res, pg.SLRUPage{SLRU: pg.XactSLRU, Page: uint32(c.page)}, c.at); got != c.want {
			t.Errorf("byte %d of page %d is %#x, want %#x", c.at, c.page, got, c.want)
		}
	}
	if pages := res.SLRUPages(pg.XactSLRU); len(pages) != 2 || pages[0] != 0 || pages[1] != 2 {
		t.Errorf("pages %v", pages)
	}
}

// TestNextMultiXact: the next multixact's offset is written if its page is
// there, in the base or by a record; a page is not made for it. Both orders
// of the page's record, which minors write, end alike.
func TestNextMultiXact(t *testing.T) {
	create := u32(2047, 1, 0) // the last of its page, without members
	for name, c := range map[string]struct {
		base    bool
		records []func(s *script)
		want    int
	}{
		"no page":       {false, []func(*script){func(s *script) { s.add(pg.RmgrMultiXact, 0x20, create) }}, -1},
		"in the base":   {true, []func(*script){func(s *script) { s.add(pg.RmgrMultiXact, 0x20, create) }}, 1},
		"zeroed before": {false, []func(*script){func(s *script) { s.add(pg.RmgrMultiXact, 0, u32(1, 0)); s.add(pg.RmgrMultiXact, 0x20, create) }}, 1},
		"zeroed after, then named": {false, []func(*script){func(s *script) {
			s.add(pg.RmgrMultiXact, 0x20, create)
			s.add(pg.RmgrMultiXact, 0, u32(1, 0))
			s.add(pg.RmgrMultiXact, 0x20, u32(2048, 1, 0))
		}}, 1},
	} {
		base := newMemory()
		if c.base {
			base.files["pg_multixact/offsets/0000"] = make([]byte, 2*pg.BlockSize)
		}
		s := &script{t: t}
		for _, f := range c.records {
			f(s)
		}
		if got := slruByte(t, s.play(Config{Workers: 3}, base), pg.SLRUPage{SLRU: pg.MultiXactOffsetSLRU, Page: 1}, 0); got != c.want {
			t.Errorf("%s: offset %d, want %d", name, got, c.want)
		}
	}
}

// parameters is a PARAMETER_CHANGE.
func (s *script) parameters(hints, commitTs byte) {
	s.add(pg.RmgrXLOG, 0x60, append(u32(100, 8, 10, 0, 64, 1), hints, commitTs, 0, 0))
}

// TestCommitTimestampsSwitched: PostgreSQL removes pg_commit_ts when it is
// switched off, and keeps none until it is switched on.
func TestCommitTimestampsSwitched(t *testing.T) {
	commit := func(s *script, xid pg.XID) {
		s.add(pg.RmgrTransaction, 0x00, []byte{9, 0, 0, 0, 0, 0, 0, 0}).XID = xid
	}
	base := newMemory()
	base.files["pg_commit_ts/0000"] = bytes.Repeat([]byte{1}, pg.BlockSize)
	first := pg.SLRUPage{SLRU: pg.CommitTsSLRU}
	s := &script{t: t}
	commit(s, 10)
	if res := s.play(Config{Workers: 2}, base); slruByte(t, res, first, 100) != 9 || slruByte(t, res, first, 0) != 1 || res.SLRURemoved(pg.CommitTsSLRU) {
		t.Error("timestamps on: the page is not the base's with an entry more")
	}
	s.parameters(0, 0)
	commit(s, 11)
	if res := s.play(Config{Workers: 2}, base); slruByte(t, res, first, 0) != -1 || !res.SLRURemoved(pg.CommitTsSLRU) {
		t.Error("timestamps off: there is a page")
	}
	s.parameters(0, 1)
	commit(s, 12)
	res := s.play(Config{Workers: 2}, base)
	for at, want := range map[int]int{0: 0, 100: 0, 110: 0, 120: 9} {
		if got := slruByte(t, res, first, at); got != want {
			t.Errorf("timestamps on again: byte %d is %d, want %d", at, got, want)
		}
	}
}

// TestHintBitsSwitched: whether VISIBLE sets the LSN of its heap page follows
// wal_log_hints, while records are on their way.
func TestHintBitsSwitched(t *testing.T) {
	vm := tableA
	vm.Fork = pg.VMFork
	s := &script{t: t}
	visible := func(b pg.BlockNumber) {
		s.add(pg.RmgrHeap2, wal.OpHeap2Visible, []byte{0, 0, 0, 0, 1}, ref(vm, 0), ref(tableA, b))
	}
	visible(0)
	s.parameters(1, 1)
	visible(1)
	s.parameters(0, 1)
	visible(2)
	res := s.play(Config{Workers: 3}, table(tableA, 3))
	for b, want := range []pg.LSN{0, s.recs[2].End, 0} {
		p := page.Page(pageOf(t, res, tableA, pg.BlockNumber(b)).Bytes)
		if p.LSN() != want || p.Flags()&page.AllVisible == 0 {
			t.Errorf("block %d: LSN %s, want %s; flags %d", b, p.LSN(), want, p.Flags())
		}
	}
	wantFork(t, res, vm, 1, 0, true)
}

// TestSLRUTruncated remembers what truncations of the span removed.
func TestSLRUTruncated(t *testing.T) {
	const perMember = 1636
	s := &script{t: t}
	s.add(pg.RmgrCLOG, 0x10, u32(40, 0, 1, 1))
	s.add(pg.RmgrMultiXact, 0x30, u32(1, 1, 2, 0, 40*perMember))
	s.add(pg.RmgrMultiXact, 0x30, u32(1, 1, 2, 40*perMember, 80*perMember))
	res := s.play(Config{Workers: 1}, nil)
	for p, want := range map[pg.SLRUPage]bool{
		{SLRU: pg.XactSLRU, Page: 31}: true, {SLRU: pg.XactSLRU, Page: 32}: false, {SLRU: pg.CommitTsSLRU, Page: 0}: false,
		{SLRU: pg.MultiXactMemberSLRU, Page: 0}: true, {SLRU: pg.MultiXactMemberSLRU, Page: 63}: true, {SLRU: pg.MultiXactMemberSLRU, Page: 64}: false,
		{SLRU: pg.MultiXactMemberSLRU, Page: 2625285}: false,
	} {
		if got := res.SLRUTruncated(p); got != want {
			t.Errorf("%s: truncated %t", p, got)
		}
	}
}

// TestPreparedTransactions: those that a restart ends are told from those that
// outlive it.
func TestPreparedTransactions(t *testing.T) {
	s := &script{t: t}
	for _, xid := range []int{100, 101} {
		state := make([]byte, 72)
		copy(state, u32(0x57F94534, 76, xid, 5))
		s.add(pg.RmgrTransaction, 0x10, state).XID = pg.XID(xid)
	}
	s.add(pg.RmgrTransaction, 0xB0, append(make([]byte, 8), u32(1<<4, 100)...))
	checkpoint := make([]byte, 88)
	copy(checkpoint[24:], u32(200, 0))
	s.add(pg.RmgrXLOG, 0x00, checkpoint)
	res := s.play(Config{Workers: 1}, nil)
	for xid, want := range map[pg.XID]bool{99: true, 100: true, 101: false, 199: true, 200: false} {
		if got := res.EndedByRestart(xid); got != want {
			t.Errorf("transaction %d ended by restart: %t", xid, got)
		}
	}
	if res.Prepared(100) || !res.Prepared(101) {
		t.Error("transaction 101 is prepared, 100 is not any more")
	}
}
