package metrics

import (
	"cmp"
	"log/slog"
	"net/http"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/collectors"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"redoubt/internal/finding"
)

// Metrics counts what this process does and shows what the ledger knows.
// Its methods may be called at the same time.
type Metrics struct {
	*storageUse
	own     *prometheus.Registry // redoubt_*
	process *prometheus.Registry // go_*, process_*: for a scrape only
	ledger  *ledger

	runSeconds   prometheus.Histogram
	spans        *prometheus.CounterVec
	mismatches   *prometheus.CounterVec
	compared     prometheus.Counter
	unverifiable *prometheus.CounterVec
	walBytes     prometheus.Counter
	requeued     prometheus.Counter
}

// Options configure Metrics.
type Options struct {
	State         StateFunc // required
	EveryTimeline bool      // a series for each timeline, not only for failing ones (metrics.per_timeline: all)
	Version       string
	Log           *slog.Logger
}

// New makes the metrics, all counters at zero.
func New(o Options) *Metrics {
	m := &Metrics{
		own:     prometheus.NewRegistry(),
		process: prometheus.NewRegistry(),
		ledger:  newLedger(o),
		runSeconds: prometheus.NewHistogram(prometheus.HistogramOpts{
			Name: "redoubt_run_duration_seconds", Help: "How long finished runs took.",
			Buckets: []float64{1, 10, 60, 300, 900, 1800, 3600, 7200, 14400, 28800, 57600},
		}),
		spans:        counters("redoubt_spans_total", "Spans that ended, by verdict and engine.", "result", "engine"),
		mismatches:   counters("redoubt_page_mismatches_total", "Discrepancies found, benign ones included; not_listed are those beyond the length of a span's list.", "kind", "severity"),
		compared:     counter("redoubt_blocks_compared_total", "Blocks compared with what the WAL says."),
		unverifiable: counters("redoubt_blocks_unverifiable_total", "Blocks that were not verified, by reason.", "reason"),
		walBytes:     counter("redoubt_wal_replayed_bytes_total", "Bytes of WAL replayed."),
		requeued:     requeuedCounter(),
	}
	m.storageUse = newStorageUse(m.own)
	build := prometheus.NewGauge(prometheus.GaugeOpts{
		Name: "redoubt_build_info", Help: "Always 1; the label says which version runs.",
		ConstLabels: prometheus.Labels{"version": label(cmp.Or(o.Version, "unknown"))},
	})
	build.Set(1)
	m.own.MustRegister(m.ledger, m.runSeconds, m.spans, m.mismatches, m.compared, m.unverifiable, m.walBytes, m.requeued, build)
	m.process.MustRegister(collectors.NewGoCollector(), collectors.NewProcessCollector(collectors.ProcessCollectorOpts{}))
	return m
}

func requeuedCounter() prometheus.Counter {
	return counter("redoubt_segments_requeued_total", "Segments that agents were asked to upload again.")
}

// Requested counts a segment that a scan asked the agents for.
func (m *Metrics) Requested() { m.requeued.Inc() }

func counter(name, help string) prometheus.Counter {
	return prometheus.NewCounter(prometheus.CounterOpts{Name: name, Help: help})
}

func counters(name, help string, labels ...string) *prometheus.CounterVec {
	return prometheus.NewCounterVec(prometheus.CounterOpts{Name: name, Help: help}, labels)
}

// ObserveSpan counts a span that ended in this process. Spans that a resumed
// run took over from an earlier process are not observed again.
func (m *Metrics) ObserveSpan(v finding.Verification) {
	m.spans.WithLabelValues(result(v.Verdict), engine(v.Engine)).Inc()
	m.compared.Add(atLeast0(v.Coverage.BlocksCompared))
	m.walBytes.Add(atLeast0(v.WAL.Bytes))
	c := &v.Coverage
	for reason, n := range map[string]int64{
		"tainted": c.BlocksTainted, "overwritten_by_wal": c.BlocksOverwrittenByWAL,
		"not_comparable": c.BlocksUnverifiable, "left_out": c.BlocksSkipped,
	} {
		if n > 0 {
			m.unverifiable.WithLabelValues(reason).Add(float64(n))
		}
	}
	m.observeDiscrepancies(&v)
}

func (m *Metrics) observeDiscrepancies(v *finding.Verification) {
	var listed finding.DiscrepancyCounts
	for i := range v.Discrepancies {
		d := &v.Discrepancies[i]
		listed.Add(d.Severity)
		m.mismatches.WithLabelValues(label(string(d.Kind)), label(string(d.Severity))).Inc()
	}
	all := v.DiscrepancyCounts
	for severity, n := range map[finding.Severity]int64{
		finding.Critical: all.Critical - listed.Critical, finding.Warning: all.Warning - listed.Warning, finding.Benign: all.Benign - listed.Benign,
	} {
		if n > 0 {
			m.mismatches.WithLabelValues("not_listed", string(severity)).Add(float64(n))
		}
	}
}

// ObserveRun records how long a finished run took. Its verdict comes from the
// ledger, its spans from ObserveSpan.
func (m *Metrics) ObserveRun(r finding.Run) {
	if r.FinishedAt != nil {
		m.runSeconds.Observe(max(0, r.FinishedAt.Sub(r.StartedAt).Seconds()))
	}
}

// Handler answers a scrape.
func (m *Metrics) Handler() http.Handler {
	return promhttp.HandlerFor(prometheus.Gatherers{m.own, m.process}, promhttp.HandlerOpts{})
}

func atLeast0(n int64) float64 { return float64(max(n, 0)) }

func result(v finding.Verdict) string {
	switch v {
	case finding.Clean, finding.Discrepancies:
		return string(v)
	}
	return string(finding.Inconclusive) // what is no verdict was not verified
}

func engine(s string) string {
	switch s {
	case "native", "server", "both":
		return s
	}
	return "none"
}
