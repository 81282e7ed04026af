package ledger

import (
	"bufio"
	"bytes"
	"context"
	"database/sql"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/mattn/go-sqlite3"

	"redoubt/internal/finding"
)

const (
	childEnv = "REDOUBT_LEDGER_CHILD"
	pathEnv  = "REDOUBT_LEDGER_PATH"
)

// child plays the other process of the tests below when the environment asks for it.
func child() bool {
	path := os.Getenv(pathEnv)
	switch os.Getenv(childEnv) {
	case "":
		return false
	case "write":
		fmt.Println("up")
		childWrite(path)
	case "read":
		childRead(path)
	case "prune":
		if err := childPrune(path); err != nil {
			fmt.Fprintln(os.Stderr, "child:", err)
		}
	case "open":
		l, err := Open(path)
		if err == nil {
			err = errors.Join(l.SeeTimelines(ctx, t0, []Timeline{{TimelineKey: key}}), l.Close())
		}
		fmt.Println(err)
	}
	return true
}

func startChild(t *testing.T, mode, path string) (*exec.Cmd, io.Reader) {
	t.Helper()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"="+mode, pathEnv+"="+path)
	cmd.Stderr = os.Stderr
	out, err := cmd.StdoutPipe()
	must(t, err)
	must(t, cmd.Start())
	return cmd, out
}

const spansPerRun = 8

// childWrite does runs without end and prints "run span" after each recorded span.
func childWrite(path string) {
	l, err := Open(path)
	for i := 0; err == nil; i++ {
		err = writeRun(l, os.Stdout, fmt.Sprintf("%d-%d", os.Getpid(), i))
	}
	fmt.Fprintln(os.Stderr, "child:", err)
	os.Exit(1)
}

func writeRun(l *Ledger, out io.Writer, runID string) error {
	u, err := l.Unfinished(ctx, "nightly")
	if err != nil {
		return err
	}
	if u != nil {
		runID = u.RunID
	} else if err := l.StartRun(ctx, RunStart{RunID: runID, Job: "nightly", StartedAt: time.Now()}); err != nil {
		return err
	}
	if u == nil || !u.Planned {
		p := Plan{Picks: []Pick{{TimelineKey: key}}}
		for n := range spansPerRun {
			p.Spans = append(p.Spans, plannedSpan(n, strconv.Itoa(n), strconv.Itoa(n+1), 1, 2))
		}
		if err := l.SavePlan(ctx, runID, time.Now(), p); err != nil {
			return err
		}
	}
	spans, scans, err := l.Remaining(ctx, runID)
	if err != nil {
		return err
	}
	for _, s := range spans {
		d := disc(fmt.Sprintf("%s-%d", runID, s.Number), finding.Critical)
		if err := l.FinishSpan(ctx, runID, s.Number, time.Now(), verified(finding.Discrepancies, d)); err != nil {
			return err
		}
		if _, err := fmt.Fprintln(out, runID, s.Number); err != nil {
			return err
		}
	}
	for range scans {
		if err := l.FinishScan(ctx, runID, time.Now(), finding.ScanTimeline{Tenant: key.Tenant, Timeline: key.Timeline}); err != nil {
			return err
		}
	}
	return l.FinishRun(ctx, runID, time.Now(), finding.Findings, nil, 0)
}

// TestKillLosesNoFinishedSpan kills a writing process at random moments,
// many times over on the same file, and looks for every span it said was recorded.
func TestKillLosesNoFinishedSpan(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	rng := rand.New(rand.NewPCG(1, 2))
	var acknowledged []string
	rounds := 0
	for ; rounds < 30; rounds++ {
		delay := time.Duration(rng.IntN(40)) * time.Millisecond
		acknowledged = append(acknowledged, killedWriter(t, path, rounds%2 == 0, delay)...)
	}
	if len(acknowledged) < rounds/2 {
		t.Fatalf("only %d spans in %d rounds: nothing was tested", len(acknowledged), rounds)
	}
	l, err := Open(path)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	selfCheck(t, l)
	checkAcknowledged(t, l, acknowledged)
	must(t, writeRun(l, io.Discard, "last")) // what was left is resumed
	if u, err := l.Unfinished(ctx, "nightly"); u != nil || err != nil {
		t.Errorf("unfinished: %v, %v", u, err)
	}
	t.Logf("%d kills, %d spans acknowledged, none lost", rounds, len(acknowledged))
}

