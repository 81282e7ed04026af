// Package datadir decodes what stands in a data directory besides pages:
// relation file paths, pg_control, relation maps, SLRU segments,
// backup_label, tablespace_map, PG_VERSION.
package datadir
