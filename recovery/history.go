package recovery

import (
	"fmt"

	"redoubt/internal/pg/wal"
)

// findHistory finds the history of the target's timeline: the archive's file
// or, where that is not there, what the WAL from the base on says.
func (r *run) findHistory() error {
	t := &r.target
	if t.TLI <= 1 {
		r.history = wal.NewHistory(t.TLI)
		return nil
	}
	for _, h := range r.Histories {
		if h.TLI == t.TLI {
			r.historyFile = h.Content
		}
	}
	if r.historyFile == nil {
		for _, f := range t.forks {
			r.historyFile = fmt.Appendf(r.historyFile, "%d\t%s\tas the WAL says\n", f.Parent, f.At)
		}
	}
	h, err := wal.ParseHistory(t.TLI, r.historyFile)
	if err != nil {
		return &InputError{err}
	}
	if tli := h.TLIAt(t.Last); tli != t.TLI {
		return inputErrorf("the history of timeline %d says that %s is of timeline %d: it is of another history than the WAL", t.TLI, t.Last, tli)
	}
	r.history = h
	return nil
}
