package main

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"

	"github.com/jackc/pgx/v5/pgconn"
	"golang.org/x/sync/errgroup"

	"redoubt/internal/pgtest"
)

// business is what a cluster is used for: its schema, what a clerk does, what
// is tidied up in the evening, and what goes on at night, during backups,
// which never touches the table lostTable.
type business struct {
	schema  []string
	deal    func(r *rand.Rand) []string // one transaction
	evening func(day int) []string
	night   func(c *pgtest.Cluster, day int) error
}

const (
	clerks = 3
	deals  = 250 // of each clerk a day
)

// day lets the clerks work side by side, then tidies up.
func (b business) day(c *pgtest.Cluster, seed uint64, day int) error {
	g, ctx := errgroup.WithContext(context.Background())
	for clerk := range clerks {
		g.Go(func() error {
			if err := b.clerk(ctx, c, rand.New(rand.NewPCG(seed, uint64(day*clerks+clerk)))); err != nil {
				return fmt.Errorf("day %d: %w", day, err)
			}
			return nil
		})
	}
	if err := g.Wait(); err != nil {
		return err
	}
	return c.TryExec("postgres", b.evening(day)...)
}

// clerk closes a day's deals, one after the other.
func (b business) clerk(ctx context.Context, c *pgtest.Cluster, r *rand.Rand) error {
	conn, err := pgconn.Connect(ctx, c.DSN("postgres"))
	if err != nil {
		return err
	}
	for range deals {
		for _, statement := range b.deal(r) {
			if _, err := conn.Exec(ctx, statement).ReadAll(); err != nil {
				return errors.Join(fmt.Errorf("run %q: %w", statement, err), conn.Close(ctx))
			}
		}
	}
	return conn.Close(ctx)
}

// pick returns one of a list.
func pick(r *rand.Rand, of ...string) string { return of[r.IntN(len(of))] }
