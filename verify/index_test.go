package verify

import (
	"context"
	"errors"
	"fmt"
	"runtime"
	"testing"

	"github.com/cespare/xxhash/v2"
	"pgregory.net/rapid"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/page/pagetest"
)

var someTable = pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}}

func noneTouched(pg.RelFork, pg.BlockNumber) bool { return false }

// numbered is a run of pages, each with an LSN of its number and more.
func numbered(first, n int) []byte {
	b := make([]byte, n*pg.BlockSize)
	for i := range n {
		p := page.Page(b[i*pg.BlockSize : (i+1)*pg.BlockSize])
		p.SetLower(page.HeaderSize)
		p.SetUpper(pg.BlockSize)
		p.SetSpecial(pg.BlockSize)
		p.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
		p.SetLSN(pg.LSN(first + i + 1))
	}
	return b
}

// TestIndexModel hands files over in runs of any length, second files before
// first ones: each block has its own page's hash afterwards.
func TestIndexModel(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := newPool(context.Background(), 3)
		x := newBaseIndex(p, noneTouched)
		model := map[pg.Block]bool{}
		for rel := range rapid.IntRange(1, 3).Draw(t, "relations") {
			fork := someTable
			fork.Rel += pg.OID(rel)
			for _, segment := range rapid.Permutation([]uint32{0, 1}).Draw(t, "order") {
				f := datadir.RelFile{RelFork: fork, Segment: segment}
				at := int(segment) * pg.BlocksPerFile
				for range rapid.IntRange(0, 4).Draw(t, "runs") {
					n := rapid.IntRange(1, 150).Draw(t, "blocks")
					if err := x.Blocks(f, pg.BlockNumber(at), numbered(at, n)); err != nil {
						t.Fatal(err)
					}
					for range n {
						model[pg.Block{RelFork: fork, Number: pg.BlockNumber(at)}] = true
						at++
					}
				}
				if err := x.EndRelation(f, int64(at)%pg.BlocksPerFile*pg.BlockSize); err != nil {
					t.Fatal(err)
				}
			}
		}
		if err := p.wait(); err != nil {
			t.Fatal(err)
		}
		buf := make([]byte, pg.BlockSize)
		for b := range model {
			want := normalHash(numbered(int(b.Number), 1), b.Fork, b.Number, buf)
			if got, ok := x.hash(b.RelFork, b.Number); !ok || got != want {
				t.Fatalf("%s: hash %x, %t; want %x", b, got, ok, want)
			}
		}
	})
}

// TestIndexSizes: the fork's size is its last file's end; empty later files,
// which a truncation leaves, count for nothing, and nothing has a hash beyond.
func TestIndexSizes(t *testing.T) {
	x := newBaseIndex(newPool(context.Background(), 1), noneTouched)
	end := func(segment uint32, size int64) {
		if err := x.EndRelation(datadir.RelFile{RelFork: someTable, Segment: segment}, size); err != nil {
			t.Fatal(err)
		}
	}
	end(1, 0)
	end(0, 3*pg.BlockSize+17)
	end(2, 0)
	if got := x.forks[someTable].size; got != 3 {
		t.Errorf("%d blocks", got)
	}
	if _, ok := x.hash(someTable, 3); ok {
		t.Error("a block beyond the end has a hash")
	}
	if _, ok := x.hash(someTable, 2); ok {
		t.Error("a block that was not delivered has a hash")
	}
	end(1, 2*pg.BlockSize)
	if got := x.forks[someTable].size; got != pg.BlocksPerFile+2 {
		t.Errorf("%d blocks", got)
	}
	other := someTable
	other.Fork = pg.FSMFork
	if err := x.EndRelation(datadir.RelFile{RelFork: other}, pg.BlockSize); err != nil || x.forks[other] != nil {
		t.Errorf("free space map: error %v", err)
	}
}

// TestIndexTouchedAndFuture: blocks that redo touches have no hash, and pages
// from after a clean base's LSN are noted, touched or not.
func TestIndexTouchedAndFuture(t *testing.T) {
	p := newPool(context.Background(), 2)
	x := newBaseIndex(p, func(_ pg.RelFork, b pg.BlockNumber) bool { return b%2 == 0 })
	x.limit = 200
	f := datadir.RelFile{RelFork: someTable}
	if err := x.Blocks(f, 0, numbered(0, 203)); err != nil {
		t.Fatal(err)
	}
	if err := x.EndRelation(f, 203*pg.BlockSize); err != nil {
		t.Fatal(err)
	}
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	for b := range pg.BlockNumber(203) {
		if h, ok := x.hash(someTable, b); !ok || (h == 0) != (b%2 == 0) {
			t.Errorf("block %d: hash %x, %t", b, h, ok)
		}
	}
	if len(x.future) != 3 || x.future[0].Number != 200 {
		t.Errorf("pages from the future: %v", x.future)
	}
}

