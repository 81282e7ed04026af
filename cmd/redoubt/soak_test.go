package main

import (
	"bytes"
	"cmp"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"

	"redoubt/internal/compress"
	"redoubt/internal/pg"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage/storagetest"
	"redoubt/walbackup/coord"
)

// soakTime is how long faults are injected; `make soak` asks for more.
func soakTime(t *testing.T) time.Duration {
	d, err := time.ParseDuration(cmp.Or(os.Getenv("REDOUBT_SOAK"), "10s"))
	must(t, err)
	return d
}

// TestSoak runs two agents on real WAL: a PostgreSQL 15 under load, streamed
// by a pg_receivewal for each agent, and a PostgreSQL 17 whose .ready files one
// of them serves; with three etcd members and a real S3 server. Agents, members
// and S3 server are killed at random, the leader is stopped past its lease and
// goes on; what the agents hear of S3 and etcd comes late, slowly, in pieces, as
// errors, or not at all, each kind at least once. Afterwards every complete segment is in the bucket byte for byte,
// the WAL backup LSN never went back, nor was it ever recorded beyond what the
// bucket had, and no segment vanished from a disk that the bucket had not got.
func TestSoak(t *testing.T) {
	s := newSoak(t)
	s.startAgents()
	s.disturbAll()
	deadline := time.Now().Add(soakTime(t))
	rnd := rand.New(rand.NewPCG(uint64(time.Now().UnixNano()), 1))
	for time.Now().Before(deadline) {
		s.fault(rnd)
		time.Sleep(time.Duration(rnd.Int64N(int64(500 * time.Millisecond))))
	}
	s.endLoad()
	s.settle()
	s.judge()
}

type soak struct {
	t        *testing.T
	etcd     *soakEtcd
	s3       *storagetest.Killable
	net      *soakNet
	fifteen  *pgtest.Cluster
	newer    *pgtest.Cluster
	received [2]string // directories of pg_receivewal
	configs  [2]string
	agents   [2]*exec.Cmd
	ended    [2]chan struct{} // closed when the agent has ended
	logs     [2]*os.File
	env      []string
	client   *clientv3.Client

	stopLoad, stop context.CancelFunc
	loading        sync.WaitGroup
	working        sync.WaitGroup

	mu    sync.Mutex
	truth map[string][]byte // complete files, by timeline and name
	gone  int
	calls map[string]int
}

const soakBucket = "wal"

func newSoak(t *testing.T) *soak {
	s := &soak{t: t, truth: make(map[string][]byte), calls: make(map[string]int)}
	s.newer = pgtest.Server(t, 17, pgtest.WALSegmentMiB(1), pgtest.Conf("archive_command", ""), pgtest.Conf("wal_recycle", "off"))
	s.fifteen = pgtest.Server(t, 15, pgtest.WALSegmentMiB(1), pgtest.Conf("wal_keep_size", "4GB"), pgtest.NoArchive())
	receive := pgtest.Tool(t, 15, "pg_receivewal")
	s.s3 = storagetest.KillableS3(t)
	s.env = append(os.Environ(), s.s3.Env()...)
	location := s.s3.Bucket(soakBucket)
	s.etcd = newSoakEtcd(t)
	s.net = newSoakNet(t, s.s3.Addr, s.etcd.clients)
	var err error
	s.client, err = clientv3.New(clientv3.Config{Endpoints: s.etcd.clients, DialTimeout: 20 * time.Second})
	must(t, err)
	t.Cleanup(func() { _ = s.client.Close() })
	for i := range 2 {
		dir := t.TempDir()
		s.received[i] = filepath.Join(dir, "wal")
		must(t, os.Mkdir(s.received[i], 0o700))
		s.receive(receive, s.received[i])
		s.configs[i] = s.configure(i, dir, strings.Replace(location, s.s3.Addr, s.net.s3[i].Addr, 1)+"&idle_timeout=1s")
		s.logs[i], err = os.Create(filepath.Join(dir, "log"))
		must(t, err)
		t.Cleanup(func() { s.closeLog(i) })
	}
	ctx, stop := context.WithCancel(t.Context())
	s.stop = stop
	lctx, stopLoad := context.WithCancel(ctx)
	s.stopLoad = stopLoad
	for i, c := range []*pgtest.Cluster{s.fifteen, s.newer} {
		c.Exec("CREATE TABLE load (id bigserial, t text)")
		s.loading.Go(func() { s.load(lctx, c, i) })
	}
	for i := range 2 {
		s.working.Go(func() { s.witness(ctx, s.received[i], "fifteen", nil) })
	}
	s.working.Go(func() { s.witness(ctx, filepath.Join(s.newer.Data, "pg_wal"), "newer", s.ready) })
	t.Cleanup(func() { stop(); s.loading.Wait(); s.working.Wait() })
	return s
}

