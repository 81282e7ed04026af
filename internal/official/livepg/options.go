package livepg

import (
	"time"
)

// Options say how a server is read. The zero value of a field means its default.
type Options struct {
	Pace Pace
	// ChunkPages is how many pages one read asks for; default 128 (1 MiB).
	ChunkPages int
	// MemoryFunction is the SECURITY DEFINER function that returns pages of
	// shared buffers; default redoubt.get_page.
	MemoryFunction string
	// Note, if set, is told why nothing is read for long.
	Note func(string)

	now   func() time.Time
	sleep sleeper
}

// Pace bounds what reading costs the server. Zero means no limit.
type Pace struct {
	PagesPerSecond int64
	BytesPerSecond int64
	// MaxLatency: where one read takes longer, reading rests, from a second up
	// to half a minute as long as it stays so.
	MaxLatency time.Duration
	// MaxLag, in bytes: where a standby of the server replays so far behind it,
	// or the server itself as a standby so far behind what it received, reading rests.
	MaxLag int64
	// Hours: reading rests outside of them.
	Hours Hours
	// Patience: reading is given up with an error after it rested for so long
	// for lag or latency; default 10 minutes.
	Patience time.Duration
}

const (
	defaultChunk    = 128
	defaultPatience = 10 * time.Minute
	defaultMemory   = "redoubt.get_page"
)

func (o Options) withDefaults() Options {
	if o.ChunkPages <= 0 {
		o.ChunkPages = defaultChunk
	}
	if o.MemoryFunction == "" {
		o.MemoryFunction = defaultMemory
	}
	if o.Pace.Patience <= 0 {
		o.Pace.Patience = defaultPatience
	}
	if o.now == nil {
		o.now = time.Now
	}
	if o.sleep == nil {
		o.sleep = sleep
	}
	return o
}
