package metrics

import (
	"os"
	"os/exec"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
)

const (
	docs       = "../../docs/metrics.md"
	alerts     = "../../deploy/prometheus/redoubt-alerts.yaml"
	alertsTest = "../../deploy/prometheus/redoubt-alerts-test.yaml"
)

// found lists what a pattern's first group matches in a file, each once, sorted.
func found(t *testing.T, file, pattern string) []string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var out []string
	for _, m := range regexp.MustCompile(pattern).FindAllSubmatch(b, -1) {
		out = append(out, string(m[1]))
	}
	slices.Sort(out)
	return slices.Compact(out)
}

// registered lists the names of all metrics with their labels, as the
// documentation writes them.
func registered() []string {
	ch := make(chan *prometheus.Desc, 100)
	withState(State{}).own.Describe(ch)
	NewBackup("").own.Describe(ch)
	close(ch)
	name := regexp.MustCompile(`fqName: "([^"]*)".*variableLabels: \{([^}]*)\}`)
	var out []string
	for d := range ch {
		m := name.FindStringSubmatch(d.String())
		s := m[1]
		if s == "redoubt_build_info" {
			m[2] = "version" // a constant label
		}
		if m[2] != "" {
			s += "{" + m[2] + "}"
		}
		out = append(out, s)
	}
	slices.Sort(out)
	return slices.Compact(out)
}

func TestDocumentationNamesTheMetrics(t *testing.T) {
	if diff := cmp.Diff(registered(), found(t, docs, "(?m)^\\| `(redoubt_[a-z_{},]+)` \\| (?:gauge|counter|histogram)")); diff != "" {
		t.Errorf("metrics (-code +%s):\n%s", docs, diff)
	}
}

func TestDocumentationNamesTheAlerts(t *testing.T) {
	names := found(t, alerts, `(?m)- alert: (\w+)`)
	if diff := cmp.Diff(names, found(t, docs, "(?m)^\\| `(Redoubt[A-Za-z]+)`")); diff != "" {
		t.Errorf("alerts (-%s +%s):\n%s", alerts, docs, diff)
	}
	if diff := cmp.Diff(names, found(t, alertsTest, `alertname: (\w+)`)); diff != "" {
		t.Errorf("alerts (-%s +%s):\n%s", alerts, alertsTest, diff)
	}
}

// TestAlertsAreTestedOnBothPaths wants each alert to fire for a scrape of
// serve and for a textfile.
func TestAlertsAreTestedOnBothPaths(t *testing.T) {
	b, err := os.ReadFile(alertsTest)
	if err != nil {
		t.Fatal(err)
	}
	fired := make(map[string]bool)
	alert := ""
	for line := range strings.Lines(string(b)) {
		if m := regexp.MustCompile(`alertname: (\w+)`).FindStringSubmatch(line); m != nil {
			alert = m[1]
		}
		for _, job := range []string{"redoubt", "node"} {
			if strings.Contains(line, "exp_labels") && regexp.MustCompile(`job: `+job+`\b|\*`+map[string]string{"redoubt": "serve", "node": "textfile"}[job]).MatchString(line) {
				fired[alert+" "+job] = true
			}
		}
	}
	only := map[string]bool{
		"RedoubtWALBackupAgentGone redoubt": true, "RedoubtWALBackupAgentGone node": true, // nor has it
		"RedoubtMetricsAbsent redoubt": true, "RedoubtMetricsAbsent node": true, // it has no labels
		"RedoubtLedgerUnreadable node": true, // docs/metrics.md: a textfile is left alone, RedoubtJobDidNotRun fires
	}
	for _, name := range found(t, alerts, `(?m)- alert: (\w+)`) {
		for _, job := range []string{"redoubt", "node"} {
			if fired[name+" "+job] == only[name+" "+job] {
				t.Errorf("%s for job %s: fires in a test: %v", name, job, fired[name+" "+job])
			}
		}
	}
}

func TestAlertsUseMetricsThatExist(t *testing.T) {
	var names []string
	for _, n := range registered() {
		names = append(names, regexp.MustCompile(`^\w+`).FindString(n))
	}
	for _, n := range found(t, alerts, `\b(redoubt_[a-z_]+)\b`) {
		if !slices.Contains(names, n) {
			t.Errorf("the alerts use %s, which does not exist", n)
		}
	}
}

func TestAlertRules(t *testing.T) {
	promtool, err := exec.LookPath("promtool")
	if err != nil {
		t.Skip("SKIPPED PROOF: the alert rules fire when they should and only then: promtool is not installed")
	}
	for _, args := range [][]string{{"check", "rules", alerts}, {"test", "rules", alertsTest}} {
		if out, err := exec.CommandContext(t.Context(), promtool, args...).CombinedOutput(); err != nil {
			t.Errorf("promtool %v: %v\n%s", args, err, out)
		}
	}
}
