// Package deploy tests what is in this directory for operators to use.
package deploy

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/goccy/go-yaml"

	"redoubt/internal/config"
	"redoubt/internal/pgtest"
)

func read(t *testing.T, file string) string {
	t.Helper()
	b, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return string(b)
}

// tool is a program's path; the proof is skipped, loudly, where it is not.
func tool(t *testing.T, name, proof string) string {
	t.Helper()
	path, err := exec.LookPath(name)
	if err != nil {
		pgtest.SkipProof(t, "%s: %s is not installed", proof, name)
	}
	return path
}

func run(t *testing.T, dir, name string, args ...string) {
	t.Helper()
	cmd := exec.CommandContext(t.Context(), name, args...)
	cmd.Dir = dir
	if out, err := cmd.CombinedOutput(); err != nil {
		t.Errorf("%s %v: %v\n%s", name, args, err, out)
	}
}

// dashboard is what of a Grafana dashboard is looked at.
type dashboard struct {
	Panels []struct {
		ID      int
		Title   string
		Type    string
		GridPos struct{ H, W, X, Y int }
		Targets []struct{ Expr string }
	}
	Annotations struct{ List []struct{ Expr string } }
	Templating  struct {
		List []struct{ Query any }
	}
}

func (d *dashboard) expressions() (out []string) {
	for _, p := range d.Panels {
		for _, target := range p.Targets {
			out = append(out, target.Expr)
		}
	}
	for _, a := range d.Annotations.List {
		out = append(out, a.Expr)
	}
	return out
}

// TestDashboard wants every expression to be PromQL over metrics that
// docs/metrics.md has, and panels that don't cover each other.
func TestDashboard(t *testing.T) {
	text := read(t, "grafana/redoubt.json")
	var d dashboard
	if err := json.Unmarshal([]byte(text), &d); err != nil {
		t.Fatal(err)
	}
	documented := regexp.MustCompile("(?m)^\\| `(redoubt_[a-z_]+)").FindAllStringSubmatch(read(t, "../docs/metrics.md"), -1)
	var names []string
	for _, m := range documented {
		names = append(names, m[1], m[1]+"_bucket")
	}
	for _, used := range regexp.MustCompile(`redoubt_[a-z_]+`).FindAllString(text, -1) {
		if !slices.Contains(names, used) {
			t.Errorf("the dashboard uses %s, which docs/metrics.md does not have", used)
		}
	}
	ids, cells := map[int]bool{}, map[[2]int]string{}
	for _, p := range d.Panels {
		if ids[p.ID] || p.Title == "" || p.Type != "row" && len(p.Targets) == 0 {
			t.Errorf("panel %d %q: an id twice, no title or no target", p.ID, p.Title)
		}
		ids[p.ID] = true
		for x := p.GridPos.X; x < p.GridPos.X+p.GridPos.W; x++ {
			for y := p.GridPos.Y; y < p.GridPos.Y+p.GridPos.H; y++ {
				if other := cells[[2]int{x, y}]; other != "" || x >= 24 {
					t.Fatalf("panel %q covers %q, or leaves the grid", p.Title, other)
				}
				cells[[2]int{x, y}] = p.Title
			}
		}
	}
	parse(t, d.expressions())
}

// parse lets promtool read expressions, as rules.
func parse(t *testing.T, exprs []string) {
	t.Helper()
	if len(exprs) < 15 {
		t.Errorf("only %d expressions", len(exprs))
	}
	promtool := tool(t, "promtool", "the dashboard's expressions are PromQL")
	variables := strings.NewReplacer("$instance", ".*", "$__rate_interval", "5m")
	var rules []map[string]string
	for i, e := range exprs {
		e = variables.Replace(e)
		if strings.Contains(e, "$") {
			t.Errorf("unknown variable in %s", e)
		}
		rules = append(rules, map[string]string{"record": fmt.Sprintf("expression:%d", i), "expr": e})
	}
	b, err := json.Marshal(map[string]any{"groups": []any{map[string]any{"name": "dashboard", "rules": rules}}})
	if err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "rules.yaml") // JSON is YAML
	if err := os.WriteFile(file, b, 0o600); err != nil {
		t.Fatal(err)
	}
	run(t, "", promtool, "check", "rules", file)
}

