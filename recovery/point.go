package recovery

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path"
	"strings"
	"time"

	"redoubt/internal/fsync"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/wal"
)

// A durable point is the cluster at the redo pointer of a checkpoint on the
// way: a directory in the target, made as the target itself is, from which the
// recovery goes on as from any base. It holds no configuration, so that no
// server starts on it, and a backup_manifest that all of it is held against
// whenever it is read.
//
//	redoubt-durable-0000000016B374D8/   the files, and backup_manifest
//	redoubt-durable.json                names it, once all of it is on disk
//
// There is at most one that counts: the next one takes its place.
const (
	pointPrefix = "redoubt-durable"
	pointFile   = pointPrefix + ".json"
)

// point is what is known of a durable point besides its files.
type point struct {
	Dir         string // name of its directory
	Manifest    string // SHA-256 of its manifest
	Checkpoint  pg.LSN // where the record of its checkpoint starts
	CheckPoint  wal.CheckPoint
	Start       pg.LSN // of the recovery's base
	Tablespaces []pg.OID
	Config      map[string][]byte // the base's configuration files, by path
	// What the WAL before says, and what was found on the way.
	Forks          []fork
	Settings       []setting
	Spaces         []space
	BlocksReplayed int64
	FuturePages    int64
}

func (p *point) changes() changes { return changes{p.Forks, p.Settings, p.Spaces} }

// meta says where the directory stands: exactly at the redo pointer.
func (p *point) meta() Meta {
	return Meta{Redo: p.CheckPoint.Redo, Checkpoint: p.Checkpoint, TLI: p.CheckPoint.TLI}
}

// sealedPoint is the content of pointFile.
type sealedPoint struct {
	Point  json.RawMessage
	SHA256 string // of Point
}

func (p *point) encode() ([]byte, error) {
	b, err := json.Marshal(p)
	if err != nil {
		return nil, err
	}
	return json.Marshal(sealedPoint{b, sum(b)})
}

func decodePoint(b []byte) (*point, error) {
	var s sealedPoint
	if err := json.Unmarshal(b, &s); err != nil {
		return nil, err
	}
	if s.SHA256 != sum(s.Point) {
		return nil, errors.New("its checksum does not fit")
	}
	p := new(point)
	if err := json.Unmarshal(s.Point, p); err != nil {
		return nil, err
	}
	if !strings.HasPrefix(p.Dir, pointPrefix+"-") || path.Base(p.Dir) != p.Dir {
		return nil, fmt.Errorf("%q is no name of a durable point", p.Dir)
	}
	return p, nil
}

func sum(b []byte) string {
	s := sha256.Sum256(b)
	return hex.EncodeToString(s[:])
}

func pointName(redo pg.LSN) string { return fmt.Sprintf("%s-%016X", pointPrefix, uint64(redo)) }

// Kept is a data directory that is held against its backup_manifest as it is
// walked. internal/official/snapshot fits it.
type Kept interface {
	Base
	Manifest() bool     // there is one, of this very directory
	Problems() []string // where the files are not what it says; complete after a Walk
	Close() error
}

// pointBase is a durable point as a base.
type pointBase struct {
	Kept
	*point
}

var _ Base = pointBase{}

func (b pointBase) Meta(context.Context) (Meta, error) { return b.meta(), nil }
func (b pointBase) Tablespaces() []pg.OID              { return b.point.Tablespaces }

// errDamaged is of a durable point that is not what was written.
var errDamaged = errors.New("the durable point is damaged; the same recovery once more begins anew")

// Walk reads all of it, and wants it to be what was written.
func (b pointBase) Walk(ctx context.Context, v datadir.Visitor) error {
	if err := b.Kept.Walk(ctx, v); err != nil {
		return err
	}
	switch problems := b.Problems(); {
	case !b.Kept.Manifest():
		return fmt.Errorf("read %s: it has no manifest: %w", b.Name(), errDamaged)
	case len(problems) > 0:
		return fmt.Errorf("read %s: %s (%d such problems): %w", b.Name(), problems[0], len(problems), errDamaged)
	}
	return nil
}

