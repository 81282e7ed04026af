package scanner

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"slices"

	"golang.org/x/sync/errgroup"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// A run of segments that one worker reads is at most this long. Its end is
// read twice: the first pages of the segment behind it, to finish its last record.
const (
	maxRunBytes    = 128 << 20
	maxRunSegments = 32
)

// deep reads segments. One goroutine lists them, hands runs to workers, and
// merges their results in order; so only runs in flight are in memory.
type deep struct {
	w     WAL
	opt   *Options
	s     *survey
	x     *expectation
	r     *Result
	total int64
	done  int64

	group   *errgroup.Group
	pending []*segmentRun // handed out or remembered, in order, not merged yet
	build   *segmentRun   // being put together

	states map[place]*state // of the chain: at the place merged last, and at points
	points map[place]bool   // behind which another TLI goes on
	last   place            // merged last
	noted  map[string]bool  // segments that have a remark
	spoken dialect
	failed int // segments in a row that could not be read
}

// maxFailed is how many segments in a row may be unreadable before a scan
// gives up: then it is the store, and each takes several tries.
const maxFailed = 20

var errGivenUp = errors.New("reading was given up")

// place is a segment of a TLI.
type place struct {
	tli pg.TLI
	n   pg.SegmentNo
}

func newDeep(w WAL, opt *Options, s *survey, x *expectation, r *Result) *deep {
	d := &deep{w: w, opt: opt, s: s, x: x, r: r, group: &errgroup.Group{},
		states: map[place]*state{}, points: branchPoints(s), noted: map[string]bool{}, total: r.Present}
	d.group.SetLimit(d.workers())
	for _, found := range s.damaged {
		d.noted[found.Segment] = true
	}
	return d
}

func (d *deep) workers() int {
	if d.opt.Workers > 0 {
		return d.opt.Workers
	}
	return 2
}

// run reads all expected segments that are there. Damage and doubts go to the
// survey; the error is that of a Memory.
func (d *deep) run(ctx context.Context) error {
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	err := d.list(ctx)
	if err == nil && ctx.Err() == nil {
		if err = d.flush(ctx); err == nil && d.done < d.total {
			d.s.doubt("%d of %d segments were there when the scan began and could not be found again", d.total-d.done, d.total)
		}
	}
	cancel() // where something failed, workers need not go on
	if wait := d.group.Wait(); err == nil {
		err = wait
	}
	d.r.Dialect = d.spoken.name()
	d.spoken.doubts(d.s)
	if errors.Is(err, errGivenUp) {
		return nil // the reason is among the doubts
	}
	return err
}

// list goes through the segments in order and gathers the copies of each.
func (d *deep) list(ctx context.Context) error {
	var copies []walfile.Entry
	for e, err := range d.w.List(ctx) {
		if err != nil {
			d.s.doubt("the listing broke off: %v", err)
			break
		}
		if e.Kind != wal.SegmentFile || e.Irregular || !d.x.expected[e.TLI].has(e.Segment) || !d.s.has(e.TLI, e.Segment) {
			continue
		}
		if len(copies) > 0 && (copies[0].TLI != e.TLI || copies[0].Segment != e.Segment) {
			if err := d.take(ctx, copies); err != nil {
				return err
			}
			copies = nil
		}
		copies = append(copies, e)
	}
	if len(copies) > 0 {
		return d.take(ctx, copies)
	}
	return nil
}

