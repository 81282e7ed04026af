package waldesc_test

import (
	"encoding/binary"
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/waldesc"
)

// some has a 1 in each field of two bytes that has room for one.
func some(n int) []byte {
	b := make([]byte, n)
	for i := 0; i+2 <= n; i += 2 {
		binary.LittleEndian.PutUint16(b[i:], 1)
	}
	return b
}

// TestAppend says what no workload makes a server write.
func TestAppend(t *testing.T) {
	for _, c := range []struct {
		rmgr pg.RmgrID
		info uint8
		main []byte
		want string
	}{
		{pg.RmgrHeap, 0x00, []byte{7, 0, 8}, " off 7 flags 0x08"},
		{pg.RmgrHeap, 0x80, []byte{7, 0, 8}, " off 7 flags 0x08"},
		{pg.RmgrHeap, 0x00, []byte{7}, ""}, // in no format that is known
		{pg.RmgrBtree, 0x60, []byte{7}, " nintervals ?"},
		{pg.RmgrHash, 0x50, some(40), " "},
		{pg.RmgrXLOG, 0xF0, some(8), " "},
		{pg.RmgrMinCustom, 0x10, nil, " rmid: 128"},
		{100, 0x10, nil, " "},
		{pg.RmgrXLOG, 0x60, some(26), " max_connections=65537 max_worker_processes=65537 max_wal_senders=65537 max_prepared_xacts=65537 " +
			"max_locks_per_xact=65537 wal_level=? wal_log_hints=on track_commit_timestamp=off"},
		{pg.RmgrXLOG, 0xD0, append(some(8), 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF), " lsn 10001/10001; time 2000-01-01 00:00:00.0000-1 UTC"},
		{pg.RmgrXLOG, 0x90, some(16), " tli 65537; prev tli 65537; time 2008-12-01 20:41:11.743489 UTC"},
		{pg.RmgrCLOG, 0x10, some(12), " page 65537; oldestXact 65537"},
		{pg.RmgrTransaction, 0x80, append(append(make([]byte, 8), 0, 0, 0, 0xE0), 0), " 2000-01-01 00:00:00.000000 UTC; apply_feedback; sync"},
		{pg.RmgrStandby, 0x20, append(append(append(some(8), 1, 0, 0, 0), 6, 0, 0, 0), inval(5, -1, -2, -3, -4, -5, -6)...),
			"; relcache init file inval dbid 65537 tsid 65537; inval msgs: catcache 5 catalog 9 relcache 9 smgr relmap db 8 snapshot 9"},
		{pg.RmgrMultiXact, 0x20, append(append(some(8), 1, 0, 0, 0), 5, 0, 0, 0, 9, 0, 0, 0), " 65537 offset 65537 nmembers 1: 5 (unk) "},
		{pg.RmgrStorage, 0x10, []byte{9, 0, 0, 0, 5, 0, 0, 0, 7, 0, 0, 0, 2, 0, 0, 0}, " pg_tblspc/9/PG_15_202209061/5/7_vm"},
	} {
		r := wal.Record{Rmgr: c.rmgr, Info: c.info, Major: 15, Main: c.main}
		if c.rmgr == pg.RmgrStandby {
			c.want = " " + c.want
		}
		if got := string(waldesc.Append(nil, &r, time.UTC)); got != c.want {
			t.Errorf("%s %02X:\ngot  %q\nwant %q", c.rmgr, c.info, got, c.want)
		}
	}
	r := wal.Record{Rmgr: pg.RmgrHeap, Major: 17, Main: []byte{7, 0, 8}}
	if got := waldesc.Append([]byte("x"), &r, time.UTC); string(got) != "x" {
		t.Errorf("a record of 17 is described: %q", got)
	}
}

// inval makes invalidation messages of database 8 and object 9.
func inval(ids ...int8) (b []byte) {
	for _, id := range ids {
		b = append(b, byte(id), 0, 0, 0, 8, 0, 0, 0, 9, 0, 0, 0, 0, 0, 0, 0)
	}
	return b
}

// TestCutRecords describes records that end too soon, whatever they are.
func TestCutRecords(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	for rmgr := range 22 {
		for op := range 16 {
			main := make([]byte, 100)
			for i := range main {
				main[i] = byte(rnd.Uint32() >> rnd.IntN(32))
			}
			for n := range main {
				check(t, &wal.Record{Rmgr: pg.RmgrID(rmgr), Info: uint8(op << 4), Major: 15, Main: main[:n], Blocks: []wal.BlockRef{{Data: main[:n/2]}}})
			}
		}
	}
}

// check wants that a description is one line, and in proportion to the record.
func check(t *testing.T, r *wal.Record) {
	t.Helper()
	got := waldesc.Append(nil, r, time.UTC)
	if size := len(r.Main) + len(r.Blocks[0].Data); len(got) > 1000+100*size {
		t.Fatalf("%s of %d bytes: %d bytes of description", wal.OpName(r.Rmgr, r.Info, 15), size, len(got))
	}
	if r.Rmgr.BuiltIn() && !strings.HasPrefix(string(got), " ") && len(got) > 0 {
		t.Fatalf("%q", got)
	}
}

func FuzzAppend(f *testing.F) {
	f.Add(uint8(pg.RmgrGin), uint8(0x20), []byte{3, 0}, []byte{1, 0, 2, 4, 1, 0, 9, 9, 9, 9, 9, 9})
	f.Add(uint8(pg.RmgrTransaction), uint8(0x80), append(append(make([]byte, 8), 0xFF, 1, 0, 0), some(60)...), []byte{})
	f.Add(uint8(pg.RmgrTransaction), uint8(0x10), some(200), []byte{})
	f.Add(uint8(pg.RmgrLogicalMessage), uint8(0), append(some(24), "prefix\x00contents"...), []byte{})
	f.Fuzz(func(t *testing.T, rmgr, info uint8, main, data []byte) {
		check(t, &wal.Record{Rmgr: pg.RmgrID(rmgr), Info: info, Major: 15, Main: main, Blocks: []wal.BlockRef{{Data: data}}})
	})
}

func BenchmarkAppend(b *testing.B) {
	records := []wal.Record{
		{Rmgr: pg.RmgrHeap, Major: 15, Main: []byte{7, 0, 0}},
		{Rmgr: pg.RmgrHeap, Info: 0x40, Major: 15, Main: some(14)},
		{Rmgr: pg.RmgrBtree, Major: 15, Main: some(2)},
		{Rmgr: pg.RmgrTransaction, Major: 15, Main: some(8)},
	}
	var buf []byte
	b.ReportAllocs()
	for b.Loop() {
		for i := range records {
			buf = waldesc.Append(buf[:0], &records[i], time.UTC)
		}
	}
}
