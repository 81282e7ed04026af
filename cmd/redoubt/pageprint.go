package main

import (
	"errors"
	"fmt"
	"io"
	"text/tabwriter"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/pageview"
	"redoubt/verify"
)

// pagePrinter prints a block's history.
type pagePrinter struct {
	q        *pageQuestion
	query    *verify.BlockQuery
	h        *verify.BlockHistory
	versions [][]byte // of --at and --diff
	short    error    // why the WAL is not all there
}

// verdict is what the exit code says.
func (p *pagePrinter) verdict() finding.Verdict {
	c := p.h.Compared
	switch {
	case c != nil && !c.Equal && !c.Benign():
		return finding.Discrepancies
	case p.short != nil:
		return finding.Inconclusive
	}
	return finding.Clean
}

func (p *pagePrinter) state(b []byte) *verify.PageState {
	if b == nil {
		return nil
	}
	return verify.StateOf(b, p.q.block.Number)
}

// file is the path within the data directory, without the version's directory in other tablespaces.
func (p *pagePrinter) file() string {
	return datadir.RelPath(p.q.block.RelFork, uint32(p.q.block.Number/pg.BlocksPerFile), "PG_*")
}

func (p *pagePrinter) offset() int64 {
	return int64(p.q.block.Number%pg.BlocksPerFile) * pg.BlockSize
}

func (p *pagePrinter) view(b page.Page) pageview.View {
	if p.q.masked && len(b) == pg.BlockSize {
		b = pageview.Conceal(b, p.q.block.Fork)
	}
	return pageview.Of(b, p.q.block.Fork, p.q.masked)
}

func (p *pagePrinter) pair(a, b page.Page) pageview.Pair {
	v := pageview.Versions{A: a, B: b, Block: p.q.block}
	if p.q.masked {
		v.Masked, v.Items = true, pageview.Differing(a, b, p.q.block)
		if len(a) == pg.BlockSize && len(b) == pg.BlockSize {
			v.Bytes = page.Differences(a, b)
			v.A, v.B = pageview.Conceal(a, p.q.block.Fork), pageview.Conceal(b, p.q.block.Fork)
		}
	}
	return pageview.Compare(v)
}

// official says in a sentence what the official page is.
func (p *pagePrinter) official() string {
	c := p.h.Compared
	switch {
	case p.h.Official == nil:
		return "The official side has no such block."
	case p.h.Rewritten:
		return "The official side is an online backup whose own WAL replaces this block whole: its page proves nothing."
	case c == nil:
		return "The block's last version is not known, so that there is nothing to compare the official page with."
	case c.Equal:
		return "The official page is the block's last version."
	case c.Benign():
		return "The official page is the block's last version, but for what PostgreSQL changes without WAL. " + c.Explanation
	}
	return c.Explanation + " In the block's history: " + p.h.Common + "."
}

func (p *pagePrinter) text(w io.Writer) error {
	out := &lines{w: w}
	to := "the end of the WAL"
	if p.h.Span.To != 0 {
		to = p.h.Span.To.String()
	}
	out.line("%s, at byte %d of %s, from %s to %s", p.q.block, p.offset(), p.file(), p.h.Span.From, to)
	out.line("")
	p.table(out)
	if len(p.h.Steps) == 0 {
		out.line("No record of this WAL touches the block.")
	}
	if p.query.Official != nil {
		out.line("")
		out.line("%s", p.official())
	}
	if p.short != nil {
		out.line("")
		out.line("The WAL is not all there: %s", p.short)
	}
	if p.q.at[0] != "" {
		out.line("")
		out.line("The page at %s", p.q.at[0])
		p.viewText(out, p.versions[0])
	}
	if len(p.versions) == 3 {
		out.line("")
		out.line("What differs between the pages at %s and %s", p.q.at[1], p.q.at[2])
		p.diffText(out, p.versions[1], p.versions[2])
	}
	return out.err
}

// lines writes lines until that fails.
type lines struct {
	w   io.Writer
	err error
}

func (l *lines) line(format string, args ...any) {
	if l.err == nil {
		_, l.err = fmt.Fprintf(l.w, format+"\n", args...)
	}
}

// aligned writes rows of cells, which are printed as columns at the end.
func (l *lines) aligned(fill func(row func(cells ...any))) {
	tw := tabwriter.NewWriter(l.w, 0, 0, 2, ' ', 0)
	fill(func(cells ...any) {
		for i, c := range cells {
			if i > 0 {
				_, _ = fmt.Fprint(tw, "\t") // told by Flush
			}
			_, _ = fmt.Fprint(tw, c)
		}
		_, _ = fmt.Fprintln(tw)
	})
	l.err = errors.Join(l.err, tw.Flush())
}

// table prints a line for each version.
func (p *pagePrinter) table(out *lines) {
	out.aligned(func(row func(...any)) {
		row("RECORD", "END", "XID", "RESOURCE MANAGER", "OPERATION", "IMAGE", "PAGE LSN", "LOWER", "UPPER", "ITEMS", "CHECKSUM")
		state := func(s *verify.PageState, gone string, cells ...any) {
			if s == nil {
				row(append(cells, gone)...)
				return
			}
			row(append(cells, s.LSN, s.Lower, s.Upper, s.Items, fmt.Sprintf("%04x", s.Checksum))...)
		}
		state(p.state(p.h.Base), "no such block", "base", "", "", "", "", "")
		for i := range p.h.Steps {
			s := &p.h.Steps[i]
			image, gone := "", "not known"
			if s.Image {
				image = "whole"
			}
			if s.Gone {
				gone = "removed"
			}
			state(s.Page, gone, s.LSN, s.End, s.XID, s.Rmgr, s.Op, image)
		}
		if p.query.Official != nil {
			state(p.state(p.h.Official), "no such block", "official", "", "", "", "", "")
		}
	})
}

// viewText prints a page, taken apart.
func (p *pagePrinter) viewText(out *lines, b page.Page) {
	if b == nil {
		out.line("is not known, or there is none.")
		return
	}
	v := p.view(b)
	if v.Problem != "" {
		out.line("%s", v.Problem)
	}
	out.aligned(func(row func(...any)) {
		for _, part := range [][]pageview.Field{v.Header, v.Contents, v.Special} {
			for _, f := range part {
				row("  "+f.Name, f.Value)
			}
		}
	})
	for _, it := range v.Items {
		out.line("  item %d: %s", it.Number, it.Pointer.Value)
		for _, f := range it.Fields {
			out.line("    %s %s", f.Name, f.Value)
		}
		if it.Data.To > it.Data.From {
			out.line("    data %s", it.Data.Value)
		}
	}
}

// diffText prints the fields that differ; those that may are marked with a tilde.
func (p *pagePrinter) diffText(out *lines, a, b page.Page) {
	if a == nil || b == nil {
		out.line("can't be said: one of them is not known, or there is none.")
		return
	}
	d := p.pair(a, b)
	n := 0
	out.aligned(func(row func(...any)) {
		fields := func(of string, pairs []pageview.FieldPair) {
			for _, f := range pairs {
				if f.Mark != pageview.Same {
					n++
					row(mark(f.Mark), of+f.Name, f.A, f.B)
				}
			}
		}
		fields("", d.Header)
		fields("", d.Contents)
		for _, it := range d.Items {
			if it.Mark != pageview.Same {
				fields(fmt.Sprintf("item %d ", it.Number), it.Fields)
			}
		}
		fields("", d.Special)
	})
	if n == 0 {
		out.line("nothing")
	}
}

func mark(m pageview.Mark) string {
	if m == pageview.Tolerated {
		return "~"
	}
	return " "
}
