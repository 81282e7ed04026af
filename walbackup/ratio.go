package walbackup

import (
	"sync"
	"time"
)

// ratio is the part of the accesses to the bucket that failed lately.
type ratio struct {
	mu     sync.Mutex
	window time.Duration
	slots  [ratioSlots]ratioSlot
}

const ratioSlots = 20

type ratioSlot struct {
	number      int64
	all, failed int
}

// ratioLeast is the fewest accesses that say anything.
const ratioLeast = 5

func (r *ratio) slot(at time.Duration) (int64, *ratioSlot) {
	n := int64(at / max(1, r.window/ratioSlots))
	return n, &r.slots[n%ratioSlots]
}

// add counts an access; at is the time since some fixed moment.
func (r *ratio) add(at time.Duration, failed bool) {
	r.mu.Lock()
	defer r.mu.Unlock()
	n, s := r.slot(at)
	if s.number != n {
		*s = ratioSlot{number: n}
	}
	s.all++
	if failed {
		s.failed++
	}
}

// get is the ratio within the window, and of how many accesses.
func (r *ratio) get(at time.Duration) (float64, int) {
	r.mu.Lock()
	defer r.mu.Unlock()
	now, _ := r.slot(at)
	all, failed := 0, 0
	for _, s := range r.slots {
		if s.number > now-ratioSlots && s.number <= now {
			all += s.all
			failed += s.failed
		}
	}
	if all == 0 {
		return 0, 0
	}
	return float64(failed) / float64(all), all
}
