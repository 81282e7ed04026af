package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strconv"
	"strings"

	"redoubt/internal/config"
	"redoubt/internal/ledger"
	"redoubt/internal/neonapi"
	"redoubt/internal/official/pageserver"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
	"redoubt/replay/native"
	"redoubt/scheduler"
)

// pagesName is the name of a timeline's pages on its pageservers among its snapshots.
const pagesName = "pageserver"

// defaultPagestreamPort is where pageservers take libpq's connections.
const defaultPagestreamPort = "6400"

// readablePages are the LSNs at which the pageservers have a timeline's pages
// and the bucket has the WAL that leads from one to another, as the scheduler
// wants them. Why there are none is a part of it.
func (s *site) readablePages(ctx context.Context, src config.Source, k ledger.TimelineKey) scheduler.Snapshot {
	broken := func(format string, args ...any) scheduler.Snapshot {
		return scheduler.Snapshot{Name: pagesName, Broken: fmt.Sprintf(format, args...)}
	}
	t, n, err := s.neonTimeline(ctx, src, k)
	if err != nil {
		return broken("%v", err)
	}
	readable, why := t.Readable()
	if why != "" {
		return broken("%s", why)
	}
	if _, err := pagesTarget(src, t, 0); err != nil { // stripes matter when pages are read
		return broken("%v", err)
	}
	e, err := n.catalog.Expect(ctx, t.Key)
	switch {
	case err != nil:
		return broken("%v", err)
	case !e.Known:
		return broken("it is not known up to where its WAL is in the bucket: %s", strings.Join(e.Doubts, "; "))
	}
	upto, err := s.wholeUpto(ctx, k, readable, e)
	switch {
	case err != nil:
		return broken("%v", err)
	case upto <= readable.From:
		return broken("its pages can be read from %s on, and its WAL is in the bucket up to %s", readable.From, e.To)
	}
	return scheduler.Snapshot{Name: pagesName, Redo: readable.From, Upto: upto, TLI: 1, Major: t.Major()}
}

// wholeUpto is the end of the last record within the readable range that the
// bucket has whole: in segments up to where the safekeepers say, and in what
// one had of the next when it last stored it.
func (s *site) wholeUpto(ctx context.Context, k ledger.TimelineKey, readable pg.Range, e neonapi.Expected) (pg.LSN, error) {
	t, _, err := s.timeline(ctx, k)
	if err != nil {
		return 0, err
	}
	src, err := t.Source(ctx, 1)
	if err != nil {
		return 0, err
	}
	whole := pg.SegmentOf(min(readable.To, e.To), e.SegmentSize).Start(e.SegmentSize)
	from := max(readable.From, whole-min(whole, pg.LSN(e.SegmentSize)))
	if from >= readable.To {
		return 0, nil
	}
	end := pg.LSN(0)
	at, err := native.FirstRecord(ctx, src, from)
	if err == nil {
		err = native.EachTouch(ctx, src, pg.Range{From: at, To: readable.To}, func(to pg.LSN) { end = to }, nil)
	}
	var missing *wal.MissingError
	var torn *wal.EndError
	switch {
	case err == nil, errors.As(err, &missing):
		return end, nil
	case errors.As(err, &torn) && torn.LSN >= whole: // where the bucket's part of a segment ends
		return end, nil
	case errors.As(err, &torn):
		return whole, nil // damage, which the span that reads it tells of
	}
	return 0, err
}

// neonTimeline is what the servers of a source said of a timeline.
func (s *site) neonTimeline(ctx context.Context, src config.Source, k ledger.TimelineKey) (*neonapi.Timeline, *neonSource, error) {
	n, err := s.neon(src)
	if err != nil {
		return nil, nil, err
	}
	v, err := n.look(ctx, viewAge)
	if err != nil {
		return nil, nil, err
	}
	t, ok := v.Find(neonapi.Key{Tenant: k.Tenant, Timeline: k.Timeline})
	if !ok {
		return nil, nil, errors.New("no pageserver and no safekeeper that answered has it")
	}
	return t, n, nil
}

