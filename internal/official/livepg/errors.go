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

// again calls fn up to a few times while pg_control is met half written: then
// its CRC is wrong (get_controlfile, common/controldata_utils.c).
func (s *Server) again(ctx context.Context, fn func() error) error {
	const tries = 5
	for i := 0; ; i++ {
		err := fn()
		var p *pgconn.PgError
		if err == nil || i+1 == tries || !errors.As(err, &p) || !strings.Contains(p.Message, "CRC") {
			return err
		}
		if err := s.opt.sleep(ctx, 20*time.Millisecond); err != nil {
			return err
		}
	}
}
