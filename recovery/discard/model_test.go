package discard

import (
	"cmp"
	"fmt"
	"math"
	"slices"
	"testing"
	"time"

	"pgregory.net/rapid"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// life is a cluster that wrote WAL, was set back now and then, and had
// backups taken of it: what is known for sure, byte by byte.
type life struct {
	*rapid.T
	t       Timeline
	files   map[string]map[int]bool // of each segment's name, the LSNs that it holds
	moments []moment
	now     int // hours
	tli     pg.TLI
	at      int
}

// moment is what the server was at.
type moment struct {
	hour int
	tli  pg.TLI
	lsn  int
}

func aLife(t *rapid.T) *life {
	l := &life{T: t, files: map[string]map[int]bool{}, tli: 1, at: 1}
	l.t.Branches = map[pg.TLI]wal.History{}
	l.t.History = wal.NewHistory(1)
	for range rapid.IntRange(1, 60).Draw(t, "hours") {
		switch rapid.IntRange(0, 9).Draw(t, "event") {
		case 0:
			l.setBack()
		case 1, 2:
			l.backup()
		}
		l.now++
		for range rapid.IntRange(1, 20).Draw(t, "bytes") {
			l.write()
		}
		l.moments = append(l.moments, moment{l.now, l.tli, l.at})
	}
	l.closeSegment()
	l.ledger()
	return l
}

// write writes a byte; a segment is stored once it is full.
func (l *life) write() {
	name := l.segment(l.at)
	l.files[name][l.at] = true
	if l.at++; l.at%size == 0 {
		l.closeSegment()
	}
}

func (l *life) segment(at int) (name string) {
	name = fmt.Sprintf("%d/%03d", l.tli, at/size)
	if l.files[name] == nil {
		l.files[name] = map[int]bool{}
	}
	return name
}

// closeSegment stores the segment that the server is in or has just filled.
func (l *life) closeSegment() {
	n := (l.at - 1) / size
	name := l.segment(l.at - 1)
	if !slices.ContainsFunc(l.t.Segments, func(g Segment) bool { return g.Name == name }) {
		l.t.Segments = append(l.t.Segments, Segment{Name: name, TLI: l.tli, Range: pg.Range{From: pg.LSN(n * size), To: pg.LSN((n + 1) * size)}, Stored: hour(l.now)})
	}
}

func hour(n int) time.Time { return epoch.Add(time.Duration(n) * time.Hour) }

// setBack recovers to an earlier LSN of any history: a new TLI begins there,
// with a copy of what is before in its first segment.
func (l *life) setBack() {
	from := pg.TLI(rapid.IntRange(1, int(l.tli)).Draw(l.T, "from"))
	h := slices.Clone(l.history(from))
	last := &h[len(h)-1]
	end := 0
	for name, bytes := range l.files {
		if name[:2] == fmt.Sprint(from)+"/" {
			for at := range bytes {
				end = max(end, at+1)
			}
		}
	}
	if end <= int(last.Range.From) || l.tli == 9 {
		return
	}
	l.closeSegment()
	at := rapid.IntRange(int(last.Range.From)+1, end).Draw(l.T, "switch")
	last.Range.To = pg.LSN(at)
	old := l.tli
	l.tli, l.at = old+1, at
	h = append(h, wal.HistoryEntry{TLI: l.tli, Range: pg.Range{From: pg.LSN(at), To: math.MaxUint64}})
	l.t.Branches[l.tli], l.t.History = h, h
	name := l.segment(at)
	for x := at / size * size; x < at; x++ {
		l.files[name][x] = true
	}
}

func (l *life) history(tli pg.TLI) wal.History {
	if tli == 1 {
		return wal.NewHistory(1)
	}
	return l.t.Branches[tli]
}

func (l *life) backup() {
	l.t.Snapshots = append(l.t.Snapshots, Snapshot{Name: fmt.Sprint("s", len(l.t.Snapshots)), Redo: pg.LSN(l.at), TLI: l.tli,
		Consistent: pg.LSN(l.at + rapid.IntRange(0, 30).Draw(l.T, "window")), Proved: rapid.IntRange(0, 3).Draw(l.T, "proved") == 0})
}

// ledger verifies some spans, and remembers some of snapshots that had these names before.
func (l *life) ledger() {
	l.t.Snapshots = slices.DeleteFunc(l.t.Snapshots, func(s Snapshot) bool { // a backup that was not over
		return !l.files[fmt.Sprintf("%d/%03d", s.TLI, (s.position()-1)/size)][int(s.position()-1)]
	})
	for _, a := range l.t.Snapshots {
		for _, b := range l.t.Snapshots {
			if a.Name == b.Name || b.position() < a.position() || !l.within(a, l.history(b.TLI)) {
				continue
			}
			v := Span{a.Name, b.Name, pg.Range{From: a.Redo, To: b.position()}}
			switch rapid.IntRange(0, 9).Draw(l.T, "verified") {
			case 0, 1, 2, 3, 4, 5:
				l.t.Verified = append(l.t.Verified, v)
			case 6:
				v.Range.From++
				l.t.Verified = append(l.t.Verified, v)
			case 7:
				v.Range.To = b.Redo - 1
				l.t.Verified = append(l.t.Verified, v)
			}
		}
	}
}

// within: every byte from where a snapshot starts to where it is consistent is of the history.
func (l *life) within(s Snapshot, h wal.History) bool {
	for at := s.Redo; at < max(s.Redo+1, s.Consistent); at++ {
		if h.TLIAt(at) != s.TLI {
			return false
		}
	}
	return true
}

// lacks is the first listed segment that a reader of a history may open for WAL
// from one LSN to another, empty if there is none.
func (l *life) lacks(r Report, h wal.History, from, to pg.LSN) string {
	for at := from; at < to; at++ {
		for _, e := range h {
			name := fmt.Sprintf("%d/%03d", e.TLI, at/size)
			begun := e.Range.From/size <= at/size
			if at < e.Range.To && begun && l.files[name][int(at)] && slices.ContainsFunc(r.Unneeded, func(g Segment) bool { return g.Name == name }) {
				return name
			}
		}
	}
	return ""
}

// needs wants nothing of it listed.
func (l *life) needs(r Report, what string, h wal.History, from, to pg.LSN) {
	if name := l.lacks(r, h, from, to); name != "" {
		l.Fatalf("%s needs %s, which is listed; %+v of %+v", what, name, r, l.t)
	}
}

// trusted are the snapshots of the newest history that were proved or verified as they are.
func (l *life) trusted() (out []Snapshot) {
	for _, s := range l.t.Snapshots {
		if l.within(s, l.t.History) && (s.Proved || slices.ContainsFunc(l.t.Verified, func(v Span) bool {
			return v.Base == s.Name && v.Range.From == s.Redo || v.Official == s.Name && v.Range.To >= s.Redo
		})) {
			out = append(out, s)
		}
	}
	slices.SortFunc(out, func(a, b Snapshot) int { // the newest first
		if earlier(a, b) {
			return 1
		}
		return -1
	})
	return out
}

func (l *life) kept(r Report, rule Rule) {
	end := pg.LSN(l.at)
	if l.t.History[len(l.t.History)-1].TLI != l.tli {
		l.Fatal("the model is wrong")
	}
	trusted := l.trusted()
	for i, s := range trusted {
		if i < rule.Snapshots {
			l.needs(r, "snapshot "+s.Name+", which is kept,", l.t.History, s.Redo, end)
		}
	}
	reach := func(what string, at pg.LSN) { // if it could be had before
		able := slices.DeleteFunc(slices.Clone(trusted), func(s Snapshot) bool { return s.position() > at })
		if len(able) > 0 && !slices.ContainsFunc(able, func(s Snapshot) bool { return l.lacks(r, l.t.History, s.Redo, at) == "" }) {
			l.Fatalf("%s can't be had any more; %+v of %+v", what, r, l.t)
		}
	}
	if rule.From != 0 {
		for at := rule.From; at <= end; at++ {
			reach(fmt.Sprintf("LSN %d", at), at)
		}
	}
	for _, m := range l.moments {
		if at := pg.LSN(m.lsn); !rule.Since.IsZero() && !hour(m.hour).Before(rule.Since) && l.t.History.TLIAt(at-1) == m.tli {
			reach(fmt.Sprintf("hour %d, at %d,", m.hour, at), at)
		}
	}
}

// spans wants the WAL of each span that is not verified: from each snapshot
// back to the nearest one that leads to it.
func (l *life) spans(r Report) {
	for _, b := range l.t.Snapshots {
		var nearest *Snapshot
		for _, a := range l.t.Snapshots {
			if l.within(a, l.history(b.TLI)) && earlier(a, b) && (nearest == nil || earlier(*nearest, a)) {
				nearest = &a
			}
		}
		if nearest != nil && !slices.Contains(l.t.Verified, Span{nearest.Name, b.Name, pg.Range{From: nearest.Redo, To: b.position()}}) {
			l.needs(r, "the span from "+nearest.Name+" to "+b.Name, l.history(b.TLI), min(nearest.Redo, b.Redo), b.position())
		}
	}
}

// earlier is the order of snapshots.
func earlier(a, b Snapshot) bool {
	return cmp.Or(cmp.Compare(a.position(), b.position()), cmp.Compare(a.Redo, b.Redo), cmp.Compare(a.Name, b.Name)) < 0
}

// offspring wants a way to the first LSN of every timeline made from this one.
func (l *life) offspring(r Report) {
	for _, o := range l.t.Offspring {
		h := l.history(o.TLI)
		if o.From > 0 {
			l.needs(r, "the recovery "+o.Name, h, o.From, o.LSN)
			continue
		}
		best := Snapshot{}
		for _, s := range l.t.Snapshots {
			sound := s.Proved || slices.ContainsFunc(l.t.Verified, func(v Span) bool {
				return v.Base == s.Name && v.Range.From == s.Redo || v.Official == s.Name && v.Range.To >= s.Redo
			})
			if sound && s.position() <= o.LSN && s.Redo >= best.Redo && l.within(s, h) {
				best = s
			}
		}
		l.needs(r, "the timeline "+o.Name, h, best.Redo, o.LSN)
	}
}

// TestNothingNeededIsListed holds the report against what every byte of WAL of
// random lives is needed for: clusters that were set back to earlier LSNs of
// any of their histories, with backups on all of them, of which any may be
// proved, any span verified, and any timeline made.
func TestNothingNeededIsListed(t *testing.T) {
	listed, cases := 0, 0
	many := 10
	if pgtest.Prove() {
		many = 200
	}
	for range many {
		rapid.Check(t, func(t *rapid.T) {
			l := aLife(t)
			for i := range rapid.IntRange(0, 2).Draw(t, "offspring") {
				m := rapid.SampledFrom(l.moments).Draw(t, "leaves")
				o := Offspring{Name: fmt.Sprint("o", i), TLI: m.tli, LSN: pg.LSN(m.lsn)}
				if rapid.Bool().Draw(t, "under way") {
					o.From = pg.LSN(rapid.IntRange(1, m.lsn).Draw(t, "base"))
				}
				l.t.Offspring = append(l.t.Offspring, o)
			}
			rule := Rule{Snapshots: rapid.IntRange(0, 3).Draw(t, "keep")}
			if rapid.Bool().Draw(t, "by time") {
				rule.Since = hour(rapid.IntRange(-2, l.now+2).Draw(t, "since"))
			}
			if rapid.Bool().Draw(t, "by LSN") {
				rule.From = pg.LSN(rapid.IntRange(1, l.at).Draw(t, "lsn"))
			}
			r := Find(l.t, rule)
			l.kept(r, rule)
			l.spans(r)
			l.offspring(r)
			l.noMore(r, rule)
			cases, listed = cases+1, listed+len(r.Unneeded)
		})
	}
	t.Logf("%d lives, %d segments listed", cases, listed)
}

// noMore: what is not listed has a reason. The report keeps WAL from no lower
// LSN than a part of the rule needs, and all else that it keeps is of a stretch it names.
func (l *life) noMore(r Report, rule Rule) {
	if rule.Since.IsZero() && rule.Snapshots+int(rule.From) > 0 {
		lowest, ok := pg.LSN(math.MaxUint64), true
		trusted := l.trusted()
		if rule.Snapshots > 0 {
			ok = len(trusted) >= rule.Snapshots
			for _, s := range trusted[:min(rule.Snapshots, len(trusted))] {
				lowest = min(lowest, s.Redo)
			}
		}
		if rule.From > 0 {
			i := slices.IndexFunc(trusted, func(s Snapshot) bool { return s.position() <= rule.From })
			if ok = ok && i >= 0; ok {
				best := trusted[i].Redo
				for _, s := range trusted[i:] {
					best = max(best, s.Redo)
				}
				lowest = min(lowest, best)
			}
		}
		if want := map[bool]pg.LSN{true: lowest, false: 0}[ok]; r.KeepFrom != want {
			l.Fatalf("WAL is kept from %d, want %d: %+v", r.KeepFrom, want, l.t)
		}
	}
	for _, g := range l.t.Segments {
		in := func(n Need) bool { return n.From < g.Range.To && g.Range.From < max(n.To, n.From+1) }
		kept := g.Range.To > r.KeepFrom || slices.ContainsFunc(r.Needed, in) || slices.ContainsFunc(r.Offspring, in)
		if kept == slices.ContainsFunc(r.Unneeded, func(u Segment) bool { return u.Name == g.Name }) {
			l.Fatalf("%s is listed and needed, or neither: %+v", g.Name, r)
		}
	}
}
