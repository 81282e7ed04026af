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
	TenantID   string `json:"tenant_id"`
	TimelineID string `json:"timeline_id"`
	Source     string `json:"source"` // the configured source it is read from
	Shadow     bool   `json:"shadow"` // made by recovery: never picked
	State      State  `json:"state"`
	// Up to where it is known to have WAL (by recovery, agents, verification, the newest scan) or, while it is
	// recovered, is redone; null: not known.
	LastRecordLSN      *pg.LSN       `json:"last_record_lsn"`
	TargetLSN          *pg.LSN       `json:"target_lsn"`           // what recovery is to reach; null: not known yet, or none
	AncestorTimelineID *string       `json:"ancestor_timeline_id"` // null: none
	AncestorLSN        *pg.LSN       `json:"ancestor_lsn"`         // where it left its ancestor
	WALBackupLSN       *pg.LSN       `json:"wal_backup_lsn"`       // of the agents in the configuration; null: not known
	Recovery           *Recovery     `json:"recovery"`             // null: not made by recovery
	FirstSeen          time.Time     `json:"first_seen"`
	LastSeen           time.Time     `json:"last_seen"`
	LastPickedAt       *time.Time    `json:"last_picked_at"`
	LastVerifiedAt     *time.Time    `json:"last_verified_at"` // null: never verified whole
	LastVerifiedLSN    *pg.LSN       `json:"last_verified_lsn"`
	OpenDiscrepancies  int64         `json:"open_discrepancies"` // neither benign nor acknowledged
	Scan               *ScanTimeline `json:"scan"`               // the newest; null: never scanned
	ScannedAt          *time.Time    `json:"scanned_at"`
}

// State is what a timeline is doing. Those that recovery did not make are active.
type State string

// The states. A deleted timeline is seen only if the archive still has WAL of it.
const (
	StateRecovering State = "recovering"
	StateActive     State = "active"
	StateFailed     State = "failed"
	StateCancelled  State = "cancelled"
	StateDeleting   State = "deleting"
	StateDeleted    State = "deleted"
)

// Recovery is how a timeline was made, or is being made.
type Recovery struct {
	Base    string     `json:"base"`     // name of the snapshot
	BaseLSN pg.LSN     `json:"base_lsn"` // at which it is consistent
	FromLSN *pg.LSN    `json:"from_lsn"` // as asked for; null: by WAL alone
	ToLSN   *pg.LSN    `json:"to_lsn"`   // as asked for
	ToTime  *time.Time `json:"to_time"`  // as asked for
	// DurableLSN is the newest durable point, from which it goes on after a kill; ResumedLSN the one that it went on from last.
	DurableLSN *pg.LSN    `json:"durable_lsn"`
	ResumedLSN *pg.LSN    `json:"resumed_lsn"`
	Reason     string     `json:"reason"` // why it failed or is tried again or, of an active one, what is doubtful about it
	Directory  string     `json:"directory"`
	CreatedAt  time.Time  `json:"created_at"`
	StartedAt  *time.Time `json:"started_at"` // null: it waits for others
	EndedAt    *time.Time `json:"ended_at"`
}
