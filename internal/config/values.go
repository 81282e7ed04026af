package config

import (
	"fmt"
	"log/slog"
	"math"
	"strconv"
	"strings"
	"time"
)

// Size is a number of bytes, written 200GiB, 64MiB, 5GB or as a bare number.
type Size int64

var sizeUnits = []struct {
	name  string
	bytes int64
}{
	{"TiB", 1 << 40}, {"GiB", 1 << 30}, {"MiB", 1 << 20}, {"KiB", 1 << 10},
	{"TB", 1e12}, {"GB", 1e9}, {"MB", 1e6}, {"kB", 1e3}, {"B", 1}, {"", 1},
}

// UnmarshalText reads a whole number and a unit, without a sign or fraction.
func (s *Size) UnmarshalText(b []byte) error {
	text := string(b)
	for _, u := range sizeUnits {
		digits, ok := strings.CutSuffix(text, u.name)
		if !ok {
			continue
		}
		digits = strings.TrimSuffix(digits, " ")
		if !allDigits(digits) {
			break
		}
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > math.MaxInt64/u.bytes {
			return fmt.Errorf("%q is too large for a size", text)
		}
		*s = Size(n * u.bytes)
		return nil
	}
	return fmt.Errorf("%q is not a size: write a whole number and one of B, KiB, MiB, GiB, TiB, kB, MB, GB, TB, such as 200GiB", text)
}

func allDigits(s string) bool {
	return s != "" && strings.Trim(s, "0123456789") == ""
}

// String prints the size in the largest binary unit that divides it.
func (s Size) String() string {
	for _, u := range sizeUnits[:4] {
		if s != 0 && int64(s)%u.bytes == 0 {
			return strconv.FormatInt(int64(s)/u.bytes, 10) + u.name
		}
	}
	return strconv.FormatInt(int64(s), 10)
}

// Duration is a length of time, written 4h, 90m, 1h30m or, in whole days of 24 hours, 30d; never negative.
type Duration time.Duration

// maxDays is how many days a time.Duration holds.
const maxDays = math.MaxInt64 / int64(24*time.Hour)

// UnmarshalText reads what time.ParseDuration reads, and days, and refuses negative ones.
func (d *Duration) UnmarshalText(b []byte) error {
	if digits, ok := strings.CutSuffix(string(b), "d"); ok && allDigits(digits) {
		n, err := strconv.ParseInt(digits, 10, 64)
		if err != nil || n > maxDays {
			return fmt.Errorf("%q is too long: %dd is the longest", b, maxDays)
		}
		*d = Duration(time.Duration(n) * 24 * time.Hour)
		return nil
	}
	v, err := time.ParseDuration(string(b))
	if err != nil {
		return fmt.Errorf("%q is not a duration: write numbers with h, m, s or ms, such as 4h or 1h30m, or days, such as 30d", b)
	}
	if v < 0 {
		return fmt.Errorf("%q is negative: write 0 for no limit or a duration such as 4h", b)
	}
	*d = Duration(v)
	return nil
}

// String prints the duration as Go does.
func (d Duration) String() string { return time.Duration(d).String() }

// Secret is a string that no formatting verb, log or encoder prints.
type Secret string

const hidden = "[hidden]"

// String hides the secret.
func (s Secret) String() string {
	if s == "" {
		return ""
	}
	return hidden
}

// GoString hides the secret from %#v.
func (s Secret) GoString() string { return strconv.Quote(s.String()) }

// MarshalText hides the secret from encoders.
func (s Secret) MarshalText() ([]byte, error) { return []byte(s.String()), nil }

// LogValue hides the secret from slog.
func (s Secret) LogValue() slog.Value { return slog.StringValue(s.String()) }

// Reveal is the secret itself.
func (s Secret) Reveal() string { return string(s) }

// Interval is bytes of WAL between two durable points of a recovery: a size,
// never, or auto, which leaves it to the recovery.
type Interval int64

// Intervals that are no sizes.
const (
	Auto  Interval = -1
	Never Interval = 0
)

// UnmarshalText reads auto, never, or a size.
func (i *Interval) UnmarshalText(b []byte) error {
	switch string(b) {
	case Auto.String():
		*i = Auto
		return nil
	case Never.String():
		*i = Never
		return nil
	}
	var size Size
	if err := size.UnmarshalText(b); err != nil || size == 0 {
		return fmt.Errorf("%q is no interval: write auto, never, or a size such as 16GiB", b)
	}
	*i = Interval(size)
	return nil
}

// String prints what UnmarshalText reads.
func (i Interval) String() string {
	switch i {
	case Auto:
		return "auto"
	case Never:
		return "never"
	}
	return Size(i).String()
}
