package neonapi

import (
	"context"
	"encoding/json"

	"redoubt/internal/pg"
)

// Safekeeper asks one safekeeper.
type Safekeeper struct{ client }

// NewSafekeeper makes a client of the server at an address such as http://host:7676.
func NewSafekeeper(address string, opt Options) (*Safekeeper, error) {
	c, err := newClient("safekeeper", address, opt)
	return &Safekeeper{c}, err
}

// Key names a timeline.
type Key struct{ Tenant, Timeline string }

// Timelines lists all timelines that the server has.
func (s *Safekeeper) Timelines(ctx context.Context) (out []Key, err error) {
	type ids struct {
		Tenant   *string `json:"tenant_id"`
		Timeline *string `json:"timeline_id"`
	}
	err = s.get(ctx, "/v1/tenant/timeline", func(dec *json.Decoder) error {
		out = nil
		return each(dec, maxListed, func(t ids) error {
			if err := complete("a timeline", t); err != nil {
				return err
			}
			if !isID(*t.Tenant) || !isID(*t.Timeline) {
				return badAnswer("%.80q and %.80q are no ids of a tenant and a timeline", *t.Tenant, *t.Timeline)
			}
			out = append(out, Key{*t.Tenant, *t.Timeline})
			return nil
		})
	})
	return out, err
}

// Stored is what a safekeeper says of a timeline's WAL.
type Stored struct {
	TimelineStartLSN pg.LSN // where the timeline's WAL begins
	LocalStartLSN    pg.LSN // from where on this server has had it
	CommitLSN        pg.LSN // up to where it is certain
	FlushLSN         pg.LSN // up to where this server has it on disk
	BackupLSN        pg.LSN // up to where it is in the bucket
	Term             uint64
	SegmentSize      int64
	SystemID         uint64
	PGVersion        int // such as 150013; 0: not known
}

// Timeline asks for one timeline; found is false if the server says that it has none such.
func (s *Safekeeper) Timeline(ctx context.Context, k Key) (out Stored, found bool, err error) {
	err = s.get(ctx, "/v1/tenant/"+k.Tenant+"/timeline/"+k.Timeline, func(dec *json.Decoder) error {
		var t timelineStatus
		if err := dec.Decode(&t); err != nil {
			return err
		}
		out, err = t.known(k)
		return err
	})
	if notFound(err) {
		return Stored{}, false, nil
	}
	return out, err == nil, err
}

// timelineStatus is the published TimelineStatus, as far as it is used.
type timelineStatus struct {
	Tenant     *string `json:"tenant_id"`
	Timeline   *string `json:"timeline_id"`
	Start      *pg.LSN `json:"timeline_start_lsn"`
	LocalStart *pg.LSN `json:"local_start_lsn"`
	Commit     *pg.LSN `json:"commit_lsn"`
	Flush      *pg.LSN `json:"flush_lsn"`
	Backup     *pg.LSN `json:"backup_lsn"`
	Info       *pgInfo `json:"pg_info"`
	Acceptor   *struct {
		Term *uint64 `json:"term"`
	} `json:"acceptor_state"`
}

type pgInfo struct {
	Version     *int    `json:"pg_version"`
	SystemID    *uint64 `json:"system_id"`
	SegmentSize *int64  `json:"wal_seg_size"`
}

func (t *timelineStatus) known(k Key) (out Stored, err error) {
	if err := complete("the timeline", *t); err != nil {
		return out, err
	}
	if err := complete("pg_info", *t.Info); err != nil {
		return out, err
	}
	if err := complete("acceptor_state", *t.Acceptor); err != nil {
		return out, err
	}
	out = Stored{
		TimelineStartLSN: *t.Start, LocalStartLSN: *t.LocalStart, CommitLSN: *t.Commit, FlushLSN: *t.Flush, BackupLSN: *t.Backup,
		Term: *t.Acceptor.Term, SegmentSize: *t.Info.SegmentSize, SystemID: *t.Info.SystemID, PGVersion: *t.Info.Version,
	}
	switch {
	case *t.Tenant != k.Tenant || *t.Timeline != k.Timeline:
		return out, badAnswer("it is about %.80q/%.80q", *t.Tenant, *t.Timeline)
	case !pg.ValidSegmentSize(out.SegmentSize):
		return out, badAnswer("wal_seg_size is %d", out.SegmentSize)
	case out.TimelineStartLSN == pg.InvalidLSN:
		return out, badAnswer("timeline_start_lsn is not set: no WAL was received yet")
	case out.BackupLSN < out.TimelineStartLSN:
		return out, badAnswer("backup_lsn %s is below timeline_start_lsn %s", out.BackupLSN, out.TimelineStartLSN)
	}
	return out, nil
}
