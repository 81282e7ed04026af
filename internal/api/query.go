package api

import (
	"net/http"
	"net/url"
	"slices"
	"strconv"
	"strings"

	"redoubt/internal/finding"
)

// Sizes of a page of a list.
const (
	defaultLimit = 100
	maxLimit     = 1000
	maxOffset    = 1 << 30
	maxQuery     = 1024 // bytes of one parameter
)

// query reads a request's parameters. The first error sticks; a parameter
// that nobody asked for is one too, for a mistyped filter would take all.
type query struct {
	values url.Values
	first  error
}

func newQuery(r *http.Request) *query {
	v, err := url.ParseQuery(r.URL.RawQuery)
	q := &query{values: v}
	if err != nil {
		q.fail("the query is malformed")
	}
	return q
}

// noQuery refuses parameters where a path has none: a mistyped one would be
// taken for done.
func noQuery(r *http.Request) error { return newQuery(r).err() }

func (q *query) fail(message string) {
	if q.first == nil {
		q.first = bad(message)
	}
}

// text takes a parameter out of the query, empty where it is not there.
func (q *query) text(name string) string {
	v := q.values[name]
	delete(q.values, name)
	switch {
	case len(v) == 0:
		return ""
	case len(v) > 1:
		q.fail(name + " is given twice")
	case len(v[0]) > maxQuery:
		q.fail(name + " is too long")
	}
	return v[0]
}

// number takes a number between low and high.
func (q *query) number(name string, low, high, without int) int {
	s := q.text(name)
	if s == "" {
		return without
	}
	n, err := strconv.Atoi(s)
	if err != nil || n < low || n > high {
		q.fail(name + " must be a number from " + strconv.Itoa(low) + " to " + strconv.Itoa(high))
		return without
	}
	return n
}

func (q *query) page() part {
	return part{Limit: q.number("limit", 1, maxLimit, defaultLimit), Offset: q.number("offset", 0, maxOffset, 0)}
}

func (q *query) boolean(name string) bool {
	switch q.text(name) {
	case "true":
		return true
	case "", "false":
	default:
		q.fail(name + " must be true or false")
	}
	return false
}

var (
	kinds = []finding.Kind{
		finding.MissingRelation, finding.ExtraRelation, finding.SizeMismatch, finding.ZeroedPage, finding.BitRot, finding.TornPage,
		finding.LostWrite, finding.PhantomWrite, finding.WrongRedo, finding.SLRUMismatch, finding.HintBits, finding.Unexplained,
	}
	states     = []string{"open", "gone", "acknowledged"}
	severities = []finding.Severity{finding.Critical, finding.Warning, finding.Benign}
)

func (q *query) kind() finding.Kind { return oneOf(q, "kind", kinds) }

func (q *query) severity() finding.Severity { return oneOf(q, "severity", severities) }

func oneOf[T ~string](q *query, name string, known []T) T {
	v := T(q.text(name))
	if v != "" && !slices.Contains(known, v) {
		all := make([]string, len(known))
		for i, k := range known {
			all[i] = string(k)
		}
		q.fail(name + " must be one of " + strings.Join(all, ", "))
	}
	return v
}

// err is the first error, or one about parameters that nobody took.
func (q *query) err() error {
	if q.first == nil && len(q.values) > 0 {
		return bad("the query has parameters that this path does not know")
	}
	return q.first
}

func pathEscape(s string) string { return url.PathEscape(s) }

func decimal(n int) string { return strconv.Itoa(n) }
