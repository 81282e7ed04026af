package redo_test

import (
	"encoding/binary"
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// slruRecord is a record without block references.
func slruRecord(rmgr pg.RmgrID, info uint8, major int, xid pg.XID, main []byte) *wal.Record {
	return &wal.Record{LSN: after - 0x80, End: after, XID: xid, Rmgr: rmgr, Info: info, Major: major, Main: main}
}

// describeOps writes changes of SLRU pages as text.
func describeOps(t *testing.T, rec *wal.Record, commitTs bool) string {
	t.Helper()
	ops, err := redo.SLRUOps(rec, commitTs, nil)
	if err != nil {
		return err.Error()
	}
	var s []string
	for _, o := range ops {
		what := fmt.Sprintf("%s@%d: ", o.Page, o.Offset)
		switch {
		case o.Zero:
			what = o.Page.String() + ": zero"
		case o.Data != nil:
			what += fmt.Sprintf("%x", o.Data)
		default:
			what += fmt.Sprintf("%02x of %02x", o.Value, o.Mask)
		}
		if o.IfPresent {
			what += " if present"
		}
		s = append(s, what)
	}
	return strings.Join(s, "; ")
}

// xact is the main data of a COMMIT or ABORT with its xinfo parts.
func xact(t *testing.T, time int64, xinfo uint32, parts ...any) []byte {
	t.Helper()
	return words(t, append([]any{time, xinfo}, parts...)...)
}

const (
	hasInfo     = 0x80
	commitOp    = 0x00
	abortOp     = 0x20
	committed2P = 0x30
	subxacts    = 1 << 1
	twophase    = 1 << 4
	origin      = 1 << 5
)

func TestTransactionStatus(t *testing.T) {
	stamp := binary.LittleEndian.AppendUint64(nil, 5)
	for _, c := range []struct {
		name     string
		rec      *wal.Record
		commitTs bool
		want     string
	}{
		{"commit", slruRecord(pg.RmgrTransaction, commitOp, 17, 1001, stamp), false, "pg_xact page 0@250: 04 of 0c"},
		{"abort", slruRecord(pg.RmgrTransaction, abortOp, 17, 1003, stamp), true, "pg_xact page 0@250: 80 of c0"},
		{"last of a page", slruRecord(pg.RmgrTransaction, commitOp, 17, 32767, stamp), false, "pg_xact page 0@8191: 40 of c0"},
		{"first of a page", slruRecord(pg.RmgrTransaction, commitOp, 17, 32768, stamp), false, "pg_xact page 1@0: 01 of 03"},
		{"highest xid", slruRecord(pg.RmgrTransaction, commitOp, 17, 0xFFFFFFFF, stamp), true,
			"pg_xact page 131071@8191: 40 of c0; pg_commit_ts page 5244160@2550: 05000000000000000000"},
		{"no xid", slruRecord(pg.RmgrTransaction, commitOp, 17, 0, stamp), true, ""},
		{"subtransactions across pages, back around", slruRecord(pg.RmgrTransaction, commitOp|hasInfo, 17, 0xFFFFFFFE,
			xact(t, 5, subxacts, uint32(2), uint32(0xFFFFFFFF), uint32(3))), false,
			"pg_xact page 131071@8191: 10 of 30; pg_xact page 131071@8191: 40 of c0; pg_xact page 0@0: 40 of c0"},
		{"commit with its time", slruRecord(pg.RmgrTransaction, commitOp, 17, 818, stamp), true,
			"pg_xact page 0@204: 10 of 30; pg_commit_ts page 0@8180: 05000000000000000000"},
		{"its page's first time", slruRecord(pg.RmgrTransaction, commitOp, 17, 819, stamp), true,
			"pg_xact page 0@204: 40 of c0; pg_commit_ts page 1@0: 05000000000000000000"},
		{"time of the origin", withOrigin(slruRecord(pg.RmgrTransaction, commitOp|hasInfo, 17, 1000, xact(t, 5, origin, uint64(0x99), int64(7)))), true,
			"pg_xact page 0@250: 01 of 03; pg_commit_ts page 1@1810: 07000000000000000300"},
		{"prepared: its own xid", slruRecord(pg.RmgrTransaction, committed2P|hasInfo, 17, 0,
			xact(t, 5, twophase|subxacts, uint32(1), uint32(9), uint32(8))), true,
			"pg_xact page 0@2: 01 of 03; pg_commit_ts page 0@80: 05000000000000000000; pg_xact page 0@2: 04 of 0c; pg_commit_ts page 0@90: 05000000000000000000"},
		{"prepare changes nothing", slruRecord(pg.RmgrTransaction, 0x10, 17, 9, make([]byte, 80)), true, ""},
		{"other resource managers", slruRecord(pg.RmgrHeap, 0, 17, 9, nil), true, ""},
	} {
		if got := describeOps(t, c.rec, c.commitTs); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

func withOrigin(r *wal.Record) *wal.Record { r.Origin = 3; return r }

func TestZeroedPages(t *testing.T) {
	for _, c := range []struct {
		rmgr pg.RmgrID
		info uint8
		want string
	}{
		{pg.RmgrCLOG, 0x00, "pg_xact page 7: zero"},
		{pg.RmgrCommitTs, 0x00, "pg_commit_ts page 7: zero"},
		{pg.RmgrMultiXact, 0x00, "pg_multixact/offsets page 7: zero"},
		{pg.RmgrMultiXact, 0x10, "pg_multixact/members page 7: zero"},
	} {
		for major, main := range map[int][]byte{16: u32s(7), 17: u32s(7, 0)} {
			if got := describeOps(t, slruRecord(c.rmgr, c.info, major, 0, main), true); got != c.want {
				t.Errorf("%s %#x of %d: %s, want %s", c.rmgr, c.info, major, got, c.want)
			}
		}
	}
}

// TestMultiXacts: own offset, members as a flag byte and an xid each in groups
// of four, and the next multixact's offset where its page exists.
func TestMultiXacts(t *testing.T) {
	create := func(id, offset int, members ...int) *wal.Record {
		main := u32s(id, offset, len(members))
		for _, xid := range members {
			main = append(main, u32s(xid, xid%6)...)
		}
		return slruRecord(pg.RmgrMultiXact, 0x20, 17, 0, main)
	}
	const members = "pg_multixact/members page "
	for _, c := range []struct {
		name string
		rec  *wal.Record
		want string
	}{
		{"two", create(5, 6, 100, 101), "pg_multixact/offsets page 0@20: 06000000; " +
			members + "0@22: 04 of ff; " + members + "0@32: 64000000; " + members + "0@23: 05 of ff; " + members + "0@36: 65000000; " +
			"pg_multixact/offsets page 0@24: 08000000 if present"},
		{"across pages", create(2047, 1635, 100, 101), "pg_multixact/offsets page 0@8188: 63060000; " +
			members + "0@8163: 04 of ff; " + members + "0@8176: 64000000; " + members + "1@0: 05 of ff; " + members + "1@4: 65000000; " +
			"pg_multixact/offsets page 1@0: 65060000 if present"},
		{"around the end of both", create(0xFFFFFFFF, 0xFFFFFFFF, 100), "pg_multixact/offsets page 2097151@8188: ffffffff; " +
			members + "2625285@5163: 04 of ff; " + members + "2625285@5176: 64000000; " +
			"pg_multixact/offsets page 0@4: 01000000 if present"},
		{"members around the end", create(8, 0xFFFFFFFF, 100, 102), "pg_multixact/offsets page 0@32: ffffffff; " +
			members + "2625285@5163: 04 of ff; " + members + "2625285@5176: 64000000; " + members + "0@0: 00 of ff; " + members + "0@4: 66000000; " +
			"pg_multixact/offsets page 0@36: 01000000 if present"},
		{"none", create(5, 6), "pg_multixact/offsets page 0@20: 06000000; pg_multixact/offsets page 0@24: 06000000 if present"},
	} {
		if got := describeOps(t, c.rec, true); got != c.want {
			t.Errorf("%s:\n got %s\nwant %s", c.name, got, c.want)
		}
	}
}

// TestSLRUOpApply: bits leave their neighbours alone, and nothing is written
// outside of the page at its borders.
func TestSLRUOpApply(t *testing.T) {
	p := make([]byte, pg.BlockSize)
	for i := range p {
		p[i] = 0xFF
	}
	apply := func(rec *wal.Record) {
		ops, err := redo.SLRUOps(rec, true, nil)
		if err != nil {
			t.Fatal(err)
		}
		for i := range ops {
			ops[i].Apply(p)
		}
	}
	apply(slruRecord(pg.RmgrTransaction, abortOp, 17, 32767, make([]byte, 8)))
	if p[8191] != 0xBF || p[8190] != 0xFF {
		t.Errorf("bytes % x", p[8190:])
	}
	apply(slruRecord(pg.RmgrCLOG, 0, 17, 0, u32s(0, 0)))
	for i, b := range p {
		if b != 0 {
			t.Fatalf("byte %d of a zeroed page is %d", i, b)
		}
	}
	apply(slruRecord(pg.RmgrTransaction, commitOp, 17, 818, binary.LittleEndian.AppendUint64(nil, 1<<56)))
	if p[8187] != 1 || p[204] != 0x10 {
		t.Errorf("time % x, status %x", p[8180:], p[204])
	}
}

// TestSLRUTruncations has where each SLRU begins after a truncation, and which
// of its pages are gone.
func TestSLRUTruncations(t *testing.T) {
	multi := func(startOff, endOff, startMem, endMem int) *wal.Record {
		return slruRecord(pg.RmgrMultiXact, 0x30, 17, 0, u32s(1, startOff, endOff, startMem, endMem))
	}
	const perMember = 1636
	for _, c := range []struct {
		name       string
		rec        *wal.Record
		gone, stay []pg.SLRUPage
	}{
		{"pg_xact", slruRecord(pg.RmgrCLOG, 0x10, 17, 0, append(u32s(70, 0), u32s(9, 1)...)),
			[]pg.SLRUPage{{SLRU: pg.XactSLRU, Page: 0}, {SLRU: pg.XactSLRU, Page: 63}, {SLRU: pg.XactSLRU, Page: 131071}, {SLRU: pg.XactSLRU, Page: 65600}},
			[]pg.SLRUPage{{SLRU: pg.XactSLRU, Page: 64}, {SLRU: pg.XactSLRU, Page: 70}, {SLRU: pg.XactSLRU, Page: 65000}, {SLRU: pg.CommitTsSLRU, Page: 0}}},
		{"pg_xact before the wrap", slruRecord(pg.RmgrCLOG, 0x10, 15, 0, u32s(131040, 9, 1)),
			[]pg.SLRUPage{{SLRU: pg.XactSLRU, Page: 131039}, {SLRU: pg.XactSLRU, Page: 70000}},
			[]pg.SLRUPage{{SLRU: pg.XactSLRU, Page: 131040}, {SLRU: pg.XactSLRU, Page: 0}, {SLRU: pg.XactSLRU, Page: 60000}}},
		{"pg_commit_ts", slruRecord(pg.RmgrCommitTs, 0x10, 17, 0, append(u32s(70, 0), u32s(9)...)),
			[]pg.SLRUPage{{SLRU: pg.CommitTsSLRU, Page: 31}, {SLRU: pg.CommitTsSLRU, Page: 5244160}},
			[]pg.SLRUPage{{SLRU: pg.CommitTsSLRU, Page: 64}, {SLRU: pg.CommitTsSLRU, Page: 2600000}}},
		{"multixacts", multi(1, 2048*64+1, 0, perMember*96),
			[]pg.SLRUPage{{SLRU: pg.MultiXactOffsetSLRU, Page: 63}, {SLRU: pg.MultiXactMemberSLRU, Page: 0}, {SLRU: pg.MultiXactMemberSLRU, Page: 95}},
			[]pg.SLRUPage{{SLRU: pg.MultiXactOffsetSLRU, Page: 64}, {SLRU: pg.MultiXactMemberSLRU, Page: 96}}},
		{"the first multixact: its predecessor is the last", multi(1, 1, 0, 1),
			[]pg.SLRUPage{{SLRU: pg.MultiXactOffsetSLRU, Page: 2097151 - 32}},
			[]pg.SLRUPage{{SLRU: pg.MultiXactOffsetSLRU, Page: 2097151}, {SLRU: pg.MultiXactOffsetSLRU, Page: 0}, {SLRU: pg.MultiXactMemberSLRU, Page: 0}}},
		{"a multixact that begins a page: its predecessor is on the one before", multi(1, 2048*64, 0, 1),
			[]pg.SLRUPage{{SLRU: pg.MultiXactOffsetSLRU, Page: 31}}, []pg.SLRUPage{{SLRU: pg.MultiXactOffsetSLRU, Page: 63}}},
		{"more than half of all members stay", multi(1, 2, 0, perMember*32),
			[]pg.SLRUPage{{SLRU: pg.MultiXactMemberSLRU, Page: 31}},
			[]pg.SLRUPage{{SLRU: pg.MultiXactMemberSLRU, Page: 32}, {SLRU: pg.MultiXactMemberSLRU, Page: 1312700}, {SLRU: pg.MultiXactMemberSLRU, Page: 2625285}}},
		{"members around the end", multi(1, 2, 0xFFFFFF00, perMember*32),
			[]pg.SLRUPage{{SLRU: pg.MultiXactMemberSLRU, Page: 2625285}, {SLRU: pg.MultiXactMemberSLRU, Page: 31}},
			[]pg.SLRUPage{{SLRU: pg.MultiXactMemberSLRU, Page: 32}, {SLRU: pg.MultiXactMemberSLRU, Page: 2625200}}},
	} {
		cuts, err := redo.SLRUTruncations(c.rec)
		if err != nil {
			t.Errorf("%s: %v", c.name, err)
			continue
		}
		removed := func(p pg.SLRUPage) bool {
			for _, cut := range cuts {
				if cut.Removes(p) {
					return true
				}
			}
			return false
		}
		for _, p := range c.gone {
			if !removed(p) {
				t.Errorf("%s: %s stays", c.name, p)
			}
		}
		for _, p := range c.stay {
			if removed(p) {
				t.Errorf("%s: %s goes", c.name, p)
			}
		}
	}
	for _, rec := range []*wal.Record{slruRecord(pg.RmgrHeap, 0x10, 17, 0, nil), slruRecord(pg.RmgrCLOG, 0, 17, 0, u32s(0, 0))} {
		if cuts, err := redo.SLRUTruncations(rec); len(cuts) != 0 || err != nil {
			t.Errorf("%s: cuts %v, error %v", rec, cuts, err)
		}
	}
}

// TestTruncationsAddUp: of several the last one's end and, for members, the
// first one's start count.
func TestTruncationsAddUp(t *testing.T) {
	member := func(p uint32) pg.SLRUPage { return pg.SLRUPage{SLRU: pg.MultiXactMemberSLRU, Page: p} }
	first := redo.SLRUCut{SLRU: pg.MultiXactMemberSLRU, From: 64, Page: 128}
	both := redo.SLRUCut{SLRU: pg.MultiXactMemberSLRU, From: 128, Page: 256}.After(&first)
	if both.From != 64 || both.Page != 256 || !both.Removes(member(64)) || !both.Removes(member(255)) || both.Removes(member(256)) || both.Removes(member(63)) {
		t.Errorf("cut %+v", both)
	}
	if alone := first.After(nil); alone != first {
		t.Errorf("cut %+v", alone)
	}
}

// FuzzSLRUOps gives any bytes to the records that change SLRUs: an error, or
// changes within a page, no more than the record can ask for.
func FuzzSLRUOps(f *testing.F) {
	f.Add(uint8(pg.RmgrTransaction), uint8(0x80), uint32(7), words(f, int64(5), uint32(2), uint32(1), uint32(9)), false)
	f.Add(uint8(pg.RmgrMultiXact), uint8(0x20), uint32(0), u32s(5, 6, 1, 100, 4), true)
	f.Add(uint8(pg.RmgrMultiXact), uint8(0x30), uint32(0), u32s(1, 1, 5, 6, 7), true)
	f.Add(uint8(pg.RmgrCLOG), uint8(0x10), uint32(0), u32s(5, 0, 1, 1), true)
	f.Fuzz(func(t *testing.T, rmgr, info uint8, xid uint32, main []byte, newer bool) {
		major := 15
		if newer {
			major = 17
		}
		rec := slruRecord(pg.RmgrID(rmgr), info, major, pg.XID(xid), main)
		if cuts, err := redo.SLRUTruncations(rec); err == nil && len(cuts) > 2 {
			t.Fatalf("cuts %v", cuts)
		}
		ops, err := redo.SLRUOps(rec, true, nil)
		if err != nil {
			return
		}
		if len(ops) > 4+len(main) {
			t.Fatalf("%d changes by %d bytes", len(ops), len(main))
		}
		p := make([]byte, pg.BlockSize)
		for i := range ops {
			if len(ops[i].Data) > 0 && int(ops[i].Offset)+len(ops[i].Data) > pg.BlockSize {
				t.Fatalf("change %+v does not fit a page", ops[i])
			}
			ops[i].Apply(p)
		}
	})
}
