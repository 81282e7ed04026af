package metrics

import (
	"context"
	"log/slog"
	"strings"
	"sync"
	"time"

	"github.com/prometheus/client_golang/prometheus"

	"redoubt/internal/finding"
)

// readTimeout bounds one reading of the ledger, well below a scrape's usual ten seconds.
const readTimeout = 5 * time.Second

// maxLabel is the longest label value in bytes; names come from buckets.
const maxLabel = 256

// ledger collects the metrics that the ledger knows.
type ledger struct {
	read  StateFunc
	every bool
	log   *slog.Logger

	mu   sync.Mutex
	last *State // as read last; nil: never
}

var (
	descUp      = desc("redoubt_ledger_up", "1: the ledger could be read just now; 0: it could not, and the metrics that come from it are as old as its last reading.")
	descRuns    = desc("redoubt_runs_total", "Finished runs, by verdict.", "result")
	descMissed  = desc("redoubt_missed_runs_total", "Scheduled runs that did not start at their time.")
	descLastRun = desc("redoubt_last_run_timestamp_seconds", "When the latest run of a job finished, in Unix time; 0: none has.", "job")
	descVerdict = desc("redoubt_last_run_verdict", "1 for the verdict of a job's latest finished run, 0 for the others.", "job", "verdict")
	descOpen    = desc("redoubt_open_discrepancies", "Discrepancies that are believed to be there still.", "kind", "severity")
	descBlocks  = desc("redoubt_timeline_mismatched_blocks", "Open discrepancies of a timeline, benign ones apart.", "tenant", "timeline")
	descMissing = desc("redoubt_archive_missing_segments", "WAL segments that a timeline's newest scan misses.", "tenant", "timeline")
	descDamaged = desc("redoubt_archive_damaged_segments", "WAL segments that a timeline's newest scan found damaged.", "tenant", "timeline")
	descOldest  = desc("redoubt_oldest_verified_timestamp_seconds", "When the timeline verified longest ago was verified, in Unix time; 0: one never was.")
	descWaits   = desc("redoubt_unverified_since_timestamp_seconds", "Since when the timeline that waits longest has not been verified: its last verification, or when it was first seen, in Unix time.")
	descInconcl = desc("redoubt_inconclusive_runs", "How many of a job's latest finished runs in a row ended inconclusive.", "job")
	descRecover = desc("redoubt_recoveries", "Timelines made by recovery (shadows), by state.", "state")
	ledgerDescs = []*prometheus.Desc{descUp, descRuns, descMissed, descLastRun, descVerdict, descOpen, descBlocks, descMissing, descDamaged, descOldest, descWaits, descInconcl, descRecover}
	runVerdicts = []finding.Verdict{finding.Clean, finding.Findings, finding.Inconclusive}
)

func desc(name, help string, labels ...string) *prometheus.Desc {
	return prometheus.NewDesc(name, help, labels, nil)
}

func newLedger(o Options) *ledger {
	return &ledger{read: o.State, every: o.EveryTimeline, log: o.Log}
}

// Describe implements prometheus.Collector.
func (l *ledger) Describe(ch chan<- *prometheus.Desc) {
	for _, d := range ledgerDescs {
		ch <- d
	}
}

// Collect implements prometheus.Collector.
func (l *ledger) Collect(ch chan<- prometheus.Metric) {
	ctx, cancel := context.WithTimeout(context.Background(), readTimeout)
	defer cancel()
	err := l.refresh(ctx)
	if err != nil && l.log != nil {
		l.log.Error("read ledger for metrics", "err", err)
	}
	up := 0.0
	if err == nil {
		up = 1
	}
	ch <- prometheus.MustNewConstMetric(descUp, prometheus.GaugeValue, up)
	l.mu.Lock()
	last := l.last
	l.mu.Unlock()
	if last != nil {
		l.show(ch, last)
	}
}

// refresh reads the ledger; where that fails the last reading stays.
func (l *ledger) refresh(ctx context.Context) error {
	s, err := l.read(ctx)
	if err != nil {
		return err
	}
	l.mu.Lock()
	l.last = &s
	l.mu.Unlock()
	return nil
}

