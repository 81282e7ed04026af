package datadir

import (
	"errors"
	"fmt"
	"strings"

	"redoubt/internal/pg"
)

// Tablespace is one line of tablespace_map.
type Tablespace struct {
	OID  pg.OID
	Path string // where the link of the original pointed to; not to be followed
}

// ParseTablespaceMap decodes tablespace_map: lines of "OID path", in which a
// backslash stands before each newline, carriage return and backslash of the
// path (do_pg_backup_start, access/transam/xlog.c; read_tablespace_map,
// xlogrecovery.c). An OID twice is an error.
func ParseTablespaceMap(content []byte) ([]Tablespace, error) {
	var (
		list []Tablespace
		line strings.Builder
		seen = map[pg.OID]bool{}
	)
	for rest := content; len(rest) > 0; rest = rest[1:] {
		switch c := rest[0]; {
		case c == '\\' && len(rest) > 1:
			rest = rest[1:]
			line.WriteByte(rest[0])
		case c == '\\':
			return nil, errors.New("read tablespace_map: it ends in a backslash: it is cut")
		case c != '\n' && c != '\r':
			line.WriteByte(c)
		case line.Len() > 0:
			t, err := parseTablespace(line.String())
			if err == nil && seen[t.OID] {
				err = fmt.Errorf("tablespace %d is in it twice", t.OID)
			}
			if err != nil {
				return nil, fmt.Errorf("read tablespace_map: %w", err)
			}
			seen[t.OID] = true
			list = append(list, t)
			line.Reset()
		}
	}
	if line.Len() > 0 {
		return nil, errors.New("read tablespace_map: its last line does not end: it is cut")
	}
	return list, nil
}

func parseTablespace(line string) (Tablespace, error) {
	oid, path, ok := strings.Cut(line, " ")
	n, valid := parseOID(oid)
	if !ok || !valid || path == "" {
		return Tablespace{}, fmt.Errorf("%.64q is not of the form OID path", line)
	}
	return Tablespace{n, path}, nil
}
