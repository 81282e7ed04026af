package reports

import (
	"crypto/sha256"
	"encoding/base64"
	"io"
	"net/url"
	"strings"
	"time"

	"redoubt/internal/finding"
)

// liveStyle is the style sheet of pages that a server makes: they have forms
// and lead to each other.
var liveStyle = styleSheet + "\n" + strings.TrimSpace(mustRead("web/live.css"))

// LiveCSP is the Content-Security-Policy of these pages, and of the report of
// a run among them; only their own server is sent a form.
var LiveCSP = "default-src 'none'; style-src 'sha256-" + hashOf(liveStyle) + "' 'sha256-" + hashOf(styleSheet) + "'; img-src data:; base-uri 'none'; form-action 'self'"

func hashOf(style string) string {
	sum := sha256.Sum256([]byte(style))
	return base64.StdEncoding.EncodeToString(sum[:])
}

// live is what all these pages need.
type live struct {
	Title   string
	Here    string // which entry of the navigation it is
	Version string
}

// pager leads to the other parts of a list; empty addresses are not shown.
type pager struct{ First, Newer, Next string }

// Query is what a list of discrepancies was asked for.
type Query struct {
	Kind             finding.Kind
	Severity         finding.Severity
	State            string
	Tenant, Timeline string
	Text             string
}

// FoundList is what the list of discrepancies is made from.
type FoundList struct {
	Query       Query
	Found       []finding.Tracked
	First, Next string // addresses of the other pages; empty: there is none
	Version     string
}

type foundListView struct {
	live
	Heading string
	Choices []choice
	Texts   []textField
	Rows    []trackedRow
	Pager   pager
}

type choice struct {
	Label, Name string
	Options     []option
}

type option struct {
	Value, Label string
	Chosen       bool
}

type textField struct{ Label, Name, Value string }

// trackedRow is a discrepancy over all runs.
type trackedRow struct {
	row
	Class, Href, State, TimelineHref       string
	First, FirstHref, Last, LastHref, Gone string
}

// Discrepancies writes the list of discrepancies over all runs.
func Discrepancies(w io.Writer, in FoundList) error {
	q := in.Query
	v := foundListView{
		live:    live{"discrepancies", "discrepancies", plain(in.Version)},
		Heading: "All that fit",
		Pager:   pager{First: in.First, Next: in.Next},
		Choices: []choice{
			{"State", "state", options(q.State, "any", map[string]string{"open": "open", "acknowledged": "acknowledged", "gone": "gone"}, []string{"open", "acknowledged", "gone"})},
			{"Severity", "severity", options(string(q.Severity), "any", nil, []string{"critical", "warning", "benign"})},
			{"Kind", "kind", kindOptions(q.Kind)},
		},
		Texts: []textField{
			{"Tenant", "tenant", plain(q.Tenant)}, {"Timeline", "timeline", plain(q.Timeline)}, {"Relation, file or id", "text", plain(q.Text)},
		},
	}
	switch n := count(int64(len(in.Found)), "discrepancy"); {
	case in.Next != "" || in.First != "":
		v.Heading = "A part of those that fit"
	case len(in.Found) != 1:
		v.Heading = number(int64(len(in.Found))) + " discrepancies"
	default:
		v.Heading = n
	}
	for i := range in.Found {
		v.Rows = append(v.Rows, trackedRowOf(&in.Found[i]))
	}
	return render(w, "discrepancies", v)
}

func kindOptions(chosen finding.Kind) []option {
	words, names := map[string]string{}, []string{}
	for _, k := range allKinds {
		words[string(k)] = kindWords[k]
		names = append(names, string(k))
	}
	return options(string(chosen), "any", words, names)
}

// allKinds are in the order of the evidence.
var allKinds = []finding.Kind{
	finding.MissingRelation, finding.ExtraRelation, finding.SizeMismatch, finding.ZeroedPage, finding.BitRot, finding.TornPage,
	finding.LostWrite, finding.PhantomWrite, finding.WrongRedo, finding.SLRUMismatch, finding.HintBits, finding.Unexplained,
}

