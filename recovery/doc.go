// Package recovery turns a base and WAL into a data directory on which
// PostgreSQL of the same major version starts.
//
//	base ──native redo [start, R)──▶ files ──▶ Sink
//	WAL  ──[R, to)───────────────▶ pg_wal ──▶ PostgreSQL's first start
//
// R is the redo pointer of C, the last checkpoint whose record ends at or
// before the target. The native engine replays exactly up to R; the files it
// leaves are those of a server that was stopped in recovery there. What
// follows is left to PostgreSQL's own recovery at its first start: a short
// stretch of WAL, cut and bounded by a recovery target, behind which it
// promotes itself to a new timeline. So the counters and locks of the end,
// which no page holds, are PostgreSQL's word, and not ours.
//
// If there is no such checkpoint, or the base was not consistent at R, the
// base goes over as it is, with its label, and PostgreSQL does all of it.
//
// Nothing that the native engine could not redo for sure gets into a result:
// it is an error, and the target is left without a pg_control, so that no
// server starts on it.
package recovery
