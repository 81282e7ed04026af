package replay

import "redoubt/internal/pg/wal"

// InDialect is src, its WAL known to be of dialect d: engines read its records so.
func InDialect(src WALSource, d wal.Dialect) WALSource {
	if s, ok := src.(*inDialect); ok {
		src = s.WALSource
	}
	return &inDialect{src, d}
}

// DialectOf is the dialect of the source's WAL, stock PostgreSQL's where
// nobody said otherwise.
func DialectOf(src WALSource) wal.Dialect {
	if s, ok := src.(*inDialect); ok {
		return s.dialect
	}
	return wal.Postgres
}

type inDialect struct {
	WALSource
	dialect wal.Dialect
}
