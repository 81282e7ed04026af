package config

import (
	"fmt"
	"math"
	"net"
	"net/url"
	"path"
	"regexp"
	"time"
)

// Agent says how `redoubt walbackup` works.
type Agent struct {
	Name       string   `yaml:"name"` // empty: the host's
	Listen     string   `yaml:"listen"`
	Parallel   int      `yaml:"parallel"`
	Attempt    Duration `yaml:"attempt"` // one attempt of an upload
	FirstWait  Duration `yaml:"first_wait"`
	MaxWait    Duration `yaml:"max_wait"`
	Rescan     Duration `yaml:"rescan"`
	LookAgain  Duration `yaml:"look_again"`
	Partial    Duration `yaml:"partial"` // 0: begun segments are not stored
	RemoveMode string   `yaml:"remove"`  // off, dry-run, on
	Keep       int      `yaml:"keep"`
	Alarms     Alarms   `yaml:"alarms"`
	Etcd       Etcd     `yaml:"etcd"`
}

// Alarms are the agent's thresholds; 0 is no such alarm.
type Alarms struct {
	StalledSegments int      `yaml:"stalled_segments"`
	StalledTime     Duration `yaml:"stalled_time"`
	ErrorRatio      float64  `yaml:"error_ratio"`
	ErrorWindow     Duration `yaml:"error_window"`
	NoLeader        Duration `yaml:"no_leader"`
}

// Etcd says where the agents of a bucket agree. Without endpoints the agent
// runs an etcd of its own below the data directory.
type Etcd struct {
	Endpoints    []string `yaml:"endpoints"`
	Prefix       string   `yaml:"prefix"`
	Lease        Duration `yaml:"lease"`
	User         string   `yaml:"user"`
	PasswordFile string   `yaml:"password_file"`
	CAFile       string   `yaml:"ca_file"`
	CertFile     string   `yaml:"cert_file"`
	KeyFile      string   `yaml:"key_file"`
}

// DefaultAgent holds the defaults of the section.
func DefaultAgent() Agent {
	return Agent{
		Listen: "127.0.0.1:8481", Parallel: 4, Attempt: Duration(10 * time.Minute),
		FirstWait: Duration(500 * time.Millisecond), MaxWait: Duration(time.Minute),
		Rescan: Duration(5 * time.Second), LookAgain: Duration(10 * time.Minute), RemoveMode: "off", Keep: 8,
		Alarms: Alarms{StalledSegments: 16, StalledTime: Duration(10 * time.Minute), ErrorRatio: 0.5,
			ErrorWindow: Duration(5 * time.Minute), NoLeader: Duration(2 * time.Minute)},
		Etcd: Etcd{Prefix: "/redoubt", Lease: Duration(15 * time.Second)},
	}
}

var etcdPrefix = regexp.MustCompile(`^(/[A-Za-z0-9._-]+)+$`)

func validateAgent(c *Config, d *document) {
	a := &c.WALBackup.Agent
	const p = "walbackup.agent"
	if a.Name != "" && !nameForm.MatchString(a.Name) {
		d.fail(p+".name", "%q is no name: %s", a.Name, nameRule)
	}
	if _, port, err := net.SplitHostPort(a.Listen); err != nil || port == "" {
		d.fail(p+".listen", "%q is no address: write host:port, such as 127.0.0.1:8481", a.Listen)
	} else if !Loopback(a.Listen) && !c.HTTP.Guarded() {
		d.fail(p+".listen", "%q can be reached from other machines: set http.token_file, tokens_file or jwt_keys, or listen on 127.0.0.1", a.Listen)
	}
	between(d, p+".parallel", a.Parallel, 1, 1024)
	between(d, p+".keep", a.Keep, 1, 1_000_000)
	oneOf(d, p+".remove", a.RemoveMode, "off", "dry-run", "on")
	for key, v := range map[string]Duration{".attempt": a.Attempt, ".rescan": a.Rescan, ".look_again": a.LookAgain, ".alarms.error_window": a.Alarms.ErrorWindow} {
		if v < Duration(100*time.Millisecond) {
			d.fail(p+key, "%v is less than 100ms, the least that works", v)
		}
	}
	if a.FirstWait < Duration(time.Millisecond) || a.MaxWait < a.FirstWait {
		d.fail(p+".max_wait", "waits from %v to %v: first_wait is at least 1ms, and max_wait not less", a.FirstWait, a.MaxWait)
	}
	if r := a.Alarms.ErrorRatio; math.IsNaN(r) || r < 0 || r > 1 {
		d.fail(p+".alarms.error_ratio", "%v is not between 0 (no alarm) and 1", r)
	}
	between(d, p+".alarms.stalled_segments", a.Alarms.StalledSegments, 0, 1_000_000)
	validateEtcd(&a.Etcd, d, p+".etcd")
}

func validateEtcd(e *Etcd, d *document, p string) {
	for i, at := range e.Endpoints {
		u, err := url.Parse(at)
		if err != nil || u.Host == "" || u.Scheme != "http" && u.Scheme != "https" || path.Clean("/"+u.Path) != "/" {
			d.fail(fmt.Sprintf("%s.endpoints[%d]", p, i), "%q is no endpoint: write https://host:2379", at)
		} else if u.Scheme == "http" && (e.CAFile != "" || e.CertFile != "") {
			d.fail(fmt.Sprintf("%s.endpoints[%d]", p, i), "%q is not encrypted, though certificates are given: write https://", at)
		}
	}
	if !etcdPrefix.MatchString(e.Prefix) {
		d.fail(p+".prefix", "%q is no prefix: write one such as /redoubt, without a slash at its end", e.Prefix)
	}
	if e.Lease < Duration(2*time.Second) || e.Lease > Duration(10*time.Minute) {
		d.fail(p+".lease", "%v is not between 2s and 10m", e.Lease)
	}
	if (e.CertFile == "") != (e.KeyFile == "") {
		d.fail(p+".cert_file", "a certificate and its key go together: set both cert_file and key_file, or none")
	}
	if (e.User == "") != (e.PasswordFile == "") {
		d.fail(p+".user", "set both user and password_file, or none")
	}
	if len(e.Endpoints) == 0 && (e.User != "" || e.CAFile != "" || e.CertFile != "") {
		d.fail(p+".endpoints", "there is none, though credentials are given: name the cluster's members")
	}
}
