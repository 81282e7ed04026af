package verify

import (
	"bytes"
	"slices"

	"github.com/cespare/xxhash/v2"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
)

// hashChunk is how many blocks' hashes are made room for at a time: 1 KiB, so
// that a cluster of very many small relations costs little.
const hashChunk = 128

// shortRun is up to how many bytes handing them on would take longer than hashing them.
const shortRun = 4 * pg.BlockSize

// baseIndex remembers, of a base that is streamed once, what the blocks that
// no WAL touches must still be at the span's end: a hash of each page's normal
// form, eight bytes a block.
type baseIndex struct {
	touched func(pg.RelFork, pg.BlockNumber) bool
	pool    *pool
	limit   pg.LSN // a clean base's pages are not newer, 0 for an online base

	forks    map[pg.RelFork]*forkIndex
	slrus    map[pg.SLRUPage]uint64
	control  *datadir.Control
	maps     map[dbKey][]byte // relation maps
	xacts    *baseXacts       // where pg_xact goes, may be nil
	twoPhase [][]byte         // state files of prepared transactions

	future []pg.Block         // pages newer than limit
	normal [pg.BlockSize]byte // a page's normal form, for short runs
}

// forkIndex is one relation fork of the base.
type forkIndex struct {
	size   pg.BlockNumber
	hashes map[uint32]*[hashChunk]uint64
}

func newBaseIndex(p *pool, touched func(pg.RelFork, pg.BlockNumber) bool) *baseIndex {
	return &baseIndex{
		pool: p, touched: touched, forks: make(map[pg.RelFork]*forkIndex), slrus: make(map[pg.SLRUPage]uint64),
		maps: make(map[dbKey][]byte),
	}
}

var _ datadir.Visitor = (*baseIndex)(nil)

// compared says whether a relation file is part of the comparison at all.
func compared(f datadir.RelFile) bool { return !f.Temp && f.Fork != pg.FSMFork }

func (x *baseIndex) fork(f pg.RelFork) *forkIndex {
	fi := x.forks[f]
	if fi == nil {
		fi = &forkIndex{hashes: make(map[uint32]*[hashChunk]uint64)}
		x.forks[f] = fi
	}
	return fi
}

// Blocks hashes, in the background unless they are few, the pages of a run that
// no WAL touches.
func (x *baseIndex) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if !compared(f) {
		return nil
	}
	fork, untouched := f.RelFork, false
	for i := 0; i < len(pages); i += pg.BlockSize {
		b := first + pg.BlockNumber(i/pg.BlockSize)
		if x.limit != 0 && page.Page(pages[i:i+pg.BlockSize]).LSN() > x.limit {
			x.future = append(x.future, pg.Block{RelFork: fork, Number: b})
		}
		untouched = untouched || !x.touched(fork, b)
	}
	fi := x.fork(fork)
	if !untouched {
		return nil
	}
	chunks := fi.room(first, len(pages)/pg.BlockSize)
	hash := func(pages, normal []byte) {
		for i := 0; i < len(pages); i += pg.BlockSize {
			if b := first + pg.BlockNumber(i/pg.BlockSize); !x.touched(fork, b) {
				h := normalHash(pages[i:i+pg.BlockSize], fork.Fork, b, normal)
				chunks[uint32(b)/hashChunk][uint32(b)%hashChunk] = h
			}
		}
	}
	if len(pages) <= shortRun {
		hash(pages, x.normal[:])
		return nil
	}
	return x.pool.submit(pages, func(w *workspace) error {
		hash(w.pages, w.normal[:])
		return nil
	})
}

// room makes chunks for the hashes of n blocks, so that the background only
// fills them.
func (fi *forkIndex) room(first pg.BlockNumber, n int) map[uint32]*[hashChunk]uint64 {
	chunks := make(map[uint32]*[hashChunk]uint64)
	for c := uint32(first) / hashChunk; c <= (uint32(first)+uint32(n)-1)/hashChunk; c++ {
		if fi.hashes[c] == nil {
			fi.hashes[c] = new([hashChunk]uint64)
		}
		chunks[c] = fi.hashes[c]
	}
	return chunks
}

// EndRelation learns the fork's size.
func (x *baseIndex) EndRelation(f datadir.RelFile, size int64) error {
	if compared(f) {
		fi := x.fork(f.RelFork)
		if f.Segment > 0 && size == 0 {
			return nil // what a truncation leaves of a long relation's later files
		}
		fi.size = max(fi.size, pg.BlockNumber(int64(f.Segment)*pg.BlocksPerFile+size/pg.BlockSize))
	}
	return nil
}

// File hashes SLRU pages and keeps pg_control, relation maps and pg_xact.
func (x *baseIndex) File(path string, content []byte) error {
	switch c := datadir.Classify(path); c.Class {
	case datadir.ControlFile:
		ctl, err := datadir.ParseControl(content)
		if err != nil {
			return err
		}
		x.control = &ctl
	case datadir.TwoPhaseFile:
		x.twoPhase = append(x.twoPhase, bytes.Clone(content))
	case datadir.SLRUSegment:
		for i := 0; i+pg.BlockSize <= len(content); i += pg.BlockSize {
			x.slrus[pg.SLRUPage{SLRU: c.SLRU, Page: c.First + uint32(i/pg.BlockSize)}] = xxhash.Sum64(content[i : i+pg.BlockSize])
		}
		return x.xacts.keep(c, content)
	case datadir.RelationMap:
		x.maps[dbKey{c.Spc, c.DB}] = slices.Clone(content)
	}
	return nil
}

// hash is the normal hash of an untouched block of the base.
func (x *baseIndex) hash(f pg.RelFork, b pg.BlockNumber) (uint64, bool) {
	fi := x.forks[f]
	if fi == nil || b >= fi.size {
		return 0, false
	}
	c := fi.hashes[uint32(b)/hashChunk]
	if c == nil {
		return 0, false
	}
	return c[uint32(b)%hashChunk], true
}

// normalHash hashes the page with everything replaced that may legitimately
// differ; buf is a page of scratch memory.
func normalHash(p []byte, fork pg.ForkNumber, b pg.BlockNumber, buf []byte) uint64 {
	mask.Normalize(buf, p, page.KindOf(p, fork), b)
	return xxhash.Sum64(buf)
}

var zeroHash = xxhash.Sum64(make([]byte, pg.BlockSize))