// TestUnits lets systemd read the units and judge how much they may do.
func TestUnits(t *testing.T) {
	analyze := tool(t, "systemd-analyze", "the systemd units are valid and hardened")
	dir := t.TempDir()
	for _, unit := range []string{"redoubt.service", "redoubt-run.service", "redoubt-run.timer", "redoubt-walbackup.service"} {
		text := read(t, filepath.Join("systemd", unit))
		text = strings.Replace(text, "/usr/local/bin/redoubt", "/bin/true", 1) // it has to exist
		if err := os.WriteFile(filepath.Join(dir, unit), []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	run(t, dir, analyze, "verify", "--man=no", "./redoubt.service", "./redoubt-run.timer", "./redoubt-run.service", "./redoubt-walbackup.service")
	for _, unit := range []string{"redoubt.service", "redoubt-run.service", "redoubt-walbackup.service"} {
		// In tenths: 2.0 of 10, where 10 is a service that may do everything.
		run(t, dir, analyze, "security", "--no-pager", "--offline=true", "--threshold=20", "./"+unit)
	}
}

// TestManifests checks the manifests against Kubernetes' own types.
func TestManifests(t *testing.T) {
	bin := filepath.Join(t.TempDir(), "manifests")
	build := exec.CommandContext(t.Context(), "go", "build", "-o", bin, ".")
	build.Dir = "../tools/manifests"
	if out, err := build.CombinedOutput(); err != nil {
		pgtest.SkipProof(t, "the manifests fit Kubernetes' types: tools/manifests could not be built: %v\n%s", err, out)
	}
	run(t, "kubernetes", bin, "deployment.yaml", "cronjob.yaml")

	bad := filepath.Join(t.TempDir(), "bad.yaml")
	text := strings.Replace(read(t, "kubernetes/cronjob.yaml"), "readOnlyRootFilesystem", "readOnlyRootFileSystem", 1)
	if err := os.WriteFile(bad, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := exec.CommandContext(t.Context(), bin, bad).Run(); err == nil {
		t.Error("a key that does not exist is not noticed")
	}
}

// TestManifestsAreCareful looks for what no type asks for.
func TestManifestsAreCareful(t *testing.T) {
	for file, wants := range map[string][]string{
		"deployment.yaml": {"startupProbe:", "livenessProbe:", "readinessProbe:", "strategy: {type: Recreate}", "replicas: 1"},
		"cronjob.yaml":    {"concurrencyPolicy: Forbid", "restartPolicy: Never", "backoffLimit: 0"},
	} {
		text := read(t, filepath.Join("kubernetes", file))
		for _, want := range append(wants,
			"runAsNonRoot: true", "readOnlyRootFilesystem: true", "allowPrivilegeEscalation: false", "capabilities: {drop: [ALL]}",
			"seccompProfile: {type: RuntimeDefault}", "automountServiceAccountToken: false", "kind: PersistentVolumeClaim", "limits: {memory:",
		) {
			if !strings.Contains(text, want) {
				t.Errorf("%s has no %s", file, want)
			}
		}
		if strings.Count(text, "readOnlyRootFilesystem") != strings.Count(text, "image:") {
			t.Errorf("%s: not every container has a read-only root", file)
		}
	}
}

// TestConfigMaps reads the configurations as Redoubt does.
func TestConfigMaps(t *testing.T) {
	for _, file := range []string{"deployment.yaml", "cronjob.yaml"} {
		first, _, _ := strings.Cut(read(t, filepath.Join("kubernetes", file)), "\n---\n")
		var configMap struct{ Data map[string]string }
		if err := yaml.Unmarshal([]byte(first), &configMap); err != nil {
			t.Fatal(err)
		}
		if _, err := config.Parse(file, []byte(configMap.Data["redoubt.yaml"])); err != nil {
			t.Error(err)
		}
	}
}
