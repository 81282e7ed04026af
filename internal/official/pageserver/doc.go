// Package pageserver reads official pages from Neon's pageservers, as they
// are at one LSN: pages, sizes of relations and SLRU segments by the pagestream
// protocol (version 3) that a compute uses, everything else a data directory has
// (pg_control, relation maps, states of prepared transactions, SLRUs) out of
// the base backup that a compute is started from.
//
// It reads as a guest in production: so many requests under way, so many pages
// a second, no retry without a pause. An LSN lease is held while a side is read,
// and what comes after it was lost is an error, never a page.
//
// A pageserver that cannot answer (history collected, timeline deleted, tenant
// elsewhere, token refused, lease lost) gives an *Error that says which it is.
package pageserver
