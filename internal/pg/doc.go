// Package pg holds PostgreSQL's nouns: log sequence numbers, segment names,
// timeline numbers, relation locators, forks and block numbers, as values
// that parse strictly and print as PostgreSQL prints them.
//
// It does no I/O and keeps no state. The packages below it decode
// PostgreSQL's on-disk formats: pg/wal, pg/page, pg/mask, pg/datadir.
package pg
