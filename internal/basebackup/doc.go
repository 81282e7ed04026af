// Package basebackup stores a data directory as a standard base backup: one
// base.tar.zst and the backup_manifest that belongs to it, as pg_basebackup
// would leave them and pg_verifybackup checks them once unpacked.
//
//	redoubt-snapshot.json   put first: Redoubt makes a snapshot here
//	base.tar.zst            streamed: nothing but a file's chunk is in memory
//	backup_manifest         put last, and only after the tar was read back
//	                        and is what was to be written
//
// As long as there is the first without the last, the snapshot is not
// finished, and nobody takes it for one (snapshot.ErrUnfinished). Every
// object is put only if it is not there, so that nothing is ever overwritten
// and makers need no lock between machines: who finds a tar reads it and
// holds it, file by file, against what it was about to write. The same
// content is gone on with, another one is an ErrConflict. What a killed maker
// leaves is thereby finished by the next.
package basebackup
