package reports

import (
	"io"
	"reflect"
	"testing"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// livePages are the pages of a server, each as a function of what it is made
// from, so that tests may spoil it.
type livePage struct {
	name string
	in   any
	make func(in any, w io.Writer) error
}

func livePageOf[T any](name string, in T, f func(io.Writer, T) error) livePage {
	return livePage{name, &in, func(in any, w io.Writer) error { return f(w, *in.(*T)) }}
}

func ackOf(reason string, until time.Time) finding.Acknowledgement {
	return finding.Acknowledgement{Reason: reason, By: "dba", At: ended, Until: until}
}

func tracked(state string, d finding.Discrepancy) finding.Tracked {
	t := finding.Tracked{
		Discrepancy: d, Tenant: "prod", Timeline: "main", State: state,
		FirstSeen: began.AddDate(0, 0, -3), FirstRunID: "20260311T020000Z-11aa", LastSeen: ended, LastRunID: "20260314T020000Z-7f3a",
	}
	switch state {
	case "gone":
		t.GoneAt = ptr(ended)
	case "acknowledged":
		t.Acknowledged = ptr(ackOf("disk replaced, restore on Monday", ended.AddDate(0, 0, 7)))
	}
	return t
}

func timelineStatus() finding.TimelineStatus {
	run := findingsRun()
	scan := run.Timelines[1].Scan
	if scan == nil || len(scan.Gaps) == 0 {
		scan = run.Timelines[0].Scan
	}
	scan.Tenant, scan.Timeline, scan.Reasons = "prod", "main", []string{"3 segments could not be read"}
	scan.Identify()
	scan.Damaged[0].Acknowledged = ptr(ackOf("copied wrongly in 2025", ended.AddDate(1, 0, 0)))
	return finding.TimelineStatus{
		TenantID: "prod", TimelineID: "main", Source: "prod", FirstSeen: began, LastSeen: ended, LastPickedAt: ptr(began),
		LastVerifiedAt: ptr(ended), LastVerifiedLSN: ptr(pg.LSN(0x9A3F5D8)), OpenDiscrepancies: 2, Scan: scan, ScannedAt: ptr(ended),
	}
}

func ackPart() AckPart {
	removed := finding.AckRecord{Acknowledgement: ackOf("first try", ended.AddDate(0, 0, 1)), EndedAt: ptr(ended), EndedBy: "other"}
	return AckPart{Acks: []finding.AckRecord{{Acknowledgement: ackOf("disk replaced, restore on Monday", ended.AddDate(0, 0, 7))}, removed}, Now: ended.Add(time.Hour)}
}

func livePages() []livePage {
	refused := ackPart()
	refused.Acks, refused.Reason, refused.Expires, refused.By, refused.Problem = nil, "a reason", "yesterday", "me", "it expires yesterday, which is not in the future"
	gap := finding.AckRecord{Tenant: "prod", Timeline: "main", ID: "c0ffee", Finding: "gap", About: "WAL missing from 0/8000000 to 0/9000000", Segments: []string{"000000010000000000000008"}}
	warning := lostWrite()
	warning.Severity, warning.Kind, warning.Relation = finding.Warning, finding.SLRUMismatch, nil
	return []livePage{
		livePageOf("live-discrepancies", FoundList{
			Query: Query{State: "open", Kind: finding.LostWrite, Text: "accounts"}, Next: "/discrepancy?cursor=abc", First: "/discrepancy",
			Found:   []finding.Tracked{tracked("open", lostWrite()), tracked("acknowledged", warning), tracked("gone", lostWrite())},
			Version: "0.2.0",
		}, Discrepancies),
		livePageOf("live-discrepancies-none", FoundList{}, Discrepancies),
		livePageOf("live-discrepancy", FoundPage{Found: tracked("open", lostWrite()), Span: findingsRun().Timelines[0].Spans[1], Ack: refused}, Discrepancy),
		livePageOf("live-discrepancy-acknowledged", FoundPage{Found: tracked("acknowledged", lostWrite()), Ack: ackPart()}, Discrepancy),
		livePageOf("live-discrepancy-gone", FoundPage{Found: tracked("gone", lostWrite())}, Discrepancy),
		livePageOf("live-finding", ArchiveFinding{Found: gap, Open: true, Ack: ackPart()}, Finding),
		livePageOf("live-finding-gone", ArchiveFinding{Found: gap, Ack: AckPart{}}, Finding),
		livePageOf("live-timelines", TimelineList{Timelines: []finding.TimelineStatus{timelineStatus(), {TenantID: "new", TimelineID: "main", Shadow: true}}, Next: "/timeline?offset=100"}, Timelines),
		livePageOf("live-timeline", TimelinePage{Timeline: timelineStatus(), Found: []finding.Tracked{tracked("open", lostWrite())}, More: "/discrepancy?state=open"}, Timeline),
		livePageOf("live-timeline-new", TimelinePage{Timeline: finding.TimelineStatus{TenantID: "a/b", TimelineID: "ü?"}}, Timeline),
		livePageOf("live-error", [2]string{"Not Found", "not found"}, func(w io.Writer, in [2]string) error { return Error(w, in[0], in[1], "0.2.0") }),
	}
}

func TestGoldenLivePages(t *testing.T) {
	for _, p := range livePages() {
		t.Run(p.name, func(t *testing.T) {
			text := textOf(t, func(w io.Writer) error { return p.make(p.in, w) })
			checkLive(t, text)
			golden(t, p.name+".page.txt", readable(text))
		})
	}
}

func TestHostileTextOnLivePages(t *testing.T) {
	for _, bad := range hostile {
		for _, p := range livePages() {
			poison(reflect.ValueOf(p.in).Elem(), bad)
			switch in := p.in.(type) { // addresses are the server's own
			case *FoundList:
				in.First, in.Next = "", ""
			case *TimelineList:
				in.Newer, in.Next = "", ""
			case *TimelinePage:
				in.More = ""
			}
			checkLive(t, textOf(t, func(w io.Writer) error { return p.make(p.in, w) }))
		}
	}
}

func TestAcksText(t *testing.T) {
	acks := ackPart().Acks
	acks[0].ID, acks[0].About, acks[0].Tenant, acks[0].Timeline = "3f9ac0d1e2b45a67", "critical lost write public.accounts", "prod", "main"
	expired := finding.AckRecord{Acknowledgement: ackOf("long ago", began)}
	golden(t, "acks.txt", textOf(t, func(w io.Writer) error { return AcksText(w, append(acks, expired), ended.Add(time.Hour)) }))
}
