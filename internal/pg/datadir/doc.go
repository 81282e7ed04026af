// Package datadir decodes what stands in a data directory besides pages:
// paths of relation files, pg_control, relation maps, SLRU segments,
// PG_VERSION, and what a base backup adds: backup_label, tablespace_map,
// backup history files, backup_manifest.
//
// Decoders take bytes and return values; they read no files. Input is
// hostile: no decoder panics, and none allocates more than a small multiple
// of the bytes it is given. Paths are relative to the data directory, with
// slashes, without "." or ".." parts; any other spelling is no path of a
// data directory and is classified as Ignored.
package datadir
