package metrics

import (
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/push"
	dto "github.com/prometheus/client_model/go"
)

// pushTimeout bounds one push.
const pushTimeout = 30 * time.Second

// WriteTextfile writes the metrics of Redoubt, without those of the process,
// for node_exporter's textfile collector: to a temporary file beside path that
// is then renamed, readable by all. If the ledger cannot be read the file is
// left as it is: an old file makes the alert on the job's age fire, an
// incomplete one would silence the alert on findings.
func (m *Metrics) WriteTextfile(ctx context.Context, path string) error {
	if err := m.ledger.refresh(ctx); err != nil {
		return fmt.Errorf("write metrics to %s: %w", path, err)
	}
	if err := prometheus.WriteToTextfile(path, m.own); err != nil {
		return fmt.Errorf("write metrics to %s: %w", path, err)
	}
	return nil
}

// Push replaces what a Pushgateway holds for the job. Series of other jobs
// are left to their own pushes; the gateway itself adds the job's label, which
// must not be in what is pushed.
func (m *Metrics) Push(ctx context.Context, gateway, job string) error {
	u, err := url.Parse(gateway)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		return errors.New("push metrics: the pushgateway's address is no http:// or https:// URL")
	}
	user := u.User
	u.User = nil // the pusher puts its URL into errors
	if err := m.ledger.refresh(ctx); err != nil {
		return fmt.Errorf("push metrics to %s: %w", u.Redacted(), err)
	}
	p := push.New(u.String(), label(job)).Gatherer(ofJob(m.own, label(job))).Client(&http.Client{Timeout: pushTimeout})
	if user != nil {
		password, _ := user.Password()
		p = p.BasicAuth(user.Username(), password)
	}
	if err := p.PushContext(ctx); err != nil {
		return fmt.Errorf("push metrics to %s: %w", u.Redacted(), err)
	}
	return nil
}

// ofJob gathers what belongs into the group of a job: series of other jobs
// are dropped, the label of this one is taken off.
func ofJob(g prometheus.Gatherer, job string) prometheus.Gatherer {
	return prometheus.GathererFunc(func() ([]*dto.MetricFamily, error) {
		families, err := g.Gather()
		var out []*dto.MetricFamily
		for _, f := range families {
			kept := &dto.MetricFamily{Name: f.Name, Help: f.Help, Type: f.Type, Unit: f.Unit}
			for _, m := range f.Metric {
				if withoutJob(m, job) {
					kept.Metric = append(kept.Metric, m)
				}
			}
			if len(kept.Metric) > 0 {
				out = append(out, kept)
			}
		}
		return out, err
	})
}

// withoutJob takes the label job off a series; it reports whether the series
// has none or was the job's.
func withoutJob(m *dto.Metric, job string) bool {
	for i, l := range m.Label {
		if l.GetName() == "job" {
			m.Label = append(append([]*dto.LabelPair{}, m.Label[:i]...), m.Label[i+1:]...)
			return l.GetValue() == job
		}
	}
	return true
}
