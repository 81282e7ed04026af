package snapshot

import (
	"context"
	"errors"
	"fmt"
	"io"
	"strings"

	"redoubt/internal/pg/datadir"
)

// member is one entry of a snapshot, whatever it lies in.
type member struct {
	path string // relative to the data directory
	kind kind
	size int64 // bytes, of a file
	// open reads a file. It is called at most once, before the next member comes.
	open func(ctx context.Context) (io.ReadCloser, error)
}

// source yields the members of a snapshot.
type source interface {
	// each calls fn for each member, in the order in which the source has
	// them. It ends with fn's first error, which it returns as it is.
	each(ctx context.Context, fn func(*member) error) error
	close() error
}

// errEnough ends an each early, without harm.
var errEnough = errors.New("enough was read")

// cleanPath turns the name of a tar's entry into a path relative to the data
// directory; "" is the directory itself. Names that lead out are errors.
func cleanPath(name string) (string, error) {
	if name == "" || strings.HasPrefix(name, "/") || strings.IndexByte(name, 0) >= 0 {
		return "", fmt.Errorf("refuse entry %.100q: its name is not a relative path", name)
	}
	var parts []string
	for p := range strings.SplitSeq(name, "/") {
		switch p {
		case "", ".":
		case "..":
			return "", fmt.Errorf("refuse entry %.100q: its name leads out of the archive", name)
		default:
			parts = append(parts, p)
		}
	}
	return strings.Join(parts, "/"), nil
}

// matters reports whether something at path, or below it, can hold pages or
// say how to read them. A link or a device there is not passed over.
func matters(path string) bool {
	top, _, _ := strings.Cut(path, "/")
	switch top {
	case "base", "global", "pg_xact", "pg_multixact", "pg_commit_ts", "pg_twophase", tablespaces:
		return true
	}
	return path == "pg_logical" || !datadir.Classify(path).Class.Aside()
}

// versionDirOf splits pg_tblspc/OID/VERSIONDIR and what is below it.
func versionDirOf(path string) (space, version string, ok bool) {
	part := strings.SplitN(path, "/", 4)
	if len(part) < 3 || part[0] != tablespaces {
		return "", "", false
	}
	_, _, ok = datadir.ParseVersionDir(part[2])
	return part[1], part[2], ok
}
