package livepg

import (
	"fmt"
	"strings"
	"time"
)

// Hours is a part of the day, in the machine's time zone: 22:00-06:00. The
// zero value is all of it.
type Hours struct {
	from, to time.Duration // since midnight
}

// ParseHours reads HH:MM-HH:MM; "" is all of the day.
func ParseHours(s string) (Hours, error) {
	if s == "" {
		return Hours{}, nil
	}
	a, b, ok := strings.Cut(s, "-")
	from, err := time.Parse("15:04", strings.TrimSpace(a))
	to, err2 := time.Parse("15:04", strings.TrimSpace(b))
	if !ok || err != nil || err2 != nil || from.Equal(to) {
		return Hours{}, fmt.Errorf("parse hours %q: want two different times of day, as 22:00-06:00", s)
	}
	return Hours{sinceMidnight(from), sinceMidnight(to)}, nil
}

func sinceMidnight(t time.Time) time.Duration {
	return time.Duration(t.Hour())*time.Hour + time.Duration(t.Minute())*time.Minute + time.Duration(t.Second())*time.Second
}

// wait is how long it is until the hours begin, 0 within them.
func (h Hours) wait(now time.Time) time.Duration {
	at := sinceMidnight(now)
	switch {
	case h == Hours{}:
	case h.from < h.to && at >= h.from && at < h.to, h.from > h.to && (at >= h.from || at < h.to):
	case at < h.from:
		return h.from - at
	default:
		return 24*time.Hour - at + h.from
	}
	return 0
}