func (s *soak) closeLog(i int) {
	name := s.logs[i].Name()
	_ = s.logs[i].Close()
	if !s.t.Failed() {
		return
	}
	b, _ := os.ReadFile(name)
	s.t.Logf("agent %d:\n%s", i, b[max(0, len(b)-30000):])
}

// receive starts pg_receivewal into a directory.
func (s *soak) receive(tool, dir string) {
	c := exec.CommandContext(s.t.Context(), tool, "-D", dir, "-d", s.fifteen.DSN("postgres"), "--no-password", "--synchronous")
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(s.t, c.Start())
	s.t.Cleanup(func() { _ = c.Process.Kill(); _ = c.Wait() })
}

func (s *soak) configure(i int, dir, location string) string {
	sources := fmt.Sprintf("{path: %s, kind: segments, tenant: fifteen}", s.received[i])
	if i == 0 {
		sources += fmt.Sprintf(", {path: %s, kind: postgres, tenant: newer}", s.newer.Data)
	}
	file := filepath.Join(dir, "config.yaml")
	must(s.t, os.WriteFile(file, fmt.Appendf(nil, `
data_dir: %s
walbackup:
  bucket: %q
  compression: zstd
  sources: [%s]
  agent:
    name: agent%d
    listen: %s
    attempt: 5s
    first_wait: 50ms
    max_wait: 500ms
    rescan: 300ms
    remove: on
    keep: 2
    alarms: {stalled_time: 4s}
    etcd: {endpoints: ["%s"], lease: 2s}
`, filepath.Join(dir, "data"), location, sources, i, freePort(s.t), strings.Join(s.net.endpoints(i), `", "`)), 0o600))
	return file
}

func (s *soak) startAgents() {
	for i := range 2 {
		s.startAgent(i)
		s.t.Cleanup(func() { s.killAgent(i) })
	}
}

func (s *soak) startAgent(i int) {
	c := command(s.t, "walbackup", "-c", s.configs[i])
	c.Env, c.Stderr = s.env, s.logs[i]
	c.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	must(s.t, c.Start())
	ended := make(chan struct{})
	go func() {
		_ = c.Wait() // its exit code is looked at by who asked it to end
		close(ended)
	}()
	s.agents[i], s.ended[i] = c, ended
}

func (s *soak) killAgent(i int) {
	_ = s.agents[i].Process.Kill() // it may have ended
	<-s.ended[i]
}

// fault does one bad thing and, at last, makes it good.
func (s *soak) fault(rnd *rand.Rand) {
	pause := time.Duration(rnd.Int64N(int64(time.Second)))
	i := rnd.IntN(2)
	what := []string{"kill agent", "kill agent", "stop leader", "kill etcd", "kill s3", "end agent", "network", "network", "network"}[rnd.IntN(9)]
	s.calls[what]++
	switch what {
	case "kill agent":
		s.killAgent(i)
		time.Sleep(pause)
		s.startAgent(i)
	case "end agent":
		_ = s.agents[i].Process.Signal(syscall.SIGTERM)
		<-s.ended[i]
		// One that was still starting while etcd or S3 was away says so; one that
		// did not even listen to signals yet (-1) just ended.
		if code := s.agents[i].ProcessState.ExitCode(); code != exitClean && code != exitUsage && code != exitInconclusive && code != -1 {
			s.t.Errorf("agent %d, asked to end, exits with %d", i, code)
		}
		s.startAgent(i)
	case "stop leader": // past its lease of two seconds
		if l := s.leader(); l >= 0 {
			i = l
		}
		_ = s.agents[i].Process.Signal(syscall.SIGSTOP)
		time.Sleep(2500*time.Millisecond + pause)
		_ = s.agents[i].Process.Signal(syscall.SIGCONT)
	case "kill etcd":
		m := rnd.IntN(3)
		s.etcd.kill(m)
		time.Sleep(pause)
		s.etcd.start(m)
	case "network":
		s.disturbed(rnd, pause)
	case "kill s3":
		s.s3.Kill()
		time.Sleep(pause)
		s.s3.Start()
	}
	s.revive()
}

