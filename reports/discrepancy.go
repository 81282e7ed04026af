package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strings"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// maxRows is how many discrepancies a report lists; the JSON has them all.
const maxRows = 2000

// row is one discrepancy as people read it.
type row struct {
	Anchor      string
	Timeline    string
	Severity    string
	Kind        string
	KindWords   string
	Relation    string // name where known
	Locator     string // tablespace/database/relfilenode and fork
	Block       string
	File        string
	Offset      string
	LSNs        []fact
	Record      string
	RecordLSN   string
	Bytes       string
	Ranges      []box // byte ranges within the page
	Blame       string
	BlameWords  string
	Explanation string
	ID          string
	Ack         string // who acknowledged it, until when and why; empty: nobody

	rank int
	lsn  pg.LSN
	of   struct { // what it was made from
		timeline *finding.RunTimeline
		span     *finding.Verification
		found    *finding.Discrepancy
	}
}

type fact struct{ Label, Value string }

// kindWords says each kind in a few words.
var kindWords = map[finding.Kind]string{
	finding.MissingRelation: "missing relation",
	finding.ExtraRelation:   "extra relation",
	finding.SizeMismatch:    "size mismatch",
	finding.ZeroedPage:      "zeroed page",
	finding.BitRot:          "bit rot",
	finding.TornPage:        "torn page",
	finding.LostWrite:       "lost write",
	finding.PhantomWrite:    "phantom write",
	finding.WrongRedo:       "wrong redo",
	finding.SLRUMismatch:    "SLRU mismatch",
	finding.HintBits:        "hint bits",
	finding.Unexplained:     "unexplained",
}

var blameWords = map[finding.Blame]string{
	finding.BlameOfficial: "the official side",
	finding.BlameBase:     "the base",
	finding.BlameWAL:      "the WAL",
	finding.BlameEngine:   "the engine",
	finding.BlameUnknown:  "not known",
}

func words[K ~string](m map[K]string, k K) string {
	if w, ok := m[k]; ok {
		return w
	}
	return plain(strings.ReplaceAll(string(k), "_", " "))
}

// rowsOf lists the discrepancies of a run, the worst first: those that count,
// and the benign ones apart.
func rowsOf(r finding.Run) (rows, benign []row) {
	for i := range r.Timelines {
		t := &r.Timelines[i]
		for j := range t.Spans {
			for k := range t.Spans[j].Discrepancies {
				d := rowOf(t, &t.Spans[j].Discrepancies[k])
				d.of.timeline, d.of.span, d.of.found = t, &t.Spans[j], &t.Spans[j].Discrepancies[k]
				if d.Severity == string(finding.Benign) {
					benign = append(benign, d)
				} else {
					rows = append(rows, d)
				}
			}
		}
	}
	slices.SortStableFunc(rows, func(a, b row) int {
		return cmp.Or(cmp.Compare(a.rank, b.rank), cmp.Compare(a.Timeline, b.Timeline), cmp.Compare(a.lsn, b.lsn))
	})
	for i := range rows {
		rows[i].Anchor = fmt.Sprintf("d%d", i+1)
	}
	return rows, benign
}

func rowOf(t *finding.RunTimeline, d *finding.Discrepancy) row {
	v := row{
		Timeline: timelineName(t), Severity: plain(string(d.Severity)),
		Kind: plain(string(d.Kind)), KindWords: words(kindWords, d.Kind),
		File: plain(d.File), Offset: number(d.Offset),
		Blame: plain(string(d.Blame)), BlameWords: words(blameWords, d.Blame),
		Explanation: plain(d.Explanation), ID: plain(d.ID), Ack: ackWords(d.Acknowledged),
		rank: severityRank(d.Severity),
	}
	if v.Ack != "" {
		v.rank += ackRank
	}
	if r := d.Relation; r != nil {
		v.Relation = plain(r.Name)
		v.Locator = fmt.Sprintf("%d/%d/%d %s", r.Tablespace, r.Database, r.RelFileNode, r.Fork)
	}
	if d.Block != nil {
		v.Block = number(*d.Block)
	}
	v.LSNs, v.lsn = lsnsOf(d)
	if l := d.LastRecord; l != nil {
		v.Record = plain(l.Rmgr + " " + l.Op)
		if l.XID != 0 {
			v.Record += fmt.Sprintf(", xid %d", l.XID)
		}
		v.RecordLSN = l.LSN.String()
	}
	v.Bytes, v.Ranges = byteRanges(d.ByteRanges)
	return v
}

func lsnsOf(d *finding.Discrepancy) ([]fact, pg.LSN) {
	var out []fact
	add := func(label string, l *pg.LSN) {
		if l != nil {
			out = append(out, fact{label, l.String()})
		}
	}
	add("official", d.OfficialLSN)
	add("replayed", d.ReplayedLSN)
	add("part at", d.FirstDivergentLSN)
	if d.FirstDivergentLSN != nil {
		return out, *d.FirstDivergentLSN
	}
	return out, 0
}

// ackRank puts what is acknowledged behind all that is not.
const ackRank = 10

func severityRank(s finding.Severity) int {
	switch s {
	case finding.Critical:
		return 0
	case finding.Warning:
		return 1
	}
	return 2
}

// byteRanges writes ranges within a page by their first and last byte, and
// draws them.
func byteRanges(ranges [][2]int) (string, []box) {
	const show = 8
	var parts []string
	var boxes []box
	total := 0
	for i, r := range ranges {
		from, to := max(0, min(r[0], pg.BlockSize)), max(0, min(r[1], pg.BlockSize))
		if to <= from {
			continue
		}
		total += to - from
		if i < show {
			parts = append(parts, firstToLast(from, to-1))
		}
		if i < 256 {
			boxes = append(boxes, box{
				X: percent(float64(from) / pg.BlockSize * 100),
				W: percent(max(float64(to-from)/pg.BlockSize*100, 0.8)),
			})
		}
	}
	if total == 0 {
		return "", nil
	}
	text := strings.Join(parts, ", ")
	if n := len(ranges) - show; n > 0 {
		text += fmt.Sprintf(" and %s", count(int64(n), "more range"))
	}
	return text + " (" + count(int64(total), "byte") + ")", boxes
}

func firstToLast(first, last int) string {
	if first == last {
		return fmt.Sprint(first)
	}
	return fmt.Sprintf("%d–%d", first, last)
}
