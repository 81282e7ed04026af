package livepg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5/pgconn"
)

// explain adds what a query was for and, for want of rights, the cure.
func (s *Server) explain(ctx context.Context, doing string, err error) error {
	if ctx.Err() != nil {
		return fmt.Errorf("%s: %w", doing, context.Cause(ctx))
	}
	const insufficientPrivilege = "42501"
	var p *pgconn.PgError
	if errors.As(err, &p) && p.Code == insufficientPrivilege {
		return fmt.Errorf("%s: %s: %s; as a superuser of %s run: %s", doing, s.name, p.Message, s.name, strings.Join(Grants("ROLE"), " "))
	}
	return fmt.Errorf("%s: %s: %w", doing, s.name, err)
}

// again calls fn up to a few times while what stopped it passes by itself.
func (s *Server) again(ctx context.Context, fn func() error) error {
	const tries = 10
	for i := 0; ; i++ {
		err := fn()
		var p *pgconn.PgError
		if err == nil || i+1 == tries || !errors.As(err, &p) || !passes(p) {
			return err
		}
		if err := s.opt.sleep(ctx, 20*time.Millisecond<<min(i, 5)); err != nil {
			return err
		}
	}
}

// passes reports errors that a statement does not meet for ever: pg_control read
// half written, whose CRC is wrong then (get_controlfile, common/controldata_utils.c),
// and the replay of a standby, which cancels statements that are in its way
// (ProcessRecoveryConflictInterrupt, tcop/postgres.c).
func passes(p *pgconn.PgError) bool {
	const serializationFailure, deadlockDetected = "40001", "40P01"
	return strings.Contains(p.Message, "CRC") || p.Code == serializationFailure || p.Code == deadlockDetected
}
