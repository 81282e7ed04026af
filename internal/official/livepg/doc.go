// Package livepg reads the pages of a running PostgreSQL, 14 to 18, primary or
// standby, over one connection, and changes nothing there.
//
// Pages come from the files (pg_read_binary_file), not from shared buffers: a
// page that is right in memory can be wrong on disk. A file is read while the
// server writes to it; what is known of a page that was read is this:
//
//   - it has the changes of all records that begin before the redo pointer that
//     pg_control had before the read (Server.Redo): the checkpoint that wrote
//     pg_control had written the page before (CheckPointBuffers,
//     access/transam/xlog.c; a standby's restartpoint likewise);
//   - it has no LSN beyond what the server had flushed after the read: WAL
//     first (FlushBuffer, storage/buffer/bufmgr.c);
//   - it may be torn between two versions, where the read met a write.
//
// Memory reads single blocks from shared buffers, where the server's owner
// allows it; that serves to confirm what the files say. WAL adds what the
// archive does not have yet from the server's pg_wal.
package livepg
