package ranges

import (
	"math/rand/v2"
	"slices"
	"testing"

	"redoubt/internal/pg"
)

// plain is the specification: one flag per LSN.
type plain [64]bool

func (p *plain) add(r pg.Range) {
	for l := r.From; l < r.To; l++ {
		p[l] = true
	}
}

func (p *plain) ranges(from, to pg.LSN, in bool) []pg.Range {
	var out []pg.Range
	for l := from; l < to; l++ {
		if p[l] != in {
			continue
		}
		if n := len(out); n > 0 && out[n-1].To == l {
			out[n-1].To++
		} else {
			out = append(out, pg.Range{From: l, To: l + 1})
		}
	}
	return out
}

func (p *plain) all(r pg.Range) bool {
	for l := r.From; l < r.To; l++ {
		if !p[l] {
			return false
		}
	}
	return true
}

func random(rnd *rand.Rand, widest int) pg.Range {
	from := rnd.IntN(64)
	return pg.Range{From: pg.LSN(from), To: pg.LSN(min(64, from+rnd.IntN(widest+1)))}
}

// TestSetIsThePlainSet runs random operations on a Set and on one flag per LSN.
func TestSetIsThePlainSet(t *testing.T) {
	steps := 0
	for seed := range uint64(4000) {
		rnd := rand.New(rand.NewPCG(seed, 1))
		var s Set
		var p plain
		for range 100 {
			steps++
			r := random(rnd, 5)
			switch rnd.IntN(8) {
			case 0:
				r.From, r.To = r.To, r.From
				s.Add(r) // adds nothing
				if r.From == r.To {
					continue
				}
			default:
				s.Add(r)
				p.add(r)
			}
			if want := p.ranges(0, 64, true); !slices.Equal(s.Ranges(), want) {
				t.Fatalf("seed %d: %s, want %v", seed, &s, want)
			}
			q := random(rnd, 20)
			if got, want := s.Has(q), p.all(q); got != want {
				t.Fatalf("seed %d: %s has %s: %v", seed, &s, q, got)
			}
			if got, want := s.Holes(q), p.ranges(q.From, q.To, false); !slices.Equal(got, want) {
				t.Fatalf("seed %d: holes of %s in %s: %v, want %v", seed, &s, q, got, want)
			}
			end := q.From
			for end < 64 && p[end] {
				end++
			}
			if got := s.End(q.From); got != end {
				t.Fatalf("seed %d: %s goes on from %s to %s, want %s", seed, &s, q.From, got, end)
			}
			begin := q.From
			for begin > 0 && p[begin-1] {
				begin--
			}
			if got := s.Begin(q.From); got != begin {
				t.Fatalf("seed %d: %s reaches %s from %s, want %s", seed, &s, q.From, got, begin)
			}
		}
	}
	t.Logf("%d steps", steps)
}

// TestLineNeverPassesAHole completes ranges in random order, over and over,
// and holds the line against one flag per LSN: the backup LSN is the end of
// the contiguous prefix.
func TestLineNeverPassesAHole(t *testing.T) {
	for seed := range uint64(6000) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		first := pg.LSN(rnd.IntN(20))
		recorded := first + pg.LSN(rnd.IntN(10))
		l := NewLine(first, recorded)
		var p plain
		p.add(pg.Range{From: first, To: recorded})
		for range 60 {
			last := *l
			r := random(rnd, 4)
			moved := l.Done(r)
			p.add(r)
			if moved != (l.Backup != last.Backup || l.Start != last.Start) {
				t.Fatalf("seed %d: moved %v from %s to %s", seed, moved, last.Backup, l.Backup)
			}
			start, end := first, recorded
			for start > 0 && p[start-1] {
				start--
			}
			for end < 64 && p[end] {
				end++
			}
			if l.Backup != end || l.Start != start || l.Backup < last.Backup || l.Start > last.Start {
				t.Fatalf("seed %d: %s to %s, want %s to %s; it was %s to %s", seed, l.Start, l.Backup, start, end, last.Start, last.Backup)
			}
			if got, want := l.Holes(64), p.ranges(l.Backup, 64, false); !slices.Equal(got, want) {
				t.Fatalf("seed %d: holes %v, want %v", seed, got, want)
			}
			if q := random(rnd, 6); l.Have(q) != p.all(q) {
				t.Fatalf("seed %d: have %s: %v", seed, q, l.Have(q))
			}
			var beyond uint64
			for _, r := range p.ranges(l.Backup, 64, true) {
				beyond += r.Bytes()
			}
			if l.Beyond() != beyond {
				t.Fatalf("seed %d: %d bytes beyond, want %d", seed, l.Beyond(), beyond)
			}
		}
	}
}

func TestLineOfTheWholeLSNSpace(t *testing.T) {
	const top = ^pg.LSN(0)
	l := NewLine(top-16, 0)
	if l.Done(pg.Range{From: top - 8, To: top}) || !l.Done(pg.Range{From: top - 16, To: top - 8}) || l.Backup != top {
		t.Errorf("backup LSN %s, want %s", l.Backup, top)
	}
	if l.Have(pg.Range{From: 0, To: 1}) {
		t.Error("what is below the start is not known to be there")
	}
	if h := l.Holes(top); len(h) != 0 {
		t.Errorf("holes %v", h)
	}
	if !l.Done(pg.Range{From: 0, To: top - 16}) || l.Start != 0 {
		t.Errorf("start %s", l.Start)
	}
}
