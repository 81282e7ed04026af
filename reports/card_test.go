package reports

import (
	"fmt"
	"strings"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/page/pagetest"
	"redoubt/internal/pg/pageview"
)

// richRun is a run whose discrepancy carries all that verify can know: two
// real pages, the history of the block, a map, a witness.
func richRun(t pagetest.T) finding.Run {
	t.Helper()
	r := findingsRun()
	v := &r.Timelines[0].Spans[1]
	d := &v.Discrepancies[0]
	*d = richWrite(t)
	v.Witness = &finding.Witness{Engine: "server", Version: "17.11", BlocksCompared: 1, Seconds: 3}
	v.Maps = []finding.RelationMap{{
		Relation: *d.Relation, OfficialBlocks: 1800, ReplayedBlocks: 1810,
		Touched: [][2]int64{{0, 40}, {900, 1300}, {1790, 1810}}, Tainted: [][2]int64{{50, 60}}, Different: [][2]int64{{1204, 1205}},
	}}
	return r
}

func richWrite(t pagetest.T) finding.Discrepancy {
	f := pagetest.Load(t, "heap-hints")[0]
	official := page.Page(append([]byte(nil), f.Official...))
	replayed := page.Page(append([]byte(nil), f.Official...))
	replayed.SetLSN(0x61C2A10)
	official.SetLSN(0x5A3F5D8)
	for n := 3; n <= 9; n++ {
		official.SetItemID(n, 0)
	}
	tuple, _ := replayed.HeapTuple(12)
	tuple.SetXmax(8812)
	official.SetChecksum(official.ComputeChecksum(1204))
	d := lostWrite()
	d.Relation.DatabaseName = "shop"
	d.ByteRanges, d.ConfirmedBy = page.Differences(official, replayed), "server"
	d.Items = pageview.Differing(official, replayed, pg.Block{Number: 1204})
	d.Pages = &finding.PagePair{
		Official: pageview.Conceal(official, pg.MainFork), Replayed: pageview.Conceal(replayed, pg.MainFork), Masked: true,
		OfficialChecksum: official.Checksum(),
	}
	for i, op := range []string{"INSERT", "LOCK", "UPDATE", "HOT_UPDATE"} {
		lsn := []pg.LSN{0x5A3F590, 0x5B00F40, 0x5F00000, 0x61C29D0}[i]
		end := []pg.LSN{0x5A3F5D8, 0x5B00F80, 0x5F00080, 0x61C2A10}[i]
		d.Records = append(d.Records, finding.BlockRecord{RecordRef: finding.RecordRef{LSN: lsn, Rmgr: "Heap", Op: op, XID: pg.XID(8809 + i)}, End: end, Image: i == 1})
	}
	d.RecordsTotal = 15
	return d
}

// noTest loads pages for samples that are made before a test runs.
type noTest struct{}

func (noTest) Helper()           {}
func (noTest) Fatal(args ...any) { panic(fmt.Sprint(args...)) }

func richReport(t pagetest.T) Report {
	in := report(richRun(t))
	in.History = summaries()
	return in
}

func TestCardSaysWhatCounts(t *testing.T) {
	got := readable(htmlOf(t, richReport(t)))
	for _, want := range []string{
		"rows ctid (1204,3) to (1204,12)", "Heap LOCK (xid 8810) at 0/5B00F40", "the histories part here", "confirmed: a PostgreSQL 17.11 server",
		"SELECT pg_filenode_relation(1663, 16390);", "psql -d shop", "the last one on the official page", "3–9",
		"What users stored is masked.", "recovery_target_lsn = '0/7000000'", "The last runs of this job", ", this run",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("the page lacks %q", want)
		}
	}
}

// TestShownBytes: only pages that are not masked show their data, with what differs marked.
func TestShownBytes(t *testing.T) {
	in := richReport(t)
	p := in.Run.Timelines[0].Spans[1].Discrepancies[0].Pages
	if page := htmlOf(t, in); strings.Contains(page, "<mark>") || strings.Contains(page, `class="dump"`) {
		t.Error("a masked page shows bytes")
	}
	p.Masked = false
	if page := htmlOf(t, in); !strings.Contains(page, `class="dump"`) {
		t.Error("a page that may be shown does not show its bytes")
	}
}

// TestManyDiscrepancies: the page stays small and its first cards are whole.
func TestManyDiscrepancies(t *testing.T) {
	r := richRun(t)
	v := &r.Timelines[0].Spans[1]
	one := v.Discrepancies[0]
	v.Discrepancies, v.DiscrepancyCounts = nil, finding.DiscrepancyCounts{}
	for i := range 1000 {
		d := one
		d.Block = ptr(int64(i))
		if i >= 100 {
			d.Pages = nil
		}
		v.Discrepancies = append(v.Discrepancies, d)
		v.DiscrepancyCounts.Add(d.Severity)
	}
	began := time.Now()
	page := htmlOf(t, report(r))
	t.Logf("%d bytes in %s", len(page), time.Since(began))
	if len(page) > 4<<20 {
		t.Errorf("the page has %d bytes", len(page))
	}
	if n := strings.Count(page, "<details class=\"card find"); n != maxCards {
		t.Errorf("%d cards", n)
	}
	if n := strings.Count(page, `class="relmap"`); n != 1 {
		t.Errorf("%d maps of one relation", n)
	}
	if !strings.Contains(page, "and 999 more blocks of this relation") && !strings.Contains(page, fmt.Sprintf("and %d more blocks of this relation", maxCards-1)) {
		t.Error("the top does not say how many blocks of the relation are hit")
	}
}
