package pageserver

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net"
	"strings"

	"github.com/jackc/pgx/v5/pgconn"

	"redoubt/internal/official/pageserver/wire"
)

// Reason sorts why a pageserver could not be read.
type Reason string

// What keeps a pageserver from being read.
const (
	Collected   Reason = "history collected"  // garbage collection passed the LSN
	NoTimeline  Reason = "no such timeline"   // deleted, or never there
	NoTenant    Reason = "no such tenant"     // detached, or on another pageserver
	Refused     Reason = "access refused"     // token missing, wrong or of another tenant
	LeaseLost   Reason = "lease lost"         // or not to be had
	Unreachable Reason = "not to be reached"  // connections fail
	Protocol    Reason = "not understood"     // an answer that is none
	Failed      Reason = "the request failed" // what else the server says
)

// Error says why a pageserver could not be read. Nothing is known then of what
// was asked for: neither that it is right nor that it is wrong.
type Error struct {
	Reason Reason
	Server string // host:port
	Doing  string
	Err    error
}

func (e *Error) Error() string {
	return fmt.Sprintf("%s from pageserver %s: %s: %v", e.Doing, e.Server, e.Reason, e.Err)
}

func (e *Error) Unwrap() error { return e.Err }

// reasonOf sorts what a server says of a request that failed. The words are
// those of pageserver/src/page_service.rs and pageserver/src/tenant.rs; words
// that are not known cost only the sorting.
func reasonOf(message string) Reason {
	m := strings.ToLower(message)
	has := func(words ...string) bool {
		for _, w := range words {
			if !strings.Contains(m, w) {
				return false
			}
		}
		return true
	}
	switch {
	case has("garbage collected"), has("gc cutoff"):
		return Collected
	case has("timeline", "not found"), has("timeline", "deletion"), has("timeline", "archived"), has("timeline", "not active"):
		return NoTimeline
	case has("tenant", "not found"), has("tenant", "not active"), has("will not become active"), has("not attached"):
		return NoTenant
	case has("jwt"), has("unauthorized"), has("permission"), has("scope"):
		return Refused
	}
	return Failed
}

// isAbsent says that a server has nothing under a key, which may never have been there.
func isAbsent(err error) bool {
	var known *Error
	return errors.As(err, &known) && known.Reason == Failed && strings.Contains(known.Err.Error(), "could not find data for key")
}

// serverError is the error of a command that the server refused.
func serverError(err *pgconn.PgError) Reason {
	if err.Code == "28P01" || err.Code == "28000" {
		return Refused
	}
	return reasonOf(err.Message)
}

// passing says whether a new connection may do better: the old one broke, or
// the server asks for it, as one that is shut down or has moved a tenant away does.
func passing(err error) bool {
	var server *pgconn.PgError
	var netErr net.Error
	switch {
	case errors.Is(err, context.Canceled), errors.Is(err, wire.ErrFormat):
		return false
	case errors.As(err, &server):
		return strings.HasPrefix(server.Code, "08") || strings.HasPrefix(server.Code, "57P")
	case errors.Is(err, io.EOF), errors.Is(err, io.ErrUnexpectedEOF), errors.As(err, &netErr), errors.Is(err, net.ErrClosed):
		return true
	}
	return errors.Is(err, errBroken)
}

// errBroken marks connections that ended in the middle of something.
var errBroken = errors.New("the connection broke off")

// sorted is err as an *Error.
func sorted(server, doing string, err error) error {
	var known *Error
	if err == nil || errors.As(err, &known) {
		return err
	}
	reason := Unreachable
	var refused *pgconn.PgError
	switch {
	case errors.As(err, &refused):
		reason = serverError(refused)
	case errors.Is(err, wire.ErrFormat), errors.Is(err, errOtherAnswer):
		reason = Protocol
	}
	return &Error{Reason: reason, Server: server, Doing: doing, Err: err}
}

var errOtherAnswer = errors.New("the answer is to another request than the one that was sent")
