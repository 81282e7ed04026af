package ledger

import (
	"context"
	"database/sql"
	"time"
)

// Segment is a WAL segment that was read whole, as it was then.
type Segment struct {
	Name    string // the object's
	Size    int64  // bytes, as stored
	ETag    string // empty where the store has none
	ModTime time.Time
	State   []byte // the reader's own
}

// Unchanged reports whether s is still the object that was read.
func (s Segment) Unchanged(size int64, etag string, modTime time.Time) bool {
	return s.Size == size && s.ETag == etag && s.ModTime.Equal(modTime)
}

// Segment is the segment of that name as last read; ok is false when it never was.
func (l *Ledger) Segment(ctx context.Context, tenant, timeline, name string) (s Segment, ok bool, err error) {
	err = l.view(ctx, "look up segment "+name, func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			ok = true
			s, err = scanSegment(rows)
			return err
		}, "SELECT segment, size, etag, mod_time, state FROM segments WHERE tenant = ? AND timeline = ? AND segment = ?", tenant, timeline, name)
	})
	return s, ok && err == nil, err
}

// Segments are all segments of a timeline that were read, in order of name.
func (l *Ledger) Segments(ctx context.Context, tenant, timeline string) ([]Segment, error) {
	var out []Segment
	err := l.view(ctx, "list segments", func(tx *sql.Tx) error {
		return query(ctx, tx, func(rows *sql.Rows) error {
			s, err := scanSegment(rows)
			out = append(out, s)
			return err
		}, "SELECT segment, size, etag, mod_time, state FROM segments WHERE tenant = ? AND timeline = ? ORDER BY segment", tenant, timeline)
	})
	return out, err
}

func scanSegment(rows *sql.Rows) (s Segment, err error) {
	var modified string
	if err := rows.Scan(&s.Name, &s.Size, &s.ETag, &modified, &s.State); err != nil {
		return s, err
	}
	s.ModTime, err = parseTime(modified)
	return s, err
}

// RememberSegments writes down segments that were read, in one transaction.
func (l *Ledger) RememberSegments(ctx context.Context, tenant, timeline string, at time.Time, segments ...Segment) error {
	return l.update(ctx, "remember segments", func(tx *sql.Tx) error {
		for _, s := range segments {
			state := s.State
			if state == nil {
				state = []byte{}
			}
			if _, err := tx.ExecContext(ctx, `INSERT INTO segments (tenant, timeline, segment, size, etag, mod_time, read_at, state)
				VALUES (?1, ?2, ?3, ?4, ?5, ?6, ?7, ?8) ON CONFLICT (tenant, timeline, segment) DO UPDATE SET
				size = ?4, etag = ?5, mod_time = ?6, read_at = ?7, state = ?8`,
				tenant, timeline, s.Name, s.Size, s.ETag, timeText(s.ModTime), timeText(at), state); err != nil {
				return err
			}
		}
		return nil
	})
}

// ForgetSegments drops segments that the archive no longer has.
func (l *Ledger) ForgetSegments(ctx context.Context, tenant, timeline string, names ...string) error {
	return l.update(ctx, "forget segments", func(tx *sql.Tx) error {
		for _, name := range names {
			if _, err := tx.ExecContext(ctx, "DELETE FROM segments WHERE tenant = ? AND timeline = ? AND segment = ?", tenant, timeline, name); err != nil {
				return err
			}
		}
		return nil
	})
}
