package reports

import (
	"fmt"
	"strings"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/pageview"
)

// maxCards is how many discrepancies are shown with their pages, records and
// what to do; the others are lines of a table.
const maxCards = 100

// card is one discrepancy with everything that is known of it.
type card struct {
	row
	Open    bool   // shown unfolded
	Title   string // relation and block, or file
	About   string // index of, TOAST table of, database
	Hit     string // rows, index entries or transactions
	HitNote string
	Since   string // the first divergent record, or why it is not known
	Witness string // who confirmed it
	Pages   *pairView
	Records *recordsView
	Map     *mapView
	Now     runbook
}

// cardOf collects what a span knows of one of its discrepancies.
func cardOf(t *finding.RunTimeline, v *finding.Verification, d *finding.Discrepancy) card {
	c := card{
		row: rowOf(t, d), Title: titleOf(d), About: aboutRelation(d.Relation), Since: sinceOf(d), Witness: witnessOf(v, d),
		Pages: pairOf(d), Records: recordsOf(d), Map: mapOf(v.Maps, d),
	}
	c.Hit, c.HitNote = hitOf(d)
	c.Now = runbookOf(v, d)
	return c
}

// cardsOf makes cards of the first rows, the worst ones; the others stay
// rows. A relation's map is in its first card only.
func cardsOf(rows []row) (cards []card, rest []row) {
	n := min(len(rows), maxCards)
	maps := map[string]bool{}
	for _, r := range rows[:n] {
		c := cardOf(r.of.timeline, r.of.span, r.of.found)
		c.Anchor = r.Anchor
		c.Open = n <= 2 || len(cards) == 0
		if c.Map != nil && maps[c.Timeline+c.Locator] {
			c.Map = nil
		}
		maps[c.Timeline+c.Locator] = true
		cards = append(cards, c)
	}
	return cards, rows[n:]
}

// titleOf names the place in a few words.
func titleOf(d *finding.Discrepancy) string {
	name := relationName(d.Relation)
	if name == "" {
		name = plain(d.File)
	}
	switch {
	case d.Block == nil:
		return name
	case d.Relation == nil:
		return fmt.Sprintf("%s, page %d", name, *d.Block)
	}
	return fmt.Sprintf("%s, block %d", name, *d.Block)
}

// relationName is the relation's name, with its fork unless that is main.
func relationName(r *finding.Relation) string {
	if r == nil {
		return ""
	}
	name := plain(r.Name)
	if name == "" {
		name = fmt.Sprintf("relation %d/%d/%d", r.Tablespace, r.Database, r.RelFileNode)
	}
	switch r.Fork {
	case pg.VMFork:
		name += " (visibility map)"
	case pg.FSMFork:
		name += " (free space map)"
	case pg.InitFork:
		name += " (init fork)"
	}
	return name
}

// aboutRelation says what a relation belongs to.
func aboutRelation(r *finding.Relation) string {
	if r == nil {
		return ""
	}
	var parts []string
	if r.IndexOf != "" {
		parts = append(parts, "index of "+plain(r.IndexOf))
	}
	if r.ToastOf != "" {
		parts = append(parts, "TOAST data of "+plain(r.ToastOf))
	}
	switch {
	case r.DatabaseName != "":
		parts = append(parts, "database "+plain(r.DatabaseName))
	case r.Database != 0:
		parts = append(parts, fmt.Sprintf("database with OID %d", r.Database))
	default:
		parts = append(parts, "shared by all databases")
	}
	return strings.Join(parts, ", ")
}

// sinceOf names the record from which the histories part.
func sinceOf(d *finding.Discrepancy) string {
	l := d.FirstDivergentLSN
	if l == nil {
		if d.FirstDivergentReason != "" {
			return "not known: " + plain(d.FirstDivergentReason)
		}
		if d.Kind == finding.LostWrite && d.OfficialLSN != nil {
			return "the first one after " + d.OfficialLSN.String()
		}
		return "not known"
	}
	for i := range d.Records {
		if d.Records[i].LSN == *l {
			return recordWords(&d.Records[i].RecordRef) + " at " + l.String()
		}
	}
	if r := d.LastRecord; r != nil && r.LSN == *l {
		return recordWords(r) + " at " + l.String()
	}
	return "the record at " + l.String()
}

func recordWords(r *finding.RecordRef) string {
	s := plain(r.Rmgr + " " + r.Op)
	if r.XID != 0 {
		s += fmt.Sprintf(" (xid %d)", r.XID)
	}
	return s
}

// witnessOf says which engines stand behind the finding.
func witnessOf(v *finding.Verification, d *finding.Discrepancy) string {
	version := ""
	if v.Witness != nil && v.Witness.Version != "" {
		version = " " + plain(v.Witness.Version)
	}
	switch {
	case d.ConfirmedBy == "":
		return "replayed by one engine only (" + engineName(v.Engine) + "); no second engine has confirmed it"
	case d.Blame == finding.BlameEngine:
		return "a PostgreSQL" + version + " server replayed the block, too, and made another page of it"
	}
	return "confirmed: a PostgreSQL" + version + " server replayed the block and made the same page as Redoubt's engine"
}

