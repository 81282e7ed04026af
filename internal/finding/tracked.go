package finding

import (
	"time"

	"redoubt/internal/pg"
)

// Tracked is a discrepancy over all runs.
type Tracked struct {
	Discrepancy            // as last seen
	Tenant      string     `json:"tenant"`
	Timeline    string     `json:"timeline"`
	State       string     `json:"state"` // open, gone, acknowledged
	FirstSeen   time.Time  `json:"first_seen"`
	FirstRunID  string     `json:"first_run_id"`
	LastSeen    time.Time  `json:"last_seen"`
	LastRunID   string     `json:"last_run_id"`
	GoneAt      *time.Time `json:"gone_at,omitempty"`
}

// AckRecord is an acknowledgement with what it is of, as it is kept.
type AckRecord struct {
	Tenant   string   `json:"tenant"`
	Timeline string   `json:"timeline"`
	ID       string   `json:"id"`
	Finding  string   `json:"finding"` // discrepancy, gap, damaged, lost_write
	About    string   `json:"about"`   // the finding in words, as it was
	Severity Severity `json:"severity,omitempty"`
	Segments []string `json:"segments,omitempty"`
	Acknowledgement
	EndedAt *time.Time `json:"ended_at,omitempty"` // when it was removed or replaced
	EndedBy string     `json:"ended_by,omitempty"`
}

// Holds reports whether the acknowledgement keeps its finding from counting at a time.
func (a *AckRecord) Holds(at time.Time) bool {
	return a.EndedAt == nil && a.Until.After(at) && !a.At.After(at)
}

// TimelineStatus is what is known of a timeline.
type TimelineStatus struct {
	TenantID          string        `json:"tenant_id"`
	TimelineID        string        `json:"timeline_id"`
	Source            string        `json:"source"` // the configured source it is read from
	Shadow            bool          `json:"shadow"` // made by recovery: never picked
	FirstSeen         time.Time     `json:"first_seen"`
	LastSeen          time.Time     `json:"last_seen"`
	LastPickedAt      *time.Time    `json:"last_picked_at"`
	LastVerifiedAt    *time.Time    `json:"last_verified_at"` // null: never verified whole
	LastVerifiedLSN   *pg.LSN       `json:"last_verified_lsn"`
	OpenDiscrepancies int64         `json:"open_discrepancies"` // neither benign nor acknowledged
	Scan              *ScanTimeline `json:"scan"`               // the newest; null: never scanned
	ScannedAt         *time.Time    `json:"scanned_at"`
}