// series adds up values by labels, so that names that are the same once cut
// or mended do not collide.
type series map[[2]string]float64

func (s series) add(v float64, labels ...string) {
	var k [2]string
	for i, l := range labels {
		k[i] = label(l)
	}
	s[k] += v
}

func (s series) send(ch chan<- prometheus.Metric, d *prometheus.Desc, t prometheus.ValueType, labels int) {
	for k, v := range s {
		ch <- prometheus.MustNewConstMetric(d, t, v, k[:labels]...)
	}
}

func (l *ledger) show(ch chan<- prometheus.Metric, s *State) {
	runs, open := series{}, series{}
	for _, v := range runVerdicts {
		runs.add(0, string(v))
	}
	recoveries := series{}
	for _, state := range []finding.State{finding.StateRecovering, finding.StateActive, finding.StateFailed, finding.StateCancelled, finding.StateDeleting} {
		recoveries.add(float64(s.Recoveries[state]), string(state))
	}
	recoveries.send(ch, descRecover, prometheus.GaugeValue, 1)
	for v, n := range s.Runs {
		runs.add(float64(n), string(v))
	}
	for _, o := range s.Open {
		open.add(float64(o.Count), string(o.Kind), string(o.Severity))
	}
	runs.send(ch, descRuns, prometheus.CounterValue, 1)
	open.send(ch, descOpen, prometheus.GaugeValue, 2)
	showJobs(ch, s.Jobs)
	l.showTimelines(ch, s.Timelines)
}

func showJobs(ch chan<- prometheus.Metric, jobs []Job) {
	last, verdict, inconclusive, missed := series{}, series{}, series{}, 0.0
	for _, j := range jobs {
		missed += float64(j.MissedRuns)
		last.add(unix(j.LastRun), j.Name)
		inconclusive.add(float64(j.Inconclusive), j.Name)
		if j.LastRun.IsZero() {
			continue
		}
		for _, v := range runVerdicts {
			is := 0.0
			if v == j.Verdict {
				is = 1
			}
			verdict.add(is, j.Name, string(v))
		}
	}
	last.send(ch, descLastRun, prometheus.GaugeValue, 1)
	inconclusive.send(ch, descInconcl, prometheus.GaugeValue, 1)
	verdict.send(ch, descVerdict, prometheus.GaugeValue, 2)
	ch <- prometheus.MustNewConstMetric(descMissed, prometheus.CounterValue, missed)
}

func (l *ledger) showTimelines(ch chan<- prometheus.Metric, timelines []Timeline) {
	blocks, missing, damaged := series{}, series{}, series{}
	oldest, waits := -1.0, -1.0
	for _, t := range timelines {
		add := func(s series, n int64) {
			if n > 0 || l.every {
				s.add(float64(n), t.Tenant, t.Timeline)
			}
		}
		add(blocks, t.MismatchedBlocks)
		add(missing, t.MissingSegments)
		add(damaged, t.DamagedSegments)
		if t.Exempt {
			continue
		}
		if at := unix(t.LastVerified); oldest < 0 || at < oldest {
			oldest = at
		}
		if at := unix(t.waitsSince()); waits < 0 || at < waits {
			waits = at
		}
	}
	blocks.send(ch, descBlocks, prometheus.GaugeValue, 2)
	missing.send(ch, descMissing, prometheus.GaugeValue, 2)
	damaged.send(ch, descDamaged, prometheus.GaugeValue, 2)
	if oldest >= 0 {
		ch <- prometheus.MustNewConstMetric(descOldest, prometheus.GaugeValue, oldest)
		ch <- prometheus.MustNewConstMetric(descWaits, prometheus.GaugeValue, waits)
	}
}

// unix is a time for a gauge, 0 for none.
func unix(t time.Time) float64 {
	if t.IsZero() {
		return 0
	}
	return max(0, float64(t.UnixMilli())/1000)
}

// label makes text a legal label value of bounded length.
func label(s string) string {
	s = strings.ToValidUTF8(s, "\uFFFD")
	if len(s) > maxLabel {
		s = strings.ToValidUTF8(s[:maxLabel-3], "") + "…"
	}
	return s
}
