package native

import (
	"unsafe"

	"golang.org/x/sys/unix"
)

// hugePage is what memory is asked for in multiples of, where there is much: a
// huge page of amd64 and, with pages of 4 KiB, of arm64.
const hugePage = 2 << 20

// freshMemory makes n bytes, in huge pages where the system has them: what
// pages are read and written in no order would else miss the TLB each time.
func freshMemory(n int) []byte {
	if n < hugePage {
		return make([]byte, n)
	}
	b := make([]byte, n+hugePage) // what is not touched of it is not resident
	ahead := -uintptr(unsafe.Pointer(unsafe.SliceData(b))) % hugePage
	b = b[ahead:][:n:n]
	_ = unix.Madvise(b, unix.MADV_HUGEPAGE) // advice
	return b
}

// populate asks the system for memory that is all used before long: page
// faults, one for each 4 KiB without huge pages, take as long as filling it.
func populate(b []byte) {
	_ = unix.Madvise(b, unix.MADV_POPULATE_WRITE) // advice; Linux before 5.14 takes none
}
