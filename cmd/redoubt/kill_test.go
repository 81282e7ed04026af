package main

import (
	"bufio"
	"database/sql"
	"errors"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	_ "github.com/mattn/go-sqlite3" // to read the ledger as anyone may

	"redoubt/internal/finding"
	"redoubt/internal/pgtest"
)

// killRounds is how often a run is killed in all.
const killRounds = 15

// TestKilledRun kills a run at random moments and starts it again until it
// ends: what it says must be what an undisturbed run says, and no span that
// was finished is replayed again.
func TestKilledRun(t *testing.T) {
	pgtest.PutOff(t)
	t.Parallel()
	bucket, faults := planted(t)
	start := time.Now()
	undisturbed := configured(t, bucket, "")
	o := redoubt(t, "run", "-c", filepath.Join(undisturbed, "config.yaml"), "--seed", "42", "--format", "json")
	o.want(t, exitFindings)
	want := settledRun(t, o.stdout)
	took := time.Since(start)
	checkFaults(t, faults, want)

	rnd := rand.New(rand.NewPCG(uint64(start.UnixNano()), 0))
	kills, resumed := 0, 0
	for kills < killRounds {
		k := killedRun{dir: configured(t, bucket, ""), finished: make(map[string]string)}
		for round := 0; ; round++ {
			// The last rounds of a run are not cut short, so that it ends.
			wait := time.Duration(rnd.Int64N(int64(took / 2)))
			if round > 8 {
				wait = time.Minute
			}
			if !k.start(t, wait) {
				break
			}
			kills++
			resumed += min(len(k.finished), 1)
		}
		same(t, "a run that was killed", want, settledRun(t, k.stdout))
	}
	t.Logf("%d kills, %d of them left finished spans; an undisturbed run takes %v", kills, resumed, took)
	if resumed == 0 {
		t.Error("no kill came after a span was finished: nothing was proven")
	}
}

// settledRun is a run's JSON without what differs from run to run.
func settledRun(t testing.TB, stdout string) finding.Run {
	t.Helper()
	run := parse[finding.Run](t, stdout)
	if run.FinishedAt == nil {
		t.Errorf("run %s has no end", run.ID)
	}
	run.ID, run.StartedAt, run.FinishedAt = "", time.Time{}, nil
	for i := range run.Timelines {
		for j := range run.Timelines[i].Spans {
			run.Timelines[i].Spans[j].Timing = finding.Timing{}
		}
	}
	return run
}

// checkFaults wants a run to say exactly what was planted.
func checkFaults(t testing.TB, faults plantedFaults, run finding.Run) {
	t.Helper()
	if err := faults.check(run); err != nil {
		t.Error(err)
	}
}

// killedRun is one run that is killed again and again.
type killedRun struct {
	dir      string
	id       string
	finished map[string]string // spans that were finished at the last kill: when, and with what result
	stdout   string
}

// start starts redoubt and kills it after a while. It returns false if redoubt
// came to an end before.
func (k *killedRun) start(t *testing.T, wait time.Duration) (killed bool) {
	t.Helper()
	c := command(t, "run", "-c", filepath.Join(k.dir, "config.yaml"), "--format", "json")
	if k.id == "" {
		c.Args = append(c.Args, "--seed", "42")
	}
	out, err := os.Create(filepath.Join(k.dir, "stdout"))
	must(t, err)
	defer func() { must(t, out.Close()) }()
	c.Stdout = out
	must(t, c.Start())
	timer := time.AfterFunc(wait, func() { _ = c.Process.Kill() })
	defer timer.Stop()
	err = c.Wait()
	var exit *exec.ExitError
	if !errors.As(err, &exit) {
		t.Fatalf("exit: %v", err)
	}
	status, ok := exit.Sys().(syscall.WaitStatus)
	killed = ok && status.Signaled() && status.Signal() == syscall.SIGKILL
	if !killed && exit.ExitCode() != exitFindings {
		t.Fatalf("exit: %v", err)
	}
	k.look(t)
	if !killed {
		k.stdout = string(read(t, out.Name()))
		k.checkReports(t)
		return false
	}
	if k.ended(t) {
		// Killed after its end was recorded: the ledger has it all.
		o := redoubt(t, "report", "-c", filepath.Join(k.dir, "config.yaml"), "--format", "json")
		o.want(t, exitFindings)
		k.stdout = o.stdout
		return false
	}
	return true
}

// open opens the ledger so that SQLite may mend what the kill left, such as
// the journal of a database that was just being made.
func (k *killedRun) open(t testing.TB) *sql.DB {
	t.Helper()
	db, err := sql.Open("sqlite3", "file:"+filepath.Join(k.dir, "data", "ledger.db")+"?mode=rw&_busy_timeout=5000")
	must(t, err)
	return db
}

