package storage

import (
	"fmt"
	"io/fs"
	"syscall"
)

// fileETag is a file's inode number and the time of its last change of any
// kind (ctime), which a program can't set back as it can the modification time.
func fileETag(fi fs.FileInfo) string {
	st, ok := fi.Sys().(*syscall.Stat_t)
	if !ok {
		return ""
	}
	return fmt.Sprintf("%x-%x", st.Ino, st.Ctim.Nano())
}