// readableAt says whether a snapshot's name means pages of a source's
// pageservers, and at which LSN.
func readableAt(src config.Source, name string) (pg.LSN, bool) {
	of, lsn, ok := scheduler.SplitAt(name)
	return lsn, ok && of == pagesName && isPageserver(src.Official)
}

// openReadable opens a timeline's pages at an LSN, or the next at which a record
// ends; those of a base at or before the LSN where a branch leaves its
// ancestor are the ancestor's, where that can be read there: so what became of
// them when the branch was made is compared, too.
func (s *site) openReadable(ctx context.Context, src config.Source, k ledger.TimelineKey, lsn pg.LSN, archived replay.WALSource, base bool) (side, error) {
	t, n, err := s.neonTimeline(ctx, src, k)
	if err != nil {
		return nil, err
	}
	at, err := native.Boundary(ctx, archived, lsn)
	if err != nil {
		return nil, err
	}
	if base {
		t = n.owner(t, at)
	}
	stripe, err := n.catalog.StripeSize(ctx, t)
	if err != nil {
		return nil, err
	}
	target, err := pagesTarget(src, t, stripe)
	if err != nil {
		return nil, err
	}
	if target.Options.Token, err = bearer(src.Neon.PageserverToken)(); err != nil {
		return nil, fmt.Errorf("read the token for pageservers: %w", err)
	}
	return pageSide{pageserver.At(pageserver.New(target), at, nil)}, nil
}

// owner is the timeline whose own an LSN of t is, t itself or an ancestor; the
// last one before an ancestor that cannot be read there.
func (n *neonSource) owner(t *neonapi.Timeline, at pg.LSN) *neonapi.Timeline {
	n.mu.Lock()
	defer n.mu.Unlock()
	for seen := map[string]bool{}; t.Ancestor != "" && at <= t.AncestorLSN && !seen[t.Timeline]; {
		seen[t.Timeline] = true
		next, ok := n.view.Find(neonapi.Key{Tenant: t.Tenant, Timeline: t.Ancestor})
		if !ok {
			return t
		}
		if r, why := next.Readable(); why != "" || at < r.From || at > r.To {
			return t
		}
		t = next
	}
	return t
}

// pagesTarget is pagesLocation, read.
func pagesTarget(src config.Source, t *neonapi.Timeline, stripe uint32) (pageserver.Target, error) {
	location, err := pagesLocation(src.Official, t, stripe)
	if err != nil {
		return pageserver.Target{}, err
	}
	target, err := pageserver.Parse(location)
	if err != nil {
		return target, fmt.Errorf("read official of source %s: %w", src.Name, err)
	}
	return target, nil
}

// pagesLocation is where a timeline's pages are, by what a source says of all
// (pageserver://:PORT?PARAMETERS) and where its shards are attached, in stripes
// of so many blocks; 0 is what the parameters say.
func pagesLocation(official string, t *neonapi.Timeline, stripe uint32) (string, error) {
	u, err := url.Parse(official)
	if err != nil {
		return "", err
	}
	if _, why := t.Readable(); why != "" {
		return "", errors.New(why)
	}
	var hosts []string
	for _, shard := range t.Shards {
		host, err := shard.Host()
		if err != nil {
			return "", err
		}
		hosts = append(hosts, net.JoinHostPort(host, cmpOr(u.Port(), defaultPagestreamPort)))
	}
	location := pageserver.Scheme + "://" + strings.Join(hosts, ",") + "/" + t.Tenant + "/" + t.Timeline
	q := u.Query()
	if stripe != 0 {
		told := strconv.FormatUint(uint64(stripe), 10)
		if set := q.Get("stripe_size"); set != "" && set != told {
			return "", fmt.Errorf("official says stripe_size=%s, and the pageserver that the stripes of tenant %s have %s blocks: take the parameter out", set, t.Tenant, told)
		}
		q.Set("stripe_size", told)
	}
	if len(q) > 0 {
		location += "?" + q.Encode()
	}
	return location, nil
}
