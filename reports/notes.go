package reports

import (
	"fmt"
	"slices"
	"strconv"
	"strings"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// note is one thing that was not verified, and why.
type note struct{ What, Why string }

// notes are those of one place.
type notes struct {
	Where string // timeline; empty: the whole run
	Span  string // empty: the whole timeline
	Items []note
}

func (n *notes) add(what, why string) { n.Items = append(n.Items, note{what, why}) }

// notesOf lists everything that was not verified. An empty list means that
// every block and segment that was asked for was checked.
func notesOf(rep *Report) []notes {
	r := &rep.Run
	var run notes
	if r.FinishedAt == nil {
		run.add("Run", "it did not finish: what it had not reached is not verified, and not listed here")
	}
	for _, reason := range r.Reasons {
		run.add("Run", plain(reason))
	}
	if len(r.Timelines) == 0 {
		run.add("Everything", "no timeline was picked")
	}
	all := []notes{run}
	for i := range r.Timelines {
		t := &r.Timelines[i]
		all = append(all, timelineNotes(t, rep.single))
		for j := range t.Spans {
			n := spanNotes(&t.Spans[j])
			n.Where = timelineName(t)
			all = append(all, n)
		}
	}
	return slices.DeleteFunc(all, func(n notes) bool { return len(n.Items) == 0 })
}

func timelineNotes(t *finding.RunTimeline, single bool) notes {
	n := notes{Where: timelineName(t)}
	for _, reason := range t.Reasons {
		n.add("Timeline", plain(reason))
	}
	if len(t.Spans) == 0 {
		n.add("Pages", "no span of this timeline was verified: nothing was compared")
	}
	if t.Scan == nil && !single {
		n.add("Archive", "the WAL archive of this timeline was not scanned")
	}
	if t.Scan != nil {
		for _, reason := range t.Scan.Reasons {
			n.add("Archive", plain(reason))
		}
	}
	n.addHoles(uncovered(t))
	return n
}

// addHoles names the ranges of a few holes and adds up many.
func (n *notes) addHoles(holes []pg.Range) {
	const few = 4
	const why = " in no span of this run"
	if len(holes) > few {
		sum := uint64(0)
		for _, r := range holes {
			sum += r.Bytes()
		}
		n.add(count(int64(len(holes)), "range")+" of WAL", bytesOf(sum)+why)
		return
	}
	for _, r := range holes {
		n.add("WAL "+rangeOf(r), bytesOf(r.Bytes())+why)
	}
}

func spanNotes(v *finding.Verification) notes {
	n := notes{Span: rangeOf(v.Span)}
	for _, reason := range v.Reasons {
		n.add("Span", plain(reason))
	}
	if len(v.Reasons) == 0 {
		for _, g := range v.Gaps {
			n.add("WAL "+rangeOf(pg.Range{From: g.From, To: g.To}), "missing: "+segmentsOf(g.Segments))
		}
		if spanVerdict(v) == finding.Inconclusive && len(v.Gaps) == 0 {
			n.add("Span", "it ended without a verdict and without a reason")
		}
	}
	n.addBlocks(v)
	return n
}

// addBlocks counts the blocks that were not compared, unless a reason of the
// span begins with their number.
func (n *notes) addBlocks(v *finding.Verification) {
	c := &v.Coverage
	add := func(blocks int64, why string) {
		said := slices.ContainsFunc(v.Reasons, func(r string) bool { return strings.HasPrefix(r, strconv.FormatInt(blocks, 10)+" block") })
		if blocks > 0 && !said {
			n.add(count(blocks, "block"), why)
		}
	}
	why := "redo of their last change is not known"
	if by := tally(c.TaintedBy); by != "" {
		why += " (" + by + ")"
	}
	add(c.BlocksTainted, why)
	add(c.BlocksUnverifiable, "could not be compared")
	add(c.BlocksOverwrittenByWAL, "replaced whole by the official backup's own WAL before it was consistent: no evidence either way")
	add(c.BlocksSkipped, "left out by choice: by --rel or by sampling")
}

// segmentsOf names segments; a long list shows its ends and its length.
func segmentsOf(names []string) string {
	const show = 12
	switch n := len(names); {
	case n == 0:
		return "segments not named"
	case n > show:
		return fmt.Sprintf("%s … %s (%s segments)", join(names[:show-1], plain), plain(names[n-1]), number(int64(n)))
	}
	return join(names, plain)
}

// timelineName is "tenant / timeline", or what there is of it.
func timelineName(t *finding.RunTimeline) string {
	switch {
	case t.Tenant == "":
		return plain(t.Timeline)
	case t.Timeline == "":
		return plain(t.Tenant)
	}
	return plain(t.Tenant) + " / " + plain(t.Timeline)
}

func rangeOf(r pg.Range) string { return r.From.String() + " – " + r.To.String() }
