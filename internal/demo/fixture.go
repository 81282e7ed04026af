package demo

import (
	"archive/tar"
	"bytes"
	_ "embed" // the fixture
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path"
	"path/filepath"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/pg"
)

//go:embed fixture.tar.zst
var bundle []byte

// maxWindow bounds the decoder's memory; makefixture compresses with a window of 64 MiB.
const maxWindow = 64 << 20

// DescriptionName is the bundle's first entry: a Fixture as JSON.
const DescriptionName = "fixture.json"

// Fixture describes what the bundle holds and where the demo's faults go.
type Fixture struct {
	Postgres  string     `json:"postgres"` // version of the server: 17.10
	Timelines []Timeline `json:"timelines"`
	LostWrite LostWrite  `json:"lost_write"`
	Removed   Removed    `json:"removed"`
}

// Timeline is one cluster.
type Timeline struct {
	Tenant           string     `json:"tenant"`
	Timeline         string     `json:"timeline"`
	SystemIdentifier string     `json:"system_identifier"`
	Checksums        bool       `json:"checksums"`
	SegmentSize      int64      `json:"segment_size"`
	CompressWAL      bool       `json:"compress_wal"` // segments end in .zst in the bucket
	Segments         []string   `json:"segments"`     // sorted, none missing
	Snapshots        []Snapshot `json:"snapshots"`    // oldest first
}

// Snapshot is one online base backup: base.tar.zst and backup_manifest below
// <tenant>/<timeline>/snapshots/<name>/.
type Snapshot struct {
	Name  string `json:"name"`
	Start pg.LSN `json:"start"` // where its redo starts
	Stop  pg.LSN `json:"stop"`  // where it is consistent
}

// LostWrite is a page of the last snapshot that PlantLostWrite replaces by the
// page as the snapshot before has it.
type LostWrite struct {
	Tenant   string         `json:"tenant"`
	Timeline string         `json:"timeline"`
	Snapshot string         `json:"snapshot"` // where the old page goes
	Previous string         `json:"previous"` // where it comes from
	Table    string         `json:"table"`
	Path     string         `json:"path"` // of the relation's file in the data directory
	Block    pg.BlockNumber `json:"block"`
	OldLSN   pg.LSN         `json:"old_lsn"` // of the page that is put there
	NewLSN   pg.LSN         `json:"new_lsn"` // of the page that belongs there
}

// Relation is the relation fork of Path, which is base/<database>/<relfilenode>.
func (l LostWrite) Relation() (pg.RelFork, error) {
	var db, rel uint32
	if n, err := fmt.Sscanf(l.Path, "base/%d/%d", &db, &rel); err != nil || n != 2 || l.Path != fmt.Sprintf("base/%d/%d", db, rel) {
		return pg.RelFork{}, fmt.Errorf("read fixture: relation path %q is not base/DATABASE/RELFILENODE", l.Path)
	}
	return pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: pg.DefaultTablespaceOID, DB: pg.OID(db), Rel: pg.OID(rel)}}, nil
}

// Removed is the segment that RemoveSegment takes away. It lies between two
// snapshots and in the window of none.
type Removed struct {
	Tenant   string `json:"tenant"`
	Timeline string `json:"timeline"`
	Segment  string `json:"segment"`
	From     pg.LSN `json:"from"`
	To       pg.LSN `json:"to"`
}

// Unpack lays the fixture out as a bucket of the redoubt layout below dir,
// which is made. Base backups and, where archives have it so, segments are
// compressed with zstd on the way.
func Unpack(dir string) (*Fixture, error) {
	dec, err := zstd.NewReader(bytes.NewReader(bundle), zstd.WithDecoderMaxWindow(maxWindow), zstd.WithDecoderConcurrency(2))
	if err != nil {
		return nil, err
	}
	defer dec.Close()
	r := tar.NewReader(dec)
	f, err := readDescription(r)
	if err != nil {
		return nil, fmt.Errorf("read fixture: %w", err)
	}
	for {
		h, err := r.Next()
		if errors.Is(err, io.EOF) {
			return f, nil
		}
		if err != nil {
			return nil, fmt.Errorf("read fixture: %w", err)
		}
		if err := f.unpackEntry(dir, h, r); err != nil {
			return nil, fmt.Errorf("unpack fixture: %w", err)
		}
	}
}

func readDescription(r *tar.Reader) (*Fixture, error) {
	h, err := r.Next()
	if err != nil {
		return nil, err
	}
	if h.Name != DescriptionName {
		return nil, fmt.Errorf("first entry is %s, not %s", h.Name, DescriptionName)
	}
	f := new(Fixture)
	return f, json.NewDecoder(r).Decode(f)
}

func (f *Fixture) unpackEntry(dir string, h *tar.Header, r io.Reader) error {
	name := filepath.FromSlash(h.Name)
	if h.Typeflag != tar.TypeReg || !filepath.IsLocal(name) {
		return fmt.Errorf("entry %q is no file of the fixture", h.Name)
	}
	to := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return err
	}
	if f.compressed(h.Name) {
		return writeCompressed(to+".zst", r)
	}
	return writeFile(to, func(w io.Writer) error {
		_, err := io.Copy(w, r)
		return err
	})
}

// compressed reports whether an entry is a .zst in the bucket.
func (f *Fixture) compressed(name string) bool {
	for _, tl := range f.Timelines {
		if path.Dir(name) == path.Join(tl.Tenant, tl.Timeline, "wal") {
			return tl.CompressWAL
		}
	}
	return path.Base(name) == "base.tar"
}

func writeCompressed(to string, r io.Reader) error {
	return writeFile(to, func(w io.Writer) error {
		enc, err := zstd.NewWriter(w, zstd.WithEncoderLevel(zstd.SpeedFastest), zstd.WithEncoderConcurrency(2))
		if err != nil {
			return err
		}
		_, err = io.Copy(enc, r)
		return errors.Join(err, enc.Close())
	})
}

// writeFile replaces a file by what fill writes.
func writeFile(to string, fill func(io.Writer) error) error {
	f, err := os.CreateTemp(filepath.Dir(to), ".tmp")
	if err != nil {
		return err
	}
	defer func() { _ = os.Remove(f.Name()) }() // gone once it was renamed
	if err := errors.Join(fill(f), f.Chmod(0o644), f.Close()); err != nil {
		return err
	}
	return os.Rename(f.Name(), to)
}
