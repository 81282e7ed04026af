// Package server is the second engine: it hands a base and WAL to a real
// PostgreSQL of the same major version, in recovery, and reads the pages that
// it leaves. It is slower than replay/native and needs the binaries; it knows
// every record that PostgreSQL knows, and shares no code with the native
// engine. Who differs from both others is wrong.
//
// The server gets a data directory that is made here, in a scratch directory,
// from the pages, maps and SLRU segments of the base alone. Of the tenant's
// configuration, signal files, links, programs and libraries nothing reaches
// it. It gets the WAL up to the last record that starts before the span's end
// and zeros behind it, so that this is where its recovery ends: the same
// records as in the native engine, with no record needed behind them. It then
// promotes itself, which no recovery target does without writing its pages
// out (a server that is stopped in recovery may keep them to itself), and is
// stopped by a clean shutdown before it did anything else: nobody connects,
// autovacuum and all workers are off.
//
// What promotion changes is none of the pages that are compared: unlogged
// relations are reset, the unused ends of the last pg_xact and pg_multixact
// pages are zeroed (TrimCLOG, TrimMultiXact), and a new timeline begins.
package server
