package walbackup

import (
	"context"
	"errors"
	"time"

	"redoubt/internal/pg"
	"redoubt/walbackup/coord"
	"redoubt/walbackup/journal"
	"redoubt/walbackup/local"
	"redoubt/walbackup/names"
	"redoubt/walbackup/requests"
)

// Bucket is where the WAL goes.
type Bucket interface {
	// Timeline is the place of one timeline's files.
	Timeline(id names.ID) (Objects, error)
}

// Source is a local file that can be read as often as it takes.
type Source struct {
	Path string
	Size int64
}

// Placed says how a file is in the bucket.
type Placed struct {
	Uploaded bool  // by this call; else it was there, with the same content
	Stored   int64 // bytes as stored
}

// Objects are the files of one timeline in the bucket, by PostgreSQL's names.
// Errors are ErrConflict, ErrFileGone, ErrRefused or of the moment.
type Objects interface {
	// PutOnce stores a file unless it is there; when it returns nil the file is
	// durable. Other content under the name is ErrConflict, and stays.
	PutOnce(ctx context.Context, name string, src Source) (Placed, error)
	// Compare is nil if the file is there with the source's content,
	// ErrConflict if it has another, ErrAbsent if it is not there.
	Compare(ctx context.Context, name string, src Source) error
	// Stored is the size as stored of what is there under the name, plausibly
	// whole; ErrAbsent if nothing is.
	Stored(ctx context.Context, name string) (int64, error)
	// Replace stores the begun segment in place of an older version of it.
	Replace(ctx context.Context, name string, src Source) error
}

// What a bucket can answer; everything else is of the moment.
var (
	ErrConflict = errors.New("other content is stored under this name")
	ErrFileGone = errors.New("the local file is not there")
	ErrRefused  = errors.New("the bucket does not take such a name")
	ErrAbsent   = errors.New("it is not in the bucket")
)

// Local is the WAL on this machine.
type Local interface {
	Run(ctx context.Context) error
	Subscribe(func(local.Notification)) (cancel func())
	Timelines() []local.Dir
	Dir(id names.ID) (local.Dir, bool)
	Inventory(id names.ID) (local.Inventory, error)
	// Problems are why timelines that are configured are not there.
	Problems() map[names.ID]error
}

// Coordinator is etcd.
type Coordinator interface {
	Join(ctx context.Context, by string, ttl time.Duration) (Session, error)
	States(ctx context.Context, id names.ID) (map[pg.TLI]coord.Recorded, error)
	AllStates(ctx context.Context) (map[names.ID]map[pg.TLI]coord.Recorded, error)
	Leaders(ctx context.Context) (map[names.ID]string, error)
	Horizons(ctx context.Context, id names.ID) (map[string]pg.LSN, error)
}

// Session is this agent's presence at etcd.
type Session interface {
	Done() <-chan struct{}
	Campaign(ctx context.Context, id names.ID) (Term, error)
	Leave(ctx context.Context) error
}

// Term is this agent's leadership of one timeline.
type Term interface {
	Advance(ctx context.Context, tli pg.TLI, old coord.Recorded, next coord.State) (coord.Recorded, error)
	Resign(ctx context.Context) error
}

// Queue is the requests for missing segments.
type Queue interface {
	Ask(ctx context.Context, k requests.Key, by, why string) (bool, error)
	Open(ctx context.Context, bad func(error)) ([]requests.Request, error)
	Watch(ctx context.Context, changed func())
	Claim(ctx context.Context, r requests.Request, by string, ttl time.Duration) (Claim, error)
}

// Claim is this agent's hold on a request.
type Claim interface {
	Complete(ctx context.Context) error
	Release(ctx context.Context) error
}

// Journal is what the agent remembers between two starts.
type Journal interface {
	Stored(ctx context.Context, id names.ID, f journal.File) error
	Lookup(ctx context.Context, id names.ID, name string) (journal.File, bool, error)
	Forget(ctx context.Context, before time.Time) error
	Raise(ctx context.Context, a journal.Alarm) error
	Clear(ctx context.Context, a journal.Alarm) error
	Alarms(ctx context.Context) ([]journal.Alarm, error)
}

// Counters count what happens.
type Counters interface {
	Upload(result string) // uploaded, already_there, conflict, missing, refused, error
	FileMissing()
	Conflict()
	Retired(result string) // removed, marked_done, would_remove
	Requested()
}

var (
	_ Local   = (*local.Storage)(nil)
	_ Journal = (*journal.Journal)(nil)
)

// etcd fits a client of coord to Coordinator.
type etcd struct{ *coord.Client }

// Etcd is the coordinator at a real etcd.
func Etcd(c *coord.Client) Coordinator { return etcd{c} }

func (e etcd) Join(ctx context.Context, by string, ttl time.Duration) (Session, error) {
	s, err := e.Client.Join(ctx, by, ttl)
	if err != nil {
		return nil, err
	}
	return session{s}, nil
}

type session struct{ *coord.Session }

func (s session) Campaign(ctx context.Context, id names.ID) (Term, error) {
	t, err := s.Session.Campaign(ctx, id)
	if err != nil {
		return nil, err
	}
	return t, nil
}

// queue fits requests.Queue to Queue.
type requestQueue struct{ *requests.Queue }

// Requests is the queue at a real etcd.
func Requests(c *coord.Client) Queue { return requestQueue{requests.New(c)} }

func (q requestQueue) Claim(ctx context.Context, r requests.Request, by string, ttl time.Duration) (Claim, error) {
	c, err := q.Queue.Claim(ctx, r, by, ttl)
	if err != nil {
		return nil, err
	}
	return c, nil
}
