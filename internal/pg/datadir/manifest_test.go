package datadir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"strings"
	"testing"
)

// sealManifest puts the last line with the checksum behind a manifest's body.
func sealManifest(body string) []byte {
	sum := sha256.Sum256([]byte(body))
	return []byte(body + `"Manifest-Checksum": "` + hex.EncodeToString(sum[:]) + "\"}\n")
}

const manifestBody = `{ "PostgreSQL-Backup-Manifest-Version": 2,
"System-Identifier": 18446744073709551615,
"Files": [
{ "Path": "backup_label", "Size": 5, "Last-Modified": "2026-01-02 03:04:05 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "4c19be6c" },
{ "Encoded-Path": "ff2f61", "Size": 0, "Last-Modified": "2026-01-02 03:04:05 GMT" },
{ "Path": "a\"b", "Size": 3, "Last-Modified": "x", "Checksum-Algorithm": "SHA224", "Checksum": "00000000000000000000000000000000000000000000000000000000" }
],
"WAL-Ranges": [
{ "Timeline": 2, "Start-LSN": "0/3000000", "End-LSN": "0/3000100" },
{ "Timeline": 1, "Start-LSN": "0/2000028", "End-LSN": "0/3000000" }
],
`

func TestParseManifest(t *testing.T) {
	m, err := ParseManifest(sealManifest(manifestBody))
	if err != nil {
		t.Fatal(err)
	}
	if m.Version != 2 || m.SystemIdentifier != 1<<64-1 || len(m.Files) != 3 || m.End() != 0x3000100 || m.Start() != 0x2000028 || m.WAL[1].TLI != 1 || m.WAL[1].From != 0x2000028 {
		t.Errorf("got %+v", m)
	}
	if f := m.Files["backup_label"]; f.Size != 5 || f.Algorithm != ChecksumCRC32C || f.Checksum != "\x4c\x19\xbe\x6c" {
		t.Errorf("backup_label: %+v", f)
	}
	if f, ok := m.Files["\xff/a"]; !ok || f.Algorithm != ChecksumNone || f.Checksum != "" {
		t.Errorf("encoded path: %+v, %t", f, ok)
	}
	if m := (&Manifest{}); m.Start() != 0 || m.End() != 0 {
		t.Error("start or end of no WAL")
	}
}

