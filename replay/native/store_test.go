package native

import (
	"bytes"
	"testing"

	"pgregory.net/rapid"

	"redoubt/internal/pg"
)

// TestStoreModel runs a store of three pages against a plain map: what was
// written comes back, however often it went to the scratch file, a dropped
// block is zeros, and memory stays within its bound.
func TestStoreModel(t *testing.T) {
	dir := t.TempDir()
	rapid.Check(t, func(t *rapid.T) {
		s := &store{budget: 3, scratch: scratch{dir: dir}}
		defer func() { _ = s.scratch.close() }()
		blocks := make([]block, 12)
		model := make([]byte, len(blocks)) // the byte that fills each page
		page := make([]byte, pg.BlockSize)
		slots := 0
		for range rapid.IntRange(1, 200).Draw(t, "steps") {
			i := rapid.IntRange(0, len(blocks)-1).Draw(t, "block")
			b := &blocks[i]
			switch rapid.IntRange(0, 4).Draw(t, "step") {
			case 0, 1:
				p, err := s.load(b)
				if err != nil {
					t.Fatal(err)
				}
				want(t, p, model[i], "load", i)
				model[i] = rapid.Byte().Draw(t, "fill")
				for j := range p {
					p[j] = model[i]
				}
			case 2:
				p, err := s.load(b)
				if err != nil {
					t.Fatal(err)
				}
				want(t, p, model[i], "load", i)
			case 3:
				s.drop(b)
				model[i] = 0
			case 4:
				p, err := s.peek(b, page)
				if err != nil {
					t.Fatal(err)
				}
				want(t, p, model[i], "peek", i)
			}
			checkStore(t, s, blocks)
			slots = max(slots, int(s.scratch.next))
		}
		if slots > len(blocks) {
			t.Fatalf("%d slots of the scratch file for %d blocks", slots, len(blocks))
		}
	})
}

func want(t *rapid.T, p []byte, fill byte, what string, i int) {
	if len(p) != pg.BlockSize || !bytes.Equal(p, bytes.Repeat([]byte{fill}, pg.BlockSize)) {
		t.Fatalf("%s of block %d: %d, want %d", what, i, p[0], fill)
	}
}

// checkStore: each page is in one place, and resident lists exactly those in memory.
func checkStore(t *rapid.T, s *store, blocks []block) {
	inMemory := 0
	for i := range blocks {
		b := &blocks[i]
		if b.page == nil {
			continue
		}
		inMemory++
		if b.onDisk || b.at >= len(s.resident) || s.resident[b.at] != b {
			t.Fatalf("block %d: on disk %t, resident at %d of %d", i, b.onDisk, b.at, len(s.resident))
		}
	}
	if inMemory != len(s.resident) || inMemory+len(s.pool) != s.held || s.held > s.budget {
		t.Fatalf("%d pages in memory, %d resident, %d free, %d held of %d", inMemory, len(s.resident), len(s.pool), s.held, s.budget)
	}
}

// TestStoreForgetsDropped: blocks that come and go leave nothing behind.
func TestStoreForgetsDropped(t *testing.T) {
	s := &store{budget: 100}
	for range 10_000 {
		b := &block{}
		if _, err := s.load(b); err != nil {
			t.Fatal(err)
		}
		s.drop(b)
	}
	if len(s.resident) != 0 || s.held != 1 || len(s.pool) != 1 || cap(s.resident) > 16 {
		t.Errorf("%d resident of capacity %d, %d held, %d free", len(s.resident), cap(s.resident), s.held, len(s.pool))
	}
}

func TestBlockSetModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		var s blockSet
		model := map[pg.BlockNumber]bool{}
		number := rapid.OneOf(rapid.Uint32Range(0, 200), rapid.Uint32Range(chunkBlocks-2, chunkBlocks+2), rapid.Uint32())
		for range rapid.IntRange(0, 100).Draw(t, "steps") {
			b := pg.BlockNumber(number.Draw(t, "block"))
			if s.has(b) != model[b] {
				t.Fatalf("has %d: %t", b, s.has(b))
			}
			if fresh := s.add(b); fresh == model[b] {
				t.Fatalf("add %d: fresh %t", b, fresh)
			}
			model[b] = true
		}
		if s.n != int64(len(model)) {
			t.Fatalf("%d blocks, want %d", s.n, len(model))
		}
	})
	var none *blockSet
	if none.has(7) {
		t.Error("a set that is none has a block")
	}
}

// TestOwnersSpread: blocks of one relation go to all workers in about equal parts.
func TestOwnersSpread(t *testing.T) {
	for _, workers := range []int{1, 2, 3, 8} {
		e := &Engine{workers: workers}
		n := make([]int, workers)
		const blocks = 80_000
		for b := range pg.BlockNumber(blocks) {
			n[e.owner(pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}}, b)]++
		}
		for w, got := range n {
			if got < blocks/workers*8/10 || got > blocks/workers*12/10 {
				t.Errorf("worker %d of %d has %d of %d blocks", w, workers, got, blocks)
			}
		}
	}
}
