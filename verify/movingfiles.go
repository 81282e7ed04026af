package verify

import (
	"context"
	"fmt"
	"slices"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// movingRelations compares which forks there are and how long. A file grows
// before the WAL says so, and is cut or removed after: a size is right if it
// lies between two that the WAL gives it around the moment when it was looked at.
func (r *run) movingRelations(ctx context.Context, s *officialSide) error {
	if err := r.findLeftovers(ctx); err != nil {
		return err
	}
	all := slices.Concat(r.ra.Forks(), r.rb.Forks(), r.moving.ahead.Forks())
	r.unlogged = unloggedOf(all)
	var suspects []pg.RelFork
	seen, names := make(map[pg.RelFork]bool), make(map[pg.RelFileLocator]bool)
	for _, f := range all {
		if seen[f.RelFork] || !r.relWanted(f.RelFileLocator) {
			continue
		}
		seen[f.RelFork] = true
		here := stateOfSize(r.rb, f.RelFork)
		if why := r.whyLeftOut(f.RelFork); why != "" {
			if here >= 0 {
				r.tally.skipped[why]++
			}
			continue
		}
		if here >= 0 {
			names[f.RelFileLocator] = true
		}
		if here != stateOfSize(r.ra, f.RelFork) || here != stateOfSize(r.moving.ahead, f.RelFork) {
			suspects = append(suspects, f.RelFork)
		}
	}
	r.out.Coverage.Relations = int64(len(names))
	return r.movingSizes(ctx, suspects)
}

// movingSizes looks at the sizes of forks again until they fit, or for good.
func (r *run) movingSizes(ctx context.Context, suspects []pg.RelFork) error {
	m := r.moving
	wait := m.waits()
	for round := 0; len(suspects) > 0; round++ {
		before := make(map[pg.RelFork]int64, len(suspects))
		sizes := make(map[pg.RelFork]int64, len(suspects))
		for _, f := range suspects {
			before[f] = stateOfSize(m.ahead, f)
			n, err := m.Size(ctx, f)
			if err != nil {
				return fmt.Errorf("look at sizes of the official side: %w", err)
			}
			sizes[f] = n
		}
		written, err := m.Inserted(ctx)
		if err != nil {
			return fmt.Errorf("look at sizes of the official side: %w", err)
		}
		last := round >= m.opt.Rounds
		if err := r.advanceTo(ctx, written, last); err != nil {
			return err
		}
		left := suspects[:0]
		for _, f := range suspects {
			ok, err := r.sizeFits(ctx, f, sizes[f], before[f], stateOfSize(m.ahead, f))
			if err != nil {
				return err
			}
			switch {
			case ok:
			case !last:
				left = append(left, f)
			case m.end < written:
				r.tally.fork(f).uncaught[tooNew] += max(1, stateOfSize(m.ahead, f))
			default:
				r.addSize(f, r.sizeInput(f, sizes[f]))
			}
		}
		if suspects = left; len(suspects) == 0 {
			break
		}
		if err := wait.pause(ctx); err != nil {
			return err
		}
	}
	return nil
}

// sizeFits says whether a size is one that the fork may have had: a is what
// the WAL gave it before the look, b what it gives it since.
func (r *run) sizeFits(ctx context.Context, f pg.RelFork, size, a, b int64) (bool, error) {
	t := r.tally.forks[f]
	beyond := t != nil && t.beyond > 0
	if res := compare.Sizes(r.sizeInput(f, size)); res.Equal || res.Severity == finding.Benign {
		return true, nil
	}
	switch {
	case size == compare.NoFile:
		if a == compare.NoFile || b == compare.NoFile || f.Fork == pg.VMFork && !r.vmSays(f) {
			return true, nil
		}
		return r.moving.Dropped(ctx, f.DB)
	case a == compare.NoFile && b == compare.NoFile:
		init := f
		init.Fork = pg.InitFork
		n, err := r.moving.Size(ctx, init)
		if err == nil && n >= 0 {
			r.unlogged[f.RelFileLocator] = true
			return true, nil
		}
		return false, err
	case size < min(a, b):
		return r.blankBehind(ctx, f, size)
	}
	return !beyond || size <= max(a, b), nil
}

// vmSays says whether the WAL leaves a map with blocks in it.
func (r *run) vmSays(f pg.RelFork) bool { return stateOfSize(r.moving.ahead, f) > 0 }

// blankBehind says whether the blocks that a fork lacks say nothing: zeros
// that were there at the span's end and that no WAL has written since.
func (r *run) blankBehind(ctx context.Context, f pg.RelFork, size int64) (bool, error) {
	fa, ok := r.ra.Fork(f)
	if !ok || int64(fa.Size) < stateOfSize(r.moving.ahead, f) {
		return false, nil
	}
	for b := pg.BlockNumber(size); b < fa.Size; b++ {
		blank, err := r.replayedBlank(ctx, f, fa.BaseBlocks, b)
		if err != nil || !blank {
			return false, err
		}
	}
	return true, nil
}

// sizeInput is what is known of a fork that has so many blocks now.
func (r *run) sizeInput(f pg.RelFork, size int64) compare.SizeInput {
	in := compare.SizeInput{
		Rel: f, Major: r.out.Postgres.Major, Official: size, Replayed: stateOfSize(r.moving.ahead, f),
	}
	if fi := r.index.forks[f]; fi != nil {
		in.Base = int64(fi.size)
	}
	var ok bool
	if in.Dropped, ok = r.moving.ahead.Dropped(f.RelFileLocator); !ok {
		in.Dropped, _ = r.ra.Dropped(f.RelFileLocator)
	}
	t := r.tally.forks[f]
	in.BlankBeyond = in.Official > in.Replayed && (t == nil || t.beyond == 0)
	in.BloomInit = t != nil && t.bloomInit
	return in
}
