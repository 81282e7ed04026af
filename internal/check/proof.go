package check

import (
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/dustin/go-humanize"

	"redoubt/internal/pg"
)

// Majors whose record formats are known.
const (
	oldestMajor = 14
	newestMajor = 18
)

// proven are the majors whose replay was held against servers: docs/support.md.
var proven = []int{15, 17}

// Judge fills in what can be proven with a timeline and what cannot, from all
// else. Reasons are those of the planning: what stands between snapshots.
func (t *Timeline) Judge(reasons []string) {
	t.Proves, t.CannotProve = []string{}, []string{}
	t.judgeWAL()
	t.judgeSpans(reasons)
	t.judgeVersion()
	t.judgeSettings()
}

func (t *Timeline) proves(format string, args ...any) {
	t.Proves = append(t.Proves, fmt.Sprintf(format, args...))
}

func (t *Timeline) cannot(format string, args ...any) {
	t.CannotProve = append(t.CannotProve, fmt.Sprintf(format, args...))
}

func (t *Timeline) judgeWAL() {
	if t.WAL.Segments == 0 {
		t.cannot("anything about WAL: there is no segment")
		return
	}
	t.proves("that no WAL segment between %s and %s is missing, and with scan.deep that each is valid", t.WAL.First, t.WAL.Newest)
	if t.WAL.Others > 0 {
		t.cannot("anything about %d objects that are no part of the layout", t.WAL.Others)
	}
}

func (t *Timeline) judgeSpans(reasons []string) {
	for _, s := range t.Spans {
		t.proves("pages at %s by replay from %s (%s of WAL)", s.To, s.From, humanize.IBytes(s.Bytes()))
	}
	for _, r := range reasons {
		t.cannot("pages: %s", r)
	}
	newest := t.newestSnapshot()
	if newest != nil && t.WAL.End > newest.position() {
		t.cannot("pages after %s (snapshot %s): %s of WAL behind it wait for the next base backup", newest.position(), newest.Name,
			humanize.IBytes(uint64(t.WAL.End-newest.position())))
	}
	if first := t.firstSnapshot(); first != nil && len(t.Spans) > 0 {
		t.cannot("that snapshot %s at %s is right itself: it is what all is measured against", first.Name, first.From)
	}
}

func (t *Timeline) judgeVersion() {
	major := t.major()
	switch {
	case major == 0 || slices.Contains(proven, major):
	case major < oldestMajor || major > newestMajor:
		t.cannot("pages: PostgreSQL %d is not supported, %d to %d are", major, oldestMajor, newestMajor)
	default:
		t.cannot("that replay itself is right for PostgreSQL %d: it was proven against servers of %s, of %d by its formats only", major, majors(proven), major)
	}
}

// judgeSettings names the kinds that can't be told apart.
func (t *Timeline) judgeSettings() {
	var without, unknown []string
	for _, s := range t.Snapshots {
		switch {
		case s.Broken != "":
		case !s.Control:
			unknown = append(unknown, s.Name)
		case !s.Checksums:
			without = append(without, s.Name)
		}
	}
	if len(without) > 0 {
		t.cannot("by checksum that a page rotted or was torn (data checksums are off in %s): pages that WAL changed are then `unexplained`, `lost_write` or `phantom_write`; they are found all the same", list(without))
	}
	if len(unknown) > 0 {
		t.cannot("yet whether data checksums are on in %s: their pg_control lies at the end of a tar and is read with it", list(unknown))
	}
}

// Problem is why a timeline cannot be proven as configured, with its cure; nil
// if it can: there is WAL, and at least one span.
func (t *Timeline) Problem() *Item {
	subject := t.Tenant + "/" + t.Timeline
	fail := func(err error, cure string) *Item {
		i := failed("source", subject, err, cure)
		return &i
	}
	major := t.major()
	switch usable := t.usable(); {
	case t.WAL.Segments == 0:
		return fail(errors.New("there are no WAL segments"), "check the location and the layout, and that WAL is being archived")
	case major != 0 && (major < oldestMajor || major > newestMajor):
		return fail(fmt.Errorf("it is of PostgreSQL %d, which is not supported", major), fmt.Sprintf("take it out; %d to %d are supported", oldestMajor, newestMajor))
	case len(t.Spans) > 0:
		return nil
	case len(t.Snapshots) == 0:
		return fail(errors.New("there is no base backup: pages cannot be verified, only that segments are there"), "take two base backups, or set backups to where they are")
	case len(usable) == 1 && len(t.Snapshots) == 1:
		return fail(fmt.Errorf("there is one base backup, %s: nothing to compare it with", usable[0].Name), "take a second one")
	default:
		return fail(errors.New("no two base backups make a span"), "see what cannot be proven, and take a base backup")
	}
}

// Broken are the base backups that can't be read. Those that can still prove
// what lies between them.
func (t *Timeline) Broken() []Item {
	var items []Item
	for _, s := range t.Snapshots {
		if s.Broken != "" {
			items = append(items, failed("source", fmt.Sprintf("base backup %s of %s/%s", s.Name, t.Tenant, t.Timeline), errors.New(s.Broken),
				"take a new one, or take it out of the place where base backups are; until then it proves nothing"))
		}
	}
	return items
}

// Summary is the item of a timeline without a problem.
func (t *Timeline) Summary() Item {
	return ok("source", t.Tenant+"/"+t.Timeline, "PostgreSQL %d, %d WAL segments (%s stored), the newest %s; %d base backups, %d spans",
		t.major(), t.WAL.Segments, humanize.IBytes(uint64(t.WAL.Bytes)), t.WAL.Newest, len(t.Snapshots), len(t.Spans))
}

func (t *Timeline) major() int {
	if t.Major != 0 {
		return t.Major
	}
	for _, s := range t.usable() {
		if s.Major != 0 {
			return s.Major
		}
	}
	return 0
}

func (t *Timeline) usable() []Snapshot {
	return slices.DeleteFunc(slices.Clone(t.Snapshots), func(s Snapshot) bool { return s.Broken != "" })
}

func (t *Timeline) newestSnapshot() *Snapshot {
	return t.extreme(func(a, b pg.LSN) bool { return a > b })
}
func (t *Timeline) firstSnapshot() *Snapshot {
	return t.extreme(func(a, b pg.LSN) bool { return a < b })
}

func (t *Timeline) extreme(better func(a, b pg.LSN) bool) *Snapshot {
	var found *Snapshot
	for _, s := range t.usable() {
		if found == nil || better(s.position(), found.position()) {
			found = &s
		}
	}
	return found
}

// position is where a snapshot is consistent, as far as it says so.
func (s *Snapshot) position() pg.LSN { return max(s.From, s.To) }

func majors(of []int) string {
	var out []string
	for _, m := range of {
		out = append(out, fmt.Sprint(m))
	}
	return strings.Join(out, " and ")
}

// list names at most five.
func list(names []string) string {
	if len(names) > 5 {
		return fmt.Sprintf("%s and %d more", strings.Join(names[:5], ", "), len(names)-5)
	}
	return strings.Join(names, ", ")
}
