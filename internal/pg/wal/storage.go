package wal

import "redoubt/internal/pg"

// Operations of resource manager Storage and flags of TRUNCATE (catalog/storage_xlog.h).
const (
	smgrCreate   = 0x10
	smgrTruncate = 0x20

	truncateHeap = 0x1
	truncateVM   = 0x2
	truncateFSM  = 0x4
)

// DecodeSmgrCreate decodes Storage CREATE, an empty relation fork
// (xl_smgr_create, catalog/storage_xlog.h); false for other records.
func DecodeSmgrCreate(r *Record) (pg.RelFork, bool, error) {
	if ok, err := r.is(pg.RmgrStorage, smgrCreate); !ok {
		return pg.RelFork{}, false, err
	}
	c := newCursor(r.Main)
	f := pg.RelFork{RelFileLocator: c.locator()}
	fork := c.u32()
	if err := r.wantEnd(&c); err != nil {
		return pg.RelFork{}, false, err
	}
	if fork > uint32(pg.MaxFork) {
		return pg.RelFork{}, false, r.dialect("fork %d does not exist", fork)
	}
	f.Fork = pg.ForkNumber(fork)
	return f, true, nil
}

// SmgrTruncate is Storage TRUNCATE (xl_smgr_truncate, catalog/storage_xlog.h).
type SmgrTruncate struct {
	Rel   pg.RelFileLocator
	Block pg.BlockNumber // new length of the main fork in blocks
	Heap  bool           // the main fork is cut at Block
	VM    bool           // the visibility map is cut to what Block blocks need
	FSM   bool           // the free space map likewise
}

// DecodeSmgrTruncate decodes Storage TRUNCATE; false for other records.
func DecodeSmgrTruncate(r *Record) (SmgrTruncate, bool, error) {
	if ok, err := r.is(pg.RmgrStorage, smgrTruncate); !ok {
		return SmgrTruncate{}, false, err
	}
	c := newCursor(r.Main)
	t := SmgrTruncate{Block: pg.BlockNumber(c.u32()), Rel: c.locator()}
	flags := c.u32()
	if err := r.wantEnd(&c); err != nil {
		return SmgrTruncate{}, false, err
	}
	if flags&^(truncateHeap|truncateVM|truncateFSM) != 0 {
		return SmgrTruncate{}, false, r.dialect("flags %X are unknown", flags)
	}
	t.Heap, t.VM, t.FSM = flags&truncateHeap != 0, flags&truncateVM != 0, flags&truncateFSM != 0
	return t, true, nil
}
