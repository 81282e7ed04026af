package ranges

import "redoubt/internal/pg"

// Line is the backup of one TLI: everything in [Start, Backup) is in the
// bucket, and Backup is the WAL backup LSN. What ended elsewhere waits in the
// set until it is reached.
//
// Start may go down: a directory that is read while files come into it can
// show a newer segment before an older one.
type Line struct {
	Start, Backup pg.LSN
	have          Set // [Start, Backup) is in it
}

// NewLine is a line that goes on from what is recorded. A line with nothing
// in the bucket has Backup equal to Start.
func NewLine(start, backup pg.LSN) *Line {
	l := &Line{Start: start, Backup: max(start, backup)}
	l.have.Add(pg.Range{From: l.Start, To: l.Backup})
	return l
}

// Done collects a range that is in the bucket now, and reports whether start
// or backup LSN moved. The latter never moves back, and never past a hole.
func (l *Line) Done(r pg.Range) bool {
	l.have.Add(r)
	start, end := l.have.Begin(l.Start), l.have.End(l.Backup)
	moved := start < l.Start || end > l.Backup
	l.Start, l.Backup = start, end
	return moved
}

// Have reports whether all of r is known to be in the bucket.
func (l *Line) Have(r pg.Range) bool { return l.have.Has(r) }

// Holes are the ranges between the backup LSN and to that are not in the
// bucket, in order.
func (l *Line) Holes(to pg.LSN) []pg.Range {
	return l.have.Holes(pg.Range{From: l.Backup, To: to})
}

// Beyond is how many bytes beyond the backup LSN are in the bucket already.
func (l *Line) Beyond() uint64 {
	var n uint64
	for _, r := range l.have.Ranges() {
		if r.From > l.Backup {
			n += r.Bytes()
		}
	}
	return n
}
