package main

import (
	"bufio"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/finding"
)

// server is a redoubt serve under way.
type server struct {
	cmd    *exec.Cmd
	url    string
	token  string
	stderr *bufio.Reader
	said   strings.Builder
}

// serve starts a server on a free port of this machine.
func serve(t *testing.T, config string) *server { return serveWith(t, config, nil) }

// serveWith is serve with more variables in its environment.
func serveWith(t *testing.T, config string, env []string) *server {
	t.Helper()
	cmd := raced(t, "serve", "-c", config)
	if env != nil {
		cmd.Env = append(os.Environ(), env...)
	}
	return started(t, cmd)
}

// started is a server's command, started and serving.
func started(t *testing.T, cmd *exec.Cmd) *server {
	t.Helper()
	s := &server{cmd: cmd}
	out, err := s.cmd.StderrPipe()
	must(t, err)
	s.stderr = bufio.NewReader(out)
	must(t, s.cmd.Start())
	line := waitFor(t, s.stderr, &s.said, "msg=serving")
	address := regexp.MustCompile(`address=(\S+)`).FindStringSubmatch(line)
	if address == nil {
		t.Fatalf("no address in %q", line)
	}
	s.url = "http://" + address[1]
	return s
}

// end asks the server to end, which it must do with 0.
func (s *server) end(t testing.TB) {
	t.Helper()
	must(t, s.cmd.Process.Signal(syscall.SIGTERM))
	rest, err := io.ReadAll(s.stderr)
	must(t, err)
	s.said.Write(rest)
	_ = s.cmd.Wait() // its exit code is looked at
	outcome{s.cmd.ProcessState.ExitCode(), "", s.said.String()}.want(t, exitClean)
	if panicked.MatchString(s.said.String()) {
		t.Errorf("it panicked:\n%s", s.said.String())
	}
}

// ask does a request, which must have the status, and returns the body.
func (s *server) ask(t testing.TB, status int, method, path, body string) string {
	t.Helper()
	r, err := http.NewRequestWithContext(t.Context(), method, s.url+path, strings.NewReader(body))
	must(t, err)
	if body != "" {
		r.Header.Set("Content-Type", "application/json")
	}
	if s.token != "" {
		r.Header.Set("Authorization", "Bearer "+s.token)
	}
	a, err := http.DefaultClient.Do(r)
	must(t, err)
	defer func() { must(t, a.Body.Close()) }()
	b, err := io.ReadAll(a.Body)
	must(t, err)
	if a.StatusCode != status {
		t.Errorf("%s %s: %s, want %d: %.500s", method, path, a.Status, status, b)
	}
	return string(b)
}

// serving is the configuration of a server on a free port.
func serving(t testing.TB, bucket, http string) (config string) {
	t.Helper()
	config = filepath.Join(configured(t, bucket, ""), "config.yaml")
	text := strings.Replace(string(read(t, config)), "level: warn", "level: info", 1)
	put(t, config, []byte(text+fmt.Sprintf("http: {listen: %q%s}\n", "127.0.0.1:0", http)))
	return config
}

func TestServe(t *testing.T) {
	t.Parallel()
	bucket, faults := plantedSpan(t)
	s := serve(t, serving(t, bucket, ""))
	same(t, "health", `{"status":"ok"}`, strings.Join(strings.Fields(s.ask(t, 200, "GET", "/healthz", "")), ""))
	s.ask(t, 200, "GET", "/readyz", "")
	s.ask(t, 404, "GET", "/nowhere", "")
	s.ask(t, 404, "GET", "/v1/run/none", "")
	s.ask(t, 404, "POST", "/v1/run", `{"job": "weekly"}`)
	s.ask(t, 400, "POST", "/v1/run", `{"what": 1}`)
	if page := s.ask(t, 200, "GET", "/", ""); !strings.HasSuffix(strings.TrimSpace(page), "</html>") {
		t.Errorf("index: %s", page)
	}
	id := s.startRun(t, `{"seed": 7}`)
	s.ask(t, 409, "POST", "/v1/run", `{}`) // one run of a job at a time
	run := s.await(t, id)
	if run.Seed != 7 || run.Verdict != finding.Findings || len(run.Timelines) != 1 || len(run.Timelines[0].Spans) != 1 ||
		len(run.Timelines[0].Spans[0].Discrepancies) != 1 || !faults.isLostWrite(&run.Timelines[0].Spans[0].Discrepancies[0]) {
		t.Errorf("%+v", run)
	}
	for _, path := range []string{"/", "/run/" + id} {
		if page := s.ask(t, 200, "GET", path, ""); !strings.Contains(page, id) || !strings.HasSuffix(strings.TrimSpace(page), "</html>") {
			t.Errorf("%s: %s", path, page)
		}
	}
	if list := s.ask(t, 200, "GET", "/v1/discrepancy?state=open", ""); !strings.Contains(list, run.Timelines[0].Spans[0].Discrepancies[0].ID) {
		t.Errorf("discrepancies: %s", list)
	}
	checkMetrics(t, s.ask(t, 200, "GET", "/metrics", ""))
	checkPage(t, filepath.Join(filepath.Dir(s.cmd.Args[3]), "reports", "run-"+id+".html"), id, table)
	s.end(t)
}

