package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/pg"
	"redoubt/walbackup/coord"
	walnames "redoubt/walbackup/names"
)

// TestPushAdvances: archive-push moves the WAL backup LSN in etcd, never over
// a hole, over what is stored already once the hole is filled, and not without etcd.
func TestPushAdvances(t *testing.T) {
	t.Parallel()
	etcd, dir := newSoakEtcd(t), t.TempDir()
	wal := filepath.Join(dir, "wal")
	must(t, os.MkdirAll(wal, 0o700))
	must(t, os.MkdirAll(filepath.Join(dir, "bucket"), 0o700))
	names := segmentsInto(t, wal)
	config := filepath.Join(dir, "config.yaml")
	put(t, config, fmt.Appendf(nil, `
data_dir: ./data
walbackup:
  bucket: ./bucket
  sources: [{path: ./wal, tenant: prod, timeline: main}]
  agent: {etcd: {endpoints: ["%s"]}}
`, strings.Join(etcd.clients, `", "`)))
	client, err := coord.Dial(t.Context(), coord.Config{Endpoints: etcd.clients, Prefix: "/redoubt"})
	must(t, err)
	t.Cleanup(func() { _ = client.Close() })
	const size = 1 << 20
	_, first, err := pg.ParseSegmentName(names[0], size)
	must(t, err)
	push := func(i int, stored int) {
		t.Helper()
		redoubt(t, "archive-push", "-c", config, filepath.Join(wal, names[i])).want(t, exitClean)
		states, err := client.States(t.Context(), walnames.ID{Tenant: "prod", Timeline: "main"})
		must(t, err)
		same(t, fmt.Sprintf("start after segment %d", i), first.Start(size), states[1].Start)
		same(t, fmt.Sprintf("WAL backup LSN after segment %d", i), (first + pg.SegmentNo(stored)).Start(size), states[1].Backup)
	}
	push(0, 1)
	push(0, 1) // again
	push(1, 2)
	push(3, 2)
	session, err := client.Join(t.Context(), "the-agent", time.Minute)
	must(t, err)
	_, err = session.Campaign(t.Context(), walnames.ID{Tenant: "prod", Timeline: "main"})
	must(t, err)
	o := redoubt(t, "archive-push", "-c", config, filepath.Join(wal, names[1]))
	o.want(t, exitClean, "the-agent leads prod/main", "don't go together")
	must(t, session.Leave(t.Context()))
	for i := range 3 {
		etcd.kill(i)
	}
	o = redoubt(t, "archive-push", "-c", config, filepath.Join(wal, names[2]))
	o.want(t, exitClean)
	if !strings.Contains(o.stderr, "the WAL backup LSN was not advanced") {
		t.Errorf("without etcd it says: %s", o.stderr)
	}
	for i := range 3 {
		etcd.start(i)
	}
	push(4, 5)
}
