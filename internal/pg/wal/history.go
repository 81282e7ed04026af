package wal

import (
	"bytes"
	"fmt"
	"math"
	"strconv"

	"redoubt/internal/pg"
)

// HistoryEntry is one TLI of a timeline's history and the WAL that is its own.
type HistoryEntry struct {
	TLI   pg.TLI
	Range pg.Range // To is the largest LSN where the TLI goes on
}

// History is the way from the first TLI to the target, which is the last; the
// ranges follow each other without gaps.
type History []HistoryEntry

// endless is the end of a range that has none.
const endless = pg.LSN(math.MaxUint64)

// NewHistory is the history of a TLI without ancestors: all WAL is its own.
func NewHistory(tli pg.TLI) History {
	return History{{TLI: tli, Range: pg.Range{To: endless}}}
}

// ParseHistory reads the history file of timeline target: a line for each
// ancestor, oldest first, of its TLI, the LSN where the next one begins and a
// reason:
//
//	1<tab>0/3000148<tab>no recovery target specified
//
// Empty lines and lines that start with # are comments. The result includes
// the target itself.
//
// Source: access/transam/timeline.c, readTimeLineHistory. Stricter here: a
// switch before the one above it is refused.
func ParseHistory(target pg.TLI, file []byte) (History, error) {
	var h History
	last := HistoryEntry{} // the ancestor above
	number := 0
	for line := range bytes.Lines(file) {
		number++
		line = bytes.TrimSpace(line)
		if len(line) == 0 || line[0] == '#' {
			continue
		}
		tli, end, err := parseHistoryLine(line)
		switch {
		case err != nil:
		case tli <= last.TLI:
			err = fmt.Errorf("TLI %d follows TLI %d", tli, last.TLI)
		case end < last.Range.To:
			err = fmt.Errorf("switch at %s, before the one above it at %s", end, last.Range.To)
		case tli >= target:
			err = fmt.Errorf("ancestor TLI %d is not below the file's own TLI %d", tli, target)
		}
		if err != nil {
			return nil, fmt.Errorf("parse %s, line %d: %w", HistoryFileName(target), number, err)
		}
		last = HistoryEntry{TLI: tli, Range: pg.Range{From: last.Range.To, To: end}}
		h = append(h, last)
	}
	return append(h, HistoryEntry{TLI: target, Range: pg.Range{From: last.Range.To, To: endless}}), nil
}

func parseHistoryLine(line []byte) (pg.TLI, pg.LSN, error) {
	fields := bytes.Fields(line)
	if len(fields) < 2 {
		return 0, 0, fmt.Errorf("want a TLI and an LSN, have %q", line)
	}
	tli, err := strconv.ParseUint(string(fields[0]), 10, 32)
	if err != nil || tli == 0 {
		return 0, 0, fmt.Errorf("want a TLI, have %q", fields[0])
	}
	end, err := pg.ParseLSN(string(fields[1]))
	return pg.TLI(tli), end, err
}

// TLIAt is the TLI that wrote the byte at l, 0 in an empty history. A page
// carries the TLI of its first byte, also where a switch follows on it.
func (h History) TLIAt(l pg.LSN) pg.TLI {
	for i := range h {
		if h[i].Range.Contains(l) {
			return h[i].TLI
		}
	}
	return 0
}

// TLIsFor is the TLIs whose file may hold a segment, to be tried in this
// order, newest first. A segment in which a TLI begins exists under the new
// TLI, with a copy of what came before, and perhaps under the old one too,
// where it goes on with WAL that the history left.
//
// Source: access/transam/xlogrecovery.c, XLogFileReadAnyTLI. Stricter here: a
// TLI is not tried for segments that begin at or after its end, where it can
// only hold an abandoned branch.
func (h History) TLIsFor(n pg.SegmentNo, segmentSize int64) []pg.TLI {
	var tlis []pg.TLI
	for i := len(h) - 1; i >= 0; i-- {
		r := h[i].Range
		if pg.SegmentOf(r.From, segmentSize) <= n && n.Start(segmentSize) < r.To {
			tlis = append(tlis, h[i].TLI)
		}
	}
	return tlis
}
