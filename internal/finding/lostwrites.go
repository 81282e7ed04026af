package finding

import "fmt"

// CountingLostWrites is the number of lost writes that count, those not listed included.
func (t *ScanTimeline) CountingLostWrites() int64 {
	return lostWrites(t.Audit, t.LostWrites) - acknowledgedWrites(t.LostWrites)
}

// CountingLostWrites is the number of lost writes that count, those not listed included.
func (v *Verification) CountingLostWrites() int64 {
	return lostWrites(v.Audit, v.LostWrites) - acknowledgedWrites(v.LostWrites)
}

func lostWrites(a *Audit, listed []StaleImage) int64 {
	if a == nil {
		return int64(len(listed))
	}
	return max(a.LostWrites, int64(len(listed)))
}

func acknowledgedWrites(lost []StaleImage) (n int64) {
	for i := range lost {
		if lost[i].Acknowledged != nil {
			n++
		}
	}
	return n
}

// LostWrites counts the lost writes that a timeline's spans and scan found:
// those that count, those not listed included, and those that were
// acknowledged. What both found, or two spans that overlap, is one.
func (t *RunTimeline) LostWrites() (counting, known int64) {
	seen := make(map[string]bool)
	add := func(a *Audit, listed []StaleImage) (unlisted int64) {
		for i := range listed {
			switch key := listed[i].place(); {
			case seen[key]:
			case listed[i].Acknowledged != nil:
				seen[key] = true
				known++
			default:
				seen[key] = true
				counting++
			}
		}
		return lostWrites(a, listed) - int64(len(listed))
	}
	var bySpans, byScan int64
	for i := range t.Spans {
		bySpans += add(t.Spans[i].Audit, t.Spans[i].LostWrites)
	}
	if t.Scan != nil {
		byScan = add(t.Scan.Audit, t.Scan.LostWrites)
	}
	return counting + max(bySpans, byScan), known
}

// place tells the lost writes of a timeline apart.
func (l *StaleImage) place() string {
	r := &l.Relation
	return fmt.Sprint(r.Tablespace, r.Database, r.RelFileNode, r.Fork, l.Block, l.At, l.ImageLSN)
}

func identifyWrites(tenant, timeline string, lost []StaleImage) {
	for i := range lost {
		l := &lost[i]
		r := l.Relation
		l.ID = hash("lost_write", tenant, timeline, fmt.Sprint(r.Tablespace, r.Database, r.RelFileNode, r.Fork, l.Block), l.At.String(), l.ImageLSN.String())
	}
}
