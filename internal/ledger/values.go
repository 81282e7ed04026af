package ledger

import (
	"database/sql"
	"encoding/json"
	"fmt"
	"time"

	"redoubt/internal/pg"
)

// timeForm is RFC 3339 in UTC with a fixed number of digits, so that times sort as text.
const timeForm = "2006-01-02T15:04:05.000000000Z"

// endOfTime is later than any time in the ledger.
var endOfTime = time.Date(9999, 12, 31, 23, 59, 59, 0, time.UTC)

func timeText(t time.Time) string { return t.UTC().Format(timeForm) }

func parseTime(s string) (time.Time, error) {
	t, err := time.Parse(timeForm, s)
	if err != nil {
		return time.Time{}, fmt.Errorf("time %q in the ledger: %w", s, err)
	}
	return t, nil
}

// parseOptionalTime reads NULL as the zero time.
func parseOptionalTime(s sql.NullString) (time.Time, error) {
	if !s.Valid {
		return time.Time{}, nil
	}
	return parseTime(s.String)
}

func parseOptionalLSN(s sql.NullString) (pg.LSN, error) {
	if !s.Valid {
		return pg.InvalidLSN, nil
	}
	return pg.ParseLSN(s.String)
}

// jsonText marshals v; a nil list becomes [].
func jsonText(v any) (string, error) {
	if list, ok := v.([]string); ok && list == nil {
		return "[]", nil
	}
	b, err := json.Marshal(v)
	return string(b), err
}

func fromJSON(text string, v any) error {
	if err := json.Unmarshal([]byte(text), v); err != nil {
		return fmt.Errorf("JSON in the ledger: %w", err)
	}
	return nil
}
