package ledger

import (
	"context"
	"database/sql"
	"embed"
	"fmt"
	"path"
	"strconv"
	"strings"
)

// applicationID marks the file as a ledger in SQLite's header: "RDBT".
const applicationID = 0x52444254

//go:embed migrations/*.sql
var migrationFiles embed.FS

// migration brings the schema from version-1 to version.
type migration struct {
	version int
	name    string
	sql     string
}

// migrations are the embedded files in order; their names start with their
// number. A hole in the numbering is a bug of ours.
func migrations() []migration {
	entries, err := migrationFiles.ReadDir("migrations")
	if err != nil {
		panic(err) // embedded
	}
	var out []migration
	for i, e := range entries {
		number, _, _ := strings.Cut(e.Name(), "_")
		version, err := strconv.Atoi(number)
		if err != nil || version != i+1 {
			panic("ledger: migration " + e.Name() + " is out of order")
		}
		text, err := migrationFiles.ReadFile(path.Join("migrations", e.Name()))
		if err != nil {
			panic(err) // embedded
		}
		out = append(out, migration{version, e.Name(), string(text)})
	}
	return out
}

// migrate applies what is missing, each step in a transaction of its own.
func (l *Ledger) migrate(ctx context.Context, steps []migration) error {
	for {
		done, err := l.migrateOne(ctx, steps)
		if done || err != nil {
			return err
		}
	}
}

func (l *Ledger) migrateOne(ctx context.Context, steps []migration) (done bool, err error) {
	err = inTx(ctx, l.write, func(tx *sql.Tx) error {
		have, err := schemaVersion(ctx, tx)
		if err != nil {
			return err
		}
		switch {
		case have > len(steps):
			return fmt.Errorf("its schema has version %d, this program knows up to %d: use the newer version of Redoubt that wrote it", have, len(steps))
		case have == len(steps):
			done = true
			return nil
		}
		step := steps[have]
		if _, err := tx.ExecContext(ctx, step.sql); err != nil {
			return fmt.Errorf("migration %s: %w", step.name, err)
		}
		_, err = tx.ExecContext(ctx, fmt.Sprintf("PRAGMA user_version = %d; PRAGMA application_id = %d", step.version, applicationID))
		return err
	})
	return done, err
}

// schemaVersion is the number of migrations applied. A database that has
// tables and is not marked as ours is refused.
func schemaVersion(ctx context.Context, tx *sql.Tx) (int, error) {
	var version, app, tables int
	for stmt, dst := range map[string]*int{
		"PRAGMA user_version":                &version,
		"PRAGMA application_id":              &app,
		"SELECT count(*) FROM sqlite_schema": &tables,
	} {
		if err := tx.QueryRowContext(ctx, stmt).Scan(dst); err != nil {
			return 0, err
		}
	}
	if app != applicationID && (tables > 0 || version != 0) {
		return 0, fmt.Errorf("it is an SQLite database of another program: choose another data_dir")
	}
	return version, nil
}
