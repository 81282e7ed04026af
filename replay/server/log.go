package server

import (
	"bufio"
	"fmt"
	"io"
	"regexp"
	"strings"

	"redoubt/internal/pg"
)

// maxLog is how much of a server's log is kept.
const maxLog = 16 << 10

// output reads what a server says on stderr. Its fields may be read when read
// has returned; promoted is closed before.
type output struct {
	promoted chan struct{}

	log       []byte // the last maxLog bytes or more
	cut       bool   // something before them is gone
	started   bool   // it has begun to recover
	ready     bool
	redone    pg.LSN // start of the last record redone
	noRedo    bool   // there was nothing to redo
	fatal     string // first FATAL or PANIC
	fatalAt   pg.LSN // the record its context names
	crash     string // the startup process ended by a signal that is a crash
	killed    string // the startup process ended by a signal from outside
	ending    string // why the WAL ended, as the server sees it
	inContext bool   // the lines belong to fatal
}

// read reads lines until every process of the server has closed the pipe.
func (o *output) read(r io.Reader) {
	in := bufio.NewReaderSize(r, maxLog)
	for {
		line, err := in.ReadSlice('\n')
		o.keep(line)
		o.line(strings.TrimRight(string(line), "\n"))
		if err != nil && err != bufio.ErrBufferFull {
			return
		}
	}
}

func (o *output) keep(line []byte) {
	o.log = append(o.log, line...)
	if len(o.log) > 2*maxLog {
		o.log = append(o.log[:0], o.log[len(o.log)-maxLog:]...)
		o.cut = true
	}
}

// tail is the end of the log, whole lines where it is cut.
func (o *output) tail() string {
	log := strings.ToValidUTF8(string(o.log), "?")
	if len(log) > maxLog || o.cut {
		log = log[max(0, len(log)-maxLog):]
		if _, rest, ok := strings.Cut(log, "\n"); ok {
			log = rest
		}
	}
	return log
}

var (
	redoneForm  = regexp.MustCompile(`^LOG:  redo done at ([0-9A-F]+/[0-9A-F]+)`)
	contextForm = regexp.MustCompile(`^CONTEXT:  WAL redo at ([0-9A-F]+/[0-9A-F]+) for `)
	signalForm  = regexp.MustCompile(`^LOG:  startup process \(PID \d+\) was terminated by signal (\d+)`)
	endingForm  = regexp.MustCompile(`^LOG:  (invalid|record with|incorrect|unexpected|there is no contrecord|out-of-sequence|contrecord|WAL file is from|could not|BKP|image|missing|requested)`)
)

// line looks for what matters in one line (access/transam/xlogrecovery.c,
// postmaster/postmaster.c; the locale is C and the prefix empty).
func (o *output) line(s string) {
	switch {
	case strings.HasPrefix(s, "FATAL:  "), strings.HasPrefix(s, "PANIC:  "):
		if o.inContext = o.fatal == ""; o.inContext {
			o.fatal = s
		}
	case strings.HasPrefix(s, "CONTEXT:  "):
		if m := contextForm.FindStringSubmatch(s); m != nil && o.inContext {
			o.fatalAt, _ = pg.ParseLSN(m[1])
		}
	case strings.HasPrefix(s, "DETAIL:  "), strings.HasPrefix(s, "HINT:  "):
		if o.inContext {
			o.fatal += " " + s
		}
	case strings.HasPrefix(s, "LOG:  "), strings.HasPrefix(s, "WARNING:  "):
		o.inContext = false
		o.logLine(s)
	}
}

func (o *output) logLine(s string) {
	if m := redoneForm.FindStringSubmatch(s); m != nil {
		o.redone, _ = pg.ParseLSN(m[1])
	}
	if m := signalForm.FindStringSubmatch(s); m != nil {
		switch m[1] {
		case "4", "6", "7", "8", "11": // ILL, ABRT, BUS, FPE, SEGV
			o.crash = s
		default:
			o.killed = s
		}
	}
	if endingForm.MatchString(s) && o.started {
		o.ending = strings.TrimPrefix(s, "LOG:  ")
	}
	switch {
	case strings.HasPrefix(s, "LOG:  database system was "), strings.HasPrefix(s, "LOG:  starting "):
		o.started = o.started || strings.Contains(s, "database system was")
	case s == "LOG:  redo is not required":
		o.noRedo = true
	case s == "LOG:  database system is ready to accept connections":
		if !o.ready {
			o.ready = true
			close(o.promoted)
		}
	}
}

// resource says that the server's own limits ended it, nil if not.
func (o *output) resource() *LimitError {
	last := o.fatal
	if !o.started {
		last = o.lastWords()
	}
	for what, words := range map[string][]string{
		"memory": {"Cannot allocate memory", "out of memory", "Out of memory", "failed to map segment"},
		"disk":   {"No space left on device", "Disk quota exceeded"},
	} {
		for _, w := range words {
			if strings.Contains(last, w) {
				return &LimitError{What: what, Detail: last}
			}
		}
	}
	return nil
}

// lastWords is why a server ended, in one line.
func (o *output) lastWords() string {
	if o.fatal != "" {
		return o.fatal
	}
	lines := strings.Split(strings.TrimSpace(o.tail()), "\n")
	return lines[len(lines)-1]
}

// failure says why recovery ended before its end, nil if it did not.
func (o *output) failure(in filled) *Failure {
	switch {
	case o.fatal != "":
		return &Failure{LSN: o.fatalAt, Message: o.fatal}
	case o.crash != "":
		return &Failure{Message: strings.TrimPrefix(o.crash, "LOG:  ")}
	case !o.ready:
		return &Failure{Message: "the server ended before it had recovered: " + o.lastWords()}
	case o.redone != in.wal.redone:
		return &Failure{LSN: o.redone, Message: fmt.Sprintf("the server's recovery ended with the record at %s, the span's last one is at %s: %s",
			o.redone, in.wal.redone, o.ending)}
	}
	return nil
}
