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
				s.DropBelow(r.From)
				for l := range r.From {
					p[l] = false
				}
			case 1:
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
		}
	}
	t.Logf("%d steps", steps)
}

// TestLineNeverPassesAHole completes ranges in random order, over and over,
// with backup LSNs of another process in between, and holds the line against
// one flag per LSN: the backup LSN is the end of the contiguous prefix.
func TestLineNeverPassesAHole(t *testing.T) {
	for seed := range uint64(6000) {
		rnd := rand.New(rand.NewPCG(seed, 2))
		start := pg.LSN(rnd.IntN(20))
		l := NewLine(start, start)
		var p plain
		last := l.Backup
		for range 60 {
			switch r := random(rnd, 4); rnd.IntN(10) {
			case 0: // a leader before us had got further, and so had its uploads
				to := pg.LSN(rnd.IntN(64))
				if to > start {
					l.Recorded(to)
					p.add(pg.Range{From: start, To: to})
				}
			default:
				moved := l.Done(r)
				p.add(r)
				if moved != (l.Backup > last) {
					t.Fatalf("seed %d: moved %v from %s to %s", seed, moved, last, l.Backup)
				}
			}
			want := start
			for want < 64 && p[want] {
				want++
			}
			if l.Backup != want || l.Backup < last {
				t.Fatalf("seed %d: backup LSN %s, want %s; it was %s", seed, l.Backup, want, last)
			}
			last = l.Backup
			if got, want := l.Holes(64), p.ranges(l.Backup, 64, false); !slices.Equal(got, want) {
				t.Fatalf("seed %d: holes %v, want %v", seed, got, want)
			}
			if q := random(rnd, 6); q.From >= start && l.Have(q) != p.all(q) {
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
}
