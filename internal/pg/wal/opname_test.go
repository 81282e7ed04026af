package wal_test

import (
	"fmt"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

func TestOpName(t *testing.T) {
	for _, c := range []struct {
		rmgr  pg.RmgrID
		info  uint8
		major int
		want  string
	}{
		{pg.RmgrXLOG, 0x10, 14, "CHECKPOINT_ONLINE"},
		{pg.RmgrXLOG, 0xD0, 14, "OVERWRITE_CONTRECORD"},
		{pg.RmgrXLOG, 0xE0, 16, "UNKNOWN (e0)"},
		{pg.RmgrXLOG, 0xE0, 17, "CHECKPOINT_REDO"},
		{pg.RmgrXLOG, 0xC0, 18, "UNKNOWN (c0)"},
		{pg.RmgrTransaction, 0x80, 15, "COMMIT"},
		{pg.RmgrTransaction, 0xE0, 15, "INVALIDATION"},
		{pg.RmgrTransaction, 0xF0, 15, "UNKNOWN (f0)"},
		{pg.RmgrDatabase, 0x00, 14, "CREATE"},
		{pg.RmgrDatabase, 0x10, 14, "DROP"},
		{pg.RmgrDatabase, 0x20, 14, "UNKNOWN (20)"},
		{pg.RmgrDatabase, 0x10, 15, "CREATE_WAL_LOG"},
		{pg.RmgrDatabase, 0x21, 18, "DROP"},
		{pg.RmgrHeap2, 0x30, 16, "FREEZE_PAGE"},
		{pg.RmgrHeap2, 0x30, 17, "PRUNE_VACUUM_CLEANUP"},
		{pg.RmgrHeap2, 0xD0, 15, "MULTI_INSERT+INIT"},
		{pg.RmgrHeap, 0xC0, 15, "HOT_UPDATE+INIT"},
		{pg.RmgrHeap, 0x90, 15, "UNKNOWN (90)"},
		{pg.RmgrGeneric, 0x50, 15, "Generic"},
		{pg.RmgrStorage, 0x00, 15, "UNKNOWN (0)"},
		{133, 0x10, 16, "UNKNOWN (10)"},
		{pg.RmgrNeon, 0x10, 15, "UNKNOWN (10)"},
		{pg.RmgrNeon, 0xB0, 16, "HOT_UPDATE+INIT"},
		{pg.RmgrNeon, 0x60, 17, "UNKNOWN (60)"},
	} {
		if got := wal.OpName(c.rmgr, c.info, c.major); got != c.want {
			t.Errorf("%s %02X of %d is %q, want %q", c.rmgr, c.info, c.major, got, c.want)
		}
	}
}

// TestOpNamesAreAll counts the operations of each resource manager: the
// defines in PostgreSQL's headers.
func TestOpNamesAreAll(t *testing.T) {
	want := map[int]int{14: 120, 15: 121, 16: 121, 17: 122, 18: 122}
	for major := pg.MinMajor; major <= pg.MaxMajor; major++ {
		n := 0
		for rmgr := range pg.RmgrGeneric {
			for info := 0; info < 256; info += 16 {
				if rmgr == pg.RmgrTransaction && info >= 0x80 {
					continue
				}
				if wal.KnownOp(rmgr, uint8(info), major) {
					n++
				}
			}
		}
		if n != want[major] {
			t.Errorf("PostgreSQL %d: %d operations, want %d", major, n, want[major])
		}
	}
	if s := fmt.Sprint(wal.PGLZ, wal.LZ4, wal.Zstd, wal.NoCompression, wal.Compression(9)); s != "pglz lz4 zstd none compression 9" {
		t.Errorf("compressions are named %s", s)
	}
}
