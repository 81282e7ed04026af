package livepg

import (
	"context"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/jackc/pgx/v5"
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
	const tries = 30
	for i := 0; ; i++ {
		err := fn()
		cut := err != nil && s.cutOff()
		if err == nil || ctx.Err() != nil || i+1 == tries || !cut && !passes(err) {
			return err
		}
		if err := s.opt.sleep(ctx, 20*time.Millisecond<<min(i, 5)); err != nil {
			return err
		}
		if cut {
			if again := s.reconnect(ctx); again != nil && !passes(again) {
				return errors.Join(err, again)
			}
		}
	}
}

// passes reports errors that a statement does not meet for ever: pg_control read
// half written, whose CRC is wrong then (get_controlfile, common/controldata_utils.c),
// and the replay of a standby, which cancels statements that are in its way
// (ProcessRecoveryConflictInterrupt, tcop/postgres.c).
func passes(err error) bool {
	const serializationFailure, deadlockDetected = "40001", "40P01"
	var p *pgconn.PgError
	return errors.As(err, &p) && (strings.Contains(p.Message, "CRC") || p.Code == serializationFailure || p.Code == deadlockDetected)
}

// cutOff reports that a standby has ended the connection, as it does where
// replay finds it in its way between two messages of a statement.
func (s *Server) cutOff() bool {
	s.mu.Lock()
	defer s.mu.Unlock()
	known := s.info.Major != 0
	return (s.info.Standby || !known) && s.cfg != nil && s.conn != nil && s.conn.IsClosed()
}

// reconnect takes a new connection to the same server. A standby may end that
// one, too, before it has said a word: then there is none yet.
func (s *Server) reconnect(ctx context.Context) error {
	conn, err := pgx.ConnectConfig(ctx, s.cfg.Copy())
	if err != nil {
		return fmt.Errorf("connect to %s again: %w", s.name, err)
	}
	var system int64
	if err := conn.QueryRow(ctx, "SELECT system_identifier FROM pg_control_system()").Scan(&system); err != nil {
		_ = conn.Close(ctx) // there is nothing to lose on it
		return nil
	}
	if known := s.info.SystemID; known != 0 && uint64(system) != known {
		return errors.Join(fmt.Errorf("connect to %s again: it is cluster %d now, was %d", s.name, uint64(system), known), conn.Close(ctx))
	}
	s.mu.Lock()
	defer s.mu.Unlock()
	s.conn = conn
	return nil
}