func options(chosen, none string, words map[string]string, values []string) []option {
	out := []option{{"", none, chosen == ""}}
	for _, v := range values {
		label := v
		if w := words[v]; w != "" {
			label = w
		}
		out = append(out, option{v, label, v == chosen})
	}
	return out
}

func trackedRowOf(d *finding.Tracked) trackedRow {
	r := trackedRow{
		row:  rowOf(&finding.RunTimeline{Tenant: d.Tenant, Timeline: d.Timeline}, &d.Discrepancy),
		Href: "/discrepancy/" + url.PathEscape(d.ID), State: plain(d.State), TimelineHref: timelineHref(d.Tenant, d.Timeline),
		First: minute(d.FirstSeen), FirstHref: "/run/" + url.PathEscape(d.FirstRunID),
		Last: minute(d.LastSeen), LastHref: "/run/" + url.PathEscape(d.LastRunID),
	}
	if d.GoneAt != nil {
		r.Gone = minute(*d.GoneAt)
	}
	switch {
	case d.State != "open":
		r.Class = "none"
	case d.Severity == finding.Critical:
		r.Class = "bad"
	default:
		r.Class = "inconclusive"
	}
	return r
}

func timelineHref(tenant, timeline string) string {
	return "/tenant/" + url.PathEscape(tenant) + "/timeline/" + url.PathEscape(timeline)
}

// AckPart is what the acknowledgements of a finding are shown from.
type AckPart struct {
	Acks                []finding.AckRecord // the newest first
	Now                 time.Time
	Reason, Expires, By string // the form as it was sent
	Problem             string // what was wrong with it
}

type ackPartView struct {
	ID, Held            string
	Can                 bool
	Reason, Expires, By string
	Problem             string
	Acks                []ackRow
}

type ackRow struct{ At, By, Reason, Until, Ended string }

func ackPartOf(in *AckPart, id string, can bool, held *finding.Acknowledgement) ackPartView {
	v := ackPartView{
		ID: url.PathEscape(id), Can: can, Held: ackWords(held), Problem: plain(in.Problem),
		Reason: plain(in.Reason), Expires: plain(in.Expires), By: plain(in.By),
	}
	for i := range in.Acks {
		a := &in.Acks[i]
		v.Acks = append(v.Acks, ackRow{minute(a.At), plain(a.By), plain(a.Reason), minute(a.Until), strings.TrimPrefix(ackEnd(a, in.Now), ", ")})
	}
	return v
}

// FoundPage is what the page of one discrepancy is made from.
type FoundPage struct {
	Found   finding.Tracked
	Span    finding.Verification // that saw it last; zero: it is not known any more
	Ack     AckPart
	Version string
}

type foundView struct {
	live
	trackedRow
	Card card
	Ack  ackPartView
}

// Discrepancy writes the page of one discrepancy.
func Discrepancy(w io.Writer, in FoundPage) error {
	d := &in.Found
	r := trackedRowOf(d)
	can := d.State != "gone" && d.Severity != finding.Benign
	c := cardOf(&finding.RunTimeline{Tenant: d.Tenant, Timeline: d.Timeline}, &in.Span, &d.Discrepancy)
	c.Anchor, c.Open = "found", true
	return render(w, "discrepancy", foundView{
		live: live{"discrepancy " + plain(d.ID), "discrepancies", plain(in.Version)}, trackedRow: r, Card: c,
		Ack: ackPartOf(&in.Ack, d.ID, can, d.Acknowledged),
	})
}

// ArchiveFinding is what the page of a gap or a damaged segment is made from.
type ArchiveFinding struct {
	Found   finding.AckRecord // what it is of
	Open    bool              // the newest scan shows it
	Ack     AckPart
	Version string
}

type archiveFindingView struct {
	live
	About, Timeline, TimelineHref, Segments string
	Open                                    bool
	Ack                                     ackPartView
}