// revive starts an agent again that could not start while etcd or S3 was
// away, as systemd would.
func (s *soak) revive() {
	for i := range 2 {
		select {
		case <-s.ended[i]:
			s.startAgent(i)
		default:
		}
	}
}

// leader is the agent that leads the first timeline, -1 if none is known to.
func (s *soak) leader() int {
	ctx, cancel := context.WithTimeout(s.t.Context(), 2*time.Second)
	defer cancel()
	r, err := s.client.Get(ctx, "/redoubt/election/fifteen/main/", clientv3.WithPrefix(), clientv3.WithSort(clientv3.SortByCreateRevision, clientv3.SortAscend))
	if err != nil || len(r.Kvs) == 0 {
		return -1
	}
	return int(r.Kvs[0].Value[len("agent")] - '0')
}

// load makes WAL until ctx ends.
func (s *soak) load(ctx context.Context, c *pgtest.Cluster, n int) {
	for i := 0; ctx.Err() == nil; i++ {
		must(s.t, c.TryExec("postgres", "INSERT INTO load (t) SELECT repeat(md5(i::text), 8) FROM generate_series(1, 900) i"))
		if i%7 == n {
			must(s.t, c.TryExec("postgres", "SELECT pg_switch_wal()"))
		}
		if i%20 == 19 {
			must(s.t, c.TryExec("postgres", "CHECKPOINT"))
		}
		time.Sleep(100 * time.Millisecond)
	}
}

// ready says which files PostgreSQL wants archived.
func (s *soak) ready(name string) bool {
	_, err := os.Stat(filepath.Join(s.newer.Data, "pg_wal/archive_status", name+".ready"))
	return err == nil
}

// witness keeps a copy of every complete file of a directory, and holds each
// that vanishes against the bucket's own disk at once.
func (s *soak) witness(ctx context.Context, dir, tenant string, complete func(string) bool) {
	here := make(map[string]bool)
	for last := false; !last; time.Sleep(5 * time.Millisecond) {
		last = ctx.Err() != nil
		entries, err := os.ReadDir(dir)
		must(s.t, err)
		now := make(map[string]bool)
		for _, e := range entries {
			name := e.Name()
			if e.IsDir() || strings.HasSuffix(name, ".partial") || strings.HasSuffix(name, ".tmp") || !here[name] && complete != nil && !complete(name) {
				continue
			}
			now[name] = true
			if !here[name] && !s.keep(tenant, name, filepath.Join(dir, name)) {
				delete(now, name)
			}
		}
		for name := range here {
			if !now[name] {
				s.vanished(tenant, name)
			}
		}
		here = now
	}
}

// keep remembers the content of a complete file; two copies of one must be equal.
func (s *soak) keep(tenant, name, path string) bool {
	data, err := os.ReadFile(path)
	if errors.Is(err, fs.ErrNotExist) {
		return false
	}
	must(s.t, err)
	s.mu.Lock()
	defer s.mu.Unlock()
	key := tenant + "/" + name
	if old, ok := s.truth[key]; ok && !bytes.Equal(old, data) {
		s.t.Errorf("%s has two contents on the machines: the test does not hold", key)
	}
	s.truth[key] = data
	return true
}

func (s *soak) object(tenant, name string) string {
	return filepath.Join(s.s3.Dir, soakBucket, tenant, "main/wal", name+".zst")
}

func (s *soak) vanished(tenant, name string) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.gone++
	if _, err := os.Stat(s.object(tenant, name)); err != nil {
		s.t.Errorf("%s/%s vanished from a disk and is not in the bucket: %v", tenant, name, err)
	}
}

func (s *soak) endLoad() {
	s.stopLoad()
	s.loading.Wait()
	for _, c := range []*pgtest.Cluster{s.fifteen, s.newer} {
		c.Exec("INSERT INTO load (t) VALUES ('end')", "SELECT pg_switch_wal()")
	}
	time.Sleep(500 * time.Millisecond) // for pg_receivewal and the archiver's marks
}

// settle waits until the WAL backup LSNs have reached all that is complete.
func (s *soak) settle() {
	deadline := time.Now().Add(60 * time.Second)
	for ; ; time.Sleep(100 * time.Millisecond) {
		want := s.highest()
		states := s.states()
		if len(want) == 2 && states["fifteen"].Backup >= want["fifteen"] && states["newer"].Backup >= want["newer"] {
			break
		}
		if time.Now().After(deadline) {
			s.t.Errorf("the WAL backup LSNs are %s and %s, want %v", states["fifteen"].Backup, states["newer"].Backup, want)
			break
		}
		s.revive()
	}
	time.Sleep(time.Second) // for what is let go then
	s.stop()
	s.working.Wait()
}

