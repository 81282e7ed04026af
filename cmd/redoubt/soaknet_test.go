package main

import (
	"math/rand/v2"
	"strings"
	"testing"
	"time"

	"redoubt/internal/storage/storagetest"
)

// soakNet is the network of the agents: between each of them and the S3
// server, and between each and each etcd member, stands a proxy of its own.
type soakNet struct {
	s3   [2]*storagetest.Proxy
	etcd [2][]*storagetest.Proxy
	met  map[string]int // how often something met each fault
}

func newSoakNet(t *testing.T, s3 string, etcd []string) *soakNet {
	n := &soakNet{met: make(map[string]int)}
	for i := range 2 {
		n.s3[i] = storagetest.NewProxy(t, s3)
		for _, member := range etcd {
			n.etcd[i] = append(n.etcd[i], storagetest.NewProxy(t, strings.TrimPrefix(member, "http://")))
		}
	}
	return n
}

// endpoints are where an agent finds etcd.
func (n *soakNet) endpoints(i int) []string {
	var out []string
	for _, p := range n.etcd[i] {
		out = append(out, "http://"+p.Addr)
	}
	return out
}

// networkFaults are what the soak does to the network.
var networkFaults = []struct {
	name  string
	fault storagetest.Fault
}{
	{"s3 late", storagetest.Fault{Latency: 50 * time.Millisecond}},
	{"s3 cuts", storagetest.Fault{Cut: 150}},
	{"s3 half-open", storagetest.Fault{Hole: true}},
	{"s3 slow", storagetest.Fault{Slow: 20}},
	{"s3 500", storagetest.Fault{Status: 500}},
	{"s3 503", storagetest.Fault{Status: 503}},
	{"etcd late", storagetest.Fault{Latency: 100 * time.Millisecond}},
	{"etcd cuts", storagetest.Fault{Cut: 30}},
	{"etcd half-open", storagetest.Fault{Hole: true}}, // past the lease
}

// disturb does one fault to the network of an agent, the leader if it is
// known, and lasts until something met it, but not for ever.
func (s *soak) disturb(n int, pause time.Duration) {
	i := max(0, s.leader())
	f := networkFaults[n]
	s.calls[f.name]++
	proxies := s.net.etcd[i]
	if strings.HasPrefix(f.name, "s3") {
		proxies = []*storagetest.Proxy{s.net.s3[i]}
	} else if f.fault.Hole {
		pause += 2500 * time.Millisecond
	}
	for _, p := range proxies {
		p.Set(f.fault)
	}
	time.Sleep(pause)
	for until := time.Now().Add(10 * time.Second); s.net.met[f.name] == 0 && time.Now().Before(until); time.Sleep(50 * time.Millisecond) {
		for _, p := range proxies {
			s.net.met[f.name] += p.Used()
		}
	}
	for _, p := range proxies {
		p.Set(storagetest.Fault{})
	}
	s.revive()
}

// disturbAll does each fault of the network once.
func (s *soak) disturbAll() {
	for until := time.Now().Add(time.Minute); s.leader() < 0 && time.Now().Before(until); {
		time.Sleep(100 * time.Millisecond)
	}
	for n := range networkFaults {
		s.disturb(n, 700*time.Millisecond)
	}
	for _, f := range networkFaults {
		if s.net.met[f.name] == 0 {
			s.t.Errorf("nothing met %q: it proves nothing", f.name)
		}
	}
}

// disturbed does one fault at random.
func (s *soak) disturbed(rnd *rand.Rand, pause time.Duration) {
	s.disturb(rnd.IntN(len(networkFaults)), 300*time.Millisecond+2*pause)
}
