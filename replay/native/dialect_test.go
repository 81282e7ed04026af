package native

import (
	"context"
	"encoding/binary"
	"errors"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/replay"
)

// onePage is WAL of one page, by a server of that major.
func onePage(t *testing.T, major int, recs ...*wal.Record) (*memWAL, pg.Range) {
	t.Helper()
	const segment = pg.MinSegmentSize
	page := make([]byte, wal.LongHeaderSize, segment)
	magic := map[int]uint16{14: 0xD10D, 15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}
	binary.LittleEndian.PutUint16(page, magic[major])
	binary.LittleEndian.PutUint16(page[2:], 2)
	binary.LittleEndian.PutUint32(page[4:], 1)
	binary.LittleEndian.PutUint64(page[8:], segment)
	binary.LittleEndian.PutUint64(page[24:], 4711)
	binary.LittleEndian.PutUint32(page[32:], segment)
	binary.LittleEndian.PutUint32(page[36:], wal.PageSize)
	prev := pg.LSN(0)
	for _, r := range recs {
		r.Prev = prev
		prev = segment + pg.LSN(len(page))
		page = append(page, pgtest.Encode(r, nil)...)
		page = append(page, make([]byte, -len(page)&7)...)
	}
	span := pg.Range{From: segment, To: segment + pg.LSN(len(page))}
	return &memWAL{segment: segment, start: segment, data: page[:segment], chunk: wal.PageSize}, span
}

// stock is a record of a stock server; its tuple, if it has one, has two
// columns and no nulls.
func stock(rmgr pg.RmgrID, op uint8, major int, main []byte, tuple []byte) *wal.Record {
	r := &wal.Record{Rmgr: rmgr, Info: op, XID: 700, Major: major, Main: main,
		Blocks: []wal.BlockRef{{Block: pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}}}}}}
	if tuple != nil {
		r.Blocks[0].HasData, r.Blocks[0].Data = true, append([]byte{2, 0, 2, 8, 24}, tuple...)
	}
	return r
}

func insert(major int, tuple ...byte) *wal.Record {
	return stock(pg.RmgrHeap, wal.OpHeapInsert, major, []byte{1, 0, 0}, append([]byte{0}, tuple...))
}

func deletion(major int) *wal.Record {
	return stock(pg.RmgrHeap, wal.OpHeapDelete, major, []byte{1, 2, 0, 0, 1, 0, 0, 0}, nil)
}

func neon(r *wal.Record) *wal.Record {
	n := pgtest.Neonised(r, 3, false)
	return &n
}

// TestScanFindsDialect: what the WAL is read as follows from its records, and
// a record that does not fit is an error, wherever it is.
func TestScanFindsDialect(t *testing.T) {
	commit := &wal.Record{Rmgr: pg.RmgrTransaction, Main: make([]byte, 8)}
	type want struct {
		dialect             wal.Dialect
		evidence, undecided int64
		fails               bool
		fits                wal.Dialects // of the record that does not fit
	}
	for name, c := range map[string]struct {
		major int
		recs  []*wal.Record
		want  want
	}{
		"no heap change":        {15, []*wal.Record{commit}, want{}},
		"stock 15":              {15, []*wal.Record{commit, insert(15, 1, 2, 3), deletion(15)}, want{evidence: 2}},
		"neon 14":               {14, []*wal.Record{commit, neon(insert(14, 1, 2, 3)), neon(deletion(14)), commit}, want{dialect: wal.Neon, evidence: 2}},
		"neon 15, second":       {15, []*wal.Record{insert(15, 0, 0, 24, 1, 2, 3), neon(deletion(15))}, want{dialect: wal.Neon, evidence: 1, undecided: 1}},
		"undecided":             {15, []*wal.Record{insert(15, 0, 0, 24, 1, 2, 3)}, want{undecided: 1}},
		"neon 15 turns stock":   {15, []*wal.Record{neon(deletion(15)), deletion(15)}, want{dialect: wal.Neon, evidence: 1, fails: true, fits: wal.OnlyPostgres}},
		"stock 15 turns neon":   {15, []*wal.Record{deletion(15), neon(deletion(15))}, want{evidence: 1, fails: true, fits: wal.OnlyNeon}},
		"stock 17":              {17, []*wal.Record{insert(17, 0, 0, 24, 1, 2, 3)}, want{evidence: 1}},
		"neon 17":               {17, []*wal.Record{commit, neon(insert(17, 1, 2, 3)), neon(deletion(17))}, want{dialect: wal.Neon, evidence: 2}},
		"neon 18 turns stock":   {18, []*wal.Record{neon(deletion(18)), deletion(18)}, want{dialect: wal.Neon, evidence: 1, fails: true, fits: wal.OnlyPostgres}},
		"stock 16 turns neon":   {16, []*wal.Record{insert(16, 1, 2, 3), neon(deletion(16))}, want{evidence: 1, fails: true, fits: wal.OnlyNeon}},
		"neon's record, broken": {17, []*wal.Record{{Rmgr: pg.RmgrNeon, Info: wal.OpNeonLock, Major: 17, Main: make([]byte, 13)}}, want{fails: true}},
		"neither":               {15, []*wal.Record{stock(pg.RmgrHeap, wal.OpHeapLock, 15, make([]byte, 11), nil)}, want{fails: true}},
	} {
		t.Run(name, func(t *testing.T) {
			src, span := onePage(t, c.major, c.recs...)
			e := New(Config{DetectDialect: true, Scratch: t.TempDir()}, src, Span{Range: span})
			defer func() { _ = e.Close() }()
			got, err := e.Scan(context.Background())
			if (err != nil) != c.want.fails || err != nil && !errors.Is(err, wal.ErrDialect) {
				t.Fatalf("error %v", err)
			}
			if got.Dialect != c.want.dialect || got.DialectEvidence != c.want.evidence || got.DialectUndecided != c.want.undecided {
				t.Errorf("%s with %d records of no other, %d undecided, want %+v", got.Dialect, got.DialectEvidence, got.DialectUndecided, c.want)
			}
			var d *wal.DialectError
			if errors.As(err, &d) && d.Fits != c.want.fits {
				t.Errorf("%v: the record fits %b, want %b", err, d.Fits, c.want.fits)
			}
			found, err := FindDialect(context.Background(), src, span)
			if err != nil || found != c.want.dialect {
				t.Errorf("the first that tells is of %s, error %v", found, err)
			}
		})
	}
}

// TestScanKeepsDialect: WAL of which the dialect was found is read in no other.
func TestScanKeepsDialect(t *testing.T) {
	src, span := onePage(t, 15, deletion(15))
	for _, detect := range []bool{false, true} {
		e := New(Config{DetectDialect: detect, Scratch: t.TempDir()}, replay.InDialect(src, wal.Neon), Span{Range: span})
		got, err := e.Scan(context.Background())
		switch {
		case detect && (err != nil || got.Dialect != wal.Postgres):
			t.Errorf("detected: %s, error %v", got.Dialect, err)
		case !detect && !errors.Is(err, wal.ErrDialect):
			t.Errorf("stock WAL read as Neon's: error %v", err)
		}
		_ = e.Close()
	}
}
