package datadir

import (
	"errors"
	"fmt"
	"strconv"
	"strings"

	"redoubt/internal/pg"
)

// ErrIncremental says that a backup is incremental: its files are not a data directory.
var ErrIncremental = errors.New("this is an incremental backup; make a full one of it with pg_combinebackup first")

// BackupLabel is the content of backup_label, or of a backup history file,
// which has the fields Stop… as well.
type BackupLabel struct {
	Start      pg.LSN // START WAL LOCATION: the redo pointer replay starts at
	StartTLI   pg.TLI // of the segment named there
	StartFile  string // name of that segment
	Checkpoint pg.LSN // CHECKPOINT LOCATION: where the checkpoint record starts
	Method     string // streamed, pg_start_backup (exclusive backups of 14) or pg_rewind (consistent at minRecoveryPoint)
	Standby    bool   // BACKUP FROM: standby
	StartTime  string // as written, in the server's log_timezone
	Label      string

	Stop     pg.LSN // STOP WAL LOCATION, exclusive end of the backup's WAL; backup history files only
	StopTLI  pg.TLI
	StopFile string
	StopTime string
}

// ParseBackupLabel decodes backup_label (build_backup_content,
// access/transam/xlogbackup.c; read by read_backup_label, xlogrecovery.c).
// An incremental backup is ErrIncremental. Stricter than PostgreSQL, which
// would take a label that is cut behind its second line for one that needs
// no end of backup.
func ParseBackupLabel(content []byte) (BackupLabel, error) {
	l, err := parseLabel(content)
	if err == nil && l.Stop != 0 {
		err = errors.New("it has a STOP WAL LOCATION: it is a backup history file")
	}
	if err != nil {
		return BackupLabel{}, fmt.Errorf("read backup_label: %w", err)
	}
	return l, nil
}

// EncodeBackupLabel writes a label as PostgreSQL does (build_backup_content,
// access/transam/xlogbackup.c), with nothing in it that was free text.
func EncodeBackupLabel(l BackupLabel, segmentSize int64) []byte {
	from := "primary"
	if l.Standby {
		from = "standby"
	}
	file := pg.SegmentName(l.StartTLI, pg.SegmentOf(l.Start, segmentSize), segmentSize)
	return fmt.Appendf(nil, "START WAL LOCATION: %s (file %s)\nCHECKPOINT LOCATION: %s\nBACKUP METHOD: %s\nBACKUP FROM: %s\nSTART TIME: 2000-01-01 00:00:00 UTC\nLABEL: redoubt\nSTART TIMELINE: %d\n",
		l.Start, file, l.Checkpoint, l.Method, from, l.StartTLI)
}

// ParseBackupHistory decodes a backup history file of the archive
// (SEGMENT.OFFSET.backup): a label that also says where the backup ended.
func ParseBackupHistory(content []byte) (BackupLabel, error) {
	l, err := parseLabel(content)
	switch {
	case err == nil && l.Stop == 0:
		err = errors.New("it has no STOP WAL LOCATION")
	case err == nil && l.Stop <= l.Start:
		err = fmt.Errorf("the backup stops at %s, before it starts at %s", l.Stop, l.Start)
	}
	if err != nil {
		return BackupLabel{}, fmt.Errorf("read backup history file: %w", err)
	}
	return l, nil
}

// parseLabel reads "KEY: value" lines. Unknown keys are skipped, as
// PostgreSQL does; a known one twice is an error, for which would count?
func parseLabel(content []byte) (l BackupLabel, err error) {
	seen := map[string]bool{}
	for line := range strings.Lines(string(content)) {
		key, value, ok := strings.Cut(strings.TrimSuffix(line, "\n"), ": ")
		if !ok {
			continue
		}
		known, err := l.set(key, value)
		if err != nil {
			return l, fmt.Errorf("%s: %w", key, err)
		}
		if known && seen[key] {
			return l, fmt.Errorf("%s is in it twice", key)
		}
		if known {
			seen[key] = true
		}
	}
	if seen["INCREMENTAL FROM LSN"] {
		return l, ErrIncremental
	}
	return l, l.check(seen)
}