// Finding writes the page of a gap or a damaged segment.
func Finding(w io.Writer, in ArchiveFinding) error {
	f := &in.Found
	v := archiveFindingView{
		live: live{"finding " + plain(f.ID), "timelines", plain(in.Version)}, About: plain(f.About), Open: in.Open,
		Timeline: timelineName(&finding.RunTimeline{Tenant: f.Tenant, Timeline: f.Timeline}), TimelineHref: timelineHref(f.Tenant, f.Timeline),
	}
	if len(f.Segments) > 0 {
		v.Segments = segmentsOf(f.Segments)
	}
	var held *finding.Acknowledgement
	for i := range in.Ack.Acks {
		if a := &in.Ack.Acks[i]; a.Holds(in.Ack.Now) {
			held = &a.Acknowledgement
			break
		}
	}
	v.Ack = ackPartOf(&in.Ack, f.ID, in.Open, held)
	return render(w, "finding", v)
}

// TimelineList is what the list of timelines is made from.
type TimelineList struct {
	Timelines   []finding.TimelineStatus
	Newer, Next string
	Version     string
}

type timelineRow struct {
	Name, Href, Source, Verified, LSN string
	Open, Missing, Damaged, Scanned   string
	Shadow                            bool
}

type timelineListView struct {
	live
	Rows  []timelineRow
	Pager pager
}

// Timelines writes the list of timelines.
func Timelines(w io.Writer, in TimelineList) error {
	v := timelineListView{live: live{"timelines", "timelines", plain(in.Version)}, Pager: pager{Newer: in.Newer, Next: in.Next}}
	for i := range in.Timelines {
		v.Rows = append(v.Rows, timelineRowOf(&in.Timelines[i]))
	}
	return render(w, "timelines", v)
}

func timelineRowOf(t *finding.TimelineStatus) timelineRow {
	r := timelineRow{
		Name: timelineName(&finding.RunTimeline{Tenant: t.TenantID, Timeline: t.TimelineID}), Href: timelineHref(t.TenantID, t.TimelineID),
		Source: plain(t.Source), Shadow: t.Shadow, Open: number(t.OpenDiscrepancies), Verified: "never", LSN: "none", Missing: "?", Damaged: "?",
	}
	if t.LastVerifiedAt != nil {
		r.Verified = minute(*t.LastVerifiedAt)
	}
	if t.LastVerifiedLSN != nil {
		r.LSN = t.LastVerifiedLSN.String()
	}
	if t.ScannedAt != nil {
		r.Scanned = minute(*t.ScannedAt)
	}
	if s := t.Scan; s != nil {
		r.Missing, r.Damaged = number(s.MissingSegments()), number(s.DamagedSegments())
	}
	return r
}

// TimelinePage is what the page of one timeline is made from.
type TimelinePage struct {
	Timeline finding.TimelineStatus
	Found    []finding.Tracked // open ones
	More     string            // where all of them are; empty: these are all
	Version  string
}

type timelinePageView struct {
	live
	Row       timelineRow
	Picked    string
	Rows      []trackedRow
	More, All string
	Scan      bool
	Reasons   []string
	Gaps      []gapView
	Damaged   []damagedView

	LostWrites []damagedView
}

// Timeline writes the page of one timeline.
func Timeline(w io.Writer, in TimelinePage) error {
	t := &in.Timeline
	v := timelinePageView{Row: timelineRowOf(t), Picked: "never", More: in.More, Scan: t.Scan != nil}
	v.live = live{"timeline " + v.Row.Name, "timelines", plain(in.Version)}
	v.All = "/discrepancy?" + url.Values{"tenant": {t.TenantID}, "timeline": {t.TimelineID}}.Encode()
	if t.LastPickedAt != nil {
		v.Picked = minute(*t.LastPickedAt)
	}
	for i := range in.Found {
		v.Rows = append(v.Rows, trackedRowOf(&in.Found[i]))
	}
	if t.Scan != nil {
		var all view
		all.addScan(v.Row.Name, t.Scan)
		v.Gaps, v.Damaged = all.Gaps, all.Damaged
		v.LostWrites = all.LostWrites[:min(len(all.LostWrites), maxRows)]
		for _, r := range t.Scan.Reasons {
			v.Reasons = append(v.Reasons, plain(r))
		}
	}
	return render(w, "timeline", v)
}

// Error writes what went wrong.
func Error(w io.Writer, title, message, version string) error {
	return render(w, "error", struct {
		live
		Message string
	}{live{plain(title), "", plain(version)}, plain(message)})
}