// take adds a segment to the run that is being put together, or as one that is
// remembered.
func (d *deep) take(ctx context.Context, copies []walfile.Entry) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	seg := choose(copies)
	known, err := d.recall(ctx, seg)
	if err != nil {
		return err
	}
	e := &seg.entry
	if known {
		if err := d.hand(ctx); err != nil {
			return err
		}
		run := &segmentRun{tli: e.TLI, segments: []*segment{seg}, done: make(chan struct{})}
		close(run.done)
		d.pending = append(d.pending, run)
		return d.merge(ctx, 2*d.workers())
	}
	if b := d.build; b != nil && (b.tli != e.TLI || b.end() != e.Segment ||
		len(b.segments) >= maxRunSegments || int64(len(b.segments)+1)*d.s.size > maxRunBytes) {
		if err := d.hand(ctx); err != nil {
			return err
		}
	}
	if d.build == nil {
		if d.build, err = d.start(ctx, e); err != nil {
			return err
		}
	}
	d.build.segments = append(d.build.segments, seg)
	return nil
}

// choose decides which copy of a segment is read: the first, in the order in
// which an archive's readers try them, that is not empty.
func choose(copies []walfile.Entry) *segment {
	slices.SortFunc(copies, func(a, b walfile.Entry) int { return cmp.Compare(a.Compression, b.Compression) })
	i := max(slices.IndexFunc(copies, func(e walfile.Entry) bool { return e.Size > 0 }), 0)
	copies[0], copies[i] = copies[i], copies[0]
	return &segment{entry: copies[0], copies: copies[1:]}
}

// start begins a run. Where the segment before it is not read by the run just
// before, the state of the chain at its end is needed, for which everything
// handed out is waited for.
func (d *deep) start(ctx context.Context, e *walfile.Entry) (*segmentRun, error) {
	r := &segmentRun{w: d.w, s: d.s, tli: e.TLI, done: make(chan struct{})}
	if n := len(d.pending); n > 0 {
		if p := d.pending[n-1]; p.w != nil && p.tli == e.TLI && p.end() == e.Segment {
			return r, nil // that run follows its last record into this one
		}
	}
	if err := d.merge(ctx, 0); err != nil {
		return nil, err
	}
	if tli, ok := d.s.before(e.TLI, e.Segment); ok {
		r.before = d.states[place{tli, e.Segment - 1}]
	}
	return r, nil
}

// hand gives the run that was put together to a worker.
func (d *deep) hand(ctx context.Context) error {
	r := d.build
	if r == nil {
		return nil
	}
	d.build = nil
	d.pending = append(d.pending, r)
	d.group.Go(func() error {
		defer close(r.done)
		r.readAll(ctx)
		return nil
	})
	return d.merge(ctx, 2*d.workers())
}

func (d *deep) flush(ctx context.Context) error {
	if err := d.hand(ctx); err != nil {
		return err
	}
	return d.merge(ctx, 0)
}

// merge takes results in, in order, until at most left runs are pending.
func (d *deep) merge(ctx context.Context, left int) error {
	for len(d.pending) > left {
		r := d.pending[0]
		select {
		case <-r.done:
		case <-ctx.Done():
			return ctx.Err()
		}
		if err := ctx.Err(); err != nil {
			return err // what was read may be incomplete
		}
		d.pending = d.pending[1:]
		if err := d.mergeRun(ctx, r); err != nil {
			return err
		}
	}
	return nil
}

func (d *deep) mergeRun(ctx context.Context, r *segmentRun) error {
	var learned []Seen
	for _, seg := range r.segments {
		seen, ok := d.mergeSegment(seg, r.w != nil)
		if ok {
			learned = append(learned, seen)
		}
	}
	for _, o := range r.others {
		d.remark(o.name, o.damage, o.doubt)
	}
	d.done += int64(len(r.segments))
	if d.failed >= maxFailed {
		d.s.doubt("%d segments in a row could not be read: given up after %d of %d", d.failed, d.done, d.total)
		return errGivenUp
	}
	if d.opt.Progress != nil {
		d.opt.Progress(d.done, d.total)
	}
	if d.opt.Memory == nil || len(learned) == 0 {
		return nil
	}
	if err := d.opt.Memory.Remember(ctx, d.w.Tenant(), d.w.ID(), learned); err != nil {
		return fmt.Errorf("remember what was read of %s/%s: %w", d.w.Tenant(), d.w.ID(), err)
	}
	return nil
}

