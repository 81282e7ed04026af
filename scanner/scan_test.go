package scanner

import (
	"context"
	"errors"
	"fmt"
	"io"
	"iter"
	"slices"
	"strings"
	"testing"
	"time"

	"pgregory.net/rapid"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

// names is a WAL of which only names and sizes matter.
type names struct {
	size      int64
	keys      []string // sorted
	late      []string // found when looked up, but not listed
	sizes     map[string]int64
	histories map[string]string
	listFails int // after so many keys, if not 0
	identify  error
	found     error
}

var _ WAL = (*names)(nil)

func (w *names) Tenant() string { return "ten" }
func (w *names) ID() string     { return "tl" }

func (w *names) Identify(context.Context) (walfile.Identity, error) {
	return walfile.Identity{SegmentSize: w.size, SystemID: 1, Major: 17}, w.identify
}

func (w *names) entry(key string) walfile.Entry {
	e := walfile.Parse(key, w.size)
	e.Size = w.size
	if n, ok := w.sizes[key]; ok {
		e.Size = n
	}
	e.Irregular = strings.HasPrefix(key, "link")
	return e
}

func (w *names) List(context.Context) iter.Seq2[walfile.Entry, error] {
	return func(yield func(walfile.Entry, error) bool) {
		for i, k := range w.keys {
			if w.listFails != 0 && i == w.listFails {
				yield(walfile.Entry{}, errors.New("no answer"))
				return
			}
			if !yield(w.entry(k), nil) {
				return
			}
		}
	}
}

func (w *names) Find(_ context.Context, tli pg.TLI, n pg.SegmentNo) ([]walfile.Entry, error) {
	if name := pg.SegmentName(tli, n, w.size); slices.Contains(w.late, name) {
		return []walfile.Entry{w.entry(name)}, nil
	}
	return nil, w.found
}

func (w *names) OpenEntry(context.Context, walfile.Entry) (io.ReadCloser, error) {
	return nil, errors.New("nothing to read")
}

func (w *names) ReadHistory(_ context.Context, e walfile.Entry) (wal.History, error) {
	text, ok := w.histories[e.Key]
	if !ok {
		return nil, errors.New("no such history")
	}
	return wal.ParseHistory(e.TLI, []byte(text))
}

// archiveOf makes a WAL of segments "tli/n" or "tli/from-to".
func archiveOf(segments ...string) *names {
	w := &names{size: mib, histories: map[string]string{}}
	for _, s := range segments {
		var tli, from, to int
		if n, _ := fmt.Sscanf(s, "%d/%d-%d", &tli, &from, &to); n != 3 {
			to = from
		}
		for n := from; n <= to; n++ {
			w.keys = append(w.keys, name(pg.TLI(tli), pg.SegmentNo(n)))
		}
	}
	slices.Sort(w.keys)
	return w
}

func (w *names) with(keys ...string) *names {
	w.keys = append(w.keys, keys...)
	slices.Sort(w.keys)
	return w
}

func (w *names) history(tli pg.TLI, text string) *names {
	key := wal.HistoryFileName(tli)
	w.histories[key] = text
	return w.with(key)
}

func name(tli pg.TLI, n pg.SegmentNo) string { return pg.SegmentName(tli, n, mib) }

func lsn(n pg.SegmentNo) pg.LSN { return n.Start(mib) }

func TestExpectations(t *testing.T) {
	gap := func(tli pg.TLI, from, to pg.SegmentNo) string {
		return fmt.Sprintf("; gap %s %s", name(tli, from), pg.Range{From: lsn(from), To: lsn(to)})
	}
	const h2 = "1\t0/752345\tx\n" // in segment 7
	for what, c := range map[string]struct {
		w    *names
		opt  Options
		want string
	}{
		"whole":              {archiveOf("1/3-9"), Options{}, "clean: 7 of 7"},
		"one gap":            {archiveOf("1/3-5", "1/7-9"), Options{}, "findings: 6 of 7" + gap(1, 6, 7)},
		"two gaps":           {archiveOf("1/3", "1/5", "1/9"), Options{}, "findings: 3 of 7" + gap(1, 4, 5) + gap(1, 6, 9)},
		"from before":        {archiveOf("1/3-9"), Options{From: lsn(1) + 5}, "findings: 7 of 9" + gap(1, 1, 3)},
		"from within":        {archiveOf("1/3", "1/5-9"), Options{From: lsn(5)}, "clean: 5 of 5"},
		"to within":          {archiveOf("1/3-5", "1/9"), Options{To: lsn(6)}, "clean: 3 of 3"},
		"to behind":          {archiveOf("1/3-5"), Options{To: lsn(6) + 1}, "findings: 3 of 4" + gap(1, 6, 7)},
		"only before a from": {archiveOf("1/3-5"), Options{From: lsn(8)}, "inconclusive: 0 of 0; because no segment is expected in the range asked for: nothing was checked"},
		"nothing":            {archiveOf(), Options{}, "inconclusive: 0 of 0; because no segment is expected in the range asked for: nothing was checked"},
		"a backup":           {archiveOf("1/1", "1/5-9"), Options{Backups: []Backup{{TLI: 1, Start: lsn(5) + 40, Stop: lsn(6)}}}, "clean: 5 of 5"},
		"a backup before all": {archiveOf("1/5-9"), Options{Backups: []Backup{{TLI: 1, Start: lsn(3) + 40, Stop: lsn(4)}}},
			"findings: 5 of 7" + gap(1, 3, 5)},
		"two backups": {archiveOf("1/4", "1/6-9"), Options{Backups: []Backup{{TLI: 1, Start: lsn(7), Stop: lsn(8)}, {TLI: 1, Start: lsn(4), Stop: lsn(5)}}},
			"findings: 5 of 6" + gap(1, 5, 6)},
		"a backup alone": {archiveOf("1/1-2", "1/5-9"), Options{Backups: []Backup{{TLI: 1, Start: lsn(1) + 40, Stop: lsn(3), Alone: true}, {TLI: 1, Start: lsn(5) + 40, Stop: lsn(6)}}},
			"clean: 7 of 7"},
		"a backup alone, gap": {archiveOf("1/1", "1/5-9"), Options{Backups: []Backup{{TLI: 1, Start: lsn(1) + 40, Stop: lsn(3), Alone: true}, {TLI: 1, Start: lsn(5) + 40, Stop: lsn(6)}}},
			"findings: 6 of 7" + gap(1, 2, 3)},
		"two TLIs":               {archiveOf("1/3-6", "2/7-9").history(2, h2), Options{}, "clean: 7 of 7"},
		"two TLIs, old goes on":  {archiveOf("1/3-8", "2/7-9").history(2, h2), Options{}, "clean: 9 of 9"},
		"gap in the old one":     {archiveOf("1/3-5", "2/7-9").history(2, h2), Options{}, "findings: 6 of 7" + gap(1, 6, 7)},
		"gap at the switch":      {archiveOf("1/3-7", "2/8-9").history(2, h2), Options{}, "findings: 7 of 8" + gap(2, 7, 8)},
		"old one cleaned up":     {archiveOf("2/8-9").history(2, h2), Options{}, "clean: 2 of 2"},
		"switch at the boundary": {archiveOf("1/3-6", "2/7-9").history(2, "1\t0/700000\tx\n"), Options{}, "clean: 7 of 7"},
		"skipped TLI":            {archiveOf("1/3-6", "5/7-9").history(5, h2), Options{}, "clean: 7 of 7"},
		"TLI without segments": {archiveOf("1/3-6", "3/7-9").history(2, h2).history(3, h2+"2\t0/760000\ty\n"),
			Options{}, "clean: 7 of 7"},
		"TLI without a history": {archiveOf("1/3-6", "2/7-9"), Options{},
			"inconclusive: 7 of 7; because 00000002.history is not there: it is not known where TLI 2 branched off"},
		"gap besides a doubt": {archiveOf("1/3-6", "2/7", "2/9"), Options{},
			"findings: 6 of 7" + gap(2, 8, 9) + "; because 00000002.history is not there: it is not known where TLI 2 branched off"},
		"dead branch": {archiveOf("1/3-9", "2/7-8", "3/8-12").history(2, h2).history(3, "1\t0/812345\tx\n"), Options{}, "clean: 14 of 14"},
		"partial": {archiveOf("1/3-6", "2/7").with(name(1, 7)+".partial", name(2, 8)+".partial").history(2, h2),
			Options{}, "clean: 5 of 5"},
		"partial in the middle": {archiveOf("1/3", "1/5").with(name(1, 4) + ".partial"), Options{}, "findings: 2 of 3" + gap(1, 4, 5)},
		"strays": {archiveOf("1/3-4").with("foo", "link1", name(1, 3)+".gz", name(1, 3)+".00000028.backup", "dir/"), Options{},
			"clean: 2 of 2; unexpected " + name(1, 3) + ".gz (" + name(1, 3) + " is stored more than once); unexpected dir/; unexpected foo; unexpected link1 (a link or device, which is not followed)"},
	} {
		t.Run(what, func(t *testing.T) {
			r, err := Timeline(context.Background(), c.w, c.opt)
			if err != nil {
				t.Fatal(err)
			}
			want(t, r, c.want)
			if r.ObjectsListed != int64(len(c.w.keys)) {
				t.Errorf("listed %d of %d", r.ObjectsListed, len(c.w.keys))
			}
		})
	}
}

func TestSizes(t *testing.T) {
	w := archiveOf("1/3-5").with(name(1, 6)+".zst", name(1, 7)+".zst")
	w.sizes = map[string]int64{name(1, 4): 5, name(1, 5): 0, name(1, 6) + ".zst": 17, name(1, 7) + ".zst": 0}
	r, err := Timeline(context.Background(), w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, r, "findings: 5 of 5; damaged "+name(1, 4)+": it holds 5 of 1048576 bytes; damaged "+name(1, 5)+
		": the object is empty; damaged "+name(1, 7)+": the object is empty")
}

func TestWhatCannotBeListed(t *testing.T) {
	broken := errors.New("bucket on fire")
	for what, w := range map[string]*names{
		"identity":       {size: mib, identify: broken},
		"no WAL":         {size: mib, identify: walfile.ErrNoWAL},
		"listing":        func() *names { w := archiveOf("1/3-9"); w.listFails = 4; return w }(),
		"history":        archiveOf("1/3", "2/4").with("00000002.history"),
		"looking up":     func() *names { w := archiveOf("1/3", "1/5"); w.found = broken; return w }(),
		"too many TLIs":  manyTLIs(),
		"deep, no bytes": archiveOf("1/3-9"),
	} {
		r, err := Timeline(context.Background(), w, Options{Deep: strings.HasPrefix(what, "deep")})
		if err != nil {
			t.Fatal(err)
		}
		v := Verdict(&r.ScanTimeline)
		if len(r.Reasons) == 0 || v != finding.Inconclusive && what != "looking up" || v == finding.Clean {
			t.Errorf("%s: %s", what, summary(&r))
		}
	}
	if _, err := Timeline(context.Background(), archiveOf("1/3"), Options{From: 8, To: 8}); err == nil {
		t.Error("an empty range was accepted")
	}
}

func manyTLIs() *names {
	w := &names{size: mib}
	for i := range pg.TLI(maxTLIs + 1) {
		w.keys = append(w.keys, name(i+1, 1))
	}
	return w
}

// A segment that comes while the listing goes on is no gap.
func TestLateSegment(t *testing.T) {
	w := archiveOf("1/3", "1/5-6")
	w.late = []string{name(1, 4)}
	r, err := Timeline(context.Background(), w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	want(t, r, "clean: 4 of 4")
}

// A name far in the future is a huge gap, not a huge answer.
func TestFarSegment(t *testing.T) {
	w := archiveOf("1/3").with("00000001FFFFFFFF00000FFF")
	r, err := Timeline(context.Background(), w, Options{})
	if err != nil {
		t.Fatal(err)
	}
	if len(r.Gaps) != 1 || len(r.Gaps[0].Segments) != maxNames || r.Expected < 1<<40 {
		t.Errorf("%d gaps, %d names, %d expected", len(r.Gaps), len(r.Gaps[0].Segments), r.Expected)
	}
}

type requeuer struct{ err error }

func (q requeuer) Requeue(_ context.Context, _, _ string, g finding.Gap) (string, error) {
	if len(g.Segments) > 1 {
		return "missing", q.err
	}
	return "requeued", q.err
}

func TestRequeue(t *testing.T) {
	r, err := Timeline(context.Background(), archiveOf("1/3", "1/5", "1/9"), Options{Requeuer: requeuer{}})
	if err != nil || r.Gaps[0].Status != "requeued" || r.Gaps[1].Status != "missing" {
		t.Errorf("%+v, %v", r.Gaps, err)
	}
	r, err = Timeline(context.Background(), archiveOf("1/3", "1/5"), Options{Requeuer: requeuer{errors.New("nobody")}})
	if err != nil || r.Gaps[0].Status != "missing" || len(r.Reasons) != 1 {
		t.Errorf("%+v, %v", r, err)
	}
}

// atWork says that an agent uploads whatever is missing.
type atWork struct{}

func (atWork) Requeue(context.Context, string, string, finding.Gap) (string, error) {
	return "uploading", nil
}

// A gap across the WAL backup LSN is two: what lies below counts until it is
// there, though an agent is at work on it.
func TestSeverity(t *testing.T) {
	w := archiveOf("1/3", "1/7")
	recorded := []Recorded{{1, pg.SegmentNo(3).Start(mib), pg.SegmentNo(5).Start(mib), mib}}
	r, err := Timeline(context.Background(), w, Options{Recorded: recorded, Requeuer: atWork{}})
	if err != nil || len(r.Gaps) != 2 || r.Gaps[0].To != recorded[0].To || r.Gaps[0].Severity != finding.Critical || r.Gaps[1].Severity != finding.Warning {
		t.Fatalf("%+v, %v", r.Gaps, err)
	}
	if r.MissingSegments() != 1 || r.LateSegments() != 2 || Verdict(&r.ScanTimeline) != finding.Findings {
		t.Errorf("%d missing, %d late: %s", r.MissingSegments(), r.LateSegments(), Verdict(&r.ScanTimeline))
	}
	if r, err = Timeline(context.Background(), w, Options{}); err != nil || len(r.Gaps) != 1 || r.Gaps[0].Severity != finding.Critical {
		t.Errorf("without a record: %+v, %v", r.Gaps, err)
	}
}

// What was recorded to be there is expected behind the newest segment that is,
// and of newer TLIs; not before the oldest one, nor of other sizes.
func TestRecorded(t *testing.T) {
	at := func(n pg.SegmentNo) pg.LSN { return n.Start(mib) }
	for name, c := range map[string]struct {
		keys     []string
		recorded []Recorded
		opt      Options
		want     string
	}{
		"as recorded":        {[]string{"1/3", "1/4"}, []Recorded{{1, at(3), at(5), mib}}, Options{}, ""},
		"fewer recorded":     {[]string{"1/3", "1/4"}, []Recorded{{1, at(3), at(4), mib}}, Options{}, ""},
		"the newest lost":    {[]string{"1/3", "1/4"}, []Recorded{{1, at(3), at(7), mib}}, Options{}, "1/5 1/6"},
		"the oldest removed": {[]string{"1/3", "1/4"}, []Recorded{{1, at(1), at(5), mib}}, Options{}, ""},
		"another size":       {[]string{"1/3", "1/4"}, []Recorded{{1, at(3), at(7), 2 * mib}}, Options{}, ""},
		"a newer TLI lost":   {[]string{"1/3", "1/4"}, []Recorded{{1, at(3), at(5), mib}, {2, at(5), at(7), mib}}, Options{}, "2/5 2/6"},
		"an older removed":   {[]string{"2/5"}, []Recorded{{1, at(3), at(5), mib}}, Options{}, ""},
		"up to":              {[]string{"1/3", "1/4"}, []Recorded{{1, at(3), at(7), mib}}, Options{To: at(6)}, "1/5"},
	} {
		t.Run(name, func(t *testing.T) {
			c.opt.Recorded = c.recorded
			r, err := Timeline(context.Background(), archiveOf(c.keys...), c.opt)
			if err != nil {
				t.Fatal(err)
			}
			var got []string
			for _, g := range r.Gaps {
				for _, s := range g.Segments {
					tli, n, err := pg.ParseSegmentName(s, mib)
					if err != nil {
						t.Fatal(err)
					}
					got = append(got, fmt.Sprintf("%d/%d", tli, n))
				}
			}
			if strings.Join(got, " ") != c.want {
				t.Errorf("missing %v, want %s", got, c.want)
			}
		})
	}
}

// Gaps are what a plain loop over all segments says.
func TestGapsAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		have := rapid.SliceOfNDistinct(rapid.IntRange(1, 60), 1, 40, rapid.ID[int]).Draw(rt, "segments")
		w := archiveOf()
		for _, n := range have {
			w.keys = append(w.keys, name(1, pg.SegmentNo(n)))
		}
		slices.Sort(w.keys)
		var opt Options
		first, last := slices.Min(have), slices.Max(have)
		if rapid.Bool().Draw(rt, "with from") {
			first = rapid.IntRange(1, 60).Draw(rt, "from")
			opt.From = lsn(pg.SegmentNo(first)) + pg.LSN(rapid.IntRange(0, mib-1).Draw(rt, "offset"))
		}
		if rapid.Bool().Draw(rt, "with to") {
			last = max(first, rapid.IntRange(1, 60).Draw(rt, "to"))
			opt.To = lsn(pg.SegmentNo(last + 1))
		}
		var missing []string
		expected := 0
		for n := first; n <= last; n++ {
			expected++
			if !slices.Contains(have, n) {
				missing = append(missing, name(1, pg.SegmentNo(n)))
			}
		}
		r, err := Timeline(context.Background(), w, opt)
		if err != nil {
			rt.Fatal(err)
		}
		var got []string
		for i, g := range r.Gaps {
			got = append(got, g.Segments...)
			if int64(g.To-g.From) != int64(len(g.Segments))*mib || i > 0 && r.Gaps[i-1].To >= g.From {
				rt.Fatalf("gap %+v", g)
			}
		}
		if !slices.Equal(got, missing) || r.Expected != int64(expected) || r.Present != int64(expected-len(missing)) {
			rt.Fatalf("missing %q of %d, %d there; want %q of %d", got, r.Expected, r.Present, missing, expected)
		}
	})
}

