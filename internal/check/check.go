// Package check looks, before a run does, at what a run will need: disks,
// ledger, clock, schedules, addresses, sources. It says of each thing whether
// it is well, what is wrong otherwise, and the cure; and of each source what
// can be proven with it and what cannot.
//
// Nothing is changed: a file that a directory is tried with is removed at
// once, and no directory is made. Nothing said here holds a secret.
package check

import (
	"fmt"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// Status is what became of one item.
type Status string

// The statuses. A warning does not change the verdict: it works, or will, but
// somebody should know.
const (
	OK      Status = "ok"
	Warning Status = "warning"
	Failed  Status = "failed"
)

// Item is one thing that was looked at.
type Item struct {
	Area    string `json:"area"`    // configuration, disk, memory, ledger, clock, schedule, address, metrics, engine, source
	Subject string `json:"subject"` // a key of the configuration, a source, a job
	Status  Status `json:"status"`
	Detail  string `json:"detail"`
	Cure    string `json:"cure,omitempty"` // of a warning or failure
}

// ok, warning and failed make items.
func ok(area, subject, detail string, args ...any) Item {
	return Item{Area: area, Subject: subject, Status: OK, Detail: fmt.Sprintf(detail, args...)}
}

func warning(area, subject, detail, cure string) Item {
	return Item{Area: area, Subject: subject, Status: Warning, Detail: detail, Cure: cure}
}

func failed(area, subject string, err error, cure string) Item {
	return Item{Area: area, Subject: subject, Status: Failed, Detail: err.Error(), Cure: cure}
}

// Source is what was seen at a configured source.
type Source struct {
	Name      string     `json:"name"`
	Location  string     `json:"location"` // without credentials
	Layout    string     `json:"layout,omitempty"`
	Count     int        `json:"timelines_found"`
	Timelines []Timeline `json:"timelines"` // those looked at
}

// Timeline is what was seen of one timeline, and what follows from it.
type Timeline struct {
	Tenant      string     `json:"tenant"`
	Timeline    string     `json:"timeline"`
	Major       int        `json:"major,omitempty"`
	SystemID    string     `json:"system_identifier,omitempty"`
	SegmentSize int64      `json:"segment_size,omitempty"`
	WAL         WAL        `json:"wal"`
	Snapshots   []Snapshot `json:"snapshots"`
	Spans       []pg.Range `json:"spans"`
	Proves      []string   `json:"proves"`
	CannotProve []string   `json:"cannot_prove"`
}

// WAL is what the listing of a timeline's archive shows.
type WAL struct {
	Segments int64      `json:"segments"`
	Bytes    int64      `json:"bytes"` // as stored
	First    string     `json:"first,omitempty"`
	Newest   string     `json:"newest,omitempty"`
	NewestAt *time.Time `json:"newest_at,omitempty"`
	End      pg.LSN     `json:"end"` // of the newest segment
	TLIs     []pg.TLI   `json:"tlis"`
	Others   int64      `json:"unexpected"` // objects that are no part of the layout

	FirstSegment pg.SegmentNo `json:"-"`
	NewestKey    string       `json:"-"` // of the object
}

// Snapshot is one base backup.
type Snapshot struct {
	Name   string `json:"name"`
	From   pg.LSN `json:"from"` // where replay starts
	To     pg.LSN `json:"to"`   // where it is consistent, as far as it says so
	Major  int    `json:"major,omitempty"`
	Broken string `json:"broken,omitempty"` // why it can't be read
	// Control says that pg_control was read, and with it the two settings.
	Control     bool `json:"control_read"`
	Checksums   bool `json:"checksums"`
	WALLogHints bool `json:"wal_log_hints"`
}

// Report is the result of a check.
type Report struct {
	Verdict finding.Verdict `json:"verdict"` // clean: nothing failed; inconclusive otherwise
	Config  string          `json:"config"`
	Items   []Item          `json:"items"`
	Sources []Source        `json:"sources"`
}

// Add appends items and keeps the verdict.
func (r *Report) Add(items ...Item) {
	r.Items = append(r.Items, items...)
	r.Verdict = finding.Clean
	for _, i := range r.Items {
		if i.Status == Failed {
			r.Verdict = finding.Inconclusive
		}
	}
}
