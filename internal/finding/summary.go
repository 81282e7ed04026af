package finding

import "time"

// RunSummary is one line of a list of runs: enough to choose one, without
// its spans.
type RunSummary struct {
	ID              string     `json:"run_id"`
	Job             string     `json:"job"`
	Seed            int64      `json:"seed"`
	StartedAt       time.Time  `json:"started_at"`
	FinishedAt      *time.Time `json:"finished_at"` // nil: it did not finish, or is still at it
	Verdict         Verdict    `json:"verdict"`     // empty while it runs
	Timelines       int        `json:"timelines"`
	Spans           int        `json:"spans"`
	Critical        int64      `json:"critical"` // discrepancies
	Warning         int64      `json:"warning"`  // discrepancies
	MissingSegments int64      `json:"missing_segments"`
	DamagedSegments int64      `json:"damaged_segments"`
	LostWrites      int64      `json:"lost_writes"`  // of the primary, by the images in the WAL
	Acknowledged    int64      `json:"acknowledged"` // of these discrepancies, segments and lost writes, those that did not count when the run ended
}

// Summarize counts a run.
func Summarize(r Run) RunSummary {
	s := RunSummary{
		ID: r.ID, Job: r.Job, Seed: r.Seed, StartedAt: r.StartedAt, FinishedAt: r.FinishedAt,
		Verdict: r.Verdict, Timelines: len(r.Timelines),
	}
	for i := range r.Timelines {
		t := &r.Timelines[i]
		s.Spans += len(t.Spans)
		for j := range t.Spans {
			s.Critical += t.Spans[j].DiscrepancyCounts.Critical
			s.Warning += t.Spans[j].DiscrepancyCounts.Warning
			s.Acknowledged += t.Spans[j].Acknowledged()
		}
		counting, known := t.LostWrites()
		s.LostWrites += counting + known
		s.Acknowledged += known
		if t.Scan != nil {
			s.MissingSegments += t.Scan.MissingSegments() + t.Scan.acknowledgedGaps()
			s.DamagedSegments += int64(len(t.Scan.Damaged))
			s.Acknowledged += t.Scan.Acknowledged()
		}
	}
	return s
}

// Counts reports whether a scan's gap is a finding: not one that was
// acknowledged, nor one whose segments are only late or on their way. What is
// critical counts until it is there, whoever is at work on it.
func (g Gap) Counts() bool {
	switch g.Status {
	case Acknowledged:
		return false
	case "delayed", "uploading":
		return g.Severity == Critical
	}
	return true
}

// LateSegments is the number of segments in the gaps that count neither, nor
// are acknowledged: they are only late or on their way.
func (t *ScanTimeline) LateSegments() (n int64) {
	for i := range t.Gaps {
		if g := &t.Gaps[i]; !g.Counts() && g.Status != Acknowledged {
			n += t.segmentsIn(g)
		}
	}
	return n
}

// MissingSegments is the number of segments in the gaps that count, and in
// those that are not listed.
func (t *ScanTimeline) MissingSegments() int64 {
	n := t.MissingUnlisted
	for i := range t.Gaps {
		if t.Gaps[i].Counts() {
			n += t.segmentsIn(&t.Gaps[i])
		}
	}
	return n
}

// segmentsIn is the number of segments in a gap, of which only the first are
// named if it is very long. A gap without names counts as one.
func (t *ScanTimeline) segmentsIn(g *Gap) int64 {
	n := max(1, int64(len(g.Segments)))
	if t.SegmentSize > 0 && g.To > g.From {
		n = max(n, int64(uint64(g.To-g.From)/uint64(t.SegmentSize)))
	}
	return n
}
