package scanner

import (
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// Shapes of the WAL that the seams between segments need; see access/xlog_internal.h
// and access/xlogrecord.h.
const (
	firstIsOverwriteContrecord = 0x0008 // XLP_FIRST_IS_OVERWRITE_CONTRECORD
	xlogSwitch                 = 0x40   // XLOG_SWITCH
	recordHeader               = 24     // SizeOfXLogRecord
	crcOffset                  = 20     // of xl_crc; the CRC covers what is before it, after the data
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// state is the chain of records at the end of a segment: what the next segment
// must go on with. It is what Memory keeps of a segment.
type state struct {
	Version  int
	SystemID uint64
	// First is the first record that begins in the segment, Prev its xl_prev;
	// both 0 if none does. Overwritten is the record that First, an
	// OVERWRITE_CONTRECORD, says was cut off.
	First, Prev, Overwritten pg.LSN
	// Last is the last record that was complete by the segment's end.
	Last pg.LSN
	// Tail is the record that begins in the segment, or before, and goes on behind it.
	Tail *tail `json:",omitempty"`
	// Ended is where the WAL ended before the segment did; no other may follow.
	Ended pg.LSN `json:",omitempty"`
	// Dialects are those that a record of the segment is of and no other; Odd is
	// the first record that is of none.
	Dialects wal.Dialects `json:",omitempty"`
	Odd      pg.LSN       `json:",omitempty"`
	// Late is where the records begin behind zeros, if they do.
	Late pg.LSN `json:",omitempty"`
}

const stateVersion = 2

func (st *state) encode() ([]byte, error) { return json.Marshal(st) }

// decodeState reads what encode wrote; false for anything else.
func decodeState(b []byte, sysid uint64) (*state, bool) {
	st := &state{}
	if json.Unmarshal(b, st) != nil || st.Version != stateVersion || st.SystemID != sysid {
		return nil, false
	}
	if t := st.Tail; t != nil && (t.Have >= t.Total || len(t.Header) != int(min(t.Have, recordHeader)) || t.Lost) {
		return nil, false
	}
	return st, true
}

// follow is the xl_prev that the first record after the segment must have.
func (st *state) follow() pg.LSN {
	if st.Tail != nil {
		return st.Tail.LSN
	}
	return st.Last
}

// seam checks that a segment goes on where the one before it ended. It returns
// what is wrong, and whether it is the earlier one that is.
func seam(before, st *state) (wrong string, earlier bool) {
	switch {
	case before.Ended != 0:
		return fmt.Sprintf("WAL ends at %s, but a segment follows", before.Ended), true
	case st.First == 0:
		return "", false
	case st.Overwritten != 0 && (before.Tail == nil || st.Overwritten != before.Tail.LSN):
		return fmt.Sprintf("OVERWRITE_CONTRECORD at %s names the record at %s, which was not cut off", st.First, st.Overwritten), false
	}
	want := before.follow()
	if st.Overwritten != 0 {
		want = before.Last
	}
	if want != 0 && st.Prev != want {
		return fmt.Sprintf("broken xl_prev chain at %s: xl_prev is %s, the record before starts at %s", st.First, st.Prev, want), false
	}
	return "", false
}

// tail is a record of which only the beginning was seen: its length, header
// and CRC so far.
type tail struct {
	LSN    pg.LSN
	Total  uint32 // xl_tot_len
	Have   uint32 // bytes seen
	Header []byte // of the first 24, those seen
	CRC    uint32 // of the bytes seen behind the header
	Lost   bool   `json:",omitempty"` // only the LSN is known
}

// feed adds bytes of the record.
func (t *tail) feed(b []byte) {
	b = b[:min(uint64(len(b)), uint64(t.Total-t.Have))]
	t.Have += uint32(len(b))
	n := min(recordHeader-len(t.Header), len(b))
	t.Header = append(t.Header, b[:n]...)
	t.CRC = crc32.Update(t.CRC, castagnoli, b[n:])
}

// valid reports whether the CRC of the whole record is right.
func (t *tail) valid() bool {
	return len(t.Header) == recordHeader &&
		crc32.Update(t.CRC, castagnoli, t.Header[:crcOffset]) == binary.LittleEndian.Uint32(t.Header[crcOffset:])
}

// feedPage adds the record's part of a page that follows. It returns true when
// the record is complete or given up, and what is wrong with it.
func (t *tail) feedPage(page []byte) (done bool, wrong string) {
	h, err := wal.ParsePageHeader(page)
	if err != nil {
		return true, err.Error()
	}
	at, left := h.Addr, t.Total-t.Have
	switch {
	case h.Info&firstIsOverwriteContrecord != 0:
		return true, "" // the seam checks that this is the record
	case !h.Continues():
		return true, fmt.Sprintf("torn record at %s: it goes on at %s, where the page begins with another record", t.LSN, at)
	case h.RemLen != left:
		return true, fmt.Sprintf("torn record at %s: it goes on at %s with %d bytes, where the page has %d", t.LSN, at, left, h.RemLen)
	}
	t.feed(page[h.Size():])
	if t.Have < t.Total {
		return false, ""
	}
	if !t.valid() {
		return true, fmt.Sprintf("record CRC at %s", t.LSN)
	}
	return true, ""
}

// newTail takes up the record that starts at lsn, from the pages in which it
// starts and those that follow; nil if none starts there.
func newTail(lsn pg.LSN, pages [][]byte) *tail {
	var t *tail
	for _, page := range pages {
		h, err := wal.ParsePageHeader(page)
		if err != nil {
			return nil
		}
		body := page[h.Size():]
		if t == nil {
			off := max(int(lsn%wal.PageSize), h.Size())
			if off+4 > len(page) {
				return nil
			}
			t = &tail{LSN: lsn&^(wal.PageSize-1) + pg.LSN(off), Total: binary.LittleEndian.Uint32(page[off:])}
			if t.Total < recordHeader {
				return nil
			}
			body = page[off:]
		}
		t.feed(body)
	}
	return t
}

// behind is the LSN n payload bytes behind l, which is not in a page header,
// on pages with short headers.
func behind(l pg.LSN, n uint64) pg.LSN {
	const short = 24
	for {
		room := wal.PageSize - uint64(l)%wal.PageSize
		if n <= room {
			return l + pg.LSN(n)
		}
		n -= room
		l += pg.LSN(room) + short
	}
}
