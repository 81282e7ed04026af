package metrics

import (
	"cmp"
	"net/http"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"redoubt/internal/pg"
)

// BackupState is what the WAL backup agent knows now.
type BackupState struct {
	Timelines  []BackupTimeline
	ErrorRatio float64
	Alarms     []BackupAlarm
}

// BackupTimeline is the backup of one timeline of this machine.
type BackupTimeline struct {
	Tenant, Timeline string
	BackupLSN        pg.LSN
	LagBytes         uint64
	Stalled          time.Duration
	Leads            bool // this agent
}

// BackupAlarm is how many alarms of a kind stand. Tenant and timeline are
// empty for one about the agent itself.
type BackupAlarm struct {
	Tenant, Timeline, Kind string
	Count                  int
}

var (
	descBackupLSN     = desc("redoubt_wal_backup_lsn", "The WAL backup LSN of a timeline, as a number of bytes: below it every segment is in the bucket.", "tenant", "timeline")
	descBackupLag     = desc("redoubt_wal_backup_lag_bytes", "Bytes of complete segments of a timeline on this machine beyond the WAL backup LSN.", "tenant", "timeline")
	descBackupStalled = desc("redoubt_wal_backup_stalled_seconds", "For how long the WAL backup LSN of a timeline has stood still though there is work.", "tenant", "timeline")
	descBackupLeader  = desc("redoubt_wal_backup_leader", "1: this agent uploads the timeline; 0: it does not.", "tenant", "timeline")
	descBackupAlarm   = desc("redoubt_wal_backup_alarm", "Alarms that stand, by kind.", "tenant", "timeline", "alarm")
	descErrorRatio    = desc("redoubt_storage_error_ratio", "Part of the latest accesses to the bucket that failed.")
	backupDescs       = []*prometheus.Desc{descBackupLSN, descBackupLag, descBackupStalled, descBackupLeader, descBackupAlarm, descErrorRatio}
)

// Backup is the metrics of the WAL backup agent. Its methods may be called at
// the same time.
type Backup struct {
	*storageUse
	own, process *prometheus.Registry
	state        func() BackupState

	uploads   *prometheus.CounterVec
	retired   *prometheus.CounterVec
	missing   prometheus.Counter
	conflicts prometheus.Counter
	requeued  prometheus.Counter
}

// NewBackup makes the metrics, all counters at zero. Set must be called before
// they are shown.
func NewBackup(version string) *Backup {
	b := &Backup{
		own: prometheus.NewRegistry(), process: prometheus.NewRegistry(),
		state:     func() BackupState { return BackupState{} },
		uploads:   counters("redoubt_segment_uploads_total", "Attempts to upload a WAL file, by how they ended.", "result"),
		retired:   counters("redoubt_local_files_retired_total", "Local WAL files that were let go, being safe in the bucket.", "result"),
		missing:   counter("redoubt_segment_file_missing_total", "Segments found to be neither on this machine nor in the bucket."),
		conflicts: counter("redoubt_segment_conflicts_total", "Segments of which the bucket has other content."),
		requeued:  requeuedCounter(),
	}
	b.storageUse = newStorageUse(b.own)
	for _, r := range []string{"uploaded", "already_there", "conflict", "missing", "refused", "error"} {
		b.uploads.WithLabelValues(r)
	}
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "redoubt_build_info", Help: "Always 1; the label says which version runs.",
		ConstLabels: prometheus.Labels{"version": label(cmp.Or(version, "unknown"))},
	})
	build.Set(1)
	b.own.MustRegister(b, b.uploads, b.retired, b.missing, b.conflicts, b.requeued, build)
	b.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return b
}

// Set says where the state is read.
func (b *Backup) Set(state func() BackupState) { b.state = state }

// Upload counts an attempt of an upload.
func (b *Backup) Upload(result string) { b.uploads.WithLabelValues(result).Inc() }

// FileMissing counts a segment that is nowhere.
func (b *Backup) FileMissing() { b.missing.Inc() }

// Conflict counts a segment of which the bucket has other content.
func (b *Backup) Conflict() { b.conflicts.Inc() }

// Retired counts a local file that was let go.
func (b *Backup) Retired(result string) { b.retired.WithLabelValues(result).Inc() }

// Requested counts a segment that agents were asked for.
func (b *Backup) Requested() { b.requeued.Inc() }

// Describe implements prometheus.Collector.
func (b *Backup) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range backupDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (b *Backup) Collect(ch chan<- prometheus.Metric) {
	s := b.state()
	gauge := func(d *prometheus.Desc, v float64, labels ...string) {
		for i := range labels {
			labels[i] = label(labels[i])
		}
		ch <- prometheus.MustNewConstMetric(d, prometheus.GaugeValue, v, labels...)
	}
	for _, t := range s.Timelines {
		gauge(descBackupLSN, float64(t.BackupLSN), t.Tenant, t.Timeline)
		gauge(descBackupLag, float64(t.LagBytes), t.Tenant, t.Timeline)
		gauge(descBackupStalled, t.Stalled.Seconds(), t.Tenant, t.Timeline)
		leads := 0.0
		if t.Leads {
			leads = 1
		}
		gauge(descBackupLeader, leads, t.Tenant, t.Timeline)
	}
	for _, a := range s.Alarms {
		gauge(descBackupAlarm, float64(a.Count), a.Tenant, a.Timeline, a.Kind)
	}
	gauge(descErrorRatio, s.ErrorRatio)
}

// Handler answers a scrape.
func (b *Backup) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{b.own, b.process}, promhttp.HandlerOpts{})
}
