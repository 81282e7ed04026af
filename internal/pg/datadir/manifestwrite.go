package datadir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"time"
	"unicode/utf8"
)

// ManifestVersion is the version of the manifests that PostgreSQL of a major
// version writes: 2 names the cluster (backup/backup_manifest.c of 17).
func ManifestVersion(major int) int {
	if major >= 17 {
		return 2
	}
	return 1
}

// Encode is the manifest as PostgreSQL writes it, its files in order of their
// paths, each said to be modified at the same time.
func (m *Manifest) Encode(modified time.Time) ([]byte, error) {
	var b bytes.Buffer
	fmt.Fprintf(&b, "{ \"PostgreSQL-Backup-Manifest-Version\": %d,\n", m.Version)
	if m.Version >= 2 {
		fmt.Fprintf(&b, "\"System-Identifier\": %d,\n", m.SystemIdentifier)
	}
	b.WriteString("\"Files\": [")
	stamp := modified.UTC().Format("2006-01-02 15:04:05") + " GMT"
	for i, path := range slices.Sorted(maps.Keys(m.Files)) {
		b.WriteString(separator(i, "\n"))
		if err := m.Files[path].encode(&b, path, stamp); err != nil {
			return nil, err
		}
	}
	b.WriteString("\n],\n\"WAL-Ranges\": [\n")
	for i, r := range m.WAL {
		b.WriteString(separator(i, ""))
		fmt.Fprintf(&b, "{ \"Timeline\": %d, \"Start-LSN\": \"%s\", \"End-LSN\": \"%s\" }", r.TLI, r.From, r.To)
	}
	b.WriteString("\n],\n")
	fmt.Fprintf(&b, "\"Manifest-Checksum\": \"%x\"}\n", sha256.Sum256(b.Bytes()))
	return b.Bytes(), nil
}

func separator(i int, first string) string {
	if i == 0 {
		return first
	}
	return ",\n"
}

// encode writes one file's line; a path that is not UTF-8 in hexadecimal digits.
func (f ManifestFile) encode(b *bytes.Buffer, path, stamp string) error {
	if utf8.ValidString(path) {
		name, err := json.Marshal(path)
		if err != nil {
			return err
		}
		fmt.Fprintf(b, "{ \"Path\": %s, ", name)
	} else {
		fmt.Fprintf(b, "{ \"Encoded-Path\": \"%s\", ", hex.EncodeToString([]byte(path)))
	}
	fmt.Fprintf(b, "\"Size\": %d, \"Last-Modified\": \"%s\"", f.Size, stamp)
	if f.Algorithm != ChecksumNone {
		fmt.Fprintf(b, ", \"Checksum-Algorithm\": \"%s\", \"Checksum\": \"%x\"", f.Algorithm, f.Checksum)
	}
	b.WriteString(" }")
	return nil
}
