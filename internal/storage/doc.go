// Package storage reads and writes objects at a location: a bucket (S3, GCS,
// Azure), a directory, or memory. It is the only room that knows gocloud.
//
// A Store is a handle on one place. Keys are relative to it, are written with
// slashes, and can't lead out of it: see ValidateKey. Sub narrows a handle to
// a prefix, so that who is given one tenant can't reach another.
//
// Everything a store can do is in the Bucket interface; faults, rate
// limits and metrics are wrappers of it.
//
// A directory is not served by gocloud's fileblob, which walks the whole tree
// for each page of a listing and writes files of its own beside the objects,
// but by a small implementation over os.Root: no link is followed, listings
// are sorted and stream in bounded memory, and a Put is durable (temporary
// file, fsync, link or rename, fsync of the directory).
package storage
