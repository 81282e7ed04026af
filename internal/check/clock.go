package check

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"redoubt/internal/config"
)

// tolerance is by how much clocks may differ before somebody should know; S3
// refuses requests at fifteen minutes.
const tolerance = time.Minute

// Stepped is by how much the clock was set since start, told by the monotonic
// clock, which nobody sets.
func Stepped(start, now time.Time) time.Duration {
	return (now.Round(0).Sub(start.Round(0)) - now.Sub(start)).Abs()
}

// Clock looks at this machine's clock: it can't be before the program was
// built (zero: not known), and should not be set (see Stepped) while it is used.
func Clock(now, built time.Time, stepped time.Duration) Item {
	const area, subject, cure = "clock", "this machine", "set it, and let chrony or systemd-timesyncd keep it: schedules, ages and acknowledgements go by it"
	switch {
	case now.Before(built):
		return failed(area, subject, fmt.Errorf("it says %s, before this program was built (%s)", now.UTC().Format(time.RFC3339), built.UTC().Format(time.RFC3339)), cure)
	case stepped > time.Second:
		return warning(area, subject, fmt.Sprintf("it was set by %v while this check ran", stepped.Round(time.Millisecond)), cure)
	}
	zone, _ := now.Local().Zone()
	return ok(area, subject, "%s, local zone %s", now.UTC().Format(time.RFC3339), zone)
}

// Newer compares the clock with a time that someone wrote down before now,
// such as the start of the newest run.
func Newer(now, then time.Time, what string) (Item, bool) {
	if ahead := then.Sub(now); ahead > tolerance {
		return failed("clock", "this machine", fmt.Errorf("%s is %v in the future: this clock is behind, or that one was ahead", what, ahead.Round(time.Second)),
			"compare this machine's clock with another one and set what is wrong; a wrong clock makes schedules and ages wrong"), true
	}
	return Item{}, false
}

// Skew judges by how much a store's clock is ahead of this one.
func Skew(source string, ahead time.Duration) Item {
	subject := "store of " + source
	if ahead.Abs() > tolerance {
		way := "ahead of"
		if ahead < 0 {
			way = "behind"
		}
		return failed("clock", subject, fmt.Errorf("its clock is %v %s this machine's", ahead.Abs().Round(time.Second), way),
			"set the clock that is wrong: S3 refuses requests from 15 minutes on, and ages of segments are wrong")
	}
	return ok("clock", subject, "within %v of this machine's", max(ahead.Abs().Round(time.Second), time.Second))
}

// Schedules tells when each job will start.
func Schedules(c *config.Config, now time.Time) []Item {
	var items []Item
	for _, name := range slices.Sorted(maps.Keys(c.Jobs)) {
		items = append(items, schedule(name, c.Jobs[name].Schedule, now))
	}
	return items
}

func schedule(job, text string, now time.Time) Item {
	const area = "schedule"
	key := "jobs." + job
	sched, err := config.ParseSchedule(text)
	if err != nil {
		return failed(area, key, err, "mend "+key+".schedule")
	}
	zone, named := zoneOf(text)
	var next []string
	for at, i := now, 0; i < 3; i++ {
		at = sched.Next(at)
		if at.IsZero() {
			break
		}
		next = append(next, at.In(zone).Format("Mon 2006-01-02 15:04:05 -07:00"))
	}
	detail := fmt.Sprintf("%q starts next at %s", text, strings.Join(next, ", "))
	if !named && !strings.HasPrefix(text, "@every") {
		zone, _ := now.Local().Zone()
		return warning(area, key, detail, fmt.Sprintf("it goes by this machine's zone (%s); write a zone in front, such as CRON_TZ=UTC, so that another machine means the same", zone))
	}
	return ok(area, key, "%s", detail)
}

// zoneOf is the time zone that a schedule names, or else this machine's.
func zoneOf(schedule string) (zone *time.Location, named bool) {
	first, _, _ := strings.Cut(strings.TrimSpace(schedule), " ")
	for _, prefix := range []string{"CRON_TZ=", "TZ="} {
		if name, ok := strings.CutPrefix(first, prefix); ok {
			if zone, err := time.LoadLocation(name); err == nil {
				return zone, true
			}
		}
	}
	return time.Local, false
}
