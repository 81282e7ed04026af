package datadir

import (
	"strings"

	"redoubt/internal/pg"
)

// Class says what a file of a data directory is.
type Class uint8

// The classes. Ignored is everything that holds no relation, no SLRU page
// and nothing that says how to read them or is wanted of a recovery: logs,
// WAL, statistics, temporary files, replication slots.
const (
	Ignored          Class = iota
	Relation               // one file of a relation fork
	ControlFile            // global/pg_control
	RelationMap            // pg_filenode.map, of global or of a database
	SLRUSegment            // one file of an SLRU whose contents are compared
	VersionFile            // PG_VERSION, of the cluster or of a database
	LabelFile              // backup_label
	TablespaceMap          // tablespace_map
	IncrementalFile        // INCREMENTAL.REL of an incremental backup (17 and later): not a relation's pages
	BackupManifest         // backup_manifest
	TablespaceFolder       // pg_tblspc/OID: a link, or a directory for an in-place tablespace
	TwoPhaseFile           // pg_twophase/XID: the state of a prepared transaction, with its CRC-32C behind it
	OriginsFile            // pg_logical/replorigin_checkpoint: how far replication origins got
	ConfigFile             // postgresql.conf and the like, where they lie in the data directory
)

var classNames = [...]string{
	"ignored", "relation", "control file", "relation map", "SLRU segment", "version file",
	"backup label", "tablespace map", "incremental file", "backup manifest", "tablespace", "two-phase state",
	"replication origins", "configuration",
}

// Aside reports whether files of the class hold no pages and say nothing about
// how to read them, so that their state is no matter of verification.
func (c Class) Aside() bool { return c == Ignored || c == ConfigFile }

// String names the class in lower case.
func (c Class) String() string {
	if int(c) < len(classNames) {
		return classNames[c]
	}
	return "unknown class"
}

// Paths of the files that exist once.
const (
	ControlPath       = "global/pg_control"
	VersionPath       = "PG_VERSION"
	LabelPath         = "backup_label"
	TablespaceMapPath = "tablespace_map"
	ManifestPath      = "backup_manifest"
	OriginsPath       = "pg_logical/replorigin_checkpoint"
)

// PathInfo is what a path says about its file.
type PathInfo struct {
	Class Class
	Rel   RelFile // of Relation
	Spc   pg.OID  // of RelationMap, VersionFile and TablespaceFolder: 0 for the cluster's own PG_VERSION
	DB    pg.OID  // of RelationMap and VersionFile: 0 for global's
	SLRU  pg.SLRU // of SLRUSegment
	First uint32  // of SLRUSegment: number of its first page
	// VersionDir is the name of the cluster's directory within a tablespace, for paths below pg_tblspc.
	VersionDir string
}

// Classify says what the file at a path is. The path alone decides.
func Classify(path string) PathInfo {
	switch path {
	case ControlPath:
		return PathInfo{Class: ControlFile}
	case VersionPath:
		return PathInfo{Class: VersionFile}
	case LabelPath:
		return PathInfo{Class: LabelFile}
	case TablespaceMapPath:
		return PathInfo{Class: TablespaceMap}
	case ManifestPath:
		return PathInfo{Class: BackupManifest}
	case OriginsPath:
		return PathInfo{Class: OriginsFile}
	case "postgresql.conf", "postgresql.auto.conf", "pg_hba.conf", "pg_ident.conf":
		return PathInfo{Class: ConfigFile}
	}
	if s, first, ok := ParseSLRUPath(path); ok {
		return PathInfo{Class: SLRUSegment, SLRU: s, First: first}
	}
	if oid, ok := strings.CutPrefix(path, "pg_tblspc/"); ok {
		if spc, ok := parseOID(oid); ok {
			return PathInfo{Class: TablespaceFolder, Spc: spc}
		}
	}
	if name, ok := strings.CutPrefix(path, "pg_twophase/"); ok && isTwoPhaseName(name) {
		return PathInfo{Class: TwoPhaseFile}
	}
	p, ok := splitPlace(path)
	if !ok {
		return PathInfo{}
	}
	return p.classify(path)
}

// isTwoPhaseName reports whether a file is named by a transaction id: eight
// hexadecimal digits, or sixteen since 17 (TwoPhaseFilePath, access/transam/twophase.c).
func isTwoPhaseName(name string) bool {
	return (len(name) == 8 || len(name) == 16) && strings.Trim(name, "0123456789ABCDEF") == ""
}

func (p place) classify(path string) PathInfo {
	info := PathInfo{Spc: p.spc, DB: p.db, VersionDir: p.version}
	switch {
	case p.name == "pg_filenode.map":
		info.Class = RelationMap
	case p.name == VersionPath && p.db != 0:
		info.Class = VersionFile
	case strings.HasPrefix(p.name, "INCREMENTAL."):
		if _, ok := parseRelName(p.name[len("INCREMENTAL."):]); ok {
			info.Class = IncrementalFile
		}
	default:
		f, ok := ParseRelPath(path)
		if !ok {
			return PathInfo{}
		}
		info.Class, info.Rel = Relation, f
	}
	if info.Class == Ignored {
		return PathInfo{}
	}
	return info
}
