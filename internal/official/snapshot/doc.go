// Package snapshot reads official pages from where they lie still: data
// directories that were stopped cleanly, and base backups, as a directory, as
// one tar, or as pg_basebackup's output in tar format, on a local disk or in
// a bucket.
//
// A Snapshot is read front to back (Walk), each file once, in bounded memory,
// because a compressed backup has no random access; single blocks are read
// again with Fetch. If there is a backup_manifest, everything it lists is
// checked on the way.
//
// Backups are hostile input. No path leaves its place; links are not
// followed, except those directly below pg_tblspc of a local directory, which
// are each opened as a root of their own; devices, pipes and hard links in a
// tar are refused, as is an entry that comes twice; a tar that does not end
// with its end-of-archive marker, or that goes on behind it, is an error, and
// so is one that decompresses to more than a limit.
package snapshot
