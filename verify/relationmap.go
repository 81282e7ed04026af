package verify

import (
	"cmp"
	"slices"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/replay/native"
)

const (
	maxMaps   = 100 // relation forks
	maxRanges = 256 // of each list of a map
)

// relationMaps draws where in its relation forks the listed discrepancies are.
func (r *run) relationMaps(listed []finding.Discrepancy) error {
	at := make(map[pg.RelFork]int)
	for i := range listed {
		rel := listed[i].Relation
		if rel == nil {
			continue
		}
		f := forkOf(rel)
		if _, ok := at[f]; ok || len(at) == maxMaps {
			continue
		}
		at[f] = len(r.out.Maps)
		m, err := r.relationMap(f)
		if err != nil {
			return err
		}
		m.Relation = *rel
		r.out.Maps = append(r.out.Maps, m)
	}
	different := make([][]pg.BlockNumber, len(r.out.Maps))
	for i := range r.found {
		d := &r.found[i]
		if d.Relation == nil || d.Block == nil || d.Severity == finding.Benign {
			continue
		}
		if n, ok := at[forkOf(d.Relation)]; ok {
			different[n] = append(different[n], pg.BlockNumber(*d.Block))
		}
	}
	for i, blocks := range different {
		slices.Sort(blocks)
		var list rangeList
		for _, b := range blocks {
			list.add(b)
		}
		r.out.Maps[i].Different = list.ranges()
	}
	return nil
}

func forkOf(rel *finding.Relation) pg.RelFork {
	return pg.RelFork{
		RelFileLocator: pg.RelFileLocator{Spc: rel.Tablespace, DB: rel.Database, Rel: rel.RelFileNode}, Fork: rel.Fork,
	}
}

// relationMap knows all but which blocks differ.
func (r *run) relationMap(f pg.RelFork) (m finding.RelationMap, err error) {
	m.ReplayedBlocks, m.OfficialBlocks = -1, -1
	if fork, ok := r.ra.Fork(f); ok {
		m.ReplayedBlocks = int64(fork.Size)
	}
	if fork, ok := r.rb.Fork(f); ok {
		m.OfficialBlocks = int64(fork.Size)
	}
	var touched, tainted rangeList
	r.a.EachTouched(f, touched.add)
	var buf [pg.BlockSize]byte
	blocks := max(m.ReplayedBlocks, m.OfficialBlocks)
	seen := func(res *native.Result) func(pg.BlockNumber) error {
		return func(b pg.BlockNumber) error {
			p, err := res.Page(f, b, buf[:])
			if err == nil && p.Tainted && int64(b) < blocks {
				tainted.add(b)
			}
			return err
		}
	}
	if err := r.ra.EachTouched(f, seen(r.ra)); err != nil {
		return m, err
	}
	if err := r.rb.EachTouched(f, seen(r.rb)); err != nil {
		return m, err
	}
	m.Touched, m.Tainted = touched.ranges(), tainted.ranges()
	return m, nil
}

// rangeList collects blocks as half-open ranges; where there are very many, close ones are joined.
type rangeList struct{ list [][2]int64 }

func (l *rangeList) add(b pg.BlockNumber) {
	n := int64(b)
	if k := len(l.list); k > 0 && l.list[k-1][1] == n {
		l.list[k-1][1]++
		return
	}
	if len(l.list) == 64*maxRanges {
		l.list = joined(l.sorted(), 32*maxRanges)
	}
	l.list = append(l.list, [2]int64{n, n + 1})
}

// ranges is at most maxRanges of them, sorted, never nil.
func (l *rangeList) ranges() [][2]int64 { return joined(l.sorted(), maxRanges) }

// sorted are the ranges in order, none touching another.
func (l *rangeList) sorted() [][2]int64 {
	slices.SortFunc(l.list, func(a, b [2]int64) int { return cmp.Compare(a[0], b[0]) })
	out := [][2]int64{}
	for _, r := range l.list {
		if k := len(out); k > 0 && r[0] <= out[k-1][1] {
			out[k-1][1] = max(out[k-1][1], r[1])
			continue
		}
		out = append(out, r)
	}
	return out
}

// joined closes the smallest gaps between sorted ranges until at most limit remain.
func joined(in [][2]int64, limit int) [][2]int64 {
	excess := len(in) - limit
	if excess <= 0 {
		return in
	}
	gaps := make([]int, len(in)-1) // by the range before
	for i := range gaps {
		gaps[i] = i
	}
	slices.SortStableFunc(gaps, func(a, b int) int { return cmp.Compare(in[a+1][0]-in[a][1], in[b+1][0]-in[b][1]) })
	closed := make(map[int]bool, excess)
	for _, g := range gaps[:excess] {
		closed[g] = true
	}
	out := [][2]int64{in[0]}
	for i, r := range in[1:] {
		if closed[i] {
			out[len(out)-1][1] = r[1]
		} else {
			out = append(out, r)
		}
	}
	return out
}