func TestRunsAgainstModel(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		build := func(label string) (runs, map[pg.SegmentNo]bool) {
			var s runs
			model := map[pg.SegmentNo]bool{}
			for range rapid.IntRange(0, 30).Draw(rt, label) {
				if rapid.Bool().Draw(rt, "single") {
					n := pg.SegmentNo(rapid.IntRange(0, 50).Draw(rt, "n"))
					if s.add(n) == model[n] {
						rt.Fatalf("add(%d) is wrong", n)
					}
					model[n] = true
					continue
				}
				from := rapid.IntRange(0, 50).Draw(rt, "from")
				to := from + rapid.IntRange(0, 8).Draw(rt, "length")
				s.addRun(run{pg.SegmentNo(from), pg.SegmentNo(to)})
				for n := from; n < to; n++ {
					model[pg.SegmentNo(n)] = true
				}
			}
			return s, model
		}
		check := func(s runs, in func(pg.SegmentNo) bool) {
			count := int64(0)
			for n := range pg.SegmentNo(70) {
				if s.has(n) != in(n) {
					rt.Fatalf("%v: %d is %v", s, n, s.has(n))
				}
				if in(n) {
					count++
				}
			}
			for i, r := range s {
				if r.from >= r.to || i > 0 && s[i-1].to >= r.from {
					rt.Fatalf("%v is not normal", s)
				}
			}
			if s.count() != count {
				rt.Fatalf("%v counts %d, want %d", s, s.count(), count)
			}
		}
		a, inA := build("a")
		b, inB := build("b")
		check(a, func(n pg.SegmentNo) bool { return inA[n] })
		check(a.minus(b), func(n pg.SegmentNo) bool { return inA[n] && !inB[n] })
		check(a.within(run{10, 30}), func(n pg.SegmentNo) bool { return inA[n] && n >= 10 && n < 30 })
	})
}

