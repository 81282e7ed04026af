// Package ledger is Redoubt's memory: an SQLite file with every run, span,
// discrepancy, timeline and segment seen. It is the only room that writes SQL.
//
// What it promises:
//
//   - A run's plan is written down before it is executed, and a finished span
//     is on disk before FinishSpan returns (write-ahead log, synchronous=FULL).
//     A kill at any moment loses no finished span; Unfinished and Remaining say
//     what is left.
//   - A span, its discrepancies and their states change in one transaction.
//   - One connection writes; others, of this process or another, read meanwhile.
//   - The file is made with mode 0600: names of relations and findings are the
//     customer's.
//
// docs/ledger.md describes the tables for those who query them.
package ledger

import (
	"context"
	"database/sql"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"time"

	_ "github.com/mattn/go-sqlite3" // registers the driver sqlite3
)

// busyTimeout is how long a connection waits for another process's lock.
const busyTimeout = 30 * time.Second

// openRetry is the pause before another try to open a ledger that is locked:
// SQLite does not wait by itself where two connections turn a new file's
// journal to WAL at once, or one opens while the last other one folds the log.
const openRetry = 20 * time.Millisecond

// readers is the number of connections that may read at once.
const readers = 4

// Ledger is an open ledger. Its methods may be called concurrently.
type Ledger struct {
	path  string
	write *sql.DB          // one connection
	read  *sql.DB          // query_only
	now   func() time.Time // whether an acknowledgement holds is asked of it
}

// Open opens the ledger at path, makes the file where there is none (its
// directory too) and brings an older schema up to date. A newer schema, or a
// file that is no ledger, is an error.
func Open(path string) (*Ledger, error) {
	start := time.Now()
	l, err := open(path)
	for busy(err) && time.Since(start) < busyTimeout {
		time.Sleep(openRetry)
		l, err = open(path)
	}
	if err != nil {
		return nil, fmt.Errorf("open ledger %s: %w", path, explain(err))
	}
	return l, nil
}

func open(path string) (*Ledger, error) {
	abs, err := filepath.Abs(path)
	if err != nil {
		return nil, err
	}
	if err := createPrivate(abs); err != nil {
		return nil, err
	}
	l := &Ledger{path: abs, now: time.Now}
	if l.write, err = connect(abs, 1, url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {"FULL"}, "_foreign_keys": {"1"}, "_txlock": {"immediate"},
		"_auto_vacuum": {"incremental"}, // of a new file
	}); err != nil {
		return nil, err
	}
	if l.read, err = connect(abs, readers, url.Values{"_query_only": {"1"}}); err != nil {
		return nil, errors.Join(err, l.write.Close())
	}
	if err := l.migrate(context.Background(), migrations()); err != nil {
		return nil, errors.Join(err, l.Close())
	}
	return l, nil
}

// createPrivate makes the file with mode 0600. SQLite gives its side files (-wal, -shm) the mode
// of the database. The mode of a file that exists is left alone: it may have been widened on purpose.
func createPrivate(path string) error {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	return f.Close()
}

func connect(path string, conns int, options url.Values) (*sql.DB, error) {
	options.Set("_busy_timeout", fmt.Sprint(busyTimeout.Milliseconds()))
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: options.Encode()}
	db, err := sql.Open("sqlite3", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(conns)
	db.SetMaxIdleConns(conns)
	return db, nil
}

// Close closes all connections. The write-ahead log is folded into the file
// when no other process has it open.
func (l *Ledger) Close() error {
	return errors.Join(l.read.Close(), l.write.Close())
}

// Path is the ledger's file.
func (l *Ledger) Path() string { return l.path }

// update runs f in one writing transaction; what names it in errors.
func (l *Ledger) update(ctx context.Context, what string, f func(tx *sql.Tx) error) error {
	if err := inTx(ctx, l.write, f); err != nil {
		return fmt.Errorf("ledger: %s: %w", what, explain(err))
	}
	return nil
}

// view runs f in one reading transaction: all its queries see the same state.
func (l *Ledger) view(ctx context.Context, what string, f func(tx *sql.Tx) error) error {
	if err := inTx(ctx, l.read, f); err != nil {
		return fmt.Errorf("ledger: %s: %w", what, explain(err))
	}
	return nil
}

func inTx(ctx context.Context, db *sql.DB, f func(tx *sql.Tx) error) error {
	tx, err := db.BeginTx(ctx, nil)
	if err != nil {
		return err
	}
	if err := f(tx); err != nil {
		_ = tx.Rollback() // the error that led here is the one to tell
		return err
	}
	return tx.Commit()
}

// query calls scan for each row.
func query(ctx context.Context, tx *sql.Tx, scan func(rows *sql.Rows) error, stmt string, args ...any) (err error) {
	rows, err := tx.QueryContext(ctx, stmt, args...)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		if err := scan(rows); err != nil {
			return err
		}
	}
	return rows.Err()
}