// highest is the end of the newest complete segment of each tenant.
func (s *soak) highest() map[string]pg.LSN {
	s.mu.Lock()
	defer s.mu.Unlock()
	out := make(map[string]pg.LSN)
	for key := range s.truth {
		tenant, name, _ := strings.Cut(key, "/")
		if _, n, err := pg.ParseSegmentName(name, 1<<20); err == nil {
			out[tenant] = max(out[tenant], (n + 1).Start(1<<20))
		}
	}
	return out
}

func (s *soak) states() map[string]coord.State {
	ctx, cancel := context.WithTimeout(s.t.Context(), 5*time.Second)
	defer cancel()
	out := make(map[string]coord.State)
	r, err := s.client.Get(ctx, "/redoubt/lsn/", clientv3.WithPrefix())
	if err != nil {
		return out
	}
	for _, kv := range r.Kvs {
		var st coord.State
		must(s.t, json.Unmarshal(kv.Value, &st))
		out[strings.Split(string(kv.Key), "/")[3]] = st
	}
	return out
}

// judge holds the bucket and the history of the WAL backup LSNs against what
// was complete.
func (s *soak) judge() {
	s.mu.Lock()
	defer s.mu.Unlock()
	segments := 0
	for key, want := range s.truth {
		tenant, name, _ := strings.Cut(key, "/")
		f, err := os.Open(s.object(tenant, name))
		if err != nil {
			s.t.Errorf("%s is not in the bucket: %v", key, err)
			continue
		}
		r, err := compress.NewReader(f, walfile.Zstd)
		must(s.t, err)
		got, err := io.ReadAll(r)
		must(s.t, errors.Join(err, r.Close(), f.Close()))
		if !bytes.Equal(got, want) {
			s.t.Errorf("%s has other content in the bucket", key)
		}
		segments++
	}
	steps, terms := s.history()
	s.t.Logf("%d files, %d vanished from disks, %d steps of the WAL backup LSNs in %d terms; faults %v", segments, s.gone, steps, terms, s.calls)
	if segments < 20 || s.gone == 0 || steps < 4 || terms < 2 {
		s.t.Error("too little happened to prove anything")
	}
}

// history reads every value that the WAL backup LSNs ever had: none is lower
// than the one before, none of an older term, and none beyond what the bucket
// had by then, as the times of its files tell.
func (s *soak) history() (steps, terms int) {
	ctx, cancel := context.WithTimeout(s.t.Context(), 20*time.Second)
	defer cancel()
	now, err := s.client.Get(ctx, "/redoubt/lsn/", clientv3.WithPrefix())
	must(s.t, err)
	last := make(map[string]coord.State)
	seen := make(map[int64]bool)
	for w := range s.client.Watch(ctx, "/redoubt/lsn/", clientv3.WithPrefix(), clientv3.WithRev(1)) {
		must(s.t, w.Err())
		for _, e := range w.Events {
			key := string(e.Kv.Key)
			tenant := strings.Split(key, "/")[3]
			var st coord.State
			must(s.t, json.Unmarshal(e.Kv.Value, &st))
			old, was := last[key]
			if was && (st.Backup < old.Backup || st.Start > old.Start || st.Term < old.Term) {
				s.t.Errorf("%s went from %+v to %+v", key, old, st)
			}
			for n := pg.SegmentOf(max(st.Start, old.Backup), 1<<20); n.Start(1<<20) < st.Backup; n++ {
				fi, err := os.Stat(s.object(tenant, pg.SegmentName(1, n, 1<<20)))
				if err != nil {
					s.t.Errorf("%s passed segment %d, which is not in the bucket", key, n)
				} else if fi.ModTime().After(st.UpdatedAt.Add(time.Second)) { // it is in whole seconds
					s.t.Errorf("%s passed segment %d at %s, which came at %s", key, n, st.UpdatedAt, fi.ModTime())
				}
			}
			last[key] = st
			seen[st.Term] = true
			steps++
			if e.Kv.ModRevision >= newestRevision(now) {
				return steps, len(seen)
			}
		}
	}
	s.t.Error("the history of the WAL backup LSNs could not be read to its end")
	return steps, len(seen)
}

func newestRevision(r *clientv3.GetResponse) int64 {
	var newest int64
	for _, kv := range r.Kvs {
		newest = max(newest, kv.ModRevision)
	}
	return newest
}
