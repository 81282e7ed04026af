package verify_test

import (
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay/native"
)

const recordHeader = 24 // SizeOfXLogRecord

// onOnePage says that a record lies on one page.
func onOnePage(r native.Touch) bool { return r.LSN/pg.BlockSize == (r.End-1)/pg.BlockSize }

// onRecord lets change work on the bytes of a record that lies on one page.
// With seal its CRC is made right again. ok is false if it is on two pages.
func (w *world) onRecord(r native.Touch, seal bool, change func(rec []byte)) (ok bool) {
	w.t.Helper()
	lsn := r.LSN
	path := filepath.Join(w.wal, pg.SegmentName(1, pg.SegmentOf(lsn, w.SegmentSize), w.SegmentSize))
	w.change(path, func(raw []byte) []byte {
		at := int(int64(lsn) % w.SegmentSize)
		n := int(binary.LittleEndian.Uint32(raw[at:]))
		if ok = onOnePage(r); !ok {
			return raw
		}
		rec := raw[at : at+n]
		change(rec)
		if seal {
			table := crc32.MakeTable(crc32.Castagnoli)
			sum := crc32.Update(crc32.Checksum(rec[recordHeader:], table), table, rec[:recordHeader-4])
			binary.LittleEndian.PutUint32(rec[recordHeader-4:], sum)
		}
		return raw
	})
	return ok
}

// noop makes a record one that does nothing, of the same length.
func noop(rec []byte) {
	rec[16], rec[17] = 0x20, 0 // XLOG NOOP
	clear(rec[recordHeader:])
	if n := len(rec) - recordHeader; n-2 <= 255 {
		rec[recordHeader], rec[recordHeader+1] = 255, byte(n-2) // XLR_BLOCK_ID_DATA_SHORT
	} else {
		rec[recordHeader] = 254 // XLR_BLOCK_ID_DATA_LONG
		binary.LittleEndian.PutUint32(rec[recordHeader+1:], uint32(n-5))
	}
}

// walIsWrong alters records behind their CRC's back: the last insertion into
// leaves of btrees.
func (w *world) walIsWrong(want map[place]planted) {
	changes := []struct {
		name   string
		change func(rec []byte)
		outcome
	}{
		{"a record that is gone", noop, outcome{finding.PhantomWrite, finding.BlameUnknown, "XLOG NOOP"}},
		{"a record of other contents", func(rec []byte) { rec[len(rec)-2-6] ^= 1 }, outcome{finding.Unexplained, finding.BlameUnknown, "a second engine can tell"}},
		{"a record that does not fit", func(rec []byte) { binary.LittleEndian.PutUint16(rec[len(rec)-2:], 60000) },
			outcome{finding.Unexplained, finding.BlameUnknown, "could not be redone"}},
		{"an operation that nobody knows", func(rec []byte) { rec[16] = 0xF0 },
			outcome{finding.Unexplained, finding.BlameWAL, "not the one that the server wrote"}},
	}
	i := 0
	for _, b := range w.blocks {
		n := len(w.recs[b])
		if n < 2 || w.used[b] {
			continue
		}
		last := w.recs[b][n-1]
		if last.Rmgr != pg.RmgrBtree || last.OpName(w.Major) != "INSERT_LEAF" || last.Image || w.recs[b][n-2].End == last.End {
			continue
		}
		if c := changes[i%len(changes)]; w.onRecord(last, true, c.change) {
			want[place{datadir.RelPath(b.RelFork, 0, ""), int64(b.Number)}] = planted{c.name, c.outcome}
			w.used[b] = true
			i++
		}
		if i == 2*len(changes) {
			return
		}
	}
	w.t.Errorf("only %d records were altered", i)
}

// someRecord is a record in the middle of the span, on one page.
func (w *world) someRecord() native.Touch {
	for _, b := range w.blocks {
		for _, r := range w.recs[b] {
			if r.LSN > w.span.From+(w.span.To-w.span.From)/3 && !r.Image && r.Rmgr == pg.RmgrHeap && onOnePage(r) {
				return r
			}
		}
	}
	w.t.Fatal("no such record")
	return native.Touch{}
}

// walEnds makes WAL that cannot be read to its end: never clean, never a
// finding, and the reason says where.
func (w *world) walEnds(sum *score) {
	w.t.Helper()
	r := w.someRecord()
	for name, damage := range map[string]func() string{
		"a bit of a record": func() string {
			w.onRecord(r, false, func(rec []byte) { rec[len(rec)-1] ^= 8 })
			return fmt.Sprintf("record CRC at %s", r.LSN)
		},
		"a record of another length": func() string {
			w.onRecord(r, false, func(rec []byte) { binary.LittleEndian.PutUint32(rec, 9) })
			return fmt.Sprintf("at %s", r.LSN)
		},
		"a segment that is gone": func() string {
			name := pg.SegmentName(1, pg.SegmentOf(r.LSN, w.SegmentSize), w.SegmentSize)
			w.keep(filepath.Join(w.wal, name))
			_ = os.Remove(filepath.Join(w.wal, name))
			return name
		},
		"a page of zeros": func() string {
			w.change(filepath.Join(w.wal, pg.SegmentName(1, pg.SegmentOf(r.LSN, w.SegmentSize), w.SegmentSize)), func(raw []byte) []byte {
				at := int64(r.LSN) % w.SegmentSize / pg.BlockSize * pg.BlockSize
				clear(raw[at : at+pg.BlockSize])
				return raw
			})
			return "zero"
		},
	} {
		where := damage()
		v := mustVerify(w.t, w.options())
		if v.Verdict != finding.Inconclusive || len(v.Discrepancies) > 0 || !strings.Contains(strings.Join(v.Reasons, "\n"), where) {
			w.t.Errorf("%s: want inconclusive and %q: %s %s", name, where, v.Verdict, describe(v))
		} else {
			sum.found["inconclusive, WAL"]++
		}
		w.restore()
	}
}
