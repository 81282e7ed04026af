package main

import (
	"context"
	"fmt"
	"net/url"
	"path"
	"path/filepath"
	"strings"

	"redoubt/internal/official/snapshot"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/storage"
	"redoubt/replay"
	"redoubt/verify"
)

// snapshotSide is a snapshot as verify wants it.
type snapshotSide struct {
	*snapshot.Snapshot
	name string
}

var (
	_ verify.Snapshot = snapshotSide{}
	_ replay.OnDemand = snapshotSide{}
)

func openSide(ctx context.Context, location string) (snapshotSide, error) {
	if s, _, ok := strings.Cut(location, "://"); ok && (s == "postgres" || s == "postgresql" || s == "pageserver") {
		return snapshotSide{}, fmt.Errorf("%s:// cannot be this side: name a data directory or a base backup", s)
	}
	s, err := snapshot.Open(ctx, location, snapshot.Options{})
	return snapshotSide{s, storage.Redacted(location)}, err
}

func (s snapshotSide) Name() string { return s.name }

// OnDemand fits replay.OnDemand.
func (s snapshotSide) OnDemand(ctx context.Context, v datadir.Visitor) (replay.BasePages, error) {
	p, err := s.Snapshot.OnDemand(ctx, v)
	if p == nil || err != nil {
		return nil, err
	}
	return p, nil
}

func (s snapshotSide) Problems() []string {
	var out []string
	for _, p := range s.Snapshot.Problems() {
		out = append(out, p.String())
	}
	return out
}

// Meta peeks; only a backup from a standby in a tar must be read whole to know
// where it is consistent.
func (s snapshotSide) Meta(ctx context.Context) (verify.Meta, error) {
	info, err := s.Peek(ctx)
	if err != nil {
		return verify.Meta{}, err
	}
	if info.FromStandby && info.Consistent == 0 {
		if err := s.Walk(ctx, snapshot.Ignore{}); err != nil {
			return verify.Meta{}, err
		}
		info = s.Info()
	}
	return metaOf(info), nil
}

func metaOf(i snapshot.Info) verify.Meta {
	m := verify.Meta{
		Major: i.Major, SystemID: i.SystemIdentifier, Online: i.Online, FromStandby: i.FromStandby,
		Redo: i.Redo, TLI: i.StartTLI, Consistent: i.Consistent,
	}
	if !i.Online && i.HasControl && i.Control.State == datadir.ShutDownInRecovery {
		m.Online, m.FromStandby = true, true // transactions may be under way: a standby, or a snapshot made by replay
	}
	return m
}

// below is the location of something below another location.
func below(location string, parts ...string) string {
	if !strings.Contains(location, "://") {
		return filepath.Join(append([]string{location}, parts...)...)
	}
	u, err := url.Parse(location)
	if err != nil {
		return location
	}
	u.Path = path.Join(append([]string{u.Path}, parts...)...)
	return u.String()
}
