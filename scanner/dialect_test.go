package scanner

import (
	"context"
	"encoding/binary"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// deletion is a record of a server of 15, Neon's or a stock one, that follows prev.
func deletion(neon bool, prev pg.LSN) []byte {
	r := wal.Record{Prev: prev, Rmgr: pg.RmgrHeap, Info: wal.OpHeapDelete, XID: 700, Major: 15, Main: []byte{1, 2, 0, 0, 1, 0, 0, 0},
		Blocks: []wal.BlockRef{{Block: pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}}}}}}
	if neon {
		r = pgtest.Neonised(&r, 3, false)
	}
	raw := pgtest.Encode(&r, nil)
	return append(raw, make([]byte, -len(raw)&7)...)
}

// lateSegment is a segment that begins in the middle of its third page, with
// 64 records, and goes on with as many on the fourth. It returns the LSN of the first.
func lateSegment(first, second bool) ([]byte, pg.LSN) {
	const page, records = 3 * wal.PageSize, 64
	segment := make([]byte, mib)
	at := page - records*len(deletion(first, 0))
	start := pg.LSN(mib + at)
	prev := start - 120 // of the record that is not there
	for i := range 2 * records {
		if at == page {
			binary.LittleEndian.PutUint16(segment[at:], 0xD110)
			binary.LittleEndian.PutUint32(segment[at+4:], 1)
			binary.LittleEndian.PutUint64(segment[at+8:], uint64(mib+at))
			at += wal.ShortHeaderSize
		}
		n := copy(segment[at:], deletion(i < records && first || i >= records && second, prev))
		prev = pg.LSN(mib + at)
		at += n
	}
	return segment, start
}

// TestDeepNamesDialect: a timeline of Neon begins in the middle of a segment;
// a stock one that does has lost WAL, and one of both is nobody's.
func TestDeepNamesDialect(t *testing.T) {
	for _, c := range []struct {
		name          string
		first, second bool // Neon's
		opt           Options
		dialect       string
		damaged       bool
		reason        string
	}{
		{name: "Neon's", first: true, second: true, dialect: "neon"},
		{name: "Neon's, from the record that is not there", first: true, second: true, opt: Options{Backups: []Backup{{Name: "initdb", TLI: 1}}}, dialect: "neon"},
		{name: "stock", dialect: "postgres", damaged: true},
		{name: "mixed", first: true, dialect: "mixed", damaged: true, reason: "some records can only be PostgreSQL's"},
	} {
		t.Run(c.name, func(t *testing.T) {
			segment, start := lateSegment(c.first, c.second)
			if len(c.opt.Backups) > 0 {
				c.opt.Backups[0].Start = start - 120
			}
			c.opt.Deep = true
			r, err := Timeline(context.Background(), timeline(t, memory(t, map[string][]byte{"000000010000000000000001": segment})), c.opt)
			if err != nil {
				t.Fatal(err)
			}
			if r.Dialect != c.dialect || (len(r.Damaged) > 0) != c.damaged || c.reason == "" && len(r.Reasons) > 0 ||
				!strings.HasPrefix(strings.Join(r.Reasons, "\n"), c.reason) {
				t.Errorf("dialect %s, damaged %v, reasons %v", r.Dialect, r.Damaged, r.Reasons)
			}
			if c.damaged && !strings.HasPrefix(r.Damaged[0].Reason, "zeros up to "+start.String()) {
				t.Errorf("damage: %s", r.Damaged[0].Reason)
			}
			if !c.damaged && r.From != start {
				t.Errorf("from %s, want %s", r.From, start)
			}
		})
	}
}

// TestLateBehindWhatIsNeeded: WAL that a backup needs is not excused by zeros.
func TestLateBehindWhatIsNeeded(t *testing.T) {
	segment, start := lateSegment(true, true)
	opt := Options{Deep: true, Backups: []Backup{{Name: "b", TLI: 1, Start: start - 240}}}
	r, err := Timeline(context.Background(), timeline(t, memory(t, map[string][]byte{"000000010000000000000001": segment})), opt)
	if err != nil || len(r.Damaged) != 1 || !strings.Contains(r.Damaged[0].Reason, "is needed") {
		t.Errorf("damaged %v, error %v", r.Damaged, err)
	}
}

// TestDeepNamesStockDialect: a segment that begins as it should.
func TestDeepNamesStockDialect(t *testing.T) {
	forMajors(t, func(t *testing.T, f *fixture) {
		r, err := Timeline(context.Background(), timeline(t, memory(t, f.all())), Options{Deep: true})
		if err != nil || r.Dialect != "postgres" || len(r.Reasons) > 0 {
			t.Errorf("dialect %s, reasons %v, error %v", r.Dialect, r.Reasons, err)
		}
	})
}

// TestAuditLeavesNeon: nobody knows which LSNs images of Neon's WAL may have.
func TestAuditLeavesNeon(t *testing.T) {
	segment, _ := lateSegment(true, true)
	r, err := Timeline(context.Background(), timeline(t, memory(t, map[string][]byte{"000000010000000000000001": segment})), Options{Audit: true})
	if err != nil || len(r.Reasons) != 1 || !strings.HasPrefix(r.Reasons[0], "the audit judges no WAL of Neon's") || *r.Audit != (finding.Audit{}) {
		t.Errorf("audit %+v, reasons %v, error %v", r.Audit, r.Reasons, err)
	}
}
