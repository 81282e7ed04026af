// Package pageservertest is a stand-in for Neon's pageserver, for tests and for
// trying things out. It is no pageserver: it stores nothing and has none of
// Neon's code. What it serves is made by Redoubt's own native engine, out of a
// data directory and the WAL that follows it, at whatever LSN is asked for; a
// verification against it proves protocol, client and the way spans are put
// together, but not that a real pageserver's pages are right.
//
// It speaks what a pageserver speaks to a compute: libpq with a JWT (EdDSA) as
// password, `pagestream_v3`, `basebackup` and `lease lsn`, for tenants of one
// or several shards, each on a port of its own. Plant changes what it serves
// and how.
package pageservertest
