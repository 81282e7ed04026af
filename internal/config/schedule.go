package config

import (
	"errors"
	"fmt"
	"strings"
	"time"
	_ "time/tzdata" // schedules name time zones also where the machine has no zone files

	"github.com/robfig/cron/v3"
)

// ParseSchedule reads a schedule as robfig/cron's standard parser does: five
// fields (minute, hour, day of month, month, day of week), descriptors such
// as @daily and @every 6h, and a zone in front as CRON_TZ=Europe/Berlin. A
// schedule that never fires is an error.
func ParseSchedule(s string) (cron.Schedule, error) {
	sched, err := parseCron(s)
	if err != nil {
		return nil, fmt.Errorf(`%q is not a schedule (%w): write minute, hour, day of month, month and day of week, such as "0 2 * * *" or "CRON_TZ=UTC 0 2 * * *", or @daily, @every 6h`, s, err)
	}
	if sched.Next(time.Date(2026, 1, 1, 0, 0, 0, 0, time.UTC)).IsZero() {
		return nil, fmt.Errorf("%q never comes: no month has such a day", s)
	}
	return sched, nil
}

func parseCron(s string) (cron.Schedule, error) {
	zone := strings.HasPrefix(s, "TZ=") || strings.HasPrefix(s, "CRON_TZ=")
	if zone && !strings.Contains(strings.TrimSpace(s), " ") {
		return nil, errors.New("nothing after the time zone") // cron's parser panics on it
	}
	return cron.ParseStandard(s)
}
