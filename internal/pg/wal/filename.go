package wal

import (
	"fmt"
	"strconv"
	"strings"

	"redoubt/internal/pg"
)

// FileKind is what a file of a WAL archive is, by its name.
type FileKind uint8

// The kinds.
const (
	SegmentFile       FileKind = iota + 1 // 000000010000000000000002
	PartialFile                           // 000000010000000000000002.partial: the last of a timeline that was left
	BackupHistoryFile                     // 000000010000000000000002.00000028.backup
	HistoryFile                           // 00000002.history
)

// FileName is the parsed name of a file in a WAL archive or in pg_wal.
type FileName struct {
	Kind    FileKind
	TLI     pg.TLI
	Segment pg.SegmentNo // not of a HistoryFile
	Offset  uint32       // of a BackupHistoryFile: where in the segment the backup starts
}

// Start is the LSN at which the backup of a BackupHistoryFile starts, else
// that of the segment's first byte.
func (f FileName) Start(segmentSize int64) pg.LSN {
	return f.Segment.Start(segmentSize) + pg.LSN(f.Offset)
}

// ParseFileName parses the names PostgreSQL gives to files of an archive, and
// only these: upper-case digits, no other suffix.
//
// Source: access/xlog_internal.h, XLogFileName, IsPartialXLogFileName,
// BackupHistoryFileName, TLHistoryFileName. Stricter than
// IsBackupHistoryFileName, which looks at the ends of a name only.
func ParseFileName(name string, segmentSize int64) (FileName, error) {
	if tli, ok := strings.CutSuffix(name, ".history"); ok {
		return parseHistoryName(name, tli)
	}
	segment, suffix, _ := strings.Cut(name, ".")
	tli, n, err := pg.ParseSegmentName(segment, segmentSize)
	if err != nil {
		return FileName{}, fmt.Errorf("parse WAL file name %q: %w", name, err)
	}
	f := FileName{Kind: SegmentFile, TLI: tli, Segment: n}
	switch {
	case len(name) == len(segment):
		return f, nil
	case suffix == "partial":
		f.Kind = PartialFile
		return f, nil
	}
	offset, ok := strings.CutSuffix(suffix, ".backup")
	if v, good := hex8(offset); ok && good && int64(v) < segmentSize {
		f.Kind, f.Offset = BackupHistoryFile, v
		return f, nil
	}
	return FileName{}, fmt.Errorf("parse WAL file name %q: a segment's name is followed by .partial, .<offset>.backup or nothing", name)
}

func parseHistoryName(name, tli string) (FileName, error) {
	v, ok := hex8(tli)
	if !ok || v < 2 {
		return FileName{}, fmt.Errorf("parse timeline history name %q: want a TLI from 2 on as 8 upper-case hexadecimal digits", name)
	}
	return FileName{Kind: HistoryFile, TLI: pg.TLI(v)}, nil
}

// HistoryFileName is the name of a timeline's history file (TLHistoryFileName).
func HistoryFileName(tli pg.TLI) string { return fmt.Sprintf("%08X.history", uint32(tli)) }

// hex8 reads exactly eight upper-case hexadecimal digits.
func hex8(s string) (uint32, bool) {
	if len(s) != 8 || strings.Trim(s, "0123456789ABCDEF") != "" {
		return 0, false
	}
	v, err := strconv.ParseUint(s, 16, 32)
	return uint32(v), err == nil
}
