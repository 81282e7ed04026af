// Package journal is what an agent remembers between two starts, in an SQLite
// file of its own: which files it has put into the bucket, or compared with
// what is there, and which alarms stand. It survives kill -9.
//
// Nothing depends on it for safety. The WAL backup LSN is in etcd, and whether
// an object is there is asked of the bucket; the journal spares reading
// contents twice. It is tied to one bucket and one etcd, and is emptied when
// either is another.
package journal

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

	"redoubt/walbackup/names"
)

// schema has a version in user_version; a file of another one is made anew.
const (
	applicationID = 0x5244424A // "RDBJ"
	version       = 1
	schema        = `
CREATE TABLE place (only INTEGER PRIMARY KEY CHECK (only = 1), name TEXT NOT NULL) STRICT;
CREATE TABLE files (
	tenant TEXT NOT NULL, timeline TEXT NOT NULL, name TEXT NOT NULL,
	size INTEGER NOT NULL, modified INTEGER NOT NULL, -- of the local file: bytes, nanoseconds since 1970
	stored INTEGER NOT NULL,                          -- bytes in the bucket
	at INTEGER NOT NULL,                              -- seconds since 1970
	PRIMARY KEY (tenant, timeline, name)) STRICT;
CREATE TABLE alarms (
	kind TEXT NOT NULL, tenant TEXT NOT NULL, timeline TEXT NOT NULL, name TEXT NOT NULL,
	detail TEXT NOT NULL, since INTEGER NOT NULL,
	PRIMARY KEY (kind, tenant, timeline, name)) STRICT;`
)

// busyTimeout is how long another process's lock is waited for.
const busyTimeout = 10 * time.Second

// Journal is an open journal. Its methods may be called concurrently.
type Journal struct{ db *sql.DB }

// Open opens the journal of a place: bucket and etcd. One that can't be read,
// or is of another place, is made anew.
func Open(path, place string) (*Journal, error) {
	j, err := open(path, place)
	if errors.Is(err, errAnew) {
		for _, suffix := range []string{"", "-wal", "-shm"} {
			if rm := os.Remove(path + suffix); rm != nil && !errors.Is(rm, os.ErrNotExist) {
				return nil, fmt.Errorf("make journal %s anew: %w", path, rm)
			}
		}
		j, err = open(path, place)
	}
	if err != nil {
		return nil, fmt.Errorf("open journal %s: %w", path, err)
	}
	return j, nil
}

var errAnew = errors.New("the journal is of another version or damaged")

func open(path, place string) (*Journal, error) {
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		return nil, err
	}
	f, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600) // SQLite would make it readable to others
	if err != nil {
		return nil, err
	}
	if err := f.Close(); err != nil {
		return nil, err
	}
	dsn := url.URL{Scheme: "file", Path: path, RawQuery: url.Values{
		"_journal_mode": {"WAL"}, "_synchronous": {"NORMAL"}, "_txlock": {"immediate"},
		"_busy_timeout": {fmt.Sprint(busyTimeout.Milliseconds())},
	}.Encode()}
	db, err := sql.Open("sqlite3", dsn.String())
	if err != nil {
		return nil, err
	}
	db.SetMaxOpenConns(1)
	j := &Journal{db: db}
	if err := j.prepare(place); err != nil {
		return nil, errors.Join(err, db.Close())
	}
	return j, nil
}

// prepare makes the tables of a new file and empties those of another place.
func (j *Journal) prepare(place string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 2*busyTimeout)
	defer cancel()
	var app, have, tables int
	for stmt, dst := range map[string]*int{"PRAGMA application_id": &app, "PRAGMA user_version": &have, "SELECT count(*) FROM sqlite_schema": &tables} {
		if err := j.db.QueryRowContext(ctx, stmt).Scan(dst); err != nil {
			return fmt.Errorf("%w: %w", errAnew, err)
		}
	}
	switch {
	case tables == 0:
		stmt := fmt.Sprintf("%s; PRAGMA application_id = %d; PRAGMA user_version = %d", schema, applicationID, version)
		if _, err := j.db.ExecContext(ctx, stmt); err != nil {
			return err
		}
	case app != applicationID:
		return errors.New("it is a file of another program: choose another data_dir")
	case have != version:
		return errAnew
	}
	var was string
	err := j.db.QueryRowContext(ctx, "SELECT name FROM place").Scan(&was)
	if err == nil && was == place {
		return nil
	}
	if err != nil && !errors.Is(err, sql.ErrNoRows) {
		return fmt.Errorf("%w: %w", errAnew, err)
	}
	_, err = j.db.ExecContext(ctx, "DELETE FROM files; DELETE FROM alarms; INSERT OR REPLACE INTO place VALUES (1, ?)", place)
	return err
}

