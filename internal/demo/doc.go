// Package demo holds the fixture of `redoubt demo`: real WAL and base backups
// of PostgreSQL 17, three timelines of two tenants with three snapshots each,
// and the two faults that the demo plants into a copy and must find again.
//
// The fixture is one tar, compressed with zstd over a window that spans a
// snapshot, so that what two snapshots have in common is stored once.
// `make fixtures` remakes it from running servers (makefixture).
package demo
