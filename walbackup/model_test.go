package walbackup

import (
	"context"
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strconv"
	"testing"
	"testing/synctest"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
	"redoubt/walbackup/local"
	"redoubt/walbackup/names"
)

const (
	segSize  = 1 << 20
	headSize = 8192
	sysid    = 7_000_000_001
)

var modelID = names.ID{Tenant: "prod", Timeline: "main"}

// head is the first page of a segment, which tells segments apart.
func head(tli pg.TLI, n pg.SegmentNo, system uint64) []byte {
	b := pgtest.SegmentHead(tli, n, segSize, system)
	binary.LittleEndian.PutUint64(b[100:], uint64(n)*0x9E3779B97F4A7C15) // a payload
	return b
}

// complete puts a segment under its final name, as those who write WAL do.
func complete(t *testing.T, dir string, tli pg.TLI, n pg.SegmentNo, system uint64) {
	t.Helper()
	name := filepath.Join(dir, pg.SegmentName(tli, n, segSize))
	f, err := os.Create(name + ".partial")
	if err != nil {
		t.Fatal(err)
	}
	if _, err := f.Write(head(tli, n, system)); err != nil {
		t.Fatal(err)
	}
	if err := f.Truncate(segSize); err != nil { // the rest is a hole
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(name+".partial", name); err != nil {
		t.Fatal(err)
	}
}

// machine is an agent that is started and killed again and again, its disk
// and its journal.
type machine struct {
	name    string
	dir     string
	journal *memoryJournal
	counts  *count
	remove  Remove
	now     func() time.Time
	agent   *Agent
	cancel  context.CancelFunc
	ended   chan error
	has     map[pg.SegmentNo]bool // complete on its disk, unless retired
}

func modelConfig(name string) Config {
	return Config{
		Name: name, Lease: 2 * time.Second, Parallel: 3, Attempt: 5 * time.Second,
		Retry: Backoff{First: 50 * time.Millisecond, Max: 2 * time.Second}, Again: 10 * time.Second, Tick: time.Second,
		Alarm:  Thresholds{StalledTime: 30 * time.Second, ErrorRatio: 0.9, ErrorWindow: time.Minute, NoLeader: 30 * time.Second},
		Remove: Remove{Mode: RemoveOn, Keep: 1},
	}
}

func (m *machine) up(t *testing.T, w *world) {
	t.Helper()
	disk, err := local.New([]local.Source{{Path: m.dir, Kind: local.Segments, ID: modelID}}, local.Options{Rescan: 500 * time.Millisecond, Quiet: time.Millisecond, Poll: true})
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(t.Context())
	cfg := modelConfig(m.name)
	if m.remove.Mode != "" {
		cfg.Remove = m.remove
	}
	cfg.Now = m.now
	m.agent = New(ctx, cfg, Parts{Local: disk, Bucket: w, Etcd: w, Queue: w, Journal: m.journal, Counters: m.counts})
	m.cancel, m.ended = cancel, make(chan error, 1)
	go func() { m.ended <- m.agent.Run(ctx) }()
}

// down kills the agent. What it left at etcd runs out later.
func (m *machine) down(t *testing.T, w *world) {
	t.Helper()
	// A killed agent does not say good-bye: its session goes on without it.
	m.agent.presence.mu.Lock()
	s := m.agent.presence.session
	m.agent.presence.session = nil
	m.agent.presence.mu.Unlock()
	m.cancel()
	if err := <-m.ended; err != nil {
		t.Errorf("agent %s: %v", m.name, err)
	}
	m.agent = nil
	if s != nil {
		go func() {
			time.Sleep(2 * time.Second)
			w.expire(s.(*fakeSession))
		}()
	}
}

// pause is SIGSTOP: the lease runs out, and only much later the agent notices.
func (m *machine) pause(w *world, d time.Duration) {
	m.agent.presence.mu.Lock()
	s, _ := m.agent.presence.session.(*fakeSession)
	m.agent.presence.mu.Unlock()
	if s == nil {
		return
	}
	w.expire(s)
	go func() {
		time.Sleep(d)
		s.end()
	}()
}

type model struct {
	t        *testing.T
	w        *world
	rnd      *rand.Rand
	machines []*machine
	next     pg.SegmentNo // not complete anywhere yet
}

// step does one thing that can happen.
func (m *model) step() {
	x := m.machines[m.rnd.IntN(len(m.machines))]
	switch n := m.rnd.IntN(100); {
	case n < 55: // a segment is complete; each machine gets it, but some lose it
		lost := 0
		for _, y := range m.machines {
			if m.rnd.IntN(12) == 0 && lost < len(m.machines)-1 {
				lost++
				continue
			}
			complete(m.t, y.dir, 1, m.next, sysid)
			y.has[m.next] = true
		}
		m.next++
	case n < 65:
		if x.agent != nil {
			x.down(m.t, m.w)
		}
	case n < 80:
		if x.agent == nil {
			x.up(m.t, m.w)
		}
	case n < 88:
		if x.agent != nil {
			x.pause(m.w, time.Duration(m.rnd.Int64N(int64(20*time.Second))))
		}
	case n < 92:
		m.w.mu.Lock()
		if h, some := m.w.horizons["replica"]; some { // it only ever wants less
			m.w.horizons["replica"] = max(h, m.next.Start(segSize)-pg.LSN(m.rnd.IntN(5)*segSize))
		}
		m.w.mu.Unlock()
	case n < 95:
		m.w.mu.Lock()
		m.w.faults = []float64{0, 0.05, 0.2, 0.5}[m.rnd.IntN(4)]
		m.w.mu.Unlock()
	}
	time.Sleep(time.Duration(m.rnd.Int64N(int64(2 * time.Second))))
	m.check()
}

// check holds what is on the disks against the plain specification: a segment
// that is gone from a disk is in the bucket, below the backup LSN, wanted by
// nobody, and not the newest.
func (m *model) check() {
	m.w.mu.Lock()
	defer m.w.mu.Unlock()
	state := m.w.states[modelID][1]
	for _, x := range m.machines {
		newest := pg.SegmentNo(0)
		for n := range x.has {
			newest = max(newest, n)
		}
		for n := range x.has {
			name := pg.SegmentName(1, n, segSize)
			if _, err := os.Lstat(filepath.Join(x.dir, name)); err == nil {
				continue
			}
			end := (n + 1).Start(segSize)
			h, some := m.w.horizons["replica"]
			switch {
			case !m.w.whole(modelID, name, n):
				m.w.breach("%s removed segment %d, which is not in the bucket", x.name, n)
			case end > state.Backup:
				m.w.breach("%s removed segment %d beyond the backup LSN %s", x.name, n, state.Backup)
			case some && end > h:
				m.w.breach("%s removed segment %d, which is wanted from %s on", x.name, n, h)
			case n == newest:
				m.w.breach("%s removed its newest segment", x.name)
			}
			delete(x.has, n)
		}
	}
	for _, b := range m.w.broken {
		m.t.Error(b)
	}
	m.w.broken = nil
}

// settle lets all agents work without faults and wants everything done.
func (m *model) settle() {
	m.w.mu.Lock()
	m.w.faults = 0
	m.w.mu.Unlock()
	for _, x := range m.machines {
		if x.agent == nil {
			x.up(m.t, m.w)
		}
	}
	for range 300 { // what only a follower has is asked for after half of StalledTime
		time.Sleep(time.Second)
		m.w.mu.Lock()
		s := m.w.states[modelID][1]
		m.w.mu.Unlock()
		if s.Backup == m.next.Start(segSize) && s.Start == segSize {
			break
		}
	}
	time.Sleep(15 * time.Second) // for what is retired, and for alarms to end
	m.check()
	m.w.mu.Lock()
	if got := m.w.states[modelID][1]; m.next > 1 && (got.Backup != m.next.Start(segSize) || got.Start != segSize) {
		m.t.Errorf("from %s to %s is in the bucket, want all from the first to %s", got.Start, got.Backup, m.next.Start(segSize))
	}
	m.w.mu.Unlock()
	for _, x := range m.machines {
		for _, a := range x.agent.alarms.all() {
			m.t.Errorf("%s: an alarm stands at the end: %+v", x.name, a)
		}
		x.down(m.t, m.w)
	}
	time.Sleep(time.Minute) // for what sleeps
}

// modelSeeds is how many schedules are tried; `make soak` asks for more.
func modelSeeds() int {
	if n, err := strconv.Atoi(os.Getenv("REDOUBT_MODEL_SEEDS")); err == nil {
		return n
	}
	return 60
}

// TestModelRaces is TestModel in short, for the race detector.
func TestModelRaces(t *testing.T) { runModel(t, 4) }

// TestModel lets agents live through random schedules: segments complete on
// several machines, some lose a file, agents are killed, paused past their
// lease, started again; etcd and the bucket delay and fail, before and after an
// operation took effect. In every state the backup LSN never went back, never
// passed a hole, and nothing was removed that was not safe; when the faults end
// everything is in the bucket and no alarm stands.
func TestModel(t *testing.T) {
	pgtest.PutOff(t)
	fenced, removed, requested := runModel(t, modelSeeds())
	if fenced == 0 || removed == 0 || requested == 0 {
		t.Error("the schedules don't show what they are to show")
	}
}

func runModel(t *testing.T, seeds int) (fenced, removed, requested int) {
	steps := 0
	for seed := range uint64(seeds) {
		t.Run(fmt.Sprint(seed), func(t *testing.T) {
			base := t.TempDir()
			synctest.Test(t, func(t *testing.T) {
				rnd := rand.New(rand.NewPCG(seed, 1))
				m := &model{t: t, w: newWorld(seed, 0.1), rnd: rnd, next: 1}
				if seed%3 != 0 {
					m.w.horizons["replica"] = segSize
				}
				for i := range 2 + rnd.IntN(2) {
					x := &machine{name: fmt.Sprint("agent", i), dir: filepath.Join(base, fmt.Sprint(i)), journal: newMemoryJournal(), counts: newCount(), has: make(map[pg.SegmentNo]bool)}
					if err := os.Mkdir(x.dir, 0o700); err != nil {
						t.Fatal(err)
					}
					m.machines = append(m.machines, x)
				}
				complete(t, m.machines[0].dir, 1, 1, sysid)
				m.machines[0].has[1] = true
				m.next++
				m.machines[0].up(t, m.w)
				for range 60 {
					m.step()
				}
				m.settle()
				steps += m.w.steps
				fenced += m.w.fenced
				for _, x := range m.machines {
					removed += x.counts.get("removed")
					requested += x.counts.get("requested")
				}
			})
		})
	}
	t.Logf("%d steps; %d transactions of former leaders lost, %d segments removed, %d asked of others", steps, fenced, removed, requested)
	return fenced, removed, requested
}
