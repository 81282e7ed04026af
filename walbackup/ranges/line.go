package ranges

import "redoubt/internal/pg"

// Line is the backup of one TLI: everything in [Start, Backup) is in the
// bucket, and beyond Backup what Done collects. Backup is the WAL backup LSN.
type Line struct {
	Start, Backup pg.LSN
	done          Set // what ended beyond Backup, in whatever order
}

// NewLine is a line that goes on from what is recorded. A line with nothing
// in the bucket has Backup equal to Start.
func NewLine(start, backup pg.LSN) *Line {
	return &Line{Start: start, Backup: max(start, backup)}
}

// Done collects a range that is in the bucket now, and reports whether the
// backup LSN moved. It never moves back, and never past a hole.
func (l *Line) Done(r pg.Range) bool {
	if r.To <= l.Backup {
		return false
	}
	r.From = max(r.From, l.Backup)
	l.done.Add(r)
	end := l.done.End(l.Backup)
	moved := end > l.Backup
	l.Backup = end
	l.done.DropBelow(end)
	return moved
}

// Have reports whether all of r is known to be in the bucket.
func (l *Line) Have(r pg.Range) bool {
	if r.To <= r.From {
		return true
	}
	if r.From < l.Start {
		return false
	}
	return r.To <= l.Backup || l.done.Has(pg.Range{From: max(r.From, l.Backup), To: r.To})
}

// Recorded takes over a backup LSN that another wrote down since; a lower one
// than ours changes nothing.
func (l *Line) Recorded(backup pg.LSN) {
	if backup > l.Backup {
		l.Backup = backup
		l.Backup = l.done.End(backup)
		l.done.DropBelow(l.Backup)
	}
}

// Holes are the ranges between the backup LSN and to that are not in the
// bucket, in order.
func (l *Line) Holes(to pg.LSN) []pg.Range {
	return l.done.Holes(pg.Range{From: l.Backup, To: to})
}

// Beyond is how many bytes beyond the backup LSN are in the bucket already.
func (l *Line) Beyond() uint64 {
	var n uint64
	for _, r := range l.done.Ranges() {
		n += r.Bytes()
	}
	return n
}
