// Package names is how the agent, its state in etcd, and those who ask it for
// segments call a timeline and the files of its WAL. It is pure.
package names

import (
	"fmt"
	"regexp"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// ID names a timeline of a tenant.
type ID struct {
	Tenant   string
	Timeline string
}

// form is that of docs/layouts.md, without names that begin with a dot:
// directories with such names are not taken for timelines.
var form = regexp.MustCompile(`^[A-Za-z0-9_-][A-Za-z0-9._-]{0,63}$`)

// Valid refuses names that could leave their place in a bucket, a directory or
// etcd.
func (id ID) Valid() error {
	for what, name := range map[string]string{"tenant": id.Tenant, "timeline": id.Timeline} {
		if !form.MatchString(name) {
			return fmt.Errorf("name of a %s %q: use letters, digits, dot, dash and underscore, at most 64, no dot first", what, name)
		}
	}
	return nil
}

func (id ID) String() string { return id.Tenant + "/" + id.Timeline }

// Segment is one complete WAL file of a segment's name.
type Segment struct {
	TLI pg.TLI
	No  pg.SegmentNo
}

// Range is what a segment of the given size holds.
func (s Segment) Range(size int64) pg.Range {
	return pg.Range{From: s.No.Start(size), To: (s.No + 1).Start(size)}
}

// Name is the segment's file name.
func (s Segment) Name(size int64) string { return pg.SegmentName(s.TLI, s.No, size) }

// Parse reads the name of a file that the agent may back up. Anything else,
// a path above all, is an error.
func Parse(name string, segmentSize int64) (wal.FileName, error) {
	return wal.ParseFileName(name, segmentSize)
}
