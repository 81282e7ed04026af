package reports

import (
	"cmp"
	"fmt"
	"slices"
	"strconv"
	"strings"
	"time"
	"unicode"
	"unicode/utf8"
)

// maxText is the length, in runes, beyond which untrusted text is cut.
const maxText = 400

// plain makes untrusted text safe to look at: control characters, invisible
// and bidirectional ones and broken UTF-8 are shown as escapes, and very long
// text is cut and says so. It does not escape HTML; html/template does.
func plain(s string) string {
	var b strings.Builder
	n := 0
	for i, r := range s {
		if n++; n > maxText {
			fmt.Fprintf(&b, "… (%d bytes in all)", len(s))
			break
		}
		switch {
		case r == utf8.RuneError && !strings.HasPrefix(s[i:], "\uFFFD"):
			fmt.Fprintf(&b, `\x%02x`, s[i])
		case r == ' ' || (unicode.IsGraphic(r) && !unicode.Is(unicode.Zs, r)):
			b.WriteRune(r)
		default:
			b.WriteString(strings.Trim(strconv.QuoteRuneToASCII(r), "'"))
		}
	}
	return b.String()
}

// number writes 1234567 as 1,234,567.
func number(n int64) string {
	s := strconv.FormatInt(n, 10)
	sign := ""
	if s[0] == '-' {
		sign, s = "-", s[1:]
	}
	for i := len(s) - 3; i > 0; i -= 3 {
		s = s[:i] + "," + s[i:]
	}
	return sign + s
}

// count is a number with its noun, which takes an s unless it is one.
func count(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return number(n) + " " + noun + "s"
}

// agree is the verb for n things.
func agree(n int64, one, many string) string {
	if n == 1 {
		return one
	}
	return many
}

// bytesOf writes a size in binary units, as the WAL's own sizes are.
func bytesOf(n uint64) string {
	const units = "KMGTPE"
	if n < 1024 {
		return count(int64(n), "byte")
	}
	f, u := float64(n)/1024, 0
	for f >= 1023.95 && u < len(units)-1 {
		f /= 1024
		u++
	}
	format := "%.1f %ciB"
	if f >= 100 || f == float64(int64(f)) {
		format = "%.0f %ciB"
	}
	return fmt.Sprintf(format, f, units[u])
}

// sizeOf is bytesOf for counters, which are never negative unless they lie.
func sizeOf(n int64) string { return bytesOf(uint64(max(n, 0))) }

// seconds writes a duration as a person would say it.
func seconds(s float64) string {
	switch {
	case s < 0:
		return "unknown"
	case s < 0.0995:
		return fmt.Sprintf("%.0f ms", s*1000)
	case s < 59.95:
		return fmt.Sprintf("%.1f s", s)
	case s < 1e9:
		d := time.Duration(s * float64(time.Second)).Round(time.Second)
		h, m, sec := int(d.Hours()), int(d.Minutes())%60, int(d.Seconds())%60
		if h > 0 {
			return fmt.Sprintf("%d h %02d min", h, m)
		}
		return fmt.Sprintf("%d min %02d s", m, sec)
	}
	return "unknown"
}

// clock is a time in UTC, to the second.
func clock(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04:05 UTC")
}

// minute is clock without the seconds.
func minute(t time.Time) string {
	if t.IsZero() {
		return "unknown"
	}
	return t.UTC().Format("2006-01-02 15:04 UTC")
}

// tally writes a map of counts as "Gin 300, BRIN 12", the largest first.
func tally(m map[string]int64) string {
	return join(sortedCounts(m), func(c nameCount) string { return c.Name + " " + number(c.N) })
}

type nameCount struct {
	Name string
	N    int64
}

// sortedCounts drops the zeros and orders by count, then name.
func sortedCounts(m map[string]int64) []nameCount {
	out := make([]nameCount, 0, len(m))
	for k, n := range m {
		if n != 0 {
			out = append(out, nameCount{plain(k), n})
		}
	}
	slices.SortFunc(out, func(a, b nameCount) int {
		return cmp.Or(cmp.Compare(b.N, a.N), cmp.Compare(a.Name, b.Name))
	})
	return out
}

func join[T any](list []T, f func(T) string) string {
	parts := make([]string, len(list))
	for i, v := range list {
		parts[i] = f(v)
	}
	return strings.Join(parts, ", ")
}

// CommandLine joins words into a line for a POSIX shell, each quoted if it must be.
func CommandLine(args ...string) string {
	quoted := make([]string, len(args))
	for i, a := range args {
		quoted[i] = shellQuote(a)
	}
	return strings.Join(quoted, " ")
}

// shellQuote makes s one word of a POSIX shell.
func shellQuote(s string) string {
	safe := func(r rune) bool {
		return r < 128 && (unicode.IsLetter(r) || unicode.IsDigit(r) || strings.ContainsRune("-_./:=@%+,", r))
	}
	if s != "" && strings.IndexFunc(s, func(r rune) bool { return !safe(r) }) < 0 {
		return s
	}
	return "'" + strings.ReplaceAll(s, "'", `'\''`) + "'"
}