func (l *BackupLabel) check(seen map[string]bool) error {
	want := []string{"START WAL LOCATION", "CHECKPOINT LOCATION", "BACKUP METHOD", "BACKUP FROM"}
	if l.Method != "pg_rewind" { // writes neither (createBackupLabel, bin/pg_rewind/pg_rewind.c)
		want = append(want, "LABEL", "START TIMELINE")
	}
	for _, key := range want {
		if !seen[key] {
			return fmt.Errorf("it has no line %q: it is cut or damaged", key)
		}
	}
	if l.Start > l.Checkpoint {
		return fmt.Errorf("its start %s is after its checkpoint %s", l.Start, l.Checkpoint)
	}
	return nil
}

// set stores one line; known says whether the key is one of PostgreSQL's.
func (l *BackupLabel) set(key, value string) (known bool, err error) {
	switch key {
	case "START WAL LOCATION":
		l.Start, l.StartTLI, l.StartFile, err = parseLocation(value)
		if err == nil && l.StartFile[8:16] != fmt.Sprintf("%08X", uint64(l.Start)>>32) {
			err = fmt.Errorf("segment %s does not hold %s", l.StartFile, l.Start)
		}
	case "STOP WAL LOCATION":
		l.Stop, l.StopTLI, l.StopFile, err = parseLocation(value)
	case "CHECKPOINT LOCATION":
		l.Checkpoint, err = parseValidLSN(value)
	case "BACKUP METHOD":
		l.Method = value
		if value != "streamed" && value != "pg_start_backup" && value != "pg_rewind" {
			err = fmt.Errorf("%.64q is unknown; want streamed, pg_start_backup or pg_rewind", value)
		}
	case "BACKUP FROM":
		l.Standby = value == "standby"
		if value != "standby" && value != "primary" {
			err = fmt.Errorf("%.64q is unknown; want primary or standby", value)
		}
	case "START TIME":
		l.StartTime = value
	case "STOP TIME":
		l.StopTime = value
	case "LABEL":
		l.Label = value
	case "START TIMELINE":
		err = l.sameTLI(value, l.StartTLI)
	case "STOP TIMELINE":
		err = l.sameTLI(value, l.StopTLI)
	case "INCREMENTAL FROM LSN":
	default:
		return false, nil
	}
	return true, err
}

func (l *BackupLabel) sameTLI(value string, want pg.TLI) error {
	n, ok := parseNumber(value, 1<<32-1)
	if !ok {
		return fmt.Errorf("%.64q is not a timeline number", value)
	}
	if pg.TLI(n) != want {
		return fmt.Errorf("timeline %d is not that of the segment named above, %d", n, want)
	}
	return nil
}

// parseLocation reads "0/2000028 (file 000000010000000000000002)".
func parseLocation(s string) (pg.LSN, pg.TLI, string, error) {
	lsn, file, ok := strings.Cut(s, " (file ")
	file, closed := strings.CutSuffix(file, ")")
	if !ok || !closed || !pg.IsSegmentName(file) {
		return 0, 0, "", fmt.Errorf("%.64q is not of the form 0/2000028 (file 000000010000000000000002)", s)
	}
	at, err := parseValidLSN(lsn)
	if err != nil {
		return 0, 0, "", err
	}
	tli, _ := strconv.ParseUint(file[:8], 16, 32) // IsSegmentName bounds it
	if tli == 0 {
		return 0, 0, "", fmt.Errorf("segment %s is of timeline 0, which there is not", file)
	}
	return at, pg.TLI(tli), file, nil
}

func parseValidLSN(s string) (pg.LSN, error) {
	at, err := pg.ParseLSN(s)
	if err == nil && at == pg.InvalidLSN {
		err = errors.New("0/0 is no position in the WAL")
	}
	return at, err
}