func engineName(engine string) string {
	if engine == "" {
		return "native"
	}
	return plain(engine)
}

// hitOf says what of users' is hit: rows of a table, entries of an index,
// transactions.
func hitOf(d *finding.Discrepancy) (what, note string) {
	kind := pageKind(d)
	switch {
	case d.Relation == nil:
		return slruHit(d)
	case d.Block == nil:
		return "the relation as a whole", ""
	case d.Relation.Fork == pg.VMFork:
		return vmHit(*d.Block), "index-only scans and VACUUM trust these bits"
	case d.Relation.Fork != pg.MainFork:
		return "no rows", ""
	case kind == page.KindSequence:
		return "the sequence's value", ""
	case len(d.Items) == 0:
		return "no row of its own: the page's header or maintenance data", ""
	case kind == page.KindHeap, kind == page.KindUnknown && d.Relation.IndexOf == "":
		return ctidRange(*d.Block, d.Items), itemCount(d.Items, "row version")
	}
	return "index entries " + itemRanges(d.Items), indexNote(d)
}

// pageKind is the kind of the pages that differ, unknown where there are none.
func pageKind(d *finding.Discrepancy) page.Kind {
	if d.Relation == nil || d.Pages == nil {
		return page.KindUnknown
	}
	for _, p := range [][]byte{d.Pages.Replayed, d.Pages.Official} {
		if k := page.KindOf(p, d.Relation.Fork); k != page.KindUnknown && k != page.KindNew {
			return k
		}
	}
	return page.KindUnknown
}

// ctidRange is the first and the last row hit, as PostgreSQL writes their ctids.
func ctidRange(block int64, items [][2]int) string {
	first, last := items[0][0], items[len(items)-1][1]-1
	if first == last {
		return fmt.Sprintf("row ctid (%d,%d)", block, first)
	}
	return fmt.Sprintf("rows ctid (%d,%d) to (%d,%d)", block, first, block, last)
}

// itemCount says how many items the ranges hold, and which where they have holes.
func itemCount(items [][2]int, noun string) string {
	n := int64(0)
	for _, r := range items {
		n += int64(max(0, r[1]-r[0]))
	}
	s := count(n, noun)
	if len(items) > 1 {
		s += ": " + itemRanges(items)
	}
	return s
}

// itemRanges writes offset numbers: 3, 7–9.
func itemRanges(items [][2]int) string {
	const show = 12
	rest := len(items) - show
	s := join(items[:min(show, len(items))], func(r [2]int) string { return firstToLast(r[0], r[1]-1) })
	if rest > 0 {
		s += fmt.Sprintf(" and %s", count(int64(rest), "more range"))
	}
	return s
}

// vmHit are the heap blocks that a page of the visibility map covers.
func vmHit(block int64) string {
	first := block * page.VMBlocksPerPage
	return fmt.Sprintf("visibility of heap blocks %s to %s", number(first), number(first+page.VMBlocksPerPage-1))
}

// slruHit names the transactions of pg_xact whose status differs.
func slruHit(d *finding.Discrepancy) (string, string) {
	first, last, ok := slruRange(d)
	if !ok {
		return "transaction status data in " + plain(d.File), ""
	}
	return fmt.Sprintf("the outcome of transactions %d to %d", first, last), "every row that they wrote"
}

// indexNote says how many entries are hit and which table rows they point to.
func indexNote(d *finding.Discrepancy) string {
	const show = 6
	s := itemCount(d.Items, "index tuple")
	if d.Pages == nil {
		return s
	}
	tids := tableRows(d.Pages.Replayed, d)
	if len(tids) == 0 {
		tids = tableRows(d.Pages.Official, d)
	}
	if len(tids) == 0 {
		return s
	}
	s += "; of table rows " + strings.Join(tids[:min(show, len(tids))], ", ")
	if n := len(tids) - show; n > 0 {
		s += " and " + number(int64(n)) + " more"
	}
	return s
}

// tableRows are the heap TIDs in the index tuples that differ.
func tableRows(p page.Page, d *finding.Discrepancy) []string {
	var out []string
	items := pageview.Of(p, d.Relation.Fork, d.Pages.Masked).Items
	for _, r := range d.Items {
		for n := max(1, r[0]); n < r[1] && n <= len(items); n++ {
			for _, f := range items[n-1].Fields {
				if (f.Name == "t_tid" || f.Name == "heapPtr") && strings.HasPrefix(f.Value, "(") {
					out = append(out, f.Value)
				}
			}
		}
	}
	return out
}
