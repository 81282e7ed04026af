package snapshot

import (
	"bytes"
	"errors"
	"path/filepath"
	"sync"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// outliner is a collector that must get no pages, and notes sizes.
type outliner struct {
	*collector
	sizes map[string]int64
}

func (o outliner) Blocks(datadir.RelFile, pg.BlockNumber, []byte) error {
	return errors.New("pages in an outline")
}

func (o outliner) EndRelation(f datadir.RelFile, size int64) error {
	o.sizes[f.Path] = size
	return o.called()
}

// TestOnDemand: an outline says all that a walk does but pages, and each page
// is what it is in a walk, whoever asks at the same time.
func TestOnDemand(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	s, c := mustRead(t, dir)
	o := outliner{newCollector(), map[string]int64{}}
	p, err := s.OnDemand(t.Context(), o)
	if err != nil || p == nil {
		t.Fatal(p, err)
	}
	relations := 0
	for path, content := range c.files {
		if datadir.Classify(path).Class == datadir.Relation {
			relations++
			if size, ok := o.sizes[path]; !ok || size/pg.BlockSize*pg.BlockSize != int64(len(content)) {
				t.Errorf("%s: %d bytes, %t; want %d", path, size, ok, len(content))
			}
		} else if !bytes.Equal(o.files[path], content) {
			t.Errorf("%s differs", path)
		}
	}
	if len(o.sizes) != relations || len(o.files) != len(c.files)-relations {
		t.Errorf("%d relations, want %d; %d files in all, want %d", len(o.sizes), relations, len(o.files), len(c.files)-relations)
	}
	var wg sync.WaitGroup
	for range 4 {
		wg.Go(func() { readAll(t, p, c) })
	}
	wg.Wait()
	page := make([]byte, pg.BlockSize)
	gone := pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 99}}
	torn := pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16392}}
	for _, b := range []pg.Block{{RelFork: gone}, {RelFork: torn, Number: 1}, {RelFork: torn, Number: 1 << 30}} {
		if ok, err := p.Page(b.RelFork, b.Number, page); ok || err != nil {
			t.Errorf("%s is there: %t, %v", b, ok, err)
		}
	}
	if ok, err := p.SLRUPage(pg.SLRUPage{SLRU: pg.CommitTsSLRU, Page: 1 << 20}, page); ok || err != nil {
		t.Errorf("an SLRU page that is not there: %t, %v", ok, err)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

func readAll(t *testing.T, p *Pages, c *collector) {
	page := make([]byte, pg.BlockSize)
	for b, want := range c.pages {
		if ok, err := p.Page(b.RelFork, b.Number, page); !ok || err != nil || !bytes.Equal(page, want) {
			t.Errorf("%s: %t, %v", b, ok, err)
		}
	}
	for path, content := range c.files {
		slru := datadir.Classify(path)
		if slru.Class != datadir.SLRUSegment {
			continue
		}
		for i := 0; i+pg.BlockSize <= len(content); i += pg.BlockSize {
			at := pg.SLRUPage{SLRU: slru.SLRU, Page: slru.First + uint32(i/pg.BlockSize)}
			if ok, err := p.SLRUPage(at, page); !ok || err != nil || !bytes.Equal(page, content[i:i+pg.BlockSize]) {
				t.Errorf("%s: %t, %v", at, ok, err)
			}
		}
	}
}

// TestOnDemandManyFiles: more files than are kept open are read all the same.
func TestOnDemandManyFiles(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	for i := range 2 * maxOpen {
		f := pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: pg.OID(30000 + i)}}
		write(t, filepath.Join(dir, datadir.RelPath(f, 0, "")), bytes.Repeat([]byte{byte(i)}, pg.BlockSize))
	}
	s, c := mustRead(t, dir)
	p, err := s.OnDemand(t.Context(), Ignore{})
	if err != nil || p == nil {
		t.Fatal(p, err)
	}
	readAll(t, p, c)
	if p.opened != maxOpen {
		t.Errorf("%d files are open, want %d", p.opened, maxOpen)
	}
	if err := p.Close(); err != nil {
		t.Error(err)
	}
}

// TestNotOnDemand: a tar is streamed; and whatever fails while the outline is
// shown, the visitor's own errors among it, is an error.
func TestNotOnDemand(t *testing.T) {
	dir := smallDir(t, datadir.ShutDown, "")
	to := filepath.Join(t.TempDir(), "b.tar")
	packTar(t, dir, to)
	s, _ := mustRead(t, to)
	o := outliner{newCollector(), map[string]int64{}}
	if p, err := s.OnDemand(t.Context(), o); p != nil || err != nil || o.calls != 0 {
		t.Errorf("a tar: %v, %v, %d calls", p, err, o.calls)
	}
	s, _ = mustRead(t, dir)
	for fail := 1; ; fail++ {
		o := outliner{newCollector(), map[string]int64{}}
		o.fail = fail
		p, err := s.OnDemand(t.Context(), o)
		if err == nil {
			if fail < 5 {
				t.Errorf("only %d calls", fail)
			}
			if err := p.Close(); err != nil {
				t.Error(err)
			}
			return
		}
		if p != nil || !errors.Is(err, errVisitor) {
			t.Fatalf("call %d: %v, %v", fail, p, err)
		}
	}
}