// look compares the spans that are finished now with those finished before.
func (k *killedRun) look(t testing.TB) {
	t.Helper()
	if _, err := os.Stat(filepath.Join(k.dir, "data", "ledger.db")); err != nil {
		return // killed before there was one
	}
	db := k.open(t)
	defer func() { must(t, db.Close()) }()
	var tables int
	must(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM sqlite_master WHERE name = 'spans'").Scan(&tables))
	if tables == 0 {
		return // killed before it had its tables
	}
	rows, err := db.QueryContext(t.Context(), "SELECT run_id, run_id || ' ' || span, finished_at || verification FROM spans WHERE state = 'finished'")
	must(t, err)
	defer func() { must(t, rows.Close()) }()
	now := make(map[string]string)
	for rows.Next() {
		var id, span, what string
		must(t, rows.Scan(&id, &span, &what))
		now[span] = what
		if k.id != "" && k.id != id {
			t.Errorf("run %s was not resumed: there is run %s", k.id, id)
		}
		k.id = id
	}
	must(t, rows.Err())
	for span, what := range k.finished {
		if now[span] != what {
			t.Errorf("span %s was finished as\n%s\nand is now\n%s", span, what, now[span])
		}
	}
	k.finished = now
	err = db.QueryRowContext(t.Context(), "SELECT run_id FROM runs").Scan(&k.id)
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		t.Fatal(err)
	}
}

func (k *killedRun) ended(t testing.TB) bool {
	t.Helper()
	if k.id == "" {
		return false
	}
	db := k.open(t)
	defer func() { must(t, db.Close()) }()
	var n int
	must(t, db.QueryRowContext(t.Context(), "SELECT count(*) FROM runs WHERE finished_at IS NOT NULL").Scan(&n))
	return n > 0
}

// checkReports wants the report of the run, whole, and nothing else in reports.
func (k *killedRun) checkReports(t testing.TB) {
	t.Helper()
	reports := filepath.Join(k.dir, "reports")
	pages, err := filepath.Glob(filepath.Join(reports, "*.html"))
	must(t, err)
	if len(pages) != 1 || !strings.Contains(pages[0], k.id) {
		t.Fatalf("pages: %v, run %s", pages, k.id)
	}
	page := string(read(t, pages[0]))
	if !strings.HasSuffix(strings.TrimSpace(page), "</html>") {
		t.Errorf("%s is not whole", pages[0])
	}
	parse[finding.Run](t, string(read(t, strings.TrimSuffix(pages[0], ".html")+".json")))
}

// TestInterruptedRun: ^C ends a run with 3, without a report, and the next
// start goes on; another run meanwhile is refused.
func TestInterruptedRun(t *testing.T) {
	t.Parallel()
	bucket, faults := planted(t)
	dir := configured(t, bucket, "")
	config := filepath.Join(dir, "config.yaml")
	put(t, config, []byte(strings.Replace(string(read(t, config)), "level: warn", "level: info", 1)))
	for i, signal := range []os.Signal{os.Interrupt, syscall.SIGTERM} {
		c := raced(t, "run", "-c", config, "--format", "json")
		stderr, err := c.StderrPipe()
		must(t, err)
		var stdout strings.Builder
		c.Stdout = &stdout
		must(t, c.Start())
		lines := bufio.NewReader(stderr)
		var said strings.Builder
		waitFor(t, lines, &said, "plan stands")
		if i == 0 {
			redoubt(t, "run", "-c", config).want(t, exitUsage, "nightly", "a run of this job is under way")
			redoubt(t, "report", "-c", config).want(t, exitInconclusive, "has not finished")
		}
		must(t, c.Process.Signal(signal))
		rest, err := io.ReadAll(lines)
		must(t, err)
		_ = c.Wait() // its exit code is looked at
		said.Write(rest)
		outcome{c.ProcessState.ExitCode(), stdout.String(), said.String()}.want(t, exitInconclusive, "interrupted; the next run of this job goes on where this one stopped")
		if stdout.Len() > 0 {
			t.Errorf("stdout: %s", stdout.String())
		}
		empty(t, filepath.Join(dir, "reports"))
	}
	list := parse[[]listedRun](t, redoubt(t, "report", "-c", config, "--list", "--format", "json").stdout)
	if len(list) != 1 || list[0].FinishedAt != nil || list[0].Verdict != "" {
		t.Errorf("%+v", list)
	}
	o := redoubt(t, "run", "-c", config, "--seed", "-1")
	o.want(t, exitUsage, "an unfinished run with another seed is to be resumed first", "start without a seed")
	o = redoubt(t, "run", "-c", config, "--format", "json")
	o.want(t, exitFindings)
	run := parse[finding.Run](t, o.stdout)
	if run.ID != list[0].ID {
		t.Errorf("run %s was resumed as %s", list[0].ID, run.ID)
	}
	checkFaults(t, faults, run)
}

// waitFor reads lines until one has the word, and returns it.
func waitFor(t testing.TB, from *bufio.Reader, said *strings.Builder, word string) string {
	t.Helper()
	for {
		line, err := from.ReadString('\n')
		said.WriteString(line)
		if strings.Contains(line, word) {
			return line
		}
		if err != nil {
			t.Fatalf("it ended before it said %q:\n%s", word, said)
		}
	}
}
