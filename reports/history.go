package reports

import (
	"cmp"
	"slices"

	"redoubt/internal/finding"
)

// maxHistory is how many runs before a report's own it shows.
const maxHistory = 30

// historyOf is the job's runs as signs, the oldest first; nothing where the
// report's own is the only one known.
func historyOf(rep *Report) []summaryView {
	runs := slices.Clone(rep.History)
	slices.SortStableFunc(runs, func(a, b finding.RunSummary) int {
		return cmp.Or(a.StartedAt.Compare(b.StartedAt), cmp.Compare(a.ID, b.ID))
	})
	runs = slices.DeleteFunc(runs, func(r finding.RunSummary) bool {
		return r.Job != rep.Run.Job || r.StartedAt.After(rep.Run.StartedAt) && r.ID != rep.Run.ID
	})
	if len(runs) < 2 {
		return nil
	}
	var out []summaryView
	for i := range runs[max(0, len(runs)-maxHistory):] {
		r := &runs[max(0, len(runs)-maxHistory)+i]
		v := summaryOf(r, rep.Running && r.ID == rep.Run.ID)
		v.Here = r.ID == rep.Run.ID
		if !rep.Linked {
			v.Href = ""
		}
		out = append(out, v)
	}
	return out
}
