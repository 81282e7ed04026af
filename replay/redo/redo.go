// Package redo applies WAL records to pages: one file per resource manager,
// pure functions, bytes in and bytes out. It mirrors PostgreSQL's redo
// routines (heap_redo, btree_redo, …), which read no block but the one they
// change; docs/architecture.md lists the exceptions and who handles them.
package redo

import (
	"errors"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
)

// Env is what redo depends on besides record and page.
type Env struct {
	// HintBitsLogged is XLogHintBitIsNeeded(): data checksums or wal_log_hints
	// are on. It decides whether a VISIBLE record sets its heap page's LSN.
	HintBitsLogged bool
	// Extensions are the resource managers that PostgreSQL itself has not.
	Extensions Extensions
}

// Outcome is what Apply did to the page.
type Outcome uint8

// The outcomes.
const (
	Skipped     Outcome = iota // the page's LSN is not older than the record's: already there
	NoChange                   // the record does not change this block
	Changed                    // an incremental change
	Restored                   // the whole page came from a full-page image
	Initialised                // the whole page was built from nothing
)

// ErrUnsupported says that no redo is known for the record: the block is
// tainted until the next image.
var ErrUnsupported = errors.New("no redo for this record")

// Error says why a record does not fit the page it belongs to.
type Error struct {
	LSN    pg.LSN
	Record string // "Heap UPDATE"
	Block  pg.Block
	Detail string
	Err    error // the cause if it has a type of its own, such as *wal.DialectError
}

func (e *Error) Error() string {
	return fmt.Sprintf("redo %s at %s on %s: %s", e.Record, e.LSN, e.Block, e.Detail)
}

func (e *Error) Unwrap() error { return e.Err }

// call is one application of a record to one block.
type call struct {
	env  *Env
	rec  *wal.Record
	ref  *wal.BlockRef
	page page.Page
	// keepLSN tells Apply not to set the page's LSN.
	keepLSN bool
	// unchanged tells Apply that the record leaves this block alone.
	unchanged bool
}

// errorf makes an *Error for this call.
func (c *call) errorf(format string, args ...any) error {
	return c.newError(fmt.Sprintf(format, args...), nil)
}

// fail makes an *Error for this call out of err, which errors.As still finds.
func (c *call) fail(err error) error { return c.newError(err.Error(), err) }

func (c *call) newError(detail string, cause error) *Error {
	return &Error{
		LSN:    c.rec.LSN,
		Record: c.rec.Rmgr.String() + " " + wal.OpName(c.rec.Rmgr, c.rec.Info, c.rec.Major),
		Block:  c.ref.Block,
		Detail: detail,
		Err:    cause,
	}
}

// redo does the part of a record that belongs to one block reference;
// full-page images, WILL_INIT zeroing, the LSN check and setting the LSN are
// Apply's. A switch, not a table of functions: calls through one would put
// every call on the heap.
func (c *call) redo() error {
	switch c.rec.Rmgr {
	case pg.RmgrXLOG:
		return redoXLOG(c)
	case pg.RmgrHeap:
		return redoHeap(c)
	case pg.RmgrHeap2:
		return redoHeap2(c)
	case pg.RmgrBtree:
		return redoBtree(c)
	case pg.RmgrHash:
		return redoHash(c)
	case pg.RmgrGin:
		return redoGin(c)
	case pg.RmgrGist:
		return redoGist(c)
	case pg.RmgrSequence:
		return redoSequence(c)
	case pg.RmgrSPGist:
		return redoSPGist(c)
	case pg.RmgrBRIN:
		return redoBRIN(c)
	case pg.RmgrGeneric:
		return redoGeneric(c)
	}
	if c.rec.IsNeon() {
		return redoNeon(c)
	}
	return c.env.Extensions.redo(c)
}

// Supported reports whether redo knows the record's resource manager: if not,
// the blocks it references without an image are tainted.
func (e *Env) Supported(rec *wal.Record) bool {
	r := rec.Rmgr
	switch r {
	case pg.RmgrXLOG, pg.RmgrHeap, pg.RmgrHeap2, pg.RmgrBtree, pg.RmgrHash, pg.RmgrGin, pg.RmgrGist,
		pg.RmgrSequence, pg.RmgrSPGist, pg.RmgrBRIN, pg.RmgrGeneric:
		return true
	}
	return rec.IsNeon() || r.Custom() && e.Extensions[r].Redo != nil
}

// changesImage reports whether redo goes on to change a block whose full-page
// image it has restored, because the image was made before a part of the
// change: a GiST page whose split is completed, a hash bucket that is split.
//
// Source: access/gist/gistxlog.c, gistRedoClearFollowRight; access/hash/hash_xlog.c,
// hash_xlog_split_allocate_page, hash_xlog_split_complete.
func changesImage(rec *wal.Record, id uint8) bool {
	switch op := rec.Op(); rec.Rmgr {
	case pg.RmgrGist:
		return op == wal.GistPageUpdate && id == 1 || op == wal.GistPageSplit && id == 0
	case pg.RmgrHash:
		return op == wal.HashSplitAllocate && id == 0 || op == wal.HashSplitComplete
	}
	return false
}

// Apply redoes what rec does to the block of ref, in place. p is the block's
// page as left by all earlier records; its content may be anything. After an
// error p is undefined. Errors are ErrUnsupported and *Error.
//
// Source: access/transam/xlogutils.c, XLogReadBufferForRedoExtended.
func Apply(env *Env, rec *wal.Record, ref *wal.BlockRef, p page.Page) (Outcome, error) {
	if ref.HasImage && ref.Image.Apply {
		if err := Restore(rec, ref, p); err != nil {
			return Skipped, err
		}
		return AfterImage(env, rec, ref, p)
	}
	if !env.Supported(rec) {
		return Skipped, ErrUnsupported
	}
	c := call{env: env, rec: rec, ref: ref, page: p}
	outcome := Changed
	switch {
	case ref.WillInit:
		clear(p)
		outcome = Initialised
	case rec.End <= p.LSN():
		return Skipped, nil
	}
	if err := c.redo(); err != nil {
		if opErr := rec.CheckOp(); opErr != nil {
			err = c.fail(opErr)
		}
		return Skipped, err
	}
	if c.unchanged {
		return NoChange, nil
	}
	if !c.keepLSN {
		p.SetLSN(rec.End)
	}
	return outcome, nil
}

// Restore is the first half of Apply for a reference with an image to apply:
// it makes p the page in the image, which still has the LSN it had before the record.
func Restore(rec *wal.Record, ref *wal.BlockRef, p page.Page) error {
	if err := ref.Image.Restore(p); err != nil {
		c := call{rec: rec, ref: ref}
		return c.errorf("restore full-page image: %v", err)
	}
	return nil
}

// AfterImage is the second half.
func AfterImage(env *Env, rec *wal.Record, ref *wal.BlockRef, p page.Page) (Outcome, error) {
	if changesImage(rec, ref.ID) {
		c := call{env: env, rec: rec, ref: ref, page: p}
		if err := c.redo(); err != nil {
			return Skipped, err
		}
	}
	if !p.IsNew() {
		p.SetLSN(rec.End)
	}
	return Restored, nil
}
