package wal_test

import (
	"encoding/binary"
	"errors"
	"fmt"
	"reflect"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// le appends values little-endian: uint8, uint16, uint32, uint64, []byte.
func le(values ...any) []byte {
	var b []byte
	for _, v := range values {
		if s, ok := v.(string); ok {
			b = append(b, s...)
			continue
		}
		var err error
		if b, err = binary.Append(b, binary.LittleEndian, v); err != nil {
			panic(err)
		}
	}
	return b
}

func u32s(n int) []byte {
	var b []byte
	for i := range n {
		b = binary.LittleEndian.AppendUint32(b, uint32(1000+i))
	}
	return b
}

// decoded runs every decoder of this package over a record, except those that
// need block references, and returns what the one that fits gives.
func decoded(r *wal.Record) (any, error) {
	type result struct {
		v   any
		ok  bool
		err error
	}
	var all []result
	add := func(v any, ok bool, err error) { all = append(all, result{v, ok, err}) }
	x, ok, err := wal.DecodeXact(r)
	add(x, ok, err)
	p, ok, err := wal.DecodePrepare(r)
	add(p, ok, err)
	f, ok, err := wal.DecodeSmgrCreate(r)
	add(f, ok, err)
	tr, ok, err := wal.DecodeSmgrTruncate(r)
	add(tr, ok, err)
	dc, ok, err := wal.DecodeDatabaseCopy(r)
	add(dc, ok, err)
	dw, ok, err := wal.DecodeDatabaseCreate(r)
	add(dw, ok, err)
	dd, ok, err := wal.DecodeDatabaseDrop(r)
	add(dd, ok, err)
	tc, ok, err := wal.DecodeTablespaceCreate(r)
	add(tc, ok, err)
	td, ok, err := wal.DecodeTablespaceDrop(r)
	add(td, ok, err)
	zp, ok, err := wal.DecodeZeroPage(r)
	add(zp, ok, err)
	ct, ok, err := wal.DecodeCLOGTruncate(r)
	add(ct, ok, err)
	cts, ok, err := wal.DecodeCommitTsTruncate(r)
	add(cts, ok, err)
	mz, slru, ok, err := wal.DecodeMultiXactZeroPage(r)
	add(pg.SLRUPage{SLRU: slru, Page: mz}, ok, err)
	mc, ok, err := wal.DecodeMultiXactCreate(r)
	add(mc, ok, err)
	mt, ok, err := wal.DecodeMultiXactTruncate(r)
	add(mt, ok, err)
	cp, ok, err := wal.DecodeCheckPoint(r)
	add(cp, ok, err)
	no, ok, err := wal.DecodeNextOID(r)
	add(no, ok, err)
	be, ok, err := wal.DecodeBackupEnd(r)
	add(be, ok, err)
	pc, ok, err := wal.DecodeParameterChange(r)
	add(pc, ok, err)
	er, ok, err := wal.DecodeEndOfRecovery(r)
	add(er, ok, err)
	oc, ok, err := wal.DecodeOverwriteContrecord(r)
	add(oc, ok, err)
	rp, ok, err := wal.DecodeRestorePoint(r)
	add(rp, ok, err)
	ors, ok, err := wal.DecodeOriginSet(r)
	add(ors, ok, err)
	ord, ok, err := wal.DecodeOriginDrop(r)
	add(ord, ok, err)
	if r.Rmgr == pg.RmgrRelMap {
		m, err := wal.DecodeRelMapUpdate(r)
		add(m, err == nil, err)
	}
	for _, a := range all {
		switch {
		case a.err != nil:
			return nil, a.err
		case a.ok:
			return a.v, nil
		}
	}
	return nil, nil
}

type bodyCase struct {
	majors []int
	rmgr   pg.RmgrID
	info   uint8
	main   []byte
	want   any
}

var (
	to14   = []int{14}
	from15 = []int{15, 16, 17, 18}
	to15   = []int{14, 15}
	from16 = []int{16, 17, 18}
	to16   = []int{14, 15, 16}
	from17 = []int{17, 18}
	all    = []int{14, 15, 16, 17, 18}
)

// prepareMain is the state of a prepared transaction; stats are the counts of
// 15 and later.
func prepareMain(itemSize int, stats []byte) []byte {
	pad := func(b []byte) []byte { return append(b, make([]byte, -len(b)&7)...) }
	fixed := func(length uint32) []byte {
		return pad(le(uint32(0x57F94534), length, uint32(700), uint32(5), uint64(1000), uint32(10), uint32(1), uint32(1), uint32(2), stats,
			uint32(1), uint8(0), uint8(0), uint16(4), uint64(0x11), uint64(0x22)))
	}
	rest := pad(le("gid\x00"))
	rest = append(rest, pad(u32s(1))...)
	rest = append(rest, pad(u32s(3))...)
	rest = append(rest, pad(u32s(6))...)
	if len(stats) > 0 {
		rest = append(rest, pad(make([]byte, itemSize))...)
		rest = append(rest, pad(make([]byte, 2*itemSize))...)
	}
	rest = append(rest, make([]byte, 16)...)
	rest = append(rest, "state of resource managers"...)
	return append(fixed(uint32(len(fixed(0))+len(rest)+4)), rest...)
}

func bodyCases() []bodyCase {
	rel := func(n pg.OID) pg.RelFileLocator { return pg.RelFileLocator{Spc: n, DB: n + 1, Rel: n + 2} }
	full := wal.Xact{Commit: true, Prepared: true, XID: 777, Time: 42, DB: 5, Spc: 1663, SubXIDs: []pg.XID{1000, 1001}, OriginID: 3,
		DroppedRels: []pg.RelFileLocator{rel(1000)}, DroppedStats: 1, Invalidations: 1, GID: "gid",
		HasOrigin: true, OriginLSN: 0x99, OriginTime: 43}
	fullMain := func(stats int) []byte {
		flags, drops := uint32(0x1BF), le(uint32(1), make([]byte, stats))
		if stats == 0 {
			flags, drops = 0xBF, nil
		}
		return le(uint64(42), flags, uint32(5), uint32(1663), uint32(2), u32s(2), uint32(1), u32s(3), drops,
			uint32(1), make([]byte, 16), uint32(777), "gid\x00", uint64(0x99), uint64(43))
	}
	full14 := full
	full14.DroppedStats = 0
	abort := wal.Xact{XID: 99, Time: 42, SubXIDs: []pg.XID{1000}, OriginID: 3}
	prepared := wal.Prepare{XID: 700, DB: 5, Time: 1000, Owner: 10, GID: "gid", SubXIDs: []pg.XID{1000},
		CommitRels: []pg.RelFileLocator{rel(1000)}, AbortRels: []pg.RelFileLocator{rel(1000), rel(1003)},
		OriginLSN: 0x11, OriginTime: 0x22, State: []byte("state of resource managers")}
	check := wal.CheckPoint{Redo: 1, TLI: 2, PrevTLI: 3, FullPageWrites: true, NextXID: 5<<32 | 4, NextOID: 1000, NextMulti: 1001, NextMultiOffset: 1002,
		OldestXID: 1003, OldestXIDDB: 1004, OldestMulti: 1005, OldestMultiDB: 1006, Time: 7,
		OldestCommitTsXID: 1000, NewestCommitTsXID: 1001, OldestActiveXID: 1002}
	check17 := check
	check17.WALLevel, check17.Shutdown = 2, true
	checkMain := func(level uint32) []byte {
		return le(uint64(1), uint32(2), uint32(3), uint8(1), uint8(0), uint8(0), uint8(0), level, uint32(4), uint32(5), u32s(7), uint32(0),
			uint64(7), u32s(3), uint32(0))
	}
	return []bodyCase{
		{all, pg.RmgrTransaction, 0xB0, fullMain(0), full14},
		{[]int{15, 16, 17}, pg.RmgrTransaction, 0xB0, fullMain(12), full},
		{[]int{18}, pg.RmgrTransaction, 0xB0, fullMain(16), full},
		{all, pg.RmgrTransaction, 0xA0, le(uint64(42), uint32(2), uint32(1), u32s(1)), abort},
		{all, pg.RmgrTransaction, 0x00, le(uint64(42)), wal.Xact{Commit: true, XID: 99, Time: 42, OriginID: 3}},
		{all, pg.RmgrTransaction, 0x50, u32s(3), nil},
		{to14, pg.RmgrTransaction, 0x10, prepareMain(0, nil), prepared},
		{[]int{15, 16, 17}, pg.RmgrTransaction, 0x10, prepareMain(12, le(uint32(1), uint32(2))), prepared},
		{[]int{18}, pg.RmgrTransaction, 0x10, prepareMain(16, le(uint32(1), uint32(2))), prepared},
		{all, pg.RmgrStorage, 0x11, le(u32s(3), uint32(2)), pg.RelFork{RelFileLocator: rel(1000), Fork: pg.VMFork}},
		{all, pg.RmgrStorage, 0x21, le(uint32(9), u32s(3), uint32(5)), wal.SmgrTruncate{Rel: rel(1000), Block: 9, Heap: true, FSM: true}},
		{all, pg.RmgrDatabase, 0x00, u32s(4), wal.DatabaseCopy{DB: 1000, Spc: 1001, SrcDB: 1002, SrcSpc: 1003}},
		{to14, pg.RmgrDatabase, 0x10, le(uint32(5), uint32(2), u32s(2)), wal.DatabaseDrop{DB: 5, Tablespaces: []pg.OID{1000, 1001}}},
		{from15, pg.RmgrDatabase, 0x10, u32s(2), wal.DatabaseCreate{DB: 1000, Spc: 1001}},
		{from15, pg.RmgrDatabase, 0x21, le(uint32(5), uint32(1), u32s(1)), wal.DatabaseDrop{DB: 5, Tablespaces: []pg.OID{1000}}},
		{all, pg.RmgrTablespace, 0x00, le(uint32(16400), "/path\x00"), wal.TablespaceCreate{Spc: 16400, Path: "/path"}},
		{all, pg.RmgrTablespace, 0x10, u32s(1), pg.OID(1000)},
		{all, pg.RmgrReplicationOrigin, 0x00, le(uint64(0xABC), uint16(7), uint8(1), pattern(5)), wal.OriginSet{Origin: 7, Remote: 0xABC, Force: true}},
		{all, pg.RmgrReplicationOrigin, 0x10, le(uint16(7)), uint16(7)},
		{to15, pg.RmgrRelMap, 0x00, le(uint32(5), uint32(1663), uint32(512), pattern(512)), wal.RelMapUpdate{DB: 5, Spc: 1663, Data: pattern(512)}},
		{from16, pg.RmgrRelMap, 0x00, le(uint32(5), uint32(1663), uint32(524), pattern(524)), wal.RelMapUpdate{DB: 5, Spc: 1663, Data: pattern(524)}},
		{to16, pg.RmgrCLOG, 0x00, u32s(1), uint32(1000)},
		{from17, pg.RmgrCLOG, 0x00, le(uint64(1000)), uint32(1000)},
		{to16, pg.RmgrCommitTs, 0x00, u32s(1), uint32(1000)},
		{from17, pg.RmgrCommitTs, 0x00, le(uint64(1000)), uint32(1000)},
		{to16, pg.RmgrCLOG, 0x10, u32s(3), wal.CLOGTruncate{Page: 1000, OldestXID: 1001, OldestXIDDB: 1002}},
		{from17, pg.RmgrCLOG, 0x10, le(uint64(9), u32s(2)), wal.CLOGTruncate{Page: 9, OldestXID: 1000, OldestXIDDB: 1001}},
		{to16, pg.RmgrCommitTs, 0x10, u32s(2), wal.CommitTsTruncate{Page: 1000, OldestXID: 1001}},
		{from17, pg.RmgrCommitTs, 0x10, le(uint64(9), u32s(1)), wal.CommitTsTruncate{Page: 9, OldestXID: 1000}},
		{to16, pg.RmgrMultiXact, 0x00, u32s(1), pg.SLRUPage{SLRU: pg.MultiXactOffsetSLRU, Page: 1000}},
		{from17, pg.RmgrMultiXact, 0x10, le(uint64(9)), pg.SLRUPage{SLRU: pg.MultiXactMemberSLRU, Page: 9}},
		{all, pg.RmgrMultiXact, 0x20, le(uint32(1), uint32(2), uint32(2), uint32(700), uint32(0), uint32(701), uint32(5)),
			wal.MultiXactCreate{ID: 1, Offset: 2, Members: []wal.MultiXactMember{{XID: 700}, {XID: 701, Status: 5}}}},
		{all, pg.RmgrMultiXact, 0x30, u32s(5), wal.MultiXactTruncate{OldestMultiDB: 1000, StartOffset: 1001, EndOffset: 1002, StartMembers: 1003, EndMembers: 1004}},
		{to16, pg.RmgrXLOG, 0x10, checkMain(9), check},
		{from17, pg.RmgrXLOG, 0x00, checkMain(2), check17},
		{all, pg.RmgrXLOG, 0x30, u32s(1), pg.OID(1000)},
		{all, pg.RmgrXLOG, 0x50, le(uint64(0x123)), pg.LSN(0x123)},
		{all, pg.RmgrXLOG, 0x60, le(u32s(6), uint8(1), uint8(0), uint16(0)), wal.ParameterChange{MaxConnections: 1000, MaxWorkerProcesses: 1001,
			MaxWALSenders: 1002, MaxPreparedXacts: 1003, MaxLocksPerXact: 1004, WALLevel: 1005, WALLogHints: true}},
		{to16, pg.RmgrXLOG, 0x90, le(uint64(7), uint32(2), uint32(1)), wal.EndOfRecovery{Time: 7, TLI: 2, PrevTLI: 1}},
		{from17, pg.RmgrXLOG, 0x90, le(uint64(7), uint32(2), uint32(1), uint32(2), uint32(0)), wal.EndOfRecovery{Time: 7, TLI: 2, PrevTLI: 1, WALLevel: 2}},
		{all, pg.RmgrXLOG, 0xD0, le(uint64(7), uint64(8)), wal.OverwriteContrecord{LSN: 7, Time: 8}},
		{all, pg.RmgrXLOG, 0x70, le(uint64(7), "name", make([]byte, 60)), wal.RestorePoint{Time: 7, Name: "name"}},
	}
}

// TestBodies decodes each body as each major writes it, and nothing that is
// shorter, longer, or as another major writes it where that differs.
func TestBodies(t *testing.T) {
	for _, c := range bodyCases() {
		for major := pg.MinMajor; major <= pg.MaxMajor; major++ {
			r := wal.Record{Rmgr: c.rmgr, Info: c.info, Major: major, Main: c.main, XID: 99, Origin: 3}
			name := fmt.Sprintf("PostgreSQL %d, %s", major, &r)
			got, err := decoded(&r)
			if !slices.Contains(c.majors, major) {
				if err == nil && reflect.DeepEqual(got, c.want) {
					t.Errorf("%s: the body of another major is accepted: %+v", name, got)
				}
				continue
			}
			if err != nil || !reflect.DeepEqual(got, c.want) {
				t.Errorf("%s:\ngot  %+v, %v\nwant %+v", name, got, err, c.want)
			}
			if c.want == nil {
				continue
			}
			for n := range len(c.main) {
				if r.Rmgr == pg.RmgrTransaction && c.info == 0x10 && n >= 8 {
					break // the state's own length is checked first
				}
				r.Main = c.main[:n]
				if _, err := decoded(&r); !errors.Is(err, wal.ErrDialect) {
					t.Errorf("%s cut to %d of %d bytes: %v", name, n, len(c.main), err)
				}
			}
			r.Main = append(slices.Clone(c.main), 0)
			if _, err := decoded(&r); !errors.Is(err, wal.ErrDialect) {
				t.Errorf("%s with a byte too many: %v", name, err)
			}
		}
	}
}

// TestBodiesRefuse checks values that no PostgreSQL writes, and operations
// that a resource manager does not have.
func TestBodiesRefuse(t *testing.T) {
	for _, c := range []bodyCase{
		{all, pg.RmgrTransaction, 0x80, le(uint64(1), uint32(1<<9)), nil},
		{to14, pg.RmgrTransaction, 0x80, le(uint64(1), uint32(1<<8), uint32(0)), nil},
		{all, pg.RmgrTransaction, 0xB0, le(uint64(1), uint32(0)), nil},
		{all, pg.RmgrTransaction, 0x80, le(uint64(1), uint32(16), uint32(9)), nil},
		{all, pg.RmgrTransaction, 0xB0, le(uint64(1), uint32(0x90), uint32(9), "no end"), nil},
		{all, pg.RmgrTransaction, 0x80, le(uint64(1), uint32(2), uint32(0xFFFFFFFF), u32s(4)), nil},
		{all, pg.RmgrTransaction, 0x70, nil, nil},
		{all, pg.RmgrStorage, 0x10, le(u32s(3), uint32(4)), nil},
		{all, pg.RmgrStorage, 0x20, le(uint32(9), u32s(3), uint32(8)), nil},
		{all, pg.RmgrStorage, 0x30, nil, nil},
		{all, pg.RmgrDatabase, 0x30, nil, nil},
		{all, pg.RmgrMultiXact, 0x20, le(uint32(1), uint32(2), uint32(1), uint32(700), uint32(6)), nil},
		{all, pg.RmgrMultiXact, 0x20, le(uint32(1), uint32(2), uint32(0x20000001), uint32(700), uint32(1)), nil},
		{to16, pg.RmgrCLOG, 0x00, le(uint32(1 << 31)), nil},
		{from17, pg.RmgrCLOG, 0x10, le(uint64(1<<32), u32s(2)), nil},
		{all, pg.RmgrCLOG, 0x20, nil, nil},
		{all, pg.RmgrXLOG, 0x70, le(uint64(7), pattern(64)), nil},
		{all, pg.RmgrXLOG, 0xC0, nil, nil},
		{all, pg.RmgrRelMap, 0x00, le(uint32(5), uint32(1663), uint32(100), pattern(100)), nil},
		{all, pg.RmgrRelMap, 0x10, nil, nil},
		{all, pg.RmgrTablespace, 0x00, le(uint32(16400), "/path"), nil},
		{all, pg.RmgrReplicationOrigin, 0x00, pattern(15), nil},
		{all, pg.RmgrReplicationOrigin, 0x10, pattern(4), nil},
		{all, pg.RmgrTransaction, 0x10, le(uint32(0x57F94534), uint32(12)), nil},
	} {
		for _, major := range c.majors {
			r := wal.Record{Rmgr: c.rmgr, Info: c.info, Major: major, Main: c.main}
			if got, err := decoded(&r); !errors.Is(err, wal.ErrDialect) {
				t.Errorf("PostgreSQL %d, %s %x: %+v, %v", major, &r, c.main, got, err)
			}
		}
	}
	if _, err := wal.DecodeRelMapUpdate(&wal.Record{Rmgr: pg.RmgrHeap, Major: 15}); err == nil {
		t.Error("a heap record is accepted as relation map")
	}
}

func TestTimestamp(t *testing.T) {
	for micros, want := range map[wal.Timestamp]string{0: "2000-01-01T00:00:00Z", -1: "1999-12-31T23:59:59.999999Z", 825_033_600_000_001: "2026-02-22T00:00:00.000001Z"} {
		if got := micros.Time().Format("2006-01-02T15:04:05.999999Z07:00"); got != want {
			t.Errorf("%d is %s, want %s", micros, got, want)
		}
	}
}
