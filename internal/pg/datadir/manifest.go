package datadir

import (
	"bytes"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"redoubt/internal/pg"
)

// Manifest is the content of backup_manifest (backup/backup_manifest.c).
type Manifest struct {
	Version          int                     // 1, or 2 from 17 on
	SystemIdentifier uint64                  // version 2, else 0
	Files            map[string]ManifestFile // by path relative to the data directory
	WAL              []WALRange              // newest timeline first
}

// ManifestFile is what a manifest says of one file.
type ManifestFile struct {
	Size      int64 // bytes
	Algorithm ChecksumAlgorithm
	Checksum  string // the raw bytes; empty with ChecksumNone
}

// WALRange is WAL that the backup needs.
type WALRange struct {
	TLI pg.TLI
	pg.Range
}

// manifestJSON and the types below are the JSON of a manifest.
type (
	fileJSON struct {
		Path        *string `json:"Path"`
		EncodedPath *string `json:"Encoded-Path"`
		Size        *int64  `json:"Size"`
		Algorithm   string  `json:"Checksum-Algorithm"`
		Checksum    string  `json:"Checksum"`
	}
	rangeJSON struct {
		Timeline uint32 `json:"Timeline"`
		Start    pg.LSN `json:"Start-LSN"`
		End      pg.LSN `json:"End-LSN"`
	}
)

// ParseManifest decodes backup_manifest, versions 1 and 2. The manifest's own
// checksum (SHA-256 of all lines but the last) is checked first.
func ParseManifest(content []byte) (*Manifest, error) {
	if err := checkManifestSum(content); err != nil {
		return nil, fmt.Errorf("read backup_manifest: %w", err)
	}
	m := &Manifest{Files: map[string]ManifestFile{}}
	d := json.NewDecoder(bytes.NewReader(content))
	if err := m.decode(d); err != nil {
		return nil, fmt.Errorf("read backup_manifest at byte %d: %w", d.InputOffset(), err)
	}
	return m, nil
}

// checkManifestSum compares the last line's checksum with that of the lines above it.
func checkManifestSum(content []byte) error {
	body, ok := bytes.CutSuffix(content, []byte("\n"))
	last := bytes.LastIndexByte(body, '\n') + 1
	if !ok || last == 0 {
		return errors.New("it does not end as a manifest does: it is cut")
	}
	const before, behind = `"Manifest-Checksum": "`, `"}`
	line, ok1 := bytes.CutPrefix(body[last:], []byte(before))
	line, ok2 := bytes.CutSuffix(line, []byte(behind))
	var want [sha256.Size]byte
	if !ok1 || !ok2 || hex.DecodedLen(len(line)) != len(want) {
		return errors.New("its last line is not its checksum: it is cut or damaged")
	}
	if _, err := hex.Decode(want[:], line); err != nil {
		return fmt.Errorf("its checksum: %w", err)
	}
	if sha256.Sum256(content[:last]) != want {
		return errors.New("its checksum does not fit its content: it is damaged or was changed")
	}
	return nil
}

func (m *Manifest) decode(d *json.Decoder) error {
	if err := delim(d, '{'); err != nil {
		return err
	}
	seen := map[string]bool{}
	for d.More() {
		tok, err := d.Token()
		if err != nil {
			return err
		}
		key, ok := tok.(string)
		if !ok || seen[key] {
			return fmt.Errorf("%v is in it twice", tok)
		}
		seen[key] = true
		if err := m.field(d, key); err != nil {
			return fmt.Errorf("%s: %w", key, err)
		}
	}
	if err := delim(d, '}'); err != nil {
		return err
	}
	if !seen["PostgreSQL-Backup-Manifest-Version"] || !seen["Files"] || !seen["WAL-Ranges"] {
		return errors.New("it lacks its version, its files or its WAL ranges")
	}
	if _, err := d.Token(); err != io.EOF {
		return errors.New("something follows its end")
	}
	return nil
}

func (m *Manifest) field(d *json.Decoder, key string) error {
	switch key {
	case "PostgreSQL-Backup-Manifest-Version":
		if err := d.Decode(&m.Version); err != nil {
			return err
		}
		if m.Version != 1 && m.Version != 2 {
			return fmt.Errorf("version %d is unknown; want 1 or 2", m.Version)
		}
		return nil
	case "System-Identifier":
		return d.Decode(&m.SystemIdentifier)
	case "Files":
		return elements(d, m.addFile)
	case "WAL-Ranges":
		return elements(d, m.addRange)
	case "Manifest-Checksum":
		var s string
		return d.Decode(&s)
	}
	return errors.New("unknown field")
}

func (m *Manifest) addFile(f *fileJSON) error {
	path, err := f.path()
	if err != nil {
		return err
	}
	if f.Size == nil || *f.Size < 0 {
		return fmt.Errorf("file %q has no valid size", path)
	}
	e := ManifestFile{Size: *f.Size}
	if f.Algorithm != "" {
		if e.Algorithm, err = parseAlgorithm(f.Algorithm); err != nil {
			return fmt.Errorf("file %q: %w", path, err)
		}
	}
	sum, err := hex.DecodeString(f.Checksum)
	if err != nil || len(sum) != algorithms[e.Algorithm].size {
		return fmt.Errorf("file %q: %.140q is no checksum of algorithm %s", path, f.Checksum, e.Algorithm)
	}
	e.Checksum = string(sum)
	if _, twice := m.Files[path]; twice {
		return fmt.Errorf("file %q is in it twice", path)
	}
	m.Files[path] = e
	return nil
}

// path is the file's path; names that are not UTF-8 are written in hexadecimal digits.
func (f *fileJSON) path() (string, error) {
	switch {
	case (f.Path == nil) == (f.EncodedPath == nil):
		return "", errors.New("a file has not exactly one of Path and Encoded-Path")
	case f.Path != nil:
		return *f.Path, nil
	}
	b, err := hex.DecodeString(*f.EncodedPath)
	return string(b), err
}

func (m *Manifest) addRange(r *rangeJSON) error {
	if r.Timeline == 0 || r.End < r.Start || r.Start == 0 {
		return fmt.Errorf("range %s to %s of timeline %d is none", r.Start, r.End, r.Timeline)
	}
	m.WAL = append(m.WAL, WALRange{pg.TLI(r.Timeline), pg.Range{From: r.Start, To: r.End}})
	return nil
}

// Start is where the WAL that the backup needs starts: the backup_label's
// START WAL LOCATION. It is 0 if the manifest names none.
func (m *Manifest) Start() (start pg.LSN) {
	for _, r := range m.WAL {
		if start == 0 || r.From < start {
			start = r.From
		}
	}
	return start
}

// End is the end of the WAL that the backup needs, 0 if the manifest names none.
func (m *Manifest) End() (end pg.LSN) {
	for _, r := range m.WAL {
		end = max(end, r.To)
	}
	return end
}

// elements decodes an array one element at a time, so that it is not held twice.
func elements[T any](d *json.Decoder, add func(*T) error) error {
	if err := delim(d, '['); err != nil {
		return err
	}
	for d.More() {
		var v T
		if err := d.Decode(&v); err != nil {
			return err
		}
		if err := add(&v); err != nil {
			return err
		}
	}
	return delim(d, ']')
}

func delim(d *json.Decoder, want json.Delim) error {
	tok, err := d.Token()
	if err != nil {
		return err
	}
	if tok != want {
		return fmt.Errorf("found %v where %v should be", tok, want)
	}
	return nil
}
