// Package fsync makes names durable: what was made, renamed or removed in a
// directory is on disk only once the directory itself is.
package fsync

import (
	"errors"
	"os"
)

// Dir makes the names in a directory durable.
func Dir(path string) error {
	d, err := os.Open(path)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}

// DirIn is Dir of a directory below a root.
func DirIn(root *os.Root, name string) error {
	d, err := root.Open(name)
	if err != nil {
		return err
	}
	return errors.Join(d.Sync(), d.Close())
}
