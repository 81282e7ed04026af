package pgtest

import (
	"fmt"
	"strings"
)

// Option changes how a cluster is made.
type Option func(*options)

type options struct {
	segmentMiB int
	checksums  bool
	archive    bool
	compress   string
	noStart    bool
	initdb     []string
	conf       []string
}

// WALSegmentMiB sets the size of WAL segments: a power of two from 1 to 1024. The default is 16.
func WALSegmentMiB(n int) Option { return func(o *options) { o.segmentMiB = n } }

// Checksums switches data checksums on or off. The default is on.
func Checksums(on bool) Option { return func(o *options) { o.checksums = on } }

// Conf adds a line to postgresql.conf; the last of a name wins.
func Conf(name, value string) Option {
	return func(o *options) {
		o.conf = append(o.conf, fmt.Sprintf("%s = '%s'", name, strings.ReplaceAll(value, "'", "''")))
	}
}

// FullPageWrites switches full_page_writes. PostgreSQL's default is on.
func FullPageWrites(on bool) Option { return Conf("full_page_writes", onOff(on)) }

// Autovacuum switches autovacuum. The default here is off: tests vacuum when they want to.
func Autovacuum(on bool) Option { return Conf("autovacuum", onOff(on)) }

// ConsistencyChecking sets wal_consistency_checking = all: records carry the
// image of each block after redo.
func ConsistencyChecking() Option { return Conf("wal_consistency_checking", "all") }

// NoArchive makes the cluster keep all its WAL in pg_wal instead of archiving it.
func NoArchive() Option { return func(o *options) { o.archive = false } }

// CompressArchive makes archive_command compress what it stores with "zst",
// "gz" or "lz4"; the proof is skipped where the command is missing.
func CompressArchive(ext string) Option { return func(o *options) { o.compress = ext } }

// NoStart leaves the cluster initialised and stopped.
func NoStart() Option { return func(o *options) { o.noStart = true } }

// Initdb adds arguments to initdb's.
func Initdb(args ...string) Option { return func(o *options) { o.initdb = append(o.initdb, args...) } }

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
