// Package walfile names the files of a WAL archive as they are stored: what
// PostgreSQL called them, how they are compressed, and what the store says of
// them. It is the noun that internal/archive yields and scanner takes.
package walfile

import (
	"cmp"
	"fmt"
	"strings"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// Compression is the way a file is compressed, told by the end of its key.
type Compression uint8

// The compressions, in the order in which copies of one file are tried.
const (
	None Compression = iota
	Zstd
	LZ4
	Gzip
	Bzip2
	XZ
)

var suffixes = [...]string{"", ".zst", ".lz4", ".gz", ".bz2", ".xz"}

// All lists the compressions in order.
func All() []Compression { return []Compression{None, Zstd, LZ4, Gzip, Bzip2, XZ} }

// Suffix is the end of a compressed file's key, with its dot; "" for None.
func (c Compression) Suffix() string {
	if int(c) < len(suffixes) {
		return suffixes[c]
	}
	return fmt.Sprintf(".compression%d", uint8(c))
}

// String is the suffix without its dot, "none" for None.
func (c Compression) String() string {
	return cmp.Or(strings.TrimPrefix(c.Suffix(), "."), "none")
}

// Unexpected is the kind of what is no part of a WAL archive.
const Unexpected wal.FileKind = 0

// Entry is one stored file.
type Entry struct {
	wal.FileName             // Kind is Unexpected if the key names no WAL file
	Key          string      // as stored, relative to where the timeline's WAL is
	Compression  Compression // of the stored file
	Size         int64       // bytes as stored
	ETag         string      // changes when the content does; may be empty
	ModTime      time.Time
	Irregular    bool // a link or a device in a directory; can't be read
}

// Parse makes out what a key names. It sets Key, Compression and the name.
func Parse(key string, segmentSize int64) Entry {
	e := Entry{Key: key}
	e.Compression = CompressionOf(key)
	f, err := wal.ParseFileName(strings.TrimSuffix(key, e.Compression.Suffix()), segmentSize)
	if err != nil {
		return Entry{Key: key}
	}
	e.FileName = f
	return e
}

// KindOf is what a name is that PostgreSQL may give, in a cluster of whatever
// segment size, to a file of an archive; a compression's end is no part of
// such a name. Anything else is Unexpected.
func KindOf(name string) wal.FileKind {
	for size := int64(pg.MinSegmentSize); size <= pg.MaxSegmentSize; size *= 2 {
		if f, err := wal.ParseFileName(name, size); err == nil {
			return f.Kind
		}
	}
	return Unexpected
}

// CompressionOf is how a file is compressed, by the end of its key.
func CompressionOf(key string) Compression {
	for _, c := range All()[1:] {
		if strings.HasSuffix(key, c.Suffix()) {
			return c
		}
	}
	return None
}

// Name is the file's name as PostgreSQL spells it: the key without what the
// compression added.
func (e *Entry) Name() string {
	if e.Kind == Unexpected {
		return e.Key
	}
	return strings.TrimSuffix(e.Key, e.Compression.Suffix())
}

// SegmentPart is the segment's name a key begins with, "" if it begins with
// none. It needs no segment size.
func SegmentPart(key string) string {
	if len(key) < 24 || !pg.IsSegmentName(key[:24]) {
		return ""
	}
	return key[:24]
}
