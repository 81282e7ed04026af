package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/official/livepg"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pgtest"
)

// phase is one way of reading a server under pgbench.
type phase struct {
	title string
	pages int64 // a second; 0: as many as there are; -1: nobody reads

	latencies []time.Duration // of pgbench's transactions
	took      time.Duration
	read      int64 // pages
}

// reader measures what reading a running server costs its clients: pgbench's
// latency with nobody reading, with the reader throttled and with all that it
// can read, one after the other, rounds times.
func reader(h *host, server pgtest.Install, s settings) error {
	c := pgtest.New(h, server, pgtest.NoArchive(), pgtest.Conf("shared_buffers", "1GB"), pgtest.Conf("wal_keep_size", "0"))
	c.Pgbench("-i", "-q", "-s", strconv.Itoa(s.scale), "postgres")
	c.Exec("CREATE ROLE reader LOGIN", "CHECKPOINT")
	c.Exec(livepg.Grants("reader")...)
	logs := c.Dir("latencies")
	phases := []*phase{{title: "nobody reads", pages: -1}, {title: "2,000 pages/s", pages: 2000}, {title: "no limit"}}
	const each = 10 * time.Second
	c.Pgbench("-n", "-M", "prepared", "-c", "2", "-T", "5", "postgres") // warms up
	for range s.replays {
		for _, p := range phases {
			if err := p.run(c, logs, each); err != nil {
				return err
			}
		}
	}
	fmt.Printf("\na server of scale %d under pgbench (2 clients), read meanwhile; %d times %v each\n\n", s.scale, s.replays, each)
	fmt.Printf("%-16s %12s %10s %10s %10s\n", "", "read pages/s", "tps", "avg ms", "p99 ms")
	for _, p := range phases {
		slices.Sort(p.latencies)
		var sum time.Duration
		for _, l := range p.latencies {
			sum += l
		}
		n := len(p.latencies)
		fmt.Printf("%-16s %12.0f %10.0f %10.3f %10.3f\n", p.title, float64(p.read)/p.took.Seconds(), float64(n)/p.took.Seconds(),
			float64(sum.Microseconds())/1e3/float64(n), float64(p.latencies[n*99/100].Microseconds())/1e3)
	}
	return nil
}

// run lets pgbench run once while the server is read.
func (p *phase) run(c *pgtest.Cluster, logs string, each time.Duration) error {
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	done := make(chan error, 1)
	go func() { done <- p.walk(ctx, c) }()
	begin := time.Now()
	c.Pgbench("-n", "-M", "prepared", "-c", "2", "-T", strconv.Itoa(int(each.Seconds())), "-l", "--log-prefix", filepath.Join(logs, "l"), "postgres")
	p.took += time.Since(begin)
	cancel()
	if err := <-done; err != nil && !errors.Is(err, context.Canceled) {
		return err
	}
	return p.collect(logs)
}

// walk reads the server again and again until it is told to stop.
func (p *phase) walk(ctx context.Context, c *pgtest.Cluster) error {
	if p.pages < 0 {
		return nil
	}
	s, err := livepg.Open(ctx, c.DSN("postgres")+" user=reader", livepg.Options{Pace: livepg.Pace{PagesPerSecond: p.pages}})
	if err != nil {
		return err
	}
	for err == nil {
		err = s.Walk(ctx, p)
	}
	return errors.Join(err, s.Close())
}

// Blocks counts pages.
func (p *phase) Blocks(_ datadir.RelFile, _ pg.BlockNumber, pages []byte) error {
	p.read += int64(len(pages)) / pg.BlockSize
	return nil
}

// EndRelation fits datadir.Visitor.
func (*phase) EndRelation(datadir.RelFile, int64) error { return nil }

// File fits datadir.Visitor.
func (*phase) File(string, []byte) error { return nil }

// collect takes the latencies out of pgbench's logs (their third column, in
// microseconds), and removes these.
func (p *phase) collect(logs string) error {
	files, err := filepath.Glob(filepath.Join(logs, "l*"))
	if err != nil {
		return err
	}
	for _, name := range files {
		f, err := os.Open(name)
		if err != nil {
			return err
		}
		lines := bufio.NewScanner(f)
		for lines.Scan() {
			fields := strings.Fields(lines.Text())
			if len(fields) < 3 {
				continue
			}
			us, err := strconv.ParseInt(fields[2], 10, 64)
			if err != nil {
				return errors.Join(err, f.Close())
			}
			p.latencies = append(p.latencies, time.Duration(us)*time.Microsecond)
		}
		if err := errors.Join(lines.Err(), f.Close(), os.Remove(name)); err != nil {
			return err
		}
	}
	if len(p.latencies) == 0 {
		return errors.New("pgbench logged no transaction")
	}
	return nil
}
