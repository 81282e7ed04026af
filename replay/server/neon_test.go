package server

import (
	"archive/tar"
	"context"
	"encoding/binary"
	"io"
	"os"
	"path"
	"path/filepath"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/replay"
)

// oneSegment is WAL of one segment in memory.
type oneSegment []byte

func (s oneSegment) SegmentSize() int64 { return int64(len(s)) }

func (s oneSegment) Open(context.Context, pg.LSN) (replay.WALStream, error) {
	return segmentStream{s}, nil
}

type segmentStream struct{ segment []byte }

func (segmentStream) Close() error { return nil }

func (s segmentStream) ReadPages(at pg.LSN) ([]byte, error) {
	size := int64(len(s.segment))
	if pg.SegmentOf(at, size) != 1 {
		return nil, &wal.MissingError{Segment: pg.SegmentName(1, pg.SegmentOf(at, size), size)}
	}
	return s.segment[int64(at)%size:], nil
}

// TestNeonByPostgres has PostgreSQL judge the redo of a segment that Neon's
// PostgreSQL 15 wrote: without its command ids, which stock redo does not
// have, the segment is one that a real server recovers from, and each record
// is where it was. Native redo of the segment as Neon wrote it must leave the
// server's pages, but for the command ids, and these must be what the
// segment's NEW_CID records say.
func TestNeonByPostgres(t *testing.T) {
	dir, segment := pgtest.NeonSegment(t)
	c := pgtest.Server(t, 15, pgtest.NoStart()) // for its programs
	base := openBase(t, filepath.Join(dir, "initdb.tar.zst"))

	const checkpoint, start = pg.LSN(0x14AEB90), pg.LSN(0x14AEC08)
	stock, end, err := pgtest.StockSegment(segment, initdbSegment(t, filepath.Join(dir, "initdb.tar.zst")), start)
	must(t, err)
	if end != 0x1FFFF98 {
		t.Fatalf("the WAL ends at %s, want 0/1FFFF98", end)
	}
	w := &world{major: 15, bins: Bins{Dir: c.Bin}, scratch: c.Dir("scratch"), base: base, start: checkpoint, first: checkpoint}
	w.wal = oneSegment(stock)
	res := w.serve(t, end)
	compareEngines(t, w.native(t, end), res).report(t, "without command ids")

	w.wal = oneSegment(segment)
	neon := w.native(t, end)
	named, checked := 0, 0
	for at, cid := range newCIDs(t, segment, start) {
		f, _ := neon.Fork(at.RelFork)
		_, p := neon.page(t, f, at.Number)
		named++
		if tup, ok := page.Page(p).HeapTuple(at.tuple); ok {
			checked++
			if tup.Field3() != cid {
				t.Errorf("tuple %d of %s has command id %d, its last NEW_CID record says %d", at.tuple, at.Block, tup.Field3(), cid)
			}
		}
	}
	neon.noCIDs = true
	compareEngines(t, neon, res).report(t, "as Neon wrote it")
	t.Logf("%d of %d command ids that NEW_CID records name were looked up", checked, named)
	if named < 60 || checked < named*9/10 {
		t.Errorf("%d of %d command ids were looked up, want nearly all that 73 records name", checked, named)
	}
}

// initdbSegment is the WAL that initdb wrote, out of its archive.
func initdbSegment(t *testing.T, archive string) []byte {
	t.Helper()
	f, err := os.Open(archive)
	must(t, err)
	defer func() { must(t, f.Close()) }()
	d, err := zstd.NewReader(f)
	must(t, err)
	defer d.Close()
	files := tar.NewReader(d)
	for {
		h, err := files.Next()
		must(t, err)
		if path.Clean(h.Name) == "pg_wal/000000010000000000000001" {
			b, err := io.ReadAll(files)
			must(t, err)
			return b
		}
	}
}

// tupleID is a tuple of a block.
type tupleID struct {
	pg.Block
	tuple int
}

// newCIDs are the command ids that NEW_CID records, which wal_level logical
// adds to changes of catalogs, name last for each tuple (xl_heap_new_cid).
func newCIDs(t *testing.T, segment oneSegment, start pg.LSN) map[tupleID]uint32 {
	t.Helper()
	const invalid = 0xFFFFFFFF
	out := map[tupleID]uint32{}
	r := wal.NewReader(segmentStream{segment}.ReadPages, wal.Config{Start: start, SegmentSize: int64(len(segment)), Dialect: wal.Neon})
	var rec wal.Record
	for r.Next(&rec) == nil {
		if rec.Rmgr != pg.RmgrHeap2 || rec.HeapOp() != wal.OpHeap2NewCID {
			continue
		}
		u32 := func(at int) uint32 { return binary.LittleEndian.Uint32(rec.Main[at:]) }
		u16 := func(at int) uint32 { return uint32(binary.LittleEndian.Uint16(rec.Main[at:])) }
		cid := u32(4)
		for _, at := range []int{8, 12} { // the last one that is valid of cmin, cmax, combocid
			if u32(at) != invalid {
				cid = u32(at)
			}
		}
		id := tupleID{tuple: int(u16(32))}
		id.RelFileLocator = pg.RelFileLocator{Spc: pg.OID(u32(16)), DB: pg.OID(u32(20)), Rel: pg.OID(u32(24))}
		id.Number = pg.BlockNumber(u16(28)<<16 | u16(30))
		out[id] = cid
	}
	return out
}