// Close closes the file.
func (j *Journal) Close() error { return j.db.Close() }

// File is a local file whose content is in the bucket.
type File struct {
	Name     string
	Size     int64
	Modified time.Time
	Stored   int64 // bytes in the bucket
}

// Stored remembers that a file's content is in the bucket.
func (j *Journal) Stored(ctx context.Context, id names.ID, f File) error {
	_, err := j.db.ExecContext(ctx, "INSERT OR REPLACE INTO files VALUES (?, ?, ?, ?, ?, ?, ?)",
		id.Tenant, id.Timeline, f.Name, f.Size, f.Modified.UnixNano(), f.Stored, time.Now().Unix())
	return wrap("remember a file", err)
}

// Lookup says what is remembered of a file; false if nothing is.
func (j *Journal) Lookup(ctx context.Context, id names.ID, name string) (File, bool, error) {
	f := File{Name: name}
	var modified int64
	err := j.db.QueryRowContext(ctx, "SELECT size, modified, stored FROM files WHERE tenant = ? AND timeline = ? AND name = ?",
		id.Tenant, id.Timeline, name).Scan(&f.Size, &modified, &f.Stored)
	if errors.Is(err, sql.ErrNoRows) {
		return f, false, nil
	}
	f.Modified = time.Unix(0, modified)
	return f, err == nil, wrap("look a file up", err)
}

// Forget drops what is remembered of files since before a time.
func (j *Journal) Forget(ctx context.Context, before time.Time) error {
	_, err := j.db.ExecContext(ctx, "DELETE FROM files WHERE at < ?", before.Unix())
	return wrap("forget old files", err)
}

// Alarm is an alarm about a file that stands until it is cleared.
type Alarm struct {
	Kind string
	names.ID
	Name   string
	Detail string
	Since  time.Time
}

// Raise keeps an alarm; one that stands keeps its time.
func (j *Journal) Raise(ctx context.Context, a Alarm) error {
	_, err := j.db.ExecContext(ctx, `INSERT INTO alarms VALUES (?, ?, ?, ?, ?, ?)
		ON CONFLICT DO UPDATE SET detail = excluded.detail`, a.Kind, a.Tenant, a.Timeline, a.Name, a.Detail, a.Since.Unix())
	return wrap("keep an alarm", err)
}

// Clear ends an alarm.
func (j *Journal) Clear(ctx context.Context, a Alarm) error {
	_, err := j.db.ExecContext(ctx, "DELETE FROM alarms WHERE kind = ? AND tenant = ? AND timeline = ? AND name = ?", a.Kind, a.Tenant, a.Timeline, a.Name)
	return wrap("end an alarm", err)
}

// Alarms are those that stand.
func (j *Journal) Alarms(ctx context.Context) (out []Alarm, err error) {
	rows, err := j.db.QueryContext(ctx, "SELECT kind, tenant, timeline, name, detail, since FROM alarms ORDER BY since, kind, name")
	if err != nil {
		return nil, wrap("read the alarms", err)
	}
	defer func() { err = errors.Join(err, rows.Close()) }()
	for rows.Next() {
		var a Alarm
		var since int64
		if err := rows.Scan(&a.Kind, &a.Tenant, &a.Timeline, &a.Name, &a.Detail, &since); err != nil {
			return nil, wrap("read the alarms", err)
		}
		a.Since = time.Unix(since, 0)
		out = append(out, a)
	}
	return out, wrap("read the alarms", rows.Err())
}

func wrap(what string, err error) error {
	if err == nil {
		return nil
	}
	return fmt.Errorf("journal: %s: %w", what, err)
}
