package datadir

import (
	"iter"

	"redoubt/internal/pg"
)

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

// Selection is what is read of a source that cannot be read whole, besides
// what is no relation.
type Selection struct {
	// Forks are those whose size is wanted, where they exist; Blocks says which
	// blocks of one that has size blocks, ascending. nil: none.
	Forks  []pg.RelFork
	Blocks func(f pg.RelFork, size pg.BlockNumber) iter.Seq[pg.BlockNumber]
	// SLRUs are pages that are wanted even from a source that does not deliver
	// SLRUs with its files; MayLack says that their segments need not be there yet.
	SLRUs   []pg.SLRUPage
	MayLack bool
	// More, if set, is asked for further forks as soon as what is no relation was read.
	More func() ([]pg.RelFork, error)
}
