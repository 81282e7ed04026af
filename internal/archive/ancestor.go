package archive

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"

	"redoubt/internal/pg"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
)

// Names of the file that says where a timeline's WAL leaves that of another:
// in the data directory that recovery made, and in the layout redoubt, below
// <tenant>/<timeline>/, where archive-push and the WAL backup agent store it.
const (
	AncestorFile = "redoubt-ancestor.json"
	AncestorKey  = "ancestor.json"
)

// Ancestor is the timeline that another was made from by recovery. Its WAL
// below LSN, of TLI and of those before it, is the new timeline's, too.
type Ancestor struct {
	Tenant   string `json:"tenant_id"`
	Timeline string `json:"timeline_id"`
	TLI      pg.TLI `json:"tli"` // PostgreSQL's, at LSN
	LSN      pg.LSN `json:"lsn"`
}

// ParseAncestor reads the file.
func ParseAncestor(data []byte) (a Ancestor, err error) {
	if err := json.Unmarshal(data, &a); err != nil {
		return a, err
	}
	if !storage.ValidName(a.Tenant) || !storage.ValidName(a.Timeline) || a.TLI == 0 || a.LSN == pg.InvalidLSN {
		return a, errors.New("it names no tenant, timeline, TLI and LSN")
	}
	return a, nil
}

// maxAncestors bounds how many timelines are followed back.
const maxAncestors = 16

// ancestry is where a segment may be besides its own timeline.
type ancestry struct {
	t   *Timeline
	tli pg.TLI // this one and lower ones
	end pg.LSN // only segments that begin below
}

// ancestors follows the timeline back, the nearest first. One that is not
// where the file says is left out: WAL of it is then missing.
func (t *Timeline) ancestors(ctx context.Context) ([]ancestry, error) {
	var out []ancestry
	at, tli, end := t, pg.TLI(0), pg.LSN(0)
	for at.place != nil {
		a, err := at.Ancestor(ctx)
		if err != nil || a == nil {
			return out, err
		}
		if len(out) == maxAncestors {
			return nil, fmt.Errorf("follow the ancestors of %s/%s: there are more than %d, or they go round in circles", t.tenant, t.id, maxAncestors)
		}
		next, err := at.archive.Timeline(ctx, a.Tenant, a.Timeline)
		if errors.Is(err, storage.ErrNotExist) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		id, err := next.Identify(ctx)
		if errors.Is(err, ErrNoWAL) {
			return out, nil
		}
		if err != nil {
			return nil, err
		}
		if id.SystemID != t.sysid || id.SegmentSize != t.size {
			return nil, damaged(at.place, AncestorKey, "%s/%s is of another cluster: its system identifier is %d, want %d", a.Tenant, a.Timeline, id.SystemID, t.sysid)
		}
		if len(out) == 0 || a.LSN < end {
			end = a.LSN
		}
		if len(out) == 0 || a.TLI < tli {
			tli = a.TLI
		}
		out = append(out, ancestry{next, tli, end})
		at = next
	}
	return out, nil
}

// Ancestor is the timeline that this one was made from by recovery, nil if it was not.
func (t *Timeline) Ancestor(ctx context.Context) (*Ancestor, error) {
	if t.place == nil {
		return nil, nil
	}
	var data []byte
	err := t.retry.Do(ctx, func() error {
		rc, err := t.place.Open(ctx, AncestorKey)
		if err != nil {
			return err
		}
		data, err = io.ReadAll(io.LimitReader(rc, maxSmallFile))
		return errors.Join(err, rc.Close())
	})
	if errors.Is(err, storage.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, fmt.Errorf("read the ancestor of %s/%s: %w", t.tenant, t.id, err)
	}
	a, err := ParseAncestor(data)
	if err != nil {
		return nil, damaged(t.place, AncestorKey, "%v", err)
	}
	return &a, nil
}

// holds reports whether the ancestor's segment is the timeline's, too.
func (a *ancestry) holds(tli pg.TLI, n pg.SegmentNo) bool {
	return tli <= a.tli && n.Start(a.t.size) < a.end
}

// findAny lists the copies of a file of the source's own timeline or, where
// that has none, of the nearest ancestor that has one.
func (s *Source) findAny(ctx context.Context, tli pg.TLI, n pg.SegmentNo, name string) (*Timeline, []walfile.Entry, error) {
	copies, err := s.t.find(ctx, name)
	if err != nil || len(copies) > 0 {
		return s.t, copies, err
	}
	for i := range s.ancestors {
		a := &s.ancestors[i]
		if !a.holds(tli, n) {
			continue
		}
		if copies, err = a.t.find(ctx, name); err != nil || len(copies) > 0 {
			return a.t, copies, err
		}
	}
	return s.t, nil, nil
}
