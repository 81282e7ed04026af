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
type note struct {
	What, Why string
	Span      string // empty: the whole timeline, or several spans

	blocks, spans int64 // how many blocks of how many spans; 0: it is no number of blocks
}

// notes are those of one place.
type notes struct {
	Where string // timeline; empty: the whole run
	Items []note
}

func (n *notes) add(what, why string) { n.Items = append(n.Items, note{What: what, Why: why}) }

// addSpan adds the notes of a span; blocks that were not compared for one
// reason in several spans are one note.
func (n *notes) addSpan(span string, items []note) {
	for _, i := range items {
		i.Span = span
		at := slices.IndexFunc(n.Items, func(o note) bool { return o.blocks > 0 && i.blocks > 0 && o.Why == i.Why })
		if at < 0 {
			n.Items = append(n.Items, i)
			continue
		}
		o := &n.Items[at]
		o.blocks, o.spans, o.Span = o.blocks+i.blocks, o.spans+1, ""
		o.What = count(o.blocks, "block") + " in " + count(o.spans, "span")
	}
}

// notesOf lists everything that was not verified. An empty list means that
// every block and segment that was asked for was checked.
func notesOf(rep *Report) []notes {
	r := &rep.Run
	var run notes
	if r.FinishedAt == nil {
		run.add("Run", "it did not finish: what it had not reached is not verified, and not listed here")
	}
	for _, reason := range r.Reasons {
		if !saidBySpan(r, reason) {
			run.add("Run", plain(reason))
		}
	}
	if len(r.Timelines) == 0 {
		run.add("Everything", "no timeline was picked")
	}
	all := []notes{run}
	for i := range r.Timelines {
		t := &r.Timelines[i]
		n := timelineNotes(t, rep.single)
		for j := range t.Spans {
			n.addSpan(rangeOf(t.Spans[j].Span), spanNotes(&t.Spans[j]).Items)
		}
		all = append(all, n)
	}
	return slices.DeleteFunc(all, func(n notes) bool { return len(n.Items) == 0 })
}

// saidBySpan reports whether a reason of the run is one that a span gives itself.
func saidBySpan(r *finding.Run, reason string) bool {
	for i := range r.Timelines {
		for j := range r.Timelines[i].Spans {
			for _, own := range r.Timelines[i].Spans[j].Reasons {
				if own != "" && strings.HasSuffix(reason, ": "+own) {
					return true
				}
			}
		}
	}
	return false
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
	n.addHoles(slices.DeleteFunc(uncovered(t), onlyHeader))
	return n
}

// onlyHeader reports whether a range is no more than the header of a WAL
// page (XLogLongPageHeaderData): no record starts in it.
func onlyHeader(r pg.Range) bool {
	const walPage, longHeader = 8192, 40
	return r.From%walPage == 0 && r.Bytes() <= longHeader
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
	var n notes
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
			n.Items = append(n.Items, note{What: count(blocks, "block"), Why: why, blocks: blocks, spans: 1})
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
