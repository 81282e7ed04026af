package main

import (
	"encoding/json"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"time"

	"redoubt/internal/finding"
)

// cores compares verify on all cores with verify on one.
func (l *history) cores(redoubt string, runs int) (c contest, err error) {
	n := runtime.NumCPU()
	c = contest{title: "cores", ours: fmt.Sprintf("GOMAXPROCS=%d", n), theirs: "GOMAXPROCS=1"}
	for range runs {
		var s [2]verified
		for i, procs := range []int{n, 1} {
			cmd := exec.Command(redoubt, l.verifyArgs()...)
			cmd.Env = append(os.Environ(), fmt.Sprintf("GOMAXPROCS=%d", procs))
			if s[i], err = l.verifyAs(cmd); err != nil {
				return c, err
			}
		}
		c.add(s[0].sample, s[1].sample)
	}
	return c, nil
}

// spans is how many spans a run is measured with.
const spans = 4

// spans compares a run whose spans are replayed side by side with one that
// takes them one after another.
func (l *history) spans(s settings) (wal finding.WAL, c contest, err error) {
	c = contest{title: "spans", ours: fmt.Sprintf("%d side by side", spans), theirs: "one after another"}
	for range s.replays {
		var took [2]sample
		for i, parallel := range []int{spans, 1} {
			if took[i], wal, err = l.run(s.redoubt, parallel); err != nil {
				return wal, c, err
			}
		}
		c.add(took[0], took[1])
	}
	return wal, c, nil
}

const runConfig = `data_dir: %s
sources: [{name: bench, wal: %s, layout: plain, backups: %s}]
jobs: {nightly: {parallel_spans: %d, scan: {deep: false}}}
scratch: {min_free: 0B}
`

// run is `redoubt run` over all spans between the backups.
func (l *history) run(redoubt string, parallel int) (s sample, wal finding.WAL, err error) {
	dir, err := os.MkdirTemp(l.scratch, "run")
	if err != nil {
		return s, wal, err
	}
	defer func() { _ = os.RemoveAll(dir) }() // the cluster's directory goes with all that is left
	config := filepath.Join(dir, "config.yaml")
	text := fmt.Sprintf(runConfig, filepath.Join(dir, "data"), l.wal, l.backups, parallel)
	if err := os.WriteFile(config, []byte(text), 0o600); err != nil {
		return s, wal, err
	}
	cmd := exec.Command(redoubt, "run", "-c", config, "--format", "json")
	start := time.Now()
	out, err := cmd.Output()
	s.wall = time.Since(start)
	if err != nil {
		return s, wal, fmt.Errorf("run redoubt run: %w\n%s", err, out)
	}
	var r finding.Run
	if err := json.Unmarshal(out, &r); err != nil {
		return s, wal, fmt.Errorf("read what redoubt run printed: %w", err)
	}
	done := 0
	for _, t := range r.Timelines {
		for _, span := range t.Spans {
			done++
			wal.Bytes, wal.Records = wal.Bytes+span.WAL.Bytes, wal.Records+span.WAL.Records
		}
	}
	if r.Verdict != finding.Clean || done != spans {
		return s, wal, fmt.Errorf("redoubt run says %s of %d spans, want %s of %d\n%s", r.Verdict, done, finding.Clean, spans, out)
	}
	return s.of(cmd.ProcessState), wal, nil
}