func TestParseManifestRefuses(t *testing.T) {
	edit := func(from, to string) string {
		if !strings.Contains(manifestBody, from) {
			t.Fatalf("nothing to edit: %s", from)
		}
		return strings.Replace(manifestBody, from, to, 1)
	}
	for name, body := range map[string]string{
		"version 3":        edit(`Version": 2`, `Version": 3`),
		"no version":       edit(`"PostgreSQL-Backup-Manifest-Version": 2,`, ``),
		"unknown field":    edit(`"System-Identifier": 18446744073709551615`, `"Extra": 1`),
		"negative size":    edit(`"Size": 5`, `"Size": -5`),
		"no size":          edit(`"Size": 5,`, ``),
		"huge size":        edit(`"Size": 5`, `"Size": 99999999999999999999`),
		"two paths":        edit(`"Path": "backup_label"`, `"Path": "backup_label", "Encoded-Path": "61"`),
		"no path":          edit(`"Path": "backup_label",`, ``),
		"bad hex path":     edit(`ff2f61`, `ff2f6`),
		"unknown sum":      edit(`CRC32C`, `MD5`),
		"short sum":        edit(`4c19be6c`, `4c19be`),
		"sum without kind": edit(`"Checksum-Algorithm": "CRC32C", `, ``),
		"no sum":           edit(`, "Checksum": "4c19be6c"`, ``),
		"file twice":       edit(`"Path": "a\"b"`, `"Path": "backup_label"`),
		"field twice":      edit(`"Files": [`, `"Files": [], "Files": [`),
		"bad LSN":          edit(`"0/2000028"`, `"0/2000028x"`),
		"reversed WAL":     edit(`"0/2000028"`, `"0/4000028"`),
		"no WAL":           strings.Replace(manifestBody[:strings.Index(manifestBody, `"WAL-Ranges"`)], "],\n", "],\n", 1),
		"not an object":    "[1,\n",
		"files null":       edit(`"Files": [`, `"Files": null, "X": [`),
	} {
		if m, err := ParseManifest(sealManifest(body)); err == nil {
			t.Errorf("%s: accepted as %+v", name, m)
		}
	}
	good := sealManifest(manifestBody)
	for i := range good {
		d := bytes.Clone(good)
		d[i] ^= 1
		if _, err := ParseManifest(d); err == nil {
			t.Errorf("byte %d changed and not noticed", i)
		}
		if _, err := ParseManifest(good[:i]); err == nil {
			t.Errorf("cut to %d bytes and not noticed", i)
		}
	}
	for name, b := range map[string][]byte{"empty": nil, "newline": []byte("\n"), "no line": []byte("x"), "more behind": append(bytes.Clone(good), "x\n"...)} {
		if _, err := ParseManifest(b); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestChecksums pins the hash of each algorithm to what sha*sum and pg_verifybackup print for "123456789".
func TestChecksums(t *testing.T) {
	for a, want := range map[ChecksumAlgorithm]string{
		ChecksumCRC32C: "839206e3", // E3069283 in the byte order of memory
		ChecksumSHA224: "9b3e61bf29f17c75572fae2e86e17809a4513d07c8a18152acf34521",
		ChecksumSHA256: "15e2b0d3c33891ebb0f1ef609ec419420c20e320ce94c65fbc8c3312448eb225",
	} {
		h := a.New()
		_, _ = h.Write([]byte("12345"))
		_, _ = h.Write([]byte("6789"))
		if got := hex.EncodeToString(h.Sum(nil)); got != want || h.Size() != len(want)/2 {
			t.Errorf("%s: %s, want %s", a, got, want)
		}
		h.Reset()
	}
	if ChecksumNone.New() != nil || ChecksumAlgorithm(77).New() != nil || ChecksumAlgorithm(77).String() != "unknown" {
		t.Error("no hash wanted")
	}
}

func FuzzParseManifest(f *testing.F) {
	f.Add([]byte(manifestBody))
	f.Add([]byte(`{ "PostgreSQL-Backup-Manifest-Version": 1,` + "\n\"Files\": [],\n\"WAL-Ranges\": [],\n"))
	f.Fuzz(func(t *testing.T, body []byte) {
		if _, err := ParseManifest(body); err == nil {
			return
		}
		m, err := ParseManifest(sealManifest(string(body) + "\n"))
		if err != nil {
			return
		}
		for path, e := range m.Files {
			if e.Size < 0 || len(e.Checksum) != algorithms[e.Algorithm].size {
				t.Fatalf("%q: %+v", path, e)
			}
		}
	})
}

func BenchmarkParseManifest(b *testing.B) {
	var s strings.Builder
	s.WriteString("{ \"PostgreSQL-Backup-Manifest-Version\": 1,\n\"Files\": [\n")
	for i := range 10000 {
		if i > 0 {
			s.WriteString(",\n")
		}
		fmt.Fprintf(&s, `{ "Path": "base/5/%d", "Size": 8192, "Last-Modified": "2026-01-02 03:04:05 GMT", "Checksum-Algorithm": "CRC32C", "Checksum": "4c19be6c" }`, 16384+i)
	}
	s.WriteString("\n],\n\"WAL-Ranges\": [\n{ \"Timeline\": 1, \"Start-LSN\": \"0/2000028\", \"End-LSN\": \"0/3000000\" }\n],\n")
	content := sealManifest(s.String())
	b.SetBytes(int64(len(content)))
	for b.Loop() {
		if _, err := ParseManifest(content); err != nil {
			b.Fatal(err)
		}
	}
}
