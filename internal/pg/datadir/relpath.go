package datadir

import (
	"fmt"
	"strconv"
	"strings"

	"redoubt/internal/pg"
)

// maxSegment is the number of the last 1 GiB file of a fork: it holds
// block 0xFFFFFFFE (MaxBlockNumber, storage/block.h).
const maxSegment = uint32(pg.InvalidBlock / pg.BlocksPerFile)

// ParseRelPath reads the path of a relation's file, as relpath.c
// (GetRelationPath) and md.c (_mdfd_segpath) make it:
//
//	global/REL[_FORK][.SEG]
//	base/DB/REL[_FORK][.SEG]
//	pg_tblspc/SPC/PG_MAJOR_CATVER/DB/REL[_FORK][.SEG]
//
// and the same with t<backend>_REL for temporary relations, except in
// global. Numbers are decimal without leading zeros and within 32 bits; SEG
// counts from 1, for segment 0 has no suffix. Everything else is not a
// relation's file. Path of the result is path.
func ParseRelPath(path string) (RelFile, bool) {
	p, ok := splitPlace(path)
	if !ok {
		return RelFile{}, false
	}
	f, ok := parseRelName(p.name)
	if !ok || f.Temp && p.spc == pg.GlobalTablespaceOID {
		return RelFile{}, false
	}
	f.Spc, f.DB, f.Path = p.spc, p.db, path
	return f, true
}

// RelPath is the inverse of ParseRelPath for permanent relations. versionDir
// is the name of the cluster's directory within tablespaces, see VersionDir;
// it is not used for the tablespaces pg_default and pg_global.
func RelPath(r pg.RelFork, segment uint32, versionDir string) string {
	var b strings.Builder
	switch r.Spc {
	case pg.GlobalTablespaceOID:
		b.WriteString("global/")
	case pg.DefaultTablespaceOID:
		fmt.Fprintf(&b, "base/%d/", r.DB)
	default:
		fmt.Fprintf(&b, "pg_tblspc/%d/%s/%d/", r.Spc, versionDir, r.DB)
	}
	fmt.Fprintf(&b, "%d", r.Rel)
	if r.Fork != pg.MainFork {
		b.WriteString("_" + r.Fork.String())
	}
	if segment > 0 {
		fmt.Fprintf(&b, ".%d", segment)
	}
	return b.String()
}

// VersionDir is the name of a cluster's directory within a tablespace:
// PG_17_202406281 (TABLESPACE_VERSION_DIRECTORY, common/relpath.h).
func VersionDir(major int, catalogVersion uint32) string {
	return fmt.Sprintf("PG_%d_%d", major, catalogVersion)
}

// ParseVersionDir is the inverse of VersionDir.
func ParseVersionDir(name string) (major int, catalogVersion uint32, ok bool) {
	rest, ok := strings.CutPrefix(name, "PG_")
	if !ok {
		return 0, 0, false
	}
	m, c, ok := strings.Cut(rest, "_")
	mv, mok := parseNumber(m, 9999)
	cv, cok := parseNumber(c, 1<<32-1)
	return int(mv), uint32(cv), ok && mok && cok && mv > 0 && cv > 0
}

// place is a path below one of the directories that hold relations.
type place struct {
	spc     pg.OID
	db      pg.OID // 0 in global
	version string // of a tablespace's directory, else empty
	name    string // of the file: no slashes, perhaps empty
}

func splitPlace(path string) (place, bool) {
	part := strings.Split(path, "/")
	p := place{name: part[len(part)-1]}
	ok := false
	switch {
	case len(part) == 2 && part[0] == "global":
		p.spc, ok = pg.GlobalTablespaceOID, true
	case len(part) == 3 && part[0] == "base":
		p.spc = pg.DefaultTablespaceOID
		p.db, ok = parseOID(part[1])
	case len(part) == 5 && part[0] == "pg_tblspc":
		var spcOK, dbOK, verOK bool
		p.version = part[2]
		_, _, verOK = ParseVersionDir(p.version)
		p.spc, spcOK = parseOID(part[1])
		p.db, dbOK = parseOID(part[3])
		ok = spcOK && dbOK && verOK && p.spc != pg.DefaultTablespaceOID && p.spc != pg.GlobalTablespaceOID
	}
	return p, ok
}

// parseRelName reads [t<backend>_]REL[_FORK][.SEG].
func parseRelName(name string) (f RelFile, ok bool) {
	if rest, temp := strings.CutPrefix(name, "t"); temp {
		backend, rel, found := strings.Cut(rest, "_")
		if _, ok := parseNumber(backend, 1<<31-1); !ok || !found {
			return f, false
		}
		f.Temp, name = true, rel
	}
	if base, seg, found := strings.Cut(name, "."); found {
		n, ok := parseNumber(seg, uint64(maxSegment))
		if !ok || n == 0 {
			return f, false
		}
		f.Segment, name = uint32(n), base
	}
	if base, fork, found := strings.Cut(name, "_"); found {
		n, err := pg.ParseFork(fork)
		if err != nil || n == pg.MainFork {
			return f, false
		}
		f.Fork, name = n, base
	}
	f.Rel, ok = parseOID(name)
	return f, ok
}

// parseOID reads a decimal OID; 0 is InvalidOid and no name of anything.
func parseOID(s string) (pg.OID, bool) {
	n, ok := parseNumber(s, 1<<32-1)
	return pg.OID(n), ok && n != 0
}

// parseNumber reads decimal digits without sign and leading zeros, up to limit.
func parseNumber(s string, limit uint64) (uint64, bool) {
	if s == "" || s[0] == '0' && len(s) > 1 {
		return 0, false
	}
	for _, c := range []byte(s) {
		if c < '0' || c > '9' {
			return 0, false
		}
	}
	n, err := strconv.ParseUint(s, 10, 64)
	return n, err == nil && n <= limit
}