// mergeSegment checks the seam before a segment and says what to remember of it.
func (d *deep) mergeSegment(seg *segment, read bool) (Seen, bool) {
	e := &seg.entry
	at := place{e.TLI, e.Segment}
	if read && seg.read {
		d.r.SegmentsRead++
	}
	if !read {
		d.r.Remembered++
	}
	if seg.read && seg.damage == "" {
		d.spoken.add(&seg.st)
		seg.damage = d.late(seg)
	}
	d.remark(e.Name(), seg.damage, seg.doubt)
	if d.failed++; seg.doubt == "" {
		d.failed = 0
	}
	var before *state
	var from place
	if tli, ok := d.s.before(e.TLI, e.Segment); ok {
		from = place{tli, e.Segment - 1}
		before = d.states[from]
	}
	if !d.points[d.last] {
		delete(d.states, d.last)
	}
	d.last = at
	if seg.damage != "" || seg.doubt != "" || !seg.read {
		return Seen{}, false
	}
	sound := true
	if before != nil {
		if wrong, earlier := seam(before, &seg.st); wrong != "" {
			sound = earlier
			name := e.Name()
			if earlier {
				name = pg.SegmentName(from.tli, from.n, d.s.size)
			}
			d.remark(name, wrong, "")
		}
	}
	st := seg.st
	if !seg.own && before != nil {
		// One record runs through the whole segment.
		st.Last, st.Tail = before.Last, nil
		if before.Tail != nil {
			st.Tail = &tail{LSN: before.Tail.LSN, Lost: true}
		}
	}
	d.states[at] = &st
	return d.remember(seg, sound && seg.own && read)
}

// branchPoints are the places behind which another TLI goes on.
func branchPoints(s *survey) map[place]bool {
	points := map[place]bool{}
	for _, tli := range s.tlis() {
		for _, r := range s.of(tli) {
			if from, ok := s.before(tli, r.from); ok {
				points[place{from, r.from - 1}] = true
			}
		}
	}
	return points
}

func (d *deep) remark(segment, damage, doubt string) {
	if damage == "" && doubt == "" || d.noted[segment] {
		return
	}
	d.noted[segment] = true
	if damage != "" {
		if d.s.hurt > maxDamaged {
			return // it may have been counted by the listing
		}
		d.s.damage(segment, damage)
		return
	}
	d.s.doubt("segment %s %s", segment, doubt)
}

// recall looks a segment up in the memory; true if it is known and unchanged.
// Of one that is stored more than once nothing is remembered.
func (d *deep) recall(ctx context.Context, seg *segment) (bool, error) {
	if d.opt.Memory == nil || d.opt.Reread || len(seg.copies) > 0 || d.noted[seg.entry.Name()] {
		return false, nil
	}
	e := &seg.entry
	seen, ok, err := d.opt.Memory.Recall(ctx, d.w.Tenant(), d.w.ID(), e.Key)
	if err != nil {
		return false, fmt.Errorf("look up what was read of %s/%s: %w", d.w.Tenant(), d.w.ID(), err)
	}
	if !ok || seen.Size != e.Size || seen.ETag != e.ETag || !seen.ModTime.Equal(e.ModTime) {
		return false, nil
	}
	st, ok := decodeState(seen.State, d.s.identity.SystemID)
	if !ok {
		return false, nil
	}
	seg.st, seg.own, seg.read = *st, true, true
	return true, nil
}

func (d *deep) remember(seg *segment, sound bool) (Seen, bool) {
	st := seg.st
	if !sound || d.opt.Memory == nil || len(seg.copies) > 0 || st.Tail != nil && st.Tail.Lost {
		return Seen{}, false
	}
	data, err := st.encode()
	if err != nil {
		return Seen{}, false
	}
	e := &seg.entry
	return Seen{Name: e.Key, Size: e.Size, ETag: e.ETag, ModTime: e.ModTime, State: data}, true
}
