package verify

import (
	"cmp"
	"context"
	"path"
	"slices"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// relations compares which relation forks there are, and how long.
func (r *run) relations(ctx context.Context, s *officialSide) error {
	if err := r.findLeftovers(ctx); err != nil {
		return err
	}
	a, b := r.replayedForks(), r.rb.Forks()
	r.unlogged = unloggedOf(slices.Concat(a, b))
	names := make(map[pg.RelFileLocator]bool)
	for _, f := range b {
		if why := r.whyLeftOut(f.RelFork); why != "" {
			r.tally.skipped[why]++
			continue
		}
		if !r.relWanted(f.RelFileLocator) {
			continue
		}
		names[f.RelFileLocator] = true
		if err := r.size(ctx, s, f.RelFork); err != nil {
			return err
		}
	}
	for _, f := range a {
		if r.asked != nil && !r.asked[f.RelFork] {
			continue // nobody knows whether the official side has it
		}
		if _, both := r.rb.Fork(f.RelFork); both || r.leftOut(f.RelFork) || !r.relWanted(f.RelFileLocator) {
			continue
		}
		if err := r.size(ctx, s, f.RelFork); err != nil {
			return err
		}
	}
	r.out.Coverage.Relations = int64(len(names))
	return nil
}

// unloggedOf are the relations that have an init fork.
func unloggedOf(forks []native.Fork) map[pg.RelFileLocator]bool {
	out := make(map[pg.RelFileLocator]bool)
	for _, f := range forks {
		if f.Fork == pg.InitFork {
			out[f.RelFileLocator] = true
		}
	}
	return out
}

// whyLeftOut says why a fork's contents are not what the WAL says, "" if they
// must be: an unlogged relation's are not logged, but for its init fork; those
// of a database that a crash left behind are nobody's.
func (r *run) whyLeftOut(f pg.RelFork) string {
	if f.Fork != pg.InitFork && r.unlogged[f.RelFileLocator] {
		return "unlogged"
	}
	if r.orphans[f.RelFileLocator] {
		return "orphan"
	}
	return r.leftovers[f.DB]
}

func (r *run) leftOut(f pg.RelFork) bool { return r.whyLeftOut(f) != "" }

func (r *run) relWanted(rel pg.RelFileLocator) bool { return r.Rel == nil || *r.Rel == rel }

// size compares the length of one fork on both sides.
func (r *run) size(ctx context.Context, s *officialSide, f pg.RelFork) error {
	in := compare.SizeInput{
		Rel: f, Major: r.out.Postgres.Major, Official: compare.NoFile, Replayed: compare.NoFile, TornTail: s.tails[f],
	}
	fa, okA := r.replayedFork(f)
	fb, okB := r.rb.Fork(f)
	if okA {
		in.Replayed = int64(fa.Size)
	}
	if okB {
		in.Official = int64(fb.Size)
	}
	if in.Official == in.Replayed && in.TornTail == 0 {
		return nil
	}
	if fi := r.index.forks[f]; fi != nil {
		in.Base = int64(fi.size)
	}
	in.Dropped, _ = r.ra.Dropped(f.RelFileLocator)
	in.BlankBeyond = true
	if in.Official > in.Replayed {
		t := r.tally.forks[f]
		in.BlankBeyond = t == nil || t.beyond == 0
		in.BloomInit = t != nil && t.bloomInit
	} else {
		for b := pg.BlockNumber(max(in.Official, 0)); b < fa.Size && in.BlankBeyond; b++ {
			blank, err := r.replayedBlank(ctx, f, fa.BaseBlocks, b)
			if err != nil {
				return err
			}
			in.BlankBeyond = blank
		}
	}
	r.addSize(f, in)
	return nil
}

// addSize notes what the sizes of a fork are evidence of.
func (r *run) addSize(f pg.RelFork, in compare.SizeInput) {
	res := compare.Sizes(in)
	if res.Equal {
		return
	}
	rel := finding.RelationOf(f)
	end := max(in.Official, 0) // the official fork ends at file and offset, so that a finding that grows is another one
	r.sizes = append(r.sizes, sizeFinding{f, in, finding.Discrepancy{
		Relation: &rel, File: datadir.RelPath(f, uint32(end/pg.BlocksPerFile), r.versionDir()),
		Offset: end%pg.BlocksPerFile*pg.BlockSize + int64(in.TornTail), Kind: res.Kind, Severity: res.Severity,
		Blame: res.Blame, Explanation: res.Explanation,
	}})
}

// disown goes through the relations that no catalog names. A crash leaves
// files of such; where the WAL dropped the relation, or where no crash can
// have left a file that only the official side has, it is reported.
func (r *run) disown() {
	sizes := r.sizes
	r.sizes = nil
	for _, s := range sizes {
		_, dropped := r.ra.Dropped(s.RelFileLocator)
		s.in.Nobody = r.orphans[s.RelFileLocator] && s.in.Replayed == compare.NoFile && !r.ra.Restarted() && !r.official.Online && !r.official.Running
		if dropped || s.in.Nobody {
			r.orphans[s.RelFileLocator] = false
		}
		r.addSize(s.RelFork, s.in)
	}
}

// replayedBlank says whether a block that only the replayed side has says nothing.
func (r *run) replayedBlank(ctx context.Context, f pg.RelFork, baseBlocks, b pg.BlockNumber) (bool, error) {
	var buf [pg.BlockSize]byte
	p, err := r.replayedPage(f, b, buf[:])
	switch {
	case err != nil:
		return false, err
	case p.Bytes != nil:
		return compare.Blank(page.Page(p.Bytes), f), nil
	case b >= baseBlocks:
		return true, nil
	}
	if sparse(r.Base) { // it was not read, or its hash says no more than its page
		read, err := fetchOne(ctx, r.Base, pg.Block{RelFork: f, Number: b})
		return err == nil && (read == nil || page.Page(read).IsZero()), err
	}
	h, ok := r.index.hash(f, b)
	return !ok || h == zeroHash, nil
}

// versionDir is the cluster's directory within a tablespace.
func (r *run) versionDir() string {
	return datadir.VersionDir(r.baseControl.Major(), r.baseControl.CatalogVersion)
}

// relMaps compares the relation map files, which say where the system
// catalogs are that pg_class cannot say it of.
func (r *run) relMaps() {
	keys := append(r.replayedMaps(), r.rb.RelMaps()...)
	slices.SortFunc(keys, func(a, b native.RelMapKey) int { return cmp.Or(cmp.Compare(a.Spc, b.Spc), cmp.Compare(a.DB, b.DB)) })
	for _, k := range slices.Compact(keys) {
		if r.leftovers[k.DB] != "" {
			continue
		}
		a, b := r.replayedMap(k.Spc, k.DB), r.rb.RelMap(k.Spc, k.DB)
		if why := relMapDifference(a, b); why != "" {
			r.add(finding.Discrepancy{
				File: r.relMapPath(k), Kind: finding.Unexplained, Severity: finding.Critical,
				Blame: finding.BlameUnknown, Explanation: why, ByteRanges: page.Differences(a, b),
			})
		}
	}
}

func relMapDifference(replayed, official []byte) string {
	switch {
	case replayed == nil:
		return "The official side has a relation map of which neither base nor WAL knows."
	case official == nil:
		return "The official side lacks the relation map that the WAL leaves."
	}
	want, err := datadir.ParseRelMap(replayed)
	if err != nil {
		return "The replayed relation map cannot be read: " + err.Error() + "."
	}
	got, err := datadir.ParseRelMap(official)
	if err != nil {
		return "The official relation map cannot be read: " + err.Error() + "."
	}
	if !sameMappings(want, got) {
		return "The official relation map names other relation files for system catalogs than the WAL does."
	}
	return ""
}

func (r *run) relMapPath(k native.RelMapKey) string {
	rel := datadir.RelPath(pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: k.Spc, DB: k.DB}}, 0, r.versionDir())
	return path.Join(path.Dir(rel), "pg_filenode.map")
}

func sameMappings(a, b []datadir.RelMapping) bool {
	if len(a) != len(b) {
		return false
	}
	have := make(map[datadir.RelMapping]bool, len(a))
	for _, m := range a {
		have[m] = true
	}
	for _, m := range b {
		if !have[m] {
			return false
		}
	}
	return true
}
