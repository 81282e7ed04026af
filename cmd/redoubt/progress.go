package main

import (
	"fmt"
	"io"
	"strings"
	"sync"
	"time"

	"github.com/dustin/go-humanize"
)

// progress shows how far long work is: one line that is drawn again on a
// terminal, a plain line per stage elsewhere.
type progress struct {
	mu    sync.Mutex
	w     io.Writer // nil: silent
	live  bool
	stage string
	drawn time.Time
	start time.Time
}

func newProgress(w io.Writer, mode string) (*progress, error) {
	switch mode {
	case "never":
		return &progress{}, nil
	case "auto":
		return &progress{w: w, live: isTerminal(w)}, nil
	}
	return nil, fmt.Errorf("unknown --progress %q: want auto or never", mode)
}

// update fits verify.Options.Progress: bytes done of total, 0 if not known.
func (p *progress) update(stage string, done, total int64) {
	if p.w == nil {
		return
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	now := time.Now()
	if stage != p.stage {
		if p.live && p.stage != "" {
			_, _ = fmt.Fprint(p.w, "\r\x1b[K")
		}
		p.stage, p.start, p.drawn = stage, now, time.Time{}
		if !p.live {
			_, _ = fmt.Fprintln(p.w, stage)
		}
	}
	if !p.live || now.Sub(p.drawn) < 100*time.Millisecond {
		return
	}
	p.drawn = now
	_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s", p.line(done, total, now.Sub(p.start)))
}

func (p *progress) line(done, total int64, took time.Duration) string {
	rate := ""
	if s := took.Seconds(); s > 0.2 {
		rate = fmt.Sprintf(" %s/s", humanize.IBytes(uint64(float64(max(done, 0))/s)))
	}
	size := humanize.IBytes(uint64(max(done, 0)))
	if total <= 0 {
		return fmt.Sprintf("%-20s %s%s", p.stage, size, rate)
	}
	const width = 30
	filled := int(min(max(done, 0), total) * width / total)
	return fmt.Sprintf("%-20s [%s%s] %s of %s%s", p.stage, strings.Repeat("#", filled), strings.Repeat(".", width-filled),
		size, humanize.IBytes(uint64(total)), rate)
}

// counted shows how many units are done of those there are; elsewhere than on
// a terminal only the last one.
func (p *progress) counted(what string) func(done, total int64) {
	return func(done, total int64) {
		if p.w == nil {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		switch {
		case p.live:
			_, _ = fmt.Fprintf(p.w, "\r\x1b[K%d of %d %s", done, total, what)
		case done == total:
			_, _ = fmt.Fprintf(p.w, "%d of %d %s\n", done, total, what)
		}
	}
}

// growing shows how many units there are so far, of a number that is not
// known; on a terminal only.
func (p *progress) growing(what string) func(n int64) {
	return func(n int64) {
		if p.w == nil || !p.live {
			return
		}
		p.mu.Lock()
		defer p.mu.Unlock()
		_, _ = fmt.Fprintf(p.w, "\r\x1b[K%s %s", humanize.Comma(n), what)
	}
}

// note says something beside the progress, even if that is silent.
func (p *progress) note(w io.Writer) func(string) {
	return func(s string) {
		p.end()
		_, _ = fmt.Fprintln(w, s)
	}
}

// end clears the line.
func (p *progress) end() {
	if p.w != nil && p.live {
		_, _ = fmt.Fprint(p.w, "\r\x1b[K")
	}
}