// killedWriter starts a writing process, kills it that long after it is up, or
// after its first span was recorded, and returns the spans it said were recorded.
func killedWriter(t *testing.T, path string, atOnce bool, delay time.Duration) (acknowledged []string) {
	t.Helper()
	cmd, out := startChild(t, "write", path)
	for lines := bufio.NewScanner(out); lines.Scan(); {
		up := lines.Text() == "up"
		if !up {
			acknowledged = append(acknowledged, lines.Text())
		}
		if (up && atOnce) || (len(acknowledged) == 1 && !atOnce) {
			defer time.AfterFunc(delay, func() { _ = cmd.Process.Kill() }).Stop()
		}
	}
	if err := cmd.Wait(); err == nil {
		t.Fatal("the child ended by itself")
	}
	if status, ok := cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGKILL {
		t.Fatalf("the child was not killed but ended: %v", cmd.ProcessState)
	}
	return acknowledged
}

// checkAcknowledged finds every acknowledged span finished, once, with its discrepancy.
func checkAcknowledged(t *testing.T, l *Ledger, acknowledged []string) {
	t.Helper()
	seen := map[string]bool{}
	for _, line := range acknowledged {
		if seen[line] {
			t.Errorf("span %s was replayed again after it was recorded", line)
		}
		seen[line] = true
		runID, span, _ := strings.Cut(line, " ")
		var state, id string
		err := l.read.QueryRow(`SELECT s.state, d.id FROM spans s JOIN discrepancies d ON d.id = s.run_id || '-' || s.span
			WHERE run_id = ? AND span = ?`, runID, span).Scan(&state, &id)
		if err != nil || state != "finished" {
			t.Errorf("span %s: state %q, %v", line, state, err)
		}
	}
}

// childRead opens the file as any reader would and counts spans until its stdin ends.
func childRead(path string) {
	db, err := sql.Open("sqlite3", "file:"+path+"?mode=ro&_busy_timeout=5000")
	var reads int
	stop := make(chan struct{})
	go func() {
		_, _ = io.Copy(io.Discard, os.Stdin)
		close(stop)
	}()
	for last := -1; err == nil; reads++ {
		var spans, discrepancies int
		err = db.QueryRow("SELECT (SELECT count(*) FROM spans WHERE state = 'finished'), (SELECT count(*) FROM discrepancies)").Scan(&spans, &discrepancies)
		if err == nil && (spans != discrepancies || spans < last) {
			err = fmt.Errorf("%d spans with %d discrepancies after %d", spans, discrepancies, last)
		}
		last = spans
		select {
		case <-stop:
			fmt.Println(reads, err)
			return
		default:
		}
	}
	fmt.Println(reads, err)
}

func TestOthersReadWhileWeWrite(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	l, err := Open(path)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	cmd := exec.Command(os.Args[0])
	cmd.Env = append(os.Environ(), childEnv+"=read", pathEnv+"="+path)
	stdin, err := cmd.StdinPipe()
	must(t, err)
	var out bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &out
	must(t, cmd.Start())
	for i := range 20 {
		must(t, writeRun(l, io.Discard, fmt.Sprint("r", i)))
	}
	time.Sleep(50 * time.Millisecond)
	must(t, stdin.Close())
	must(t, cmd.Wait())
	var reads int
	var rest string
	if _, err := fmt.Sscan(out.String(), &reads, &rest); err != nil || rest != "<nil>" || reads < 2 {
		t.Errorf("the reader says %q", out.String())
	}
	t.Logf("160 spans written, %d consistent reads by another process", reads)
}

func TestReadersOfThisProcessDoNotWait(t *testing.T) {
	l := openTest(t)
	startPlanned(t, l, "r1", t0, plannedSpan(0, "a", "b", 1, 2))
	err := inTx(ctx, l.write, func(tx *sql.Tx) error {
		if _, err := tx.Exec("UPDATE runs SET seed = 9"); err != nil {
			return err
		}
		short, cancel := context.WithTimeout(ctx, 5*time.Second)
		defer cancel()
		run, err := l.Run(short, "r1")
		if err == nil && run.Seed != 7 {
			err = fmt.Errorf("a reader sees what is not committed: seed %d", run.Seed)
		}
		return err
	})
	must(t, err)
}

