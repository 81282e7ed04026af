package main

import (
	"log/slog"
	"path/filepath"
	"testing"
	"time"

	"redoubt/internal/config"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/walbackup/coord"
	walnames "redoubt/walbackup/names"
	"redoubt/walbackup/requests"
)

// TestGapStatus: what parallel uploads leave behind is delayed, for as long as
// an agent leads and the WAL backup LSN goes on; whatever is below the LSN, or
// late for too long, is a finding.
func TestGapStatus(t *testing.T) {
	t.Parallel()
	dir := filepath.Join(shortDir(t), "etcd")
	etcd, err := coord.Embed(t.Context(), dir, slog.New(slog.DiscardHandler))
	must(t, err)
	t.Cleanup(etcd.Close)
	client, err := coord.Dial(t.Context(), coord.Config{Endpoints: []string{coord.EmbeddedEndpoint(dir)}, Prefix: "/redoubt"})
	must(t, err)
	t.Cleanup(func() { must(t, client.Close()) })
	const size = 1 << 20
	at := func(n pg.SegmentNo) pg.LSN { return n.Start(size) }
	id := walnames.ID{Tenant: "prod", Timeline: "main"}
	asked := 0
	q := &requeuer{client: client, queue: requests.New(client), asked: func() { asked++ }, patience: time.Hour}
	status := func(what string, n pg.SegmentNo, want string) {
		t.Helper()
		got, err := q.Requeue(t.Context(), id.Tenant, id.Timeline, finding.Gap{From: at(n), To: at(n + 1), Segments: []string{pg.SegmentName(1, n, size)}})
		must(t, err)
		same(t, what, want, got)
	}
	status("a timeline that nobody backs up", 7, gapMissing)
	session, err := client.Join(t.Context(), "agent", time.Minute)
	must(t, err)
	term, err := session.Campaign(t.Context(), id)
	must(t, err)
	_, err = term.Advance(t.Context(), 1, coord.Recorded{}, coord.State{Start: at(3), Backup: at(6), SegmentSize: size, SystemID: 1})
	must(t, err)
	status("beyond the WAL backup LSN", 7, gapDelayed)
	cfg := &config.Config{Sources: []config.Source{{Name: "ours", WAL: "/bucket"}, {Name: "other", WAL: "/elsewhere"}}}
	cfg.WALBackup.Bucket = "/bucket"
	s := &service{cfg: cfg, site: &site{cfg: cfg, agents: q}, log: slog.New(slog.DiscardHandler)}
	listed := []finding.TimelineStatus{{TenantID: "prod", TimelineID: "main", Source: "ours"}, {TenantID: "prod", TimelineID: "main", Source: "other"}, {TenantID: "x", TimelineID: "y", Source: "ours"}}
	s.backupLSNs(t.Context(), listed)
	if l := listed[0].WALBackupLSN; l == nil || *l != at(6) || listed[1].WALBackupLSN != nil || listed[2].WALBackupLSN != nil {
		t.Errorf("WAL backup LSNs in a listing: %+v", listed)
	}
	status("at it", 6, gapDelayed)
	status("below it", 5, gapRequeued)
	q.patience = time.Millisecond
	status("beyond it for too long", 7, gapRequeued)
	q.patience = 0
	status("without patience", 7, gapRequeued)
	same(t, "segments asked for, each once", 3, asked)

	q.patience = time.Hour
	open, err := q.queue.Open(t.Context(), func(err error) { t.Error(err) })
	must(t, err)
	for _, r := range open {
		_, err := q.queue.Claim(t.Context(), r, "agent", time.Minute)
		must(t, err)
	}
	status("below it, and an agent is at work", 5, gapUploading)
	long := finding.Gap{From: at(5), To: at(7), Segments: []string{pg.SegmentName(1, 5, size)}}
	got, err := q.Requeue(t.Context(), id.Tenant, id.Timeline, long)
	must(t, err)
	same(t, "a gap of which not all is named", gapRequeued, got)
	q.patience = time.Millisecond
	status("an agent is at work for too long", 5, gapRequeued)
	q.patience = time.Hour
	must(t, session.Leave(t.Context()))
	status("nobody leads", 7, gapUploading)
	q.patience = time.Millisecond
	status("nobody leads, and it is claimed for long", 7, gapRequeued)
}

func TestSamePlace(t *testing.T) {
	t.Parallel()
	for _, c := range []struct {
		a, b string
		same bool
	}{
		{"s3://wal/prod?region=x", "s3://wal/prod/?region=x&idle_timeout=2m", true},
		{"s3://wal/prod", "s3://wal/prod2", false},
		{"s3://wal/prod?endpoint=http://a", "s3://wal/prod?endpoint=http://b", false},
		{"/archive", "/archive/", true},
		{"/archive", "/archives", false},
	} {
		same(t, c.a+" "+c.b, c.same, samePlace(c.a, c.b))
	}
}
