// Package walcmd is what PostgreSQL's archive_command and restore_command do:
// Push stores one file of pg_wal and returns when it is durable, Get brings
// one back, checked, and fetches the segments after it ahead into a spool
// directory.
//
// What PostgreSQL makes of the outcome decides what is an error here
// (access/transam/xlogarchive.c, RestoreArchivedFile): "it is not there" ends
// recovery, and the server is promoted. So Get says that (ErrAbsent) only where
// the store has answered, other WAL of the timeline is there, and this file is
// not.
package walcmd