// passing is a visitor that wants nothing.
type passing struct{}

func (passing) Blocks(datadir.RelFile, pg.BlockNumber, []byte) error { return nil }
func (passing) EndRelation(datadir.RelFile, int64) error             { return nil }
func (passing) File(string, []byte) error                            { return nil }

// openPoint opens the directory of a durable point.
func (d *directory) openPoint(ctx context.Context, p *point) (pointBase, error) {
	m, err := d.root.ReadFile(path.Join(p.Dir, datadir.ManifestPath))
	if err == nil && sum(m) != p.Manifest {
		err = fmt.Errorf("read the manifest of %s: %w", p.Dir, errDamaged)
	}
	if err != nil {
		return pointBase{}, err
	}
	k, err := d.open(ctx, path.Join(d.path, p.Dir))
	return pointBase{k, p}, err
}

// readPoint reads which durable point there is, nil if there is none that
// could be gone on with.
func (d *directory) readPoint() (*point, error) {
	b, err := d.root.ReadFile(pointFile)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	p, err := decodePoint(b)
	if err != nil {
		d.tell("%s is damaged (%v): the recovery begins anew", pointFile, err)
		return nil, nil
	}
	return p, nil
}

// keepPoint makes p the durable point that counts; its files are on disk.
func (d *directory) keepPoint(p *point) error {
	b, err := p.encode()
	if err != nil {
		return err
	}
	if err := fsync.DirIn(d.root, "."); err != nil { // the directory is there before what names it
		return err
	}
	const next = pointFile + ".new"
	if err := d.writeDurably(next, b); err != nil {
		return err
	}
	if err := d.root.Rename(next, pointFile); err != nil {
		return err
	}
	if err := fsync.DirIn(d.root, "."); err != nil {
		return err
	}
	return d.dropPoints(p.Dir)
}

// forgetPoints takes all durable points away: first what names them.
func (d *directory) forgetPoints() error {
	if err := d.root.Remove(pointFile); err != nil && !errors.Is(err, fs.ErrNotExist) {
		return err
	}
	if err := fsync.DirIn(d.root, "."); err != nil {
		return err
	}
	return d.dropPoints("")
}

// dropPoints removes the directories of all durable points but one.
func (d *directory) dropPoints(but string) error {
	return removeAll(d.root, func(name string) bool {
		return strings.HasPrefix(name, pointPrefix+"-") && name != but
	})
}

// startPoint begins the directory of a durable point.
func (d *directory) startPoint(name string) (*directory, error) {
	if err := d.root.RemoveAll(name); err != nil {
		return nil, err
	}
	if err := d.root.Mkdir(name, 0o700); err != nil {
		return nil, err
	}
	if err := d.own(d.root, name); err != nil {
		return nil, err
	}
	root, err := d.root.OpenRoot(name)
	if err != nil {
		return nil, err
	}
	return &directory{path: path.Join(d.path, name), root: root, owner: d.owner, dirs: []place{{root, "."}}, sync: newSyncer()}, nil
}

// seal makes what was written to the directory of a durable point durable, with
// its manifest, and returns that.
func (d *directory) seal(rep *Report, files map[string]datadir.ManifestFile) ([]byte, error) {
	m := &datadir.Manifest{
		Version: datadir.ManifestVersion(rep.Major), SystemIdentifier: rep.SystemID, Files: files,
		WAL: []datadir.WALRange{{TLI: rep.CheckPoint.TLI, Range: pg.Range{From: rep.Redo, To: rep.End}}},
	}
	b, err := m.Encode(time.Unix(rep.CheckPoint.Time, 0))
	if err != nil {
		return nil, err
	}
	if err := d.writeDurably(datadir.ManifestPath, b); err != nil {
		return nil, err
	}
	if err := d.root.Rename(newControl, datadir.ControlPath); err != nil {
		return nil, err
	}
	return b, d.settle()
}
