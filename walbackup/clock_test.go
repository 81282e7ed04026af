package walbackup

import (
	"sync"
	"testing"
	"time"
	"unsafe"
)

// reading is a reading of the clock with a monotonic part and a wall clock that
// need not agree: the layout of time.Time (time/time.go), which has no way to
// make one.
func reading(monotonic time.Duration, wall time.Time) time.Time {
	year1885 := time.Date(1885, 1, 1, 0, 0, 0, 0, time.UTC).Unix()
	t := struct {
		wall uint64 // hasMonotonic, seconds since 1885, nanoseconds
		ext  int64  // monotonic
		loc  *time.Location
	}{1<<63 | uint64(wall.Unix()-year1885)<<30 | uint64(wall.Nanosecond()), int64(monotonic), nil}
	return *(*time.Time)(unsafe.Pointer(&t))
}

// TestClockJumps sets the wall clock days forth and back at each look at it:
// alarms come when they would come else, and no earlier, and so do attempts.
func TestClockJumps(t *testing.T) {
	monday := time.Date(2024, 1, 1, 12, 0, 0, 5, time.UTC)
	a, b := reading(time.Second, monday), reading(3*time.Second, monday.Add(-48*time.Hour))
	if b.Sub(a) != 2*time.Second || !a.Before(b) || a.Unix() != monday.Unix() || b.Unix() != monday.Unix()-48*3600 {
		t.Fatalf("%s and %s: the layout of time.Time has changed", a, b)
	}
	var (
		mu    sync.Mutex
		start time.Time // in the bubble's time
		looks int
	)
	etcdOrBucketAway(t, func() time.Time {
		mu.Lock()
		defer mu.Unlock()
		now := time.Now()
		if start.IsZero() {
			start = now
		}
		looks++
		return reading(time.Hour+now.Sub(start), now.Add(time.Duration(looks%5-2)*48*time.Hour))
	})
	if looks < 100 {
		t.Errorf("the clock was looked at %d times", looks)
	}
}
