//go:build !linux

package storage

import "io/fs"

// fileETag is empty where the time of the last change can't be had portably;
// size and modification time remain.
func fileETag(fs.FileInfo) string { return "" }
