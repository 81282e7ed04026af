// Command bench measures Redoubt against PostgreSQL's own programs, on the same
// WAL and in the same minutes, so that the ratios mean something even where the
// machine is slow or shared:
//
//   - decoding every record with its CRC, against `pg_waldump -q`, and printing
//     them, `redoubt waldump` against `pg_waldump`;
//   - `redoubt verify` of a base backup and its WAL, against PostgreSQL's own
//     recovery of the same base and WAL;
//   - `redoubt recover` of the same, PostgreSQL's first start on the result
//     included, against a copy of the base and PostgreSQL's recovery in it;
//   - `redoubt snapshot create` of the same, against `pg_basebackup` with zstd of
//     the server (-snapshots measures these alone);
//   - verify on all cores against one, and spans side by side against one
//     after another;
//   - the memory that verify takes, under a cgroup's limit where there is one;
//   - pgbench's latency on a server that is read, at once and throttled,
//     against one that is not (-live measures this alone);
//   - uploads of the WAL backup agent to a real S3 server, against a plain copy
//     by the same client, and `redoubt archive-push` against `cp`; the CPU time
//     that either takes with each compression (-backup measures these alone).
//
// It makes clusters of PostgreSQL 15, under pgbench with full_page_writes on
// and off, under a workload of all index methods and under PostgreSQL's own
// regression SQL (scripts/fetch-postgres-sql), and alternates the contestants.
// It wants the servers that the tests want and pg_waldump and pgbench besides.
//
//	go run ./internal/bench
package main

import (
	"errors"
	"flag"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"time"

	"redoubt/internal/pgtest"
)

// major is the version of the servers: the one whose tools Debian 12 has.
const major = 15

type settings struct {
	scale   int           // pgbench's
	wal     int64         // bytes of WAL wanted
	load    time.Duration // the longest pgbench may take for them
	decodes int           // timed runs of each decoder
	replays int           // timed runs of each replay
	rounds  int           // of the mixed workload
	uploads int           // timed runs of each upload
	backup  bool          // only the WAL backup is measured
	keep    bool          // only snapshots are measured
	recover bool          // only recovery is
	verify  bool          // only verify is: no decoders, recoveries and backups
	live    bool          // only what reading a running server costs it
	redoubt string        // program to measure; empty: built from this checkout
	only    string        // workloads whose title has this
	save    string        // directory that gets a copy of what verify reads; empty: none
}

func main() {
	var s settings
	var mib int64
	flag.IntVar(&s.scale, "scale", 20, "pgbench's scale `FACTOR`")
	flag.Int64Var(&mib, "wal", 300, "`MiB` of WAL to make")
	flag.DurationVar(&s.load, "load", 60*time.Second, "longest time to make them in")
	flag.IntVar(&s.decodes, "decodes", 7, "timed runs of each decoder")
	flag.IntVar(&s.replays, "replays", 3, "timed runs of each replay")
	flag.IntVar(&s.rounds, "rounds", 3, "rounds of the mixed workload")
	flag.IntVar(&s.uploads, "uploads", 5, "timed runs of each upload")
	flag.BoolVar(&s.backup, "backup", false, "measure the WAL backup only")
	flag.BoolVar(&s.keep, "snapshots", false, "measure snapshots only")
	flag.BoolVar(&s.recover, "recover", false, "measure recovery only, with the first workload")
	flag.BoolVar(&s.verify, "verify", false, "measure verify only")
	flag.BoolVar(&s.live, "live", false, "measure what reading a running server costs it only")
	flag.StringVar(&s.redoubt, "redoubt", "", "`PROGRAM` to measure (default: built from this checkout)")
	flag.StringVar(&s.only, "only", "", "only workloads with these `WORDS` in their title")
	flag.StringVar(&s.save, "save", "", "leave base, WAL and data of each workload in `DIRECTORY`, to measure the same again")
	flag.Parse()
	s.wal = mib << 20
	if flag.NArg() != 0 || s.scale < 1 || mib < 1 || s.decodes < 1 || s.replays < 1 || s.uploads < 1 {
		flag.Usage()
		os.Exit(2)
	}
	if err := run(s); err != nil {
		fmt.Fprintln(os.Stderr, "bench:", err)
		os.Exit(1)
	}
}

