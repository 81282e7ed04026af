package snapshot

import (
	"context"
	"io"
)

// tree is a directory of files, on a local disk or in a bucket. Names have
// slashes and are relative; "" is the tree itself. What does not exist is an
// error that wraps fs.ErrNotExist.
type tree interface {
	// list returns what is directly below dir, sorted by name.
	list(ctx context.Context, dir string) ([]entry, error)
	// open reads a file from offset to its end.
	open(ctx context.Context, name string, offset int64) (io.ReadCloser, error)
	// sub is the tree below dir; the caller closes it.
	sub(dir string) (tree, error)
	close() error
}

// kind is what an entry is.
type kind uint8

const (
	file   kind = iota
	folder      // a directory
	link        // a symbolic link that is not followed
	other       // a device, a pipe, a socket
)

// entry is one name in a directory.
type entry struct {
	name string // without slashes
	kind kind
	size int64 // bytes, of a file
}

// join puts a name below a directory of a tree.
func join(dir, name string) string {
	if dir == "" {
		return name
	}
	return dir + "/" + name
}
