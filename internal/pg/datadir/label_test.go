package datadir

import (
	"errors"
	"strings"
	"testing"

	"redoubt/internal/pg"
)

const goodLabel = `START WAL LOCATION: 1/2000028 (file 000000030000000100000002)
CHECKPOINT LOCATION: 1/2000060
BACKUP METHOD: streamed
BACKUP FROM: primary
START TIME: 2026-01-02 03:04:05 UTC
LABEL: nightly: full
START TIMELINE: 3
`

const rewindLabel = `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
CHECKPOINT LOCATION: 0/2000060
BACKUP METHOD: pg_rewind
BACKUP FROM: standby
START TIME: 2026-01-02 03:04:05 UTC
`

const goodHistory = `START WAL LOCATION: 0/2000028 (file 000000010000000000000002)
STOP WAL LOCATION: 0/3000100 (file 000000010000000000000003)
CHECKPOINT LOCATION: 0/2000060
BACKUP METHOD: streamed
BACKUP FROM: standby
START TIME: 2026-01-02 03:04:05 UTC
LABEL: x
START TIMELINE: 1
STOP TIME: 2026-01-02 03:05:05 UTC
STOP TIMELINE: 1
`

func TestParseBackupLabel(t *testing.T) {
	l, err := ParseBackupLabel([]byte(goodLabel))
	want := BackupLabel{Start: 1<<32 | 0x2000028, StartTLI: 3, StartFile: "000000030000000100000002", Checkpoint: 1<<32 | 0x2000060,
		Method: "streamed", StartTime: "2026-01-02 03:04:05 UTC", Label: "nightly: full"}
	if err != nil || l != want {
		t.Errorf("got %+v, %v", l, err)
	}
	if l, err := ParseBackupLabel([]byte(rewindLabel)); err != nil || !l.Standby || l.Method != "pg_rewind" {
		t.Errorf("pg_rewind's: %+v, %v", l, err)
	}
	if _, err := ParseBackupLabel([]byte(goodLabel + "INCREMENTAL FROM LSN: 0/2000028\nINCREMENTAL FROM TLI: 1\n")); !errors.Is(err, ErrIncremental) {
		t.Errorf("incremental: %v", err)
	}
	h, err := ParseBackupHistory([]byte(goodHistory))
	if err != nil || h.Stop != 0x3000100 || h.StopTLI != 1 || h.StopFile != "000000010000000000000003" || !h.Standby || h.StopTime == "" {
		t.Errorf("history: %+v, %v", h, err)
	}
}

func TestParseBackupLabelRefuses(t *testing.T) {
	for name, s := range map[string]string{
		"empty":            "",
		"history":          goodHistory,
		"zero LSN":         strings.Replace(goodLabel, "1/2000060", "0/0", 1),
		"reversed":         strings.Replace(goodLabel, "1/2000060", "1/2000020", 1),
		"other segment":    strings.Replace(goodLabel, "1/2000028 (", "2/2000028 (", 1),
		"bad segment":      strings.Replace(goodLabel, "000000030000000100000002)", "00000003000000010000000)", 1),
		"lower case":       strings.Replace(goodLabel, "000000030000000100000002)", "00000003000000010000000a)", 1),
		"open":             strings.Replace(goodLabel, "02)", "02", 1),
		"timeline 0":       strings.Replace(strings.Replace(goodLabel, "(file 00000003", "(file 00000000", 1), "LINE: 3", "LINE: 0", 1),
		"timelines differ": strings.Replace(goodLabel, "START TIMELINE: 3", "START TIMELINE: 4", 1),
		"no timeline":      strings.Replace(goodLabel, "START TIMELINE: 3", "START TIMELINE: x", 1),
		"method":           strings.Replace(goodLabel, "streamed", "exclusive", 1),
		"from":             strings.Replace(goodLabel, "primary", "tertiary", 1),
		"twice":            goodLabel + "CHECKPOINT LOCATION: 1/2000070\n",
		"CRLF":             strings.ReplaceAll(goodLabel, "\n", "\r\n"),
		"no label":         strings.Replace(goodLabel, "LABEL", "LABLE", 1),
	} {
		if l, err := ParseBackupLabel([]byte(s)); err == nil {
			t.Errorf("%s: accepted as %+v", name, l)
		}
	}
	for name, s := range map[string]string{
		"label":         goodLabel,
		"stops earlier": strings.Replace(goodHistory, "0/3000100 (file 000000010000000000000003", "0/1000100 (file 000000010000000000000001", 1),
		"other TLI":     strings.Replace(goodHistory, "STOP TIMELINE: 1", "STOP TIMELINE: 2", 1),
	} {
		if l, err := ParseBackupHistory([]byte(s)); err == nil {
			t.Errorf("%s: accepted as %+v", name, l)
		}
	}
}

