// Package snapshots makes a base backup of a base and WAL: the pages of a
// timeline at the redo pointer R of a checkpoint, as replay leaves them,
// streamed into a store while they are made.
//
// The snapshot is that of a server that was stopped in recovery at R. It takes
// along the WAL from R to the end of the checkpoint's record and no more, so
// that PostgreSQL of the same major version starts on it, goes on with the
// archive where that is wanted, and the snapshot is the same each time it is
// made of the same base. All WAL before R is not needed by it.
package snapshots
