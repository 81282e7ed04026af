package main

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/url"
	"strings"

	"redoubt/internal/config"
	"redoubt/internal/ledger"
	"redoubt/internal/neonapi"
	"redoubt/internal/official/pageserver"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/replay"
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
	e, err := n.catalog.Expect(ctx, t.Key)
	switch {
	case err != nil:
		return broken("%v", err)
	case !e.Known:
		return broken("it is not known up to where its WAL is in the bucket: %s", strings.Join(e.Doubts, "; "))
	}
	// One segment less than both have, so that the record at its end is there whole.
	end := pg.SegmentOf(min(readable.To, e.To), e.SegmentSize).Start(e.SegmentSize)
	if upto := end - min(end, pg.LSN(e.SegmentSize)); upto > readable.From {
		return scheduler.Snapshot{Name: pagesName, Redo: readable.From, Upto: upto, TLI: 1, Major: t.Major()}
	}
	return broken("its pages can be read from %s on, and its WAL is in the bucket up to %s: less than two segments", readable.From, e.To)
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

// openReadable opens a timeline's pages at the first record that begins at or
// behind an LSN.
func (s *site) openReadable(ctx context.Context, src config.Source, k ledger.TimelineKey, lsn pg.LSN, archived replay.WALSource) (side, error) {
	t, _, err := s.neonTimeline(ctx, src, k)
	if err != nil {
		return nil, err
	}
	location, err := pagesLocation(src.Official, t)
	if err != nil {
		return nil, err
	}
	target, err := pageserver.Parse(location)
	if err != nil {
		return nil, err
	}
	if target.Options.Token, err = bearer(src.Neon.PageserverToken)(); err != nil {
		return nil, fmt.Errorf("read the token for pageservers: %w", err)
	}
	at, err := recordAt(ctx, archived, lsn)
	if err != nil {
		return nil, err
	}
	return pageSide{pageserver.At(pageserver.New(target), at, nil)}, nil
}

// pagesLocation is where a timeline's pages are, by what a source says of all
// (pageserver://:PORT?PARAMETERS) and where its shards are attached.
func pagesLocation(official string, t *neonapi.Timeline) (string, error) {
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
	if u.RawQuery != "" {
		location += "?" + u.RawQuery
	}
	return location, nil
}

// recordAt is where the first record begins that begins at lsn or behind it.
func recordAt(ctx context.Context, src replay.WALSource, lsn pg.LSN) (_ pg.LSN, err error) {
	stream, err := src.Open(ctx, lsn)
	if err != nil {
		return 0, fmt.Errorf("look for the record at %s: %w", lsn, err)
	}
	defer func() { err = errors.Join(err, stream.Close()) }()
	var rec wal.Record
	if err := wal.NewReader(stream.ReadPages, wal.Config{Start: lsn, SegmentSize: src.SegmentSize(), FindFirst: true, MayBeginLate: true}).Next(&rec); err != nil {
		return 0, fmt.Errorf("look for the record at %s: %w", lsn, err)
	}
	return rec.LSN, nil
}