func run(s settings) (err error) {
	h := new(host)
	defer h.undo(0)
	defer func() { err = errors.Join(err, recovered(recover())) }()
	waldump := pgtest.Tool(h, major, "pg_waldump")
	server := pgtest.Install{Major: major, Bin: filepath.Dir(waldump)}
	if server.Version, err = serverVersion(server.Bin); err != nil {
		return err
	}
	if s.live {
		fmt.Println(machine(server.Version))
		if err := reader(h, server, s); err != nil {
			return err
		}
		fmt.Println("\n" + load())
		return nil
	}
	if s.redoubt == "" {
		if s.redoubt, err = build(h); err != nil {
			return err
		}
	}
	fmt.Println(machine(server.Version))
	for i, w := range workloads(s) {
		if (s.backup || s.recover) && i > 0 {
			break
		}
		if !strings.Contains(w.title, s.only) {
			continue
		}
		mark := len(h.cleanups)
		l, err := live(h, server, w)
		if err != nil {
			return err
		}
		if s.save != "" {
			if err := l.save(filepath.Join(s.save, fmt.Sprint(i+1))); err != nil {
				return err
			}
		}
		switch {
		case s.backup:
		case w.spans && s.keep:
		case w.spans:
			err = l.compareSpans(s)
		default:
			err = l.compare(h, waldump, s)
		}
		if err == nil && i == 0 && !s.keep && !s.recover && !s.verify {
			err = l.walBackup(h, s)
			if err == nil && !s.backup {
				err = reader(h, server, s)
			}
		}
		if err != nil {
			return err
		}
		h.undo(mark)
	}
	fmt.Println("\n" + load())
	return nil
}

// compare measures over one cluster's WAL and prints.
func (l *history) compare(h *host, waldump string, s settings) error {
	v, err := l.verify(s.redoubt) // also warms the page cache
	if err != nil {
		return err
	}
	fmt.Printf("\nWAL of %s: %.0f MB, %d records, %d images; base backup %.0f MB\n\n", l.title, mb(v.wal), v.records, v.images, mb(l.baseSize))
	if s.recover {
		return l.recoverAlone(h, s, v)
	}
	if s.verify {
		return l.verifyAlone(h, s, v)
	}
	if s.keep {
		return l.snapshots(h, s.redoubt, v, s.replays)
	}
	d, err := l.decoders(waldump, v, s.decodes)
	if err != nil {
		return err
	}
	w, err := l.printers(s.redoubt, waldump, v, s.decodes)
	if err != nil {
		return err
	}
	r, err := l.replays(h, s.redoubt, v, s.replays)
	if err != nil {
		return err
	}
	m, err := l.recoveries(h, s.redoubt, v, s.replays)
	if err != nil {
		return err
	}
	p, err := l.cores(s.redoubt, s.replays)
	if err != nil {
		return err
	}
	printTable(os.Stdout, v.wal, v.records, d, w, r, m, p)
	if err := l.memory(s.redoubt, v); err != nil {
		return err
	}
	return l.snapshots(h, s.redoubt, v, s.replays)
}

// verifyAlone measures verify, and prints.
func (l *history) verifyAlone(h *host, s settings, v verified) error {
	r, err := l.replays(h, s.redoubt, v, s.replays)
	if err != nil {
		return err
	}
	p, err := l.cores(s.redoubt, s.replays)
	if err != nil {
		return err
	}
	printTable(os.Stdout, v.wal, v.records, r, p)
	return l.memory(s.redoubt, v)
}

// compareSpans measures a run over several spans.
func (l *history) compareSpans(s settings) error {
	fmt.Printf("\nWAL of %s\n\n", l.title)
	wal, c, err := l.spans(s)
	if err != nil {
		return err
	}
	printTable(os.Stdout, wal.Bytes, wal.Records, c)
	return nil
}

// build makes the command that users run.
func build(h *host) (string, error) {
	root, err := pgtest.RepoRoot()
	if err != nil {
		return "", err
	}
	bin := filepath.Join(h.TempDir(), "redoubt")
	cmd := exec.Command("go", "build", "-o", bin, "./cmd/redoubt")
	cmd.Dir = root
	if out, err := cmd.CombinedOutput(); err != nil {
		return "", fmt.Errorf("build redoubt: %w\n%s", err, out)
	}
	return bin, nil
}
