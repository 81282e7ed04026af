package redo_test

import (
	"bytes"
	"crypto/sha256"
	"errors"
	"math/rand/v2"
	"slices"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/replay/redo"
)

// withRedo are the resource managers of which there are real cases.
var withRedo = []pg.RmgrID{pg.RmgrHeap, pg.RmgrHeap2, pg.RmgrBtree, pg.RmgrHash, pg.RmgrGin, pg.RmgrGist,
	pg.RmgrSequence, pg.RmgrSPGist, pg.RmgrBRIN, pg.RmgrGeneric}

// TestRealCases redoes records that PostgreSQL wrote, on a server that did not
// log hint bits.
func TestRealCases(t *testing.T) {
	var env redo.Env
	for _, rmgr := range withRedo {
		t.Run(rmgr.String(), func(t *testing.T) {
			for _, c := range realCases(t, rmgr) {
				p := c.page()
				if _, err := redo.Apply(&env, &c.Record, c.block(), p); err != nil {
					t.Errorf("%s: %v", c.Name, err)
				} else if sha256.Sum256(p) != c.After {
					t.Errorf("%s: the page is not the one that PostgreSQL makes", c.Name)
				}
				if _, err := redo.Apply(&env, &c.Record, c.block(), p); err != nil || sha256.Sum256(p) != c.After {
					t.Errorf("%s once more: same page %t, error %v", c.Name, sha256.Sum256(p) == c.After, err)
				}
			}
		})
	}
}

// TestMutations redoes the cases with changes in record and page, which must
// end in an error or a page, and write nothing outside of it.
func TestMutations(t *testing.T) {
	const rounds = 100 // of each case
	for _, rmgr := range withRedo {
		t.Run(rmgr.String(), func(t *testing.T) {
			rnd := rand.New(rand.NewPCG(1, uint64(rmgr)))
			failed := 0
			for _, c := range realCases(t, rmgr) {
				for range rounds {
					rec, p := mutated(rnd, &c)
					if !applyInside(t, rec, &rec.Blocks[c.Ref], p) {
						failed++
					}
				}
			}
			if failed == 0 {
				t.Error("no change was noticed")
			}
		})
	}
}

// mutated is a case with up to three changes.
func mutated(rnd *rand.Rand, c *realCase) (*wal.Record, page.Page) {
	rec := c.Record
	rec.Blocks = slices.Clone(rec.Blocks)
	ref := &rec.Blocks[c.Ref]
	p := c.page()
	for range 1 + rnd.IntN(3) {
		switch rnd.IntN(6) {
		case 0:
			p = mutate(rnd, p, 24)
		case 1:
			p = mutate(rnd, p, pg.BlockSize)
		case 2, 3:
			rec.Main = mutate(rnd, rec.Main, 40)
		case 4:
			ref.Data = mutate(rnd, ref.Data, len(ref.Data))
		case 5:
			rec.Main = rec.Main[:rnd.IntN(len(rec.Main)+1)]
		}
	}
	return &rec, p
}

// mutate changes a byte of a copy of b, within its first bytes.
func mutate(rnd *rand.Rand, b []byte, within int) []byte {
	b = bytes.Clone(b)
	if n := min(len(b), within); n > 0 {
		b[rnd.IntN(n)] = [...]byte{0, 1, 0x7F, 0xFF, byte(rnd.Uint32()), byte(rnd.Uint32())}[rnd.IntN(6)]
	}
	return b
}

// Each redoes records that may hold anything on pages that may hold anything,
// beginning with real ones.

func FuzzHeapRedo(f *testing.F)     { fuzzCases(f, pg.RmgrHeap) }
func FuzzHeap2Redo(f *testing.F)    { fuzzCases(f, pg.RmgrHeap2) }
func FuzzBtreeRedo(f *testing.F)    { fuzzCases(f, pg.RmgrBtree) }
func FuzzHashRedo(f *testing.F)     { fuzzCases(f, pg.RmgrHash) }
func FuzzGinRedo(f *testing.F)      { fuzzCases(f, pg.RmgrGin) }
func FuzzGistRedo(f *testing.F)     { fuzzCases(f, pg.RmgrGist) }
func FuzzSequenceRedo(f *testing.F) { fuzzCases(f, pg.RmgrSequence) }
func FuzzSPGistRedo(f *testing.F)   { fuzzCases(f, pg.RmgrSPGist) }
func FuzzBRINRedo(f *testing.F)     { fuzzCases(f, pg.RmgrBRIN) }
func FuzzGenericRedo(f *testing.F)  { fuzzCases(f, pg.RmgrGeneric) }