// TestBackupLabelCut cuts a label at every byte: only the cut of the final newline is no loss.
func TestBackupLabelCut(t *testing.T) {
	for n := range len(goodLabel) - 1 {
		if l, err := ParseBackupLabel([]byte(goodLabel[:n])); err == nil {
			t.Errorf("cut to %d bytes and accepted: %+v", n, l)
		}
	}
}

func FuzzParseBackupLabel(f *testing.F) {
	for _, s := range []string{goodLabel, rewindLabel, goodHistory, goodLabel + "INCREMENTAL FROM LSN: 0/2000028\n"} {
		f.Add([]byte(s))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		if l, err := ParseBackupLabel(b); err == nil && (l.Start == 0 || l.StartTLI == 0 || l.Checkpoint < l.Start || l.Method == "") {
			t.Fatalf("accepted %+v", l)
		}
		if l, err := ParseBackupHistory(b); err == nil && l.Stop <= l.Start {
			t.Fatalf("accepted %+v", l)
		}
	})
}

func TestParseTablespaceMap(t *testing.T) {
	got, err := ParseTablespaceMap([]byte("16385 /srv/a b\n16386 /odd\\\nname\\\\with\\\rall\r\n\n16387  leading\n"))
	want := []Tablespace{{16385, "/srv/a b"}, {16386, "/odd\nname\\with\rall"}, {16387, " leading"}}
	if err != nil || len(got) != len(want) {
		t.Fatalf("got %+v, %v", got, err)
	}
	for i := range want {
		if got[i] != want[i] {
			t.Errorf("line %d: %+v, want %+v", i, got[i], want[i])
		}
	}
	if got, err := ParseTablespaceMap(nil); err != nil || got != nil {
		t.Errorf("empty: %v, %v", got, err)
	}
	for _, s := range []string{"16385 /a", "16385 /a\\", "16385\n", "16385 \n", "0 /a\n", "x /a\n", "-1 /a\n", "4294967296 /a\n", "1 /a\n1 /b\n", "1 /a\\\n"} {
		if got, err := ParseTablespaceMap([]byte(s)); err == nil {
			t.Errorf("%q: accepted as %+v", s, got)
		}
	}
}

func FuzzParseTablespaceMap(f *testing.F) {
	f.Add([]byte("16385 /srv/a b\n16386 /odd\\\nname\\\\with\\\rall\r\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		list, err := ParseTablespaceMap(b)
		if err != nil {
			return
		}
		var again strings.Builder
		escape := strings.NewReplacer("\\", "\\\\", "\n", "\\\n", "\r", "\\\r")
		for _, ts := range list {
			again.WriteString(pgOID(ts.OID) + " " + escape.Replace(ts.Path) + "\n")
		}
		back, err := ParseTablespaceMap([]byte(again.String()))
		if err != nil || len(back) != len(list) {
			t.Fatalf("%q -> %+v -> %+v, %v", b, list, back, err)
		}
		for i := range list {
			if list[i] != back[i] {
				t.Fatalf("%q -> %+v -> %+v", b, list, back)
			}
		}
	})
}

func pgOID(o pg.OID) string {
	s, _, _ := strings.Cut(pg.RelFileLocator{Spc: o}.String(), "/")
	return s
}

func FuzzParseVersion(f *testing.F) {
	f.Add([]byte("17\n"))
	f.Fuzz(func(t *testing.T, b []byte) {
		if v, err := ParseVersion(b); err == nil && (v < pg.MinMajor || v > pg.MaxMajor) {
			t.Fatal(v)
		}
	})
}
