package recovery

import (
	"context"
	"errors"
	"fmt"
	"sync"

	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/replay"
)

// onDemand is the base's pages if they can be read in any order: then neither
// a pass over the WAL nor one over the base has to come before the replay. The
// engine and the survey have seen the rest of the base. It returns nil if the
// base is to be streamed.
func (r *run) onDemand(ctx context.Context) (replay.BasePages, error) {
	base, ok := r.Base.(replay.OnDemand)
	if !ok {
		return nil, nil
	}
	none := func(pg.RelFork, pg.BlockNumber) bool { return false }
	r.survey = newSurvey(none, r.stageBytes("read base"))
	pages, err := base.OnDemand(ctx, both{r.engine, r.survey})
	if err != nil {
		return nil, fmt.Errorf("read base: %w", err)
	}
	if pages == nil {
		return nil, nil
	}
	if err := r.settleBase(); err != nil {
		return nil, errors.Join(err, pages.Close())
	}
	return &surveyed{BasePages: pages, survey: r.survey}, nil
}

// surveyed looks at the pages that redo builds on, as survey.Blocks does.
type surveyed struct {
	replay.BasePages
	mu     sync.Mutex
	survey *survey
}

// Page fits replay.BasePages.
func (s *surveyed) Page(f pg.RelFork, n pg.BlockNumber, p []byte) (bool, error) {
	ok, err := s.BasePages.Page(f, n, p)
	if ok && err == nil && s.survey.decoded.Checksums() && rotten(p, n) {
		s.mu.Lock()
		defer s.mu.Unlock()
		s.survey.isRotten(f, n)
	}
	return ok, err
}

// rotten reports whether a page does not fit its checksum.
func rotten(p page.Page, n pg.BlockNumber) bool {
	return !p.IsNew() && p.ComputeChecksum(n) != p.Checksum()
}
