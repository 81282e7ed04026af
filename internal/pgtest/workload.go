package pgtest

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"sync/atomic"

	"github.com/jackc/pgx/v5"
	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"
)

// Mixed is a workload of concurrent clients on heaps, sequences and indexes of
// all methods: inserts, plain and HOT updates, deletes, COPY, TOAST, vacuum and
// freeze, truncation, subtransactions, multixacts, two-phase commit, speculative
// inserts, index builds, new and dropped tables and databases, temporary and
// unlogged tables, aborts. A bloom index is used where the extension is installed.
//
// Each client draws its operations and values from its own generator, seeded
// by Seed, and runs each operation at least once. Only how the clients
// interleave differs from run to run.
type Mixed struct {
	Clients    int // 4 if zero
	Operations int // of each client; Rounds of all operations if zero
	Rounds     int // 3 if zero
	Seed       uint64
	Crashes    int  // immediate shutdowns in the middle, each with recovery behind it
	Tablespace bool // also use a tablespace of its own
	// Without leaves operations out, by their names in the table of operations.
	Without []string

	plan []operation // instead of operations; the caller has made what they need
	kill bool        // crashes are SIGKILLs
}

// Run runs the workload. The server must run, and runs afterwards. A second
// Run on the same cluster works on what the first one left.
func (m Mixed) Run(c *Cluster) {
	c.t.Helper()
	if m.Clients == 0 {
		m.Clients = 4
	}
	if m.Operations == 0 {
		m.Operations = cmp.Or(m.Rounds, 3) * len(operations)
	}
	c.check(m.setUp(c))
	m.plan = slices.DeleteFunc(slices.Clone(operations), func(o operation) bool { return slices.Contains(m.Without, o.name) })
	c.check(m.run(c))
}

// run lets the clients work through the plan.
func (m Mixed) run(c *Cluster) error {
	safe, checked := c.Query("SHOW full_page_writes") == "on", c.Query("SHOW wal_consistency_checking") != ""
	workers := make([]*worker, m.Clients)
	for i := range workers {
		workers[i] = newWorker(c, i, m)
		workers[i].fullPageWrites, workers[i].consistency = safe, checked
	}
	for round := range m.Crashes + 1 {
		// Rounds divide the operations; all but the last end in a crash.
		if err := m.round(c, workers, m.Operations*(round+1)/(m.Crashes+1), round < m.Crashes); err != nil {
			return err
		}
	}
	return resolvePrepared(c)
}

// round runs all clients until each has done upTo operations or, with crash,
// the server is stopped under them when half of this round is done.
func (m Mixed) round(c *Cluster, workers []*worker, upTo int, crash bool) error {
	var crashed atomic.Bool
	var done atomic.Int64
	half := int64(max(1, m.Clients*m.Operations/(m.Crashes+1)/2))
	g, ctx := errgroup.WithContext(context.Background())
	reached := make(chan struct{})
	for _, w := range workers {
		g.Go(func() error {
			err := w.run(ctx, upTo, func() {
				if done.Add(1) == half {
					close(reached)
				}
			})
			if err != nil && crashed.Load() {
				return nil
			}
			return err
		})
	}
	if crash {
		select {
		case <-reached:
		case <-ctx.Done():
		}
		crashed.Store(true)
		if m.kill {
			c.Kill()
		} else {
			c.Stop(Immediate)
		}
	}
	if err := g.Wait(); err != nil {
		return fmt.Errorf("run workload with seed %d: %w", m.Seed, err)
	}
	if crash {
		return c.TryStart()
	}
	return nil
}

// worker is one client: a generator and two sessions.
type worker struct {
	c       *Cluster
	id      int
	rnd     *rand.Rand
	options Mixed

	fullPageWrites, consistency bool // settings of the server

	plan     []operation
	perRound int // operations until each was there once
	done     int // of plan
	serial   int // for names that are used once

	a, b *pgx.Conn // valid within run
}

func newWorker(c *Cluster, id int, m Mixed) *worker {
	w := &worker{c: c, id: id, rnd: rand.New(rand.NewPCG(m.Seed, uint64(id))), options: m, perRound: len(m.plan)}
	for len(w.plan) < m.Operations {
		round := append([]operation(nil), m.plan...)
		w.rnd.Shuffle(len(round), func(i, j int) { round[i], round[j] = round[j], round[i] })
		w.plan = append(w.plan, round...)
	}
	return w
}

func (w *worker) run(ctx context.Context, upTo int, progress func()) (err error) {
	ctx, cancel := context.WithTimeout(ctx, toolTimeout)
	defer cancel()
	for _, conn := range []**pgx.Conn{&w.a, &w.b} {
		if *conn, err = pgx.Connect(ctx, w.c.DSN("postgres")); err != nil {
			return err
		}
		defer func() { _ = (*conn).Close(context.Background()) }()
		if err := w.on(ctx, *conn, "SET lock_timeout = '3s'"); err != nil {
			return err
		}
	}
	for w.done < upTo {
		op := w.plan[w.done]
		w.done++ // an operation that a crash cuts short is not repeated
		if err := op.run(ctx, w); err != nil && !conflict(err) {
			return fmt.Errorf("%s of client %d: %w", op.name, w.id, err)
		}
		for _, conn := range []*pgx.Conn{w.a, w.b} {
			if err := w.on(ctx, conn, "ROLLBACK"); err != nil { // only a warning outside of a transaction
				return err
			}
		}
		progress()
	}
	return nil
}

// conflict reports whether the operation lost against another client's:
// deadlock, lock timeout, an object dropped or made meanwhile, a unique key taken.
func conflict(err error) bool {
	var e *pgconn.PgError
	if !errors.As(err, &e) {
		return false
	}
	switch e.Code {
	case "40P01", "40001", "55P03", "42P01", "42P07", "23505", "55006", "57014", "XX000":
		return e.Code != "XX000" || strings.Contains(e.Message, "tuple concurrently")
	}
	return false
}

// do runs statements one after the other on the first session.
func (w *worker) do(ctx context.Context, statements ...string) error {
	for _, s := range statements {
		if err := w.on(ctx, w.a, s); err != nil {
			return err
		}
	}
	return nil
}

func (w *worker) on(ctx context.Context, conn *pgx.Conn, sql string) error {
	if _, err := conn.PgConn().Exec(ctx, sql).ReadAll(); err != nil {
		return fmt.Errorf("run %.200q: %w", sql, err)
	}
	return nil
}

// name is a name that no other call returns, in any run on this cluster with another seed.
func (w *worker) name(prefix string) string {
	w.serial++
	return fmt.Sprintf("%s_%d_%d_%d", prefix, w.options.Seed, w.id, w.serial)
}

// between is a random number in [lo, hi].
func (w *worker) between(lo, hi int) int { return lo + w.rnd.IntN(hi-lo+1) }

// account is the id of one of the accounts that setUp made.
func (w *worker) account() int { return w.between(1, accounts) }

// resolvePrepared ends the transactions that a crash left prepared: every
// second one commits. Those whose name begins with stay_ are the test's.
func resolvePrepared(c *Cluster) error {
	list := c.Query("SELECT coalesce(string_agg(gid, ' ' ORDER BY gid), '') FROM pg_prepared_xacts WHERE gid !~ '^stay_'")
	for i, gid := range strings.Fields(list) {
		verb := []string{"COMMIT", "ROLLBACK"}[i%2]
		if err := c.TryExec("postgres", verb+" PREPARED '"+gid+"'"); err != nil {
			return err
		}
	}
	return nil
}
