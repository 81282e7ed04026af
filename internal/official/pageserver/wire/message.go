package wire

import (
	"errors"
	"fmt"

	"redoubt/internal/pg"
)

// Op is what a request asks for, by the tag on the wire.
type Op uint8

// Tags of requests (PagestreamFeMessageTag).
const (
	Exists         Op = 0
	Blocks         Op = 1
	GetPage        Op = 2
	DBSize         Op = 3
	GetSLRUSegment Op = 4
)

// Tags of responses are those of the requests from answerBase on, but for that
// of errors, which comes between (PagestreamBeMessageTag).
const (
	answerBase = 100
	tagError   = 103
)

func (o Op) String() string {
	switch o {
	case Exists:
		return "exists"
	case Blocks:
		return "blocks"
	case GetPage:
		return "page"
	case DBSize:
		return "database size"
	case GetSLRUSegment:
		return "SLRU segment"
	}
	return fmt.Sprintf("request %d", uint8(o))
}

// answer is the tag of the response to it.
func (o Op) answer() uint8 {
	if o >= DBSize {
		return answerBase + uint8(o) + 1
	}
	return answerBase + uint8(o)
}

// opOf is the request that a response's tag answers.
func opOf(tag uint8) (Op, bool) {
	switch {
	case tag >= answerBase && tag < tagError:
		return Op(tag - answerBase), true
	case tag == tagError+1 || tag == tagError+2:
		return Op(tag - answerBase - 1), true
	}
	return 0, false
}

// Header is what each request begins with and each response repeats.
type Header struct {
	ID               uint64
	LSN              pg.LSN // of which version is asked
	NotModifiedSince pg.LSN // what is asked for has not changed since, up to LSN
}

// Request is one request. Which fields count depends on Op.
type Request struct {
	Op Op
	Header
	Rel      pg.RelFork     // Exists, Blocks, GetPage
	Block    pg.BlockNumber // GetPage
	Database pg.OID         // DBSize
	SLRU     SLRUKind       // GetSLRUSegment
	Segment  uint32         // GetSLRUSegment
}

// Response is one response. Of an error only Header and Error are set.
type Response struct {
	Request        // as the server repeats it
	Failed  bool   // the request failed
	Error   string // why, where it failed
	Exists  bool
	Blocks  uint32
	Bytes   int64  // DBSize
	Pages   []byte // GetPage: one page; GetSLRUSegment: so many as there are. They alias the input
}

// SLRUKind is an SLRU by its number on the wire (SlruKind).
type SLRUKind uint8

// The SLRUs that a pageserver keeps.
const (
	Xact             SLRUKind = 0
	MultiXactMembers SLRUKind = 1
	MultiXactOffsets SLRUKind = 2
)

// KindOf is the number of an SLRU; ok is false for those that no pageserver keeps.
func KindOf(s pg.SLRU) (k SLRUKind, ok bool) {
	switch s {
	case pg.XactSLRU:
		return Xact, true
	case pg.MultiXactMemberSLRU:
		return MultiXactMembers, true
	case pg.MultiXactOffsetSLRU:
		return MultiXactOffsets, true
	}
	return 0, false
}

// SLRU is the SLRU that the number stands for.
func (k SLRUKind) SLRU() (s pg.SLRU, ok bool) {
	switch k {
	case Xact:
		return pg.XactSLRU, true
	case MultiXactMembers:
		return pg.MultiXactMemberSLRU, true
	case MultiXactOffsets:
		return pg.MultiXactOffsetSLRU, true
	}
	return 0, false
}

// ErrFormat says that bytes are no message of the protocol.
var ErrFormat = errors.New("no message of pagestream version 3")

func formatErrorf(at int, format string, args ...any) error {
	return fmt.Errorf("%w: byte %d: %s", ErrFormat, at, fmt.Sprintf(format, args...))
}
