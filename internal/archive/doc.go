// Package archive reads WAL where it is kept: segments of one or many
// timelines in a directory or a bucket, perhaps compressed, in one of several
// layouts (docs/layouts.md).
//
// An Archive finds Timelines; a Timeline lists what is stored of it, opens
// single files, and makes a Source: a stream of WAL pages along the history of
// a TLI, for an engine to replay.
//
// Three kinds of errors are told apart, because they mean different things:
// WAL that is not there (*wal.MissingError), an object that is there and is
// not what it should be (*DamagedError), and an object or a store that could
// not be read, after several tries (any other error).
//
// Archives are hostile: nothing is decompressed beyond the size of a segment,
// and no header is believed that would make a decompressor take much memory.
package archive
