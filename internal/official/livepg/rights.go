package livepg

import (
	"context"
	"fmt"
	"strings"

	"github.com/jackc/pgx/v5"
)

// functions are what the role must be allowed to execute. The same for 14 to
// 18; the pg_control functions are everybody's unless they were taken away.
var functions = []string{
	"pg_ls_dir(text,boolean,boolean)",
	"pg_stat_file(text,boolean)",
	"pg_read_binary_file(text,bigint,bigint,boolean)",
	"pg_control_checkpoint()",
	"pg_control_system()",
	"pg_control_init()",
	"pg_control_recovery()",
}

// Grants are the statements that give a role what reading needs, and no more.
func Grants(role string) []string {
	out := make([]string, 0, len(functions))
	for _, f := range functions {
		if !strings.HasPrefix(f, "pg_control") {
			out = append(out, fmt.Sprintf("GRANT EXECUTE ON FUNCTION pg_catalog.%s TO %s;", f, role))
		}
	}
	return out
}

// RightsError says which rights a role lacks.
type RightsError struct {
	Server, Role string
	Missing      []string // functions
}

func (e *RightsError) Error() string {
	var cure []string
	for _, f := range e.Missing {
		cure = append(cure, fmt.Sprintf("GRANT EXECUTE ON FUNCTION pg_catalog.%s TO %s;", f, pgx.Identifier{e.Role}.Sanitize()))
	}
	return fmt.Sprintf("role %q of %s may not execute %s; as a superuser run, in the database that is named: %s",
		e.Role, e.Server, strings.Join(e.Missing, ", "), strings.Join(cure, " "))
}

// checkRights names all rights that the role lacks at once.
func (s *Server) checkRights(ctx context.Context) error {
	e := &RightsError{Server: s.name}
	const sql = `SELECT coalesce(array_agg(f), '{}'), current_user::text FROM unnest($1::text[]) f WHERE NOT has_function_privilege(f, 'EXECUTE')`
	err := s.row(ctx, "look at the role's rights", sql, []any{functions}, &e.Missing, &e.Role)
	if err != nil {
		return err
	}
	if len(e.Missing) > 0 {
		return e
	}
	return s.checkLagVisible(ctx, e.Role)
}

// checkLagVisible is about the positions of standbys in pg_stat_replication, which
// without that role's rights are NULL: no limit would ever be reached.
func (s *Server) checkLagVisible(ctx context.Context, role string) error {
	if s.opt.Pace.MaxLag <= 0 {
		return nil
	}
	const sql = `SELECT pg_is_in_recovery() OR pg_has_role('pg_read_all_stats', 'USAGE')`
	var visible bool
	if err := s.row(ctx, "look at the role's rights", sql, nil, &visible); err != nil || visible {
		return err
	}
	return fmt.Errorf("role %q of %s does not see how far standbys lag behind, so that the limit for it is none; as a superuser run: GRANT pg_read_all_stats TO %s; or give no limit",
		role, s.name, pgx.Identifier{role}.Sanitize())
}