func TestSummarize(t *testing.T) {
	result := func(gaps, reasons int) Result {
		r := Result{ScanTimeline: finding.ScanTimeline{Tenant: "a", Timeline: "b"}, ObjectsListed: 3}
		for range gaps {
			r.Gaps = append(r.Gaps, finding.Gap{Segments: []string{"x"}, Status: "missing"})
		}
		for range reasons {
			r.Reasons = append(r.Reasons, "why")
		}
		return r
	}
	for _, c := range []struct {
		results []Result
		reasons []string
		want    finding.Verdict
	}{
		{[]Result{result(0, 0), result(0, 0)}, nil, finding.Clean},
		{[]Result{result(0, 1), result(0, 0)}, nil, finding.Inconclusive},
		{[]Result{result(0, 1), result(1, 0), result(0, 1)}, nil, finding.Findings},
		{[]Result{result(0, 0)}, []string{"a timeline could not be listed"}, finding.Inconclusive},
		{nil, nil, finding.Inconclusive},
	} {
		s := Summarize(c.results, c.reasons, time.Second)
		if s.Verdict != c.want || s.Timing.ObjectsListed != int64(3*len(c.results)) || s.Verdict == finding.Inconclusive && len(s.Reasons) == 0 {
			t.Errorf("%+v, want %s", s, c.want)
		}
	}
}

// A million segments are a normal archive.
func BenchmarkMillionSegments(b *testing.B) {
	w := archiveOf()
	for n := range pg.SegmentNo(1_000_000) {
		w.keys = append(w.keys, name(1, n+1))
	}
	b.ReportAllocs()
	for b.Loop() {
		r, err := Timeline(b.Context(), w, Options{})
		if err != nil || r.Present != 1_000_000 {
			b.Fatal(summary(&r), err)
		}
	}
	b.ReportMetric(float64(1_000_000*b.N)/b.Elapsed().Seconds(), "objects/s")
}
