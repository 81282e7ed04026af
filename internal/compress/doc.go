// Package compress compresses and decompresses the files of a WAL archive, in
// the ways that the ends of their names tell (walfile.Compression). All of
// them are read; those are written that everyone else reads fast: zstd, lz4
// and gzip.
//
// What is read is hostile: no header is believed that would make a
// decompressor take much memory.
package compress
