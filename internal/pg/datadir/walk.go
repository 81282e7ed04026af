package datadir

import "redoubt/internal/pg"

// RelFile is one file of a relation fork: base/5/16384_vm.1 is segment 1 of
// the visibility map of relation 16384.
type RelFile struct {
	pg.RelFork
	Segment uint32 // 1 GiB file number, 0 for the first
	Temp    bool   // t3_16384: of a backend's temporary relation
	Path    string // relative to the data directory, slashes
}

// Visitor gets the files of a data directory, once each, in the order in
// which the source has them (a tar's order is arbitrary, a large relation's
// segments included). An error from it ends the walk.
type Visitor interface {
	// Blocks delivers consecutive whole pages of one relation file, in order.
	// first counts within the fork. pages is valid during the call only; its
	// length is a multiple of pg.BlockSize.
	Blocks(f RelFile, first pg.BlockNumber, pages []byte) error
	// EndRelation follows the last Blocks of a file (there may be none).
	// size is the file's length in bytes, perhaps not a multiple of
	// pg.BlockSize; a torn tail is not delivered by Blocks.
	EndRelation(f RelFile, size int64) error
	// File delivers a small file whole: pg_control, PG_VERSION, relation maps,
	// SLRU segments, backup_label, tablespace_map, state of prepared transactions
	// and replication origins, configuration. path is relative to the data directory.
	File(path string, content []byte) error
}
