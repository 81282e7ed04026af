package pageservertest

import (
	"time"

	"redoubt/internal/pg"
)

// Plant is what goes wrong. A function that is nil changes nothing. They are
// called by several goroutines.
type Plant struct {
	// Page changes the page of a block, as it is served at an LSN, in place.
	Page func(at pg.LSN, b pg.Block, page []byte)
	// Version is the LSN whose version of a block is served where another was asked for; 0 for that.
	Version func(at pg.LSN, b pg.Block) pg.LSN
	// Missing says which forks are said not to be there.
	Missing func(at pg.LSN, f pg.RelFork) bool
	// Size changes how many blocks a fork is said to have.
	Size func(at pg.LSN, f pg.RelFork, n pg.BlockNumber) pg.BlockNumber
	// Segment changes an SLRU segment in place.
	Segment func(at pg.LSN, path string, content []byte)
	// File changes a file of a base backup; nil leaves it out.
	File func(at pg.LSN, path string, content []byte) []byte

	Collected      pg.LSN // garbage collection passed everything before, but for what is leased
	NoTenant       bool   // the tenant is on another pageserver
	NoTimeline     bool   // the timeline was deleted
	NoLease        bool   // leases are refused, and none counts any more
	LazySLRUs      bool   // base backups leave SLRUs out
	Delay          time.Duration
	LeaseLength    time.Duration // 0: ten minutes
	ConnectionsEnd int           // a connection ends after so many answers; 0: never
	// Message changes the i-th answer of the server in the pagestream protocol,
	// counted over all connections; nil cuts the connection in its stead.
	Message func(i int, b []byte) []byte
}
