package reports

import (
	"fmt"
	"io"
	"strings"
	"time"

	"redoubt/internal/finding"
)

// TextOptions says how text for a terminal is made.
type TextOptions struct {
	Color bool // ANSI colors; the text says the same without them
	All   bool // list benign discrepancies too, and any number of them

	Command string // what to type to repeat the run; empty: not shown
}

// maxTextRows is how many discrepancies a terminal shows unless all were asked for.
const maxTextRows = 50

// Text writes a run for a terminal: verdict, coverage, what was not verified,
// a table of spans, the discrepancies, the archive's gaps.
func Text(w io.Writer, run finding.Run, opt TextOptions) error {
	return write(w, Report{Run: run, Command: opt.Command}, opt)
}

// VerificationText writes a single verification for a terminal.
func VerificationText(w io.Writer, v finding.Verification, opt TextOptions) error {
	return write(w, OfVerification(v, time.Time{}), opt) // its facts are not shown
}

func write(w io.Writer, rep Report, opt TextOptions) error {
	v := viewOf(&rep)
	p := printer{opt: opt}
	p.title(&v)
	p.line("%s", v.Lead)
	p.notes(v.Notes, v.Skipped, v.Single)
	p.spans(&v)
	p.found(&v)
	p.archive(&v)
	if !v.Single {
		p.line("")
		p.line("seed %s", v.Seed)
		if v.Command != "" {
			p.line("repeat with: %s", v.Command)
		}
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// printer collects lines of text.
type printer struct {
	b   strings.Builder
	opt TextOptions
}

func (p *printer) line(format string, args ...any) {
	p.b.WriteString(strings.TrimRight(fmt.Sprintf(format, args...), " ") + "\n")
}

func (p *printer) heading(s string) {
	p.line("")
	p.line("%s", p.paint(s, "bold"))
}

// ANSI codes by what they mean.
var codes = map[string]string{"clean": "32", "bad": "31", "inconclusive": "33", "unfinished": "33", "soft": "2", "bold": "1"}

// paint colors s where colors were asked for.
func (p *printer) paint(s, how string) string {
	code, ok := codes[how]
	if !p.opt.Color || !ok || s == "" {
		return s
	}
	return "\x1b[" + code + "m" + s + "\x1b[0m"
}

func (p *printer) title(v *view) {
	var facts []string
	for _, f := range v.Facts {
		if !v.Single {
			facts = append(facts, strings.ToLower(f.Label)+" "+f.Value)
		}
	}
	if len(facts) > 0 {
		p.line("%s", p.paint(strings.Join(facts, ", "), "soft"))
	}
	for _, s := range []string{v.Banner, v.Conflict} {
		if s != "" {
			p.line("%s", p.paint("! "+s, "bad"))
		}
	}
	p.verdict(v.Word, v.State, v.Headline)
}

// verdict writes the verdict's word, then the sentence without repeating it.
func (p *printer) verdict(word, state, sentence string) {
	if before, after, ok := strings.Cut(sentence, ": "); ok && strings.EqualFold(before, word) {
		sentence = after
	}
	p.line("%s  %s", p.paint(strings.ToUpper(word), state), p.paint(sentence, "bold"))
}

func (p *printer) notes(all []notes, skipped string, single bool) {
	if len(all) > 0 {
		p.heading("Not verified")
	}
	for _, n := range all {
		where := n.Where
		switch {
		case single:
			where = ""
		case where == "":
			where = "the whole run"
		}
		if where != "" {
			p.line("  %s", p.paint(where, "soft"))
		}
		for _, i := range n.Items {
			p.line("    - %s: %s%s", i.What, i.Why, inSpan(i.Span))
		}
	}
	if skipped != "" {
		p.line("  %s", skipped)
	}
}

func inSpan(span string) string {
	if span == "" {
		return ""
	}
	return " (span " + span + ")"
}

func (p *printer) spans(v *view) {
	if len(v.Spans) == 0 {
		return
	}
	p.heading("Spans")
	t := newTable("TIMELINE", "SPAN", "VERDICT", ">BLOCKS", ">DIFFERENT", ">WAL", ">TIME")
	if v.Single {
		t = newTable("SPAN", "VERDICT", ">BLOCKS", ">DIFFERENT", ">WAL", ">TIME")
	}
	for _, s := range v.Spans {
		cells := []string{s.Timeline, s.Span, s.Word, s.Compared, s.Differences, s.WAL, s.Time}
		if v.Single {
			cells = cells[1:]
		}
		t.add(s.State, cells...)
	}
	t.print(p)
}

func (p *printer) found(v *view) {
	rows := v.Rows
	if len(rows) > 0 || v.Cut != "" {
		p.heading("Discrepancies")
	}
	more := 0
	if !p.opt.All && len(rows) > maxTextRows {
		more, rows = len(rows)-maxTextRows, rows[:maxTextRows]
	}
	for i := range rows {
		p.row(&rows[i])
	}
	if more > 0 {
		p.line("  … and %s more; the report and the JSON list them", number(int64(more)))
	}
	if len(rows) > 0 {
		p.line("")
		p.line("  What each means, how to confirm it and how to repair it is in the report page, with the two pages side by side.")
	}
	if v.Cut != "" {
		p.line("  %s", v.Cut)
	}
	if v.BenignN == "0" {
		return
	}
	p.line("")
	p.line("%s", p.paint(v.BenignN+" benign: differences that PostgreSQL itself allows", "soft"))
	if p.opt.All {
		for i := range v.Benign {
			p.row(&v.Benign[i])
		}
	}
}

func (p *printer) row(r *row) {
	state := "inconclusive"
	if r.Severity == string(finding.Critical) {
		state = "bad"
	}
	d, v := r.of.found, r.of.span
	p.line("  %s %s  %s", p.paint(r.Severity, state), p.paint(r.KindWords, "bold"), joinNonEmpty("  ", r.Timeline, titleOf(d)))
	say := func(label, text string) {
		if text != "" {
			p.line("      %-12s%s", label, text)
		}
	}
	what, note := hitOf(d)
	say("hit", joinNonEmpty("; ", what, note))
	say("since", sinceOf(d))
	say("against", r.BlameWords+"; "+witnessOf(v, d))
	say("why", r.Explanation)
	say("belongs to", aboutRelation(d.Relation))
	say("where", joinNonEmpty(", ", r.File+" at "+r.Offset, r.Locator))
	say("LSNs", join(r.LSNs, func(l fact) string { return l.Label + " " + l.Value }))
	if r.RecordLSN != "" {
		say("last record", r.Record+" at "+r.RecordLSN)
	}
	say("bytes", r.Bytes)
	if d.Severity != finding.Benign {
		say("ask first", askFirst(d))
	}
	say("id", r.ID)
	if r.Ack != "" {
		p.line("      %s", r.Ack)
	}
}

// askFirst is the statement that shows which version the server itself has.
func askFirst(d *finding.Discrepancy) string {
	if d.Relation == nil || d.Block == nil {
		return ""
	}
	return fmt.Sprintf("SELECT lsn FROM page_header(get_raw_page(%s::text, '%s', %d));", byNumber(d.Relation), d.Relation.Fork, *d.Block)
}

func joinNonEmpty(sep string, parts ...string) string {
	var out []string
	for _, s := range parts {
		if s != "" {
			out = append(out, s)
		}
	}
	return strings.Join(out, sep)
}

// maxShownGaps is how many gaps a person is shown.
const maxShownGaps = 200

func (p *printer) archive(v *view) {
	if len(v.Gaps) > 0 {
		p.heading("Gaps")
		t := newTable("TIMELINE", "FROM", "TO", ">SIZE", "STATUS", "SEGMENTS", "ID")
		shown := v.Gaps[:min(len(v.Gaps), maxShownGaps)]
		for _, g := range shown {
			state := stateOf(g.Ack)
			if !g.Counts {
				state = "inconclusive"
			}
			t.add(state, g.Timeline, g.From, g.To, g.Size, g.Status, g.Segments, g.ID)
		}
		t.print(p)
		if more := len(v.Gaps) - len(shown); more > 0 {
			p.line("  and %s more: the JSON lists up to 10,000.", number(int64(more)))
		}
		for _, g := range shown {
			p.ack(g.ID, g.Ack)
		}
	}
	if len(v.Damaged) > 0 {
		p.heading("Damaged segments")
		t := newTable("TIMELINE", "SEGMENT", "REASON", "ID")
		for _, d := range v.Damaged {
			t.add(stateOf(d.Ack), d.Timeline, d.Name, d.Reason, d.ID)
		}
		t.print(p)
		for _, d := range v.Damaged {
			p.ack(d.ID, d.Ack)
		}
	}
	if len(v.LostWrites) > 0 {
		p.heading("Lost writes of the primary, by the images in the WAL")
		t := newTable("TIMELINE", "BLOCK", "EVIDENCE", "ID")
		for _, d := range v.LostWrites {
			t.add(stateOf(d.Ack), d.Timeline, d.Name, d.Reason, d.ID)
		}
		t.print(p)
		for _, d := range v.LostWrites {
			p.ack(d.ID, d.Ack)
		}
	}
	if len(v.Unexpected) > 0 {
		p.heading("Unexpected objects")
		for _, u := range v.Unexpected {
			p.line("  %s  %s", u.Timeline, u.Name)
		}
	}
}

// stateOf is the state of a finding, which an acknowledgement softens.
func stateOf(ack string) string {
	if ack != "" {
		return "inconclusive"
	}
	return "bad"
}

func (p *printer) ack(id, ack string) {
	if ack != "" {
		p.line("      %s: %s", id, ack)
	}
}