// fuzzCases begins with real records and pages. which chooses the case whose
// page and block references are taken, and patch changes bytes of the page:
// three bytes each, where and what. present says which block references the
// record has beside the one that is redone, imaged whether that has the page
// as its image.
func fuzzCases(f *testing.F, rmgr pg.RmgrID) {
	f.Helper()
	cases := realCases(f, rmgr)
	for i, c := range cases {
		present := uint8(0)
		for j := range c.Record.Blocks {
			present |= 1 << (c.Record.Blocks[j].ID & 7)
		}
		ref := c.block()
		for _, imaged := range []bool{false, true} {
			f.Add(uint8(i), c.Record.Info, uint8(c.Record.Major-pg.MinMajor), c.Record.Main, ref.Data, []byte{}, ref.ID, ref.WillInit, present, imaged)
		}
	}
	f.Fuzz(func(t *testing.T, which, info, major uint8, main, data, patch []byte, id uint8, init bool, present uint8, imaged bool) {
		c := &cases[int(which)%len(cases)]
		p := c.page()
		p.SetLSN(before)
		for ; len(patch) >= 3; patch = patch[3:] {
			p[(int(patch[0])<<8|int(patch[1]))%pg.BlockSize] = patch[2]
		}
		rec := record(rmgr, info, pg.MinMajor+int(major)%5, main, nil)
		rec.Blocks = fuzzRefs(c, present, id%8)
		ref := rec.Block(id % 8)
		ref.Data, ref.HasData, ref.WillInit = data, len(data) > 0, init
		if imaged {
			ref.HasImage, ref.Image = true, wal.Image{Bytes: bytes.Clone(p), Apply: true}
		}
		if _, err := redo.VMClears(rec, nil); err != nil {
			_ = err.Error()
		}
		applyInside(t, rec, ref, p)
	})
}

// fuzzRefs are the block references of those ids and of id: the case's where
// it has them.
func fuzzRefs(c *realCase, present, id uint8) []wal.BlockRef {
	var refs []wal.BlockRef
	for i := range uint8(8) {
		switch real := c.Record.Block(i); {
		case i != id && present>>i&1 == 0:
		case real != nil:
			refs = append(refs, *real)
		default:
			refs = append(refs, heapRef(i, heapBlock+pg.BlockNumber(i)))
		}
	}
	return refs
}

// guard is what lies around a page that only its own redo may change.
var guard = bytes.Repeat([]byte{0xA5}, 4096)

// applyInside redoes a record on a copy of the page start: an error that names
// LSN and block, or a page that a second time leaves alone; no byte outside of
// the page is written. It reports whether there was no error.
func applyInside(t *testing.T, rec *wal.Record, ref *wal.BlockRef, start page.Page) bool {
	t.Helper()
	room := slices.Concat(guard, start, guard)
	p := room[len(guard) : len(guard)+pg.BlockSize]
	_, err := redo.Apply(&hintsLogged, rec, ref, p)
	if !bytes.Equal(room[:len(guard)], guard) || !bytes.Equal(room[len(guard)+pg.BlockSize:], guard) {
		t.Fatal("bytes outside of the page were written")
	}
	if err != nil {
		var where *redo.Error
		if !errors.As(err, &where) || where.LSN != rec.LSN || where.Block != ref.Block || where.Error() == "" {
			t.Fatalf("the error does not name LSN and block: %v", err)
		}
		return false
	}
	once := bytes.Clone(p)
	if _, err := redo.Apply(&hintsLogged, rec, ref, p); err != nil || !bytes.Equal(once, p) {
		t.Fatalf("redo once more: error %v, same page %t", err, bytes.Equal(once, p))
	}
	return true
}
