package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"time"
)

// Inspection is what Inspect reads.
type Inspection struct {
	Version    int       // of the file's schema
	Known      int       // the newest this program knows, to which Open brings an older one
	NewestRun  time.Time // when the newest run started; zero: there is none
	Unfinished []string  // jobs with a run that is under way, or was interrupted
}

// Inspect reads a ledger without changing it: neither its schema nor the file.
// A file that is damaged, another program's, or of a newer schema is an error.
func Inspect(ctx context.Context, path string) (Inspection, error) {
	i, err := inspect(ctx, path)
	if err != nil {
		return i, fmt.Errorf("inspect ledger %s: %w", path, explain(err))
	}
	return i, nil
}

func inspect(ctx context.Context, path string) (i Inspection, err error) {
	db, err := connect(path, 1, url.Values{"mode": {"ro"}, "_query_only": {"1"}})
	if err != nil {
		return i, err
	}
	defer func() { err = errors.Join(err, db.Close()) }()
	err = inTx(ctx, db, func(tx *sql.Tx) error { return i.read(ctx, tx) })
	return i, err
}

func (i *Inspection) read(ctx context.Context, tx *sql.Tx) (err error) {
	i.Known = len(migrations())
	if i.Version, err = schemaVersion(ctx, tx); err != nil {
		return err
	}
	var said string
	if err := tx.QueryRowContext(ctx, "PRAGMA quick_check(1)").Scan(&said); err != nil {
		return err
	}
	switch {
	case said != "ok":
		return fmt.Errorf("it is damaged: %s: move it away or restore a copy", said)
	case i.Version > i.Known:
		return fmt.Errorf("its schema has version %d, this program knows up to %d: use the newer version of Redoubt that wrote it", i.Version, i.Known)
	case i.Version == 0:
		return nil
	}
	var newest sql.NullString
	if err := tx.QueryRowContext(ctx, "SELECT max(started_at) FROM runs").Scan(&newest); err != nil {
		return err
	}
	if i.NewestRun, err = parseOptionalTime(newest); err != nil {
		return err
	}
	return query(ctx, tx, func(rows *sql.Rows) error {
		var job string
		err := rows.Scan(&job)
		i.Unfinished = append(i.Unfinished, job)
		return err
	}, "SELECT job FROM runs WHERE finished_at IS NULL ORDER BY job")
}