func TestWritersTakeTurns(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	var wg sync.WaitGroup
	for w := range 4 {
		wg.Go(func() {
			l, err := Open(path)
			if err != nil {
				t.Error(err)
				return
			}
			for i := range 20 {
				if err := l.MissRuns(ctx, "nightly", 1, at(w*100+i)); err != nil {
					t.Error(err)
				}
			}
			if err := l.Close(); err != nil {
				t.Error(err)
			}
		})
	}
	wg.Wait()
	l, err := Open(path)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	if s, err := l.Job(ctx, "nightly"); err != nil || s.MissedRuns != 80 {
		t.Errorf("missed %d, %v", s.MissedRuns, err)
	}
}

func TestFullDiskIsAClearError(t *testing.T) {
	l := openTest(t)
	startPlanned(t, l, "r1", t0, plannedSpan(0, "a", "b", 1, 2), plannedSpan(1, "b", "c", 2, 3))
	must(t, l.FinishSpan(ctx, "r1", 0, at(1), verified(finding.Clean)))
	var pages int
	must(t, l.write.QueryRow("PRAGMA page_count").Scan(&pages))
	_, err := l.write.Exec(fmt.Sprintf("PRAGMA max_page_count = %d", pages))
	must(t, err)
	big := verified(finding.Discrepancies)
	for i := range 200 {
		d := disc(strings.Repeat("x", 1000)+strconv.Itoa(i), finding.Critical)
		big.Discrepancies = append(big.Discrepancies, d)
	}
	err = l.FinishSpan(ctx, "r1", 1, at(2), big)
	var e sqlite3.Error
	if !errors.As(err, &e) || e.Code != sqlite3.ErrFull || !strings.Contains(err.Error(), "the disk is full: free some space") {
		t.Errorf("full disk: %v", err)
	}
	_, err = l.write.Exec("PRAGMA max_page_count = 1000000")
	must(t, err)
	spans, _, err := l.Remaining(ctx, "r1")
	must(t, err)
	if len(spans) != 1 || spans[0].Number != 1 || len(states(t, l)) != 0 {
		t.Errorf("after a full disk: %v, %v", spans, states(t, l))
	}
	must(t, l.FinishSpan(ctx, "r1", 1, at(3), big))
	if got := len(states(t, l)); got != 200 {
		t.Errorf("%d discrepancies", got)
	}
}

func TestDamagedAndForeignFilesAreRefused(t *testing.T) {
	dir := t.TempDir()
	junk := filepath.Join(dir, "junk.db")
	must(t, os.WriteFile(junk, bytes.Repeat([]byte("no database "), 1000), 0o600))
	if _, err := Open(junk); err == nil || !strings.Contains(err.Error(), "damaged or no ledger") {
		t.Errorf("junk: %v", err)
	}
	foreign := filepath.Join(dir, "foreign.db")
	db, err := sql.Open("sqlite3", foreign)
	must(t, err)
	_, err = db.Exec("CREATE TABLE runs (x)")
	must(t, err)
	must(t, db.Close())
	if _, err := Open(foreign); err == nil || !strings.Contains(err.Error(), "another program") {
		t.Errorf("foreign: %v", err)
	}
	if _, err := Open(filepath.Join(junk, "ledger.db")); err == nil {
		t.Error("opened below a file")
	}
}

// TestReadOnlyFileIsAClearError opens, in a process without root's rights, what only its owner may write.
func TestReadOnlyFileIsAClearError(t *testing.T) {
	dir, err := os.MkdirTemp("", "ledger")
	must(t, err)
	defer os.RemoveAll(dir)
	path := filepath.Join(dir, "ledger.db")
	l, err := Open(path)
	must(t, err)
	must(t, l.Close())
	exe := filepath.Join(dir, "child")
	must(t, copyFile(os.Args[0], exe))
	must(t, os.Chmod(path, 0o444))
	must(t, os.Chmod(dir, 0o555))
	defer os.Chmod(dir, 0o755) //nolint:errcheck // scratch

	cmd := exec.Command(exe)
	cmd.Env = append(os.Environ(), childEnv+"=open", pathEnv+"="+path)
	cmd.Dir = "/"
	if os.Getuid() == 0 {
		cmd.SysProcAttr = &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
	}
	out, err := cmd.CombinedOutput()
	if err != nil || !strings.Contains(string(out), "permission denied") || !strings.Contains(string(out), path) {
		t.Errorf("read-only file: %s, %v", out, err)
	}
}

func copyFile(from, to string) error {
	data, err := os.ReadFile(from)
	if err != nil {
		return err
	}
	return os.WriteFile(to, data, 0o755)
}
