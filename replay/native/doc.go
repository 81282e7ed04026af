// Package native is the embedded replay engine: WAL in, pages out, no
// PostgreSQL needed.
//
//	segments → reader → decoder → router → N workers → overlay
//
// What a record does to a block depends on that block and the record alone,
// nearly always, so blocks are spread over workers by a hash and each worker
// applies the records of its blocks in WAL order. The exceptions (implicit
// visibility map changes, relation sizes, drops, copies of databases, SLRUs)
// belong to the router, which sees every record in order.
//
// A replay has three steps: Scan reads the WAL and learns which blocks it
// touches; the caller streams the base once through the Engine's Visitor,
// which keeps only pages that redo needs; Replay reads the WAL again and applies it.
// Only touched pages are held, within Config.Memory, the rest in a scratch file.
package native