// TestIndexHash: what may differ without WAL does not change a page's hash,
// what may not does. The pages are PostgreSQL's.
func TestIndexHash(t *testing.T) {
	buf := make([]byte, pg.BlockSize)
	for _, pair := range pagetest.Load(t, "heap-hints") {
		official := normalHash(pair.Official, pair.Fork, pair.Block, buf)
		if got := normalHash(pair.Replayed, pair.Fork, pair.Block, buf); got != official {
			t.Errorf("%s: hint bits change the hash", pair.Name)
		}
		at := pair.Official.ItemID(1).Offset() + 30
		pair.Official[at] ^= 1
		if normalHash(pair.Official, pair.Fork, pair.Block, buf) == official {
			t.Errorf("%s: byte %d does not change the hash", pair.Name, at)
		}
	}
	if normalHash(make([]byte, pg.BlockSize), pg.MainFork, 0, buf) != zeroHash {
		t.Error("a page of zeros has another hash than zeros")
	}
}

func TestIndexFiles(t *testing.T) {
	x := newBaseIndex(newPool(context.Background(), 1), noneTouched)
	two := append(make([]byte, pg.BlockSize), numbered(0, 1)...)
	if err := x.File("pg_xact/0001", append(two, 1, 2, 3)); err != nil {
		t.Fatal(err)
	}
	if len(x.slrus) != 2 || x.slrus[pg.SLRUPage{SLRU: pg.XactSLRU, Page: 33}] != xxhash.Sum64(two[pg.BlockSize:]) {
		t.Errorf("SLRU pages %v", x.slrus)
	}
	if err := x.File(datadir.ControlPath, []byte("short")); err == nil || x.control != nil {
		t.Errorf("control file: error %v", err)
	}
	if err := x.File("postgresql.conf", nil); err != nil {
		t.Error(err)
	}
}

// TestIndexOfManyRelations: small relations cost little memory.
func TestIndexOfManyRelations(t *testing.T) {
	p := newPool(context.Background(), 1)
	x := newBaseIndex(p, noneTouched)
	one := numbered(0, 1)
	var before, after runtime.MemStats
	runtime.GC()
	runtime.ReadMemStats(&before)
	const relations = 5000
	for i := range relations {
		f := datadir.RelFile{RelFork: someTable}
		f.Rel = pg.OID(i)
		if err := errors.Join(x.Blocks(f, 0, one), x.EndRelation(f, pg.BlockSize)); err != nil {
			t.Fatal(err)
		}
	}
	if err := p.wait(); err != nil {
		t.Fatal(err)
	}
	runtime.GC()
	runtime.ReadMemStats(&after)
	if each := (int64(after.HeapAlloc) - int64(before.HeapAlloc)) / relations; each > 4096 {
		t.Errorf("%d bytes for a relation of one block", each)
	}
	runtime.KeepAlive(x)
}

// TestTallyMerge adds up what several goroutines find.
func TestTallyMerge(t *testing.T) {
	ty := newTally()
	vm := someTable
	vm.Fork = pg.VMFork
	done := make(chan struct{})
	for i := range 8 {
		go func() {
			defer func() { done <- struct{}{} }()
			for range 100 {
				part := &forkTally{compared: 1, untouched: 2, overwritten: 3, unverifiable: 4, skipped: 5, benign: 6, beyond: 7}
				part.taint(pg.RmgrGin, 1)
				part.taint(pg.RmgrID(200+i), 2)
				ty.merge(&comparison{fork: vm, part: *part, found: []mismatch{{Block: pg.Block{RelFork: vm, Number: pg.BlockNumber(i)}}}, claims: []pg.BlockNumber{pg.BlockNumber(i)}})
			}
		}()
	}
	for range 8 {
		<-done
	}
	f := ty.fork(vm)
	got := fmt.Sprint(f.compared, f.untouched, f.overwritten, f.unverifiable, f.skipped, f.benign, f.beyond, f.tainted[pg.RmgrGin], f.tainted[207], len(f.tainted))
	if want := "800 1600 2400 3200 4000 4800 5600 800 200 9"; got != want {
		t.Errorf("%s, want %s", got, want)
	}
	if len(ty.mismatches) != 800 || len(ty.claims[someTable]) != 800 || len(ty.claims) != 1 {
		t.Errorf("%d mismatches, %d claims", len(ty.mismatches), len(ty.claims[someTable]))
	}
}

// TestUntouchedOnly: what is wanted of a base whose pages redo has had are the
// blocks that no WAL touches, in runs.
func TestUntouchedOnly(t *testing.T) {
	touched := map[pg.BlockNumber]bool{1: true, 2: true, 5: true}
	v := untouchedOnly{touched: func(_ pg.RelFork, b pg.BlockNumber) bool { return touched[b] }}
	f := datadir.RelFile{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16384}}}
	for _, c := range []struct {
		first  pg.BlockNumber
		limit  int
		n      int
		wanted bool
	}{{0, 32, 1, true}, {1, 32, 2, false}, {1, 1, 1, false}, {2, 32, 1, false}, {3, 32, 2, true}, {5, 1, 1, false}, {6, 32, 32, true}} {
		if n, wanted := v.Wants(f, c.first, c.limit); n != c.n || wanted != c.wanted {
			t.Errorf("from block %d, at most %d: %d, wanted: %t; want %d, %t", c.first, c.limit, n, wanted, c.n, c.wanted)
		}
	}
	f.Fork = pg.FSMFork
	if n, wanted := v.Wants(f, 0, 32); n != 32 || wanted {
		t.Errorf("a free space map: %d, wanted: %t", n, wanted)
	}
}