// checkMetrics wants the contract's metrics that apply to what this version does.
func checkMetrics(t testing.TB, text string) {
	t.Helper()
	for _, want := range []string{
		`redoubt_runs_total{result="findings"} 1`, `redoubt_run_duration_seconds_count 1`,
		`redoubt_last_run_timestamp_seconds{job="nightly"} 1.`, `redoubt_last_run_verdict{job="nightly",verdict="findings"} 1`,
		`redoubt_missed_runs_total 0`, `redoubt_spans_total{engine="native",result="discrepancies"} 1`,
		`redoubt_page_mismatches_total{kind="lost_write",severity="critical"} 1`,
		`redoubt_open_discrepancies{kind="lost_write",severity="critical"} 1`,
		`redoubt_timeline_mismatched_blocks{tenant="acme",timeline="main"} 1`,
		"redoubt_blocks_compared_total 2", `redoubt_blocks_unverifiable_total{reason=`, "redoubt_wal_replayed_bytes_total 3",
		"redoubt_oldest_verified_timestamp_seconds ",
	} {
		if !strings.Contains(text, "\n"+want) {
			t.Errorf("no metric %s", want)
		}
	}
	if t.Failed() {
		t.Log(regexp.MustCompile(`(?m)^(#|go_|process_|promhttp).*\n`).ReplaceAllString(text, ""))
	}
}

func (s *server) startRun(t testing.TB, body string) (id string) {
	t.Helper()
	var started struct {
		ID string `json:"run_id"`
	}
	must(t, json.Unmarshal([]byte(s.ask(t, http.StatusAccepted, "POST", "/v1/run", body)), &started))
	if started.ID == "" {
		t.Fatal("no run id")
	}
	return started.ID
}

// await asks for a run until it is finished and its report is written.
func (s *server) await(t testing.TB, id string) finding.Run {
	t.Helper()
	for {
		run := parse[finding.Run](t, s.ask(t, 200, "GET", "/v1/run/"+id, ""))
		if run.ID != id {
			t.Fatalf("run %s: %+v", id, run)
		}
		if run.FinishedAt != nil {
			waitFor(t, s.stderr, &s.said, "report written")
			return run
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// TestServeToken: with a token nothing but health is told without it.
func TestServeToken(t *testing.T) {
	t.Parallel()
	bucket, _ := plantedSpan(t)
	s := serve(t, serving(t, bucket, `, token: "correct-horse-battery"`))
	for _, path := range []string{"/", "/metrics", "/v1/run", "/v1/tenant", "/run/x"} {
		s.ask(t, 401, "GET", path, "")
	}
	s.ask(t, 401, "POST", "/v1/run", "{}")
	s.ask(t, 200, "GET", "/healthz", "")
	s.token = "wrong-horse-battery-staple"
	s.ask(t, 401, "GET", "/metrics", "")
	s.token = "correct-horse-battery"
	s.ask(t, 200, "GET", "/metrics", "")
	s.ask(t, 200, "GET", "/v1/run", "")
	s.end(t)
	if strings.Contains(s.said.String(), "horse") {
		t.Errorf("the log has the token:\n%s", s.said.String())
	}
}

// TestServeEndsDuringRun: SIGTERM during a run ends the server cleanly, and the
// next start resumes the run without being asked.
func TestServeEndsDuringRun(t *testing.T) {
	t.Parallel()
	bucket, _ := plantedSpan(t)
	config := serving(t, bucket, "")
	s := serve(t, config)
	id := s.startRun(t, "{}")
	s.end(t)
	o := redoubt(t, "report", "-c", config, id)
	o.want(t, exitInconclusive, "has not finished")
	empty(t, filepath.Join(filepath.Dir(config), "reports"))

	s = serve(t, config)
	if run := s.await(t, id); run.Verdict != finding.Findings {
		t.Errorf("%+v", run)
	}
	s.end(t)
	redoubt(t, "report", "-c", config, id).want(t, exitFindings, "lost write")
}

// TestServeAddressTaken: an address that another has is an error with its name.
func TestServeAddressTaken(t *testing.T) {
	t.Parallel()
	bucket := pristine(t)
	first := serve(t, serving(t, bucket, ""))
	config := filepath.Join(configured(t, bucket, ""), "config.yaml")
	address := strings.TrimPrefix(first.url, "http://")
	put(t, config, append(read(t, config), []byte(fmt.Sprintf("http: {listen: %q}\n", address))...))
	redoubt(t, "serve", "-c", config).want(t, exitUsage, address, "set http.listen to a free address")
	first.end(t)
}
