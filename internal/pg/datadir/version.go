package datadir

import (
	"fmt"
	"strings"

	"redoubt/internal/pg"
)

// ParseVersion decodes PG_VERSION: the major version and a newline.
// Versions that Redoubt does not know are an error.
func ParseVersion(content []byte) (major int, err error) {
	n, ok := parseNumber(strings.TrimRight(string(content[:min(len(content), 64)]), "\r\n"), 9999)
	if !ok {
		return 0, fmt.Errorf("read PG_VERSION: %.64q is not a major version", content)
	}
	if n < pg.MinMajor || n > pg.MaxMajor {
		return 0, fmt.Errorf("read PG_VERSION: PostgreSQL %d is not supported; want %d to %d", n, pg.MinMajor, pg.MaxMajor)
	}
	return int(n), nil
}
