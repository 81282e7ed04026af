package snapshot

import (
	"encoding/hex"
	"fmt"
	"hash"
	"slices"
	"strings"

	"redoubt/internal/pg/datadir"
)

// Problem is something about a snapshot's files that its backup_manifest
// does not say.
type Problem struct {
	Path   string // relative to the data directory
	Detail string // a sentence without its subject, such as "is missing"
}

// String is the problem as a sentence.
func (p Problem) String() string { return p.Path + " " + p.Detail }

// verifier checks files against backup_manifest as they come by.
//
// A tar may hold its manifest itself, behind files it lists. Then, and only
// then, all files are summed with CRC-32C, PostgreSQL's default, and compared
// at the end; other algorithms need a second pass.
type verifier struct {
	manifest *datadir.Manifest
	seen     map[string]bool
	late     map[string]lateSum // nil unless the manifest may still come
	problems []Problem
}

// lateSum is what was read of a file before the manifest was.
type lateSum struct {
	size int64
	crc  string
}

func newVerifier(m *datadir.Manifest, mayCome bool) *verifier {
	v := &verifier{manifest: m, seen: map[string]bool{}}
	if m == nil && mayCome {
		v.late = map[string]lateSum{}
	}
	return v
}

// exempt are files that a manifest does not list, or that may change after
// the backup (pg_verifybackup's own list).
func exempt(path string) bool {
	switch path {
	case datadir.ManifestPath, "postgresql.auto.conf", "recovery.signal", "standby.signal", "pg_wal":
		return true
	}
	return strings.HasPrefix(path, "pg_wal/")
}

func (v *verifier) add(path, format string, args ...any) {
	v.problems = append(v.problems, Problem{path, fmt.Sprintf(format, args...)})
}

// begin returns the hash that the file's content is to be written to, nil if none is wanted.
func (v *verifier) begin(path string, size int64) hash.Hash {
	if exempt(path) {
		return nil
	}
	if v.late != nil {
		return datadir.ChecksumCRC32C.New()
	}
	if v.manifest == nil {
		return nil
	}
	v.seen[path] = true
	f, ok := v.manifest.Files[path]
	switch {
	case !ok:
		v.extra(path)
		return nil
	case f.Size != size:
		v.add(path, "has %d bytes, backup_manifest says %d", size, f.Size)
		return nil
	}
	return f.Algorithm.New()
}

// extra reports a file that the manifest does not list, if it could hold
// pages: notes and logs that someone put beside them don't matter.
func (v *verifier) extra(path string) {
	if !datadir.Classify(path).Class.Aside() {
		v.add(path, "is not in backup_manifest")
	}
}

// end compares, after the file was read to its end.
func (v *verifier) end(path string, size int64, h hash.Hash) {
	if h == nil {
		return
	}
	sum := string(h.Sum(nil))
	if v.late != nil {
		v.late[path] = lateSum{size, sum}
		return
	}
	v.compare(path, v.manifest.Files[path], sum)
}

func (v *verifier) compare(path string, f datadir.ManifestFile, sum string) {
	if sum != f.Checksum {
		v.add(path, "has %s %s, backup_manifest says %s: it is damaged or was changed", f.Algorithm, hex.EncodeToString([]byte(sum)), hex.EncodeToString([]byte(f.Checksum)))
	}
}

// settle uses a manifest that came behind files it lists. It returns false if
// that takes a second pass.
func (v *verifier) settle(m *datadir.Manifest, late map[string]lateSum) bool {
	v.manifest = m
	for _, f := range m.Files {
		if f.Algorithm != datadir.ChecksumCRC32C && f.Algorithm != datadir.ChecksumNone {
			return false
		}
	}
	for path, got := range late {
		if v.begin(path, got.size) != nil {
			v.compare(path, m.Files[path], got.crc)
		}
	}
	return true
}

// finish reports what did not come by and returns all problems, by path.
func (v *verifier) finish(i *Info) []Problem {
	if m := v.manifest; m != nil {
		for path := range m.Files {
			if !v.seen[path] && !exempt(path) {
				v.add(path, "is missing")
			}
		}
		if m.SystemIdentifier != 0 && m.SystemIdentifier != i.Control.SystemIdentifier {
			v.add(datadir.ManifestPath, "is of cluster %d, the files are of cluster %d", m.SystemIdentifier, i.Control.SystemIdentifier)
		}
	}
	slices.SortStableFunc(v.problems, func(a, b Problem) int { return strings.Compare(a.Path, b.Path) })
	return v.problems
}
