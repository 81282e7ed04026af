package native

import "golang.org/x/sys/unix"

// freshMemory makes n bytes. With soon they are all used before long, and the
// system is asked for them at once: page faults, one for each 4 KiB, take as
// long as filling them.
func freshMemory(n int, soon bool) []byte {
	b := make([]byte, n)
	if soon {
		_ = unix.Madvise(b, unix.MADV_POPULATE_WRITE) // advice; Linux before 5.14 takes none
	}
	return b
}
