// Package config is the YAML file as validated structs.
//
// Load reads it strictly: an unknown key, a value of the wrong form or one
// that this version cannot do is an error that names the file, the line and
// column, the key's path and the cure. Nothing is guessed and nothing is
// silently ignored. Every key has a default except a source's name and wal;
// config.example.yaml at the top of the repository shows all of them.
package config

import (
	"path/filepath"
	"time"
)

// Config is the whole file. Paths are absolute once loaded.
type Config struct {
	DataDir string         `yaml:"data_dir"`
	Sources []Source       `yaml:"sources"`
	Jobs    map[string]Job `yaml:"jobs"`
	// WALBackup says where WAL is backed up to.
	WALBackup WALBackup `yaml:"walbackup"`
	Memory    Size      `yaml:"memory"`
	Workers   int       `yaml:"workers"` // 0: one per core
	Scratch   Scratch   `yaml:"scratch"`
	Server    Server    `yaml:"server"`
	// PgBin are directories of PostgreSQL's binaries by major version; those
	// not named are looked for where they are usually installed.
	PgBin map[string]string `yaml:"pg_bin"`
	// Recovery says where timelines are made by recovery, and how many at once.
	Recovery Recovery `yaml:"recovery"`
	Reports  Reports  `yaml:"reports"`
	// Retention says how long what is over is kept.
	Retention Retention `yaml:"retention"`
	// Snapshots says what is to stay recoverable.
	Snapshots Snapshots `yaml:"snapshots"`
	HTTP      HTTP      `yaml:"http"`
	Log       Log       `yaml:"log"`
	Metrics   Metrics   `yaml:"metrics"`
}

// Source is a bucket or a directory with one or many timelines.
type Source struct {
	Name     string `yaml:"name"`
	WAL      string `yaml:"wal"` // location
	Layout   string `yaml:"layout"`
	Cluster  string `yaml:"cluster"`  // pgBackRest stanza or Barman server
	Backups  string `yaml:"backups"`  // location; empty: as the layout says
	Official string `yaml:"official"` // snapshots, or the URL of a running server
	Live     Live   `yaml:"live"`     // how a running server is read
	Tenant   string `yaml:"tenant"`   // for layouts that name no tenant; empty: the source's name
	Timeline string `yaml:"timeline"` // for layouts that name no timeline
	Neon     Neon   `yaml:"neon"`     // of the layout neon: whom to ask
}

// Live says how a running PostgreSQL is read; 0 means no limit.
type Live struct {
	ServerWAL      bool     `yaml:"server_wal"` // read WAL that is not archived yet from the server
	WALWait        Duration `yaml:"wal_wait"`   // for WAL that is not there yet
	PagesPerSecond int      `yaml:"pages_per_second"`
	BytesPerSecond Size     `yaml:"bytes_per_second"`
	Hours          string   `yaml:"hours"`       // 22:00-06:00; empty: always
	MaxLag         Size     `yaml:"max_lag"`     // of replication
	MaxLatency     Duration `yaml:"max_latency"` // of one read
	Patience       Duration `yaml:"patience"`    // resting for these two
	Memory         bool     `yaml:"memory"`      // compare what the server has in memory, too
	MemoryFunction string   `yaml:"memory_function"`
}

// Job says when a batch runs and how much it does.
type Job struct {
	Schedule      string   `yaml:"schedule"`
	CatchUp       bool     `yaml:"catch_up"`
	Sources       []string `yaml:"sources"` // names; empty: all
	Pick          Pick     `yaml:"pick"`
	ParallelSpans int      `yaml:"parallel_spans"`
	SpanWALBytes  Size     `yaml:"span_wal_bytes"` // of spans between LSNs of a pageserver
	Engine        string   `yaml:"engine"`         // native, server, both
	Confirm       string   `yaml:"confirm"`        // none, server
	// AcceptUnproven lets spans of WAL dialects be clean whose redo was never held against real WAL.
	AcceptUnproven bool    `yaml:"accept_unproven_dialect"`
	Sample         float64 `yaml:"sample"`    // fraction of the blocks, above 0 and at most 1
	Untouched      float64 `yaml:"untouched"` // of a pageserver: fraction of the blocks that no WAL touches
	Scan           Scan    `yaml:"scan"`
	Limits         Limits  `yaml:"limits"`
	Retries        Retries `yaml:"retries"`
}

// Pick says how many timelines a run takes and how long one may wait.
type Pick struct {
	Timelines int `yaml:"timelines"`
	// Patience bounds the wait: a timeline not picked for
	// patience * ceil(timelines known / timelines per run) runs goes first.
	Patience int `yaml:"patience"`
}

// Scan says how a run scans the archive of the timelines it picked.
type Scan struct {
	Deep   bool `yaml:"deep"`
	Audit  bool `yaml:"audit"`  // find lost writes of the primary by the full-page images
	Reread bool `yaml:"reread"` // read segments again that are known and unchanged
}

// Limits bound a run; 0 means no limit.
type Limits struct {
	WALBytes Size     `yaml:"wal_bytes"`
	Duration Duration `yaml:"duration"`
}

// Retries say how often a span is tried when its source cannot be reached.
type Retries struct {
	Attempts  int      `yaml:"attempts"` // in all, the first included
	FirstWait Duration `yaml:"first_wait"`
	MaxWait   Duration `yaml:"max_wait"`
}

// Scratch is where pages go that do not fit into memory.
type Scratch struct {
	Dir     string `yaml:"dir"` // empty: DATA_DIR/scratch
	MinFree Size   `yaml:"min_free"`
}

// Server says how PostgreSQL is run, by jobs that want it as an engine.
type Server struct {
	User      string   `yaml:"user"`      // if Redoubt runs as root; empty: postgres
	Memory    Size     `yaml:"memory"`    // of each of its processes
	Disk      Size     `yaml:"disk"`      // of its directory; 0: no limit
	Duration  Duration `yaml:"duration"`  // of one replay; 0: no limit
	Libraries []string `yaml:"libraries"` // that it may load
}

// Recovery says where timelines are made by recovery, and how many at once.
type Recovery struct {
	Dir      string `yaml:"dir"` // empty: DATA_DIR/recovery
	Parallel int    `yaml:"parallel"`
	Memory   Size   `yaml:"memory"` // of each
	// DurableEvery is WAL from one durable point of each to the next.
	DurableEvery Interval `yaml:"durable_every"`
	Retries      Retries  `yaml:"retries"`
}

// Reports says where reports go and whether they show bytes of pages.
type Reports struct {
	Dir       string `yaml:"dir"`
	PageBytes string `yaml:"page_bytes"` // masked, shown
}

// Retention is how long what is over is kept; 0 is for ever.
type Retention struct {
	Runs    Duration `yaml:"runs"`    // runs, gone discrepancies, ended acknowledgements: in the ledger
	Reports Duration `yaml:"reports"` // files in reports.dir
}

// Snapshots is the rule by which `redoubt snapshot report` says which WAL
// nobody needs; of several parts all are kept.
type Snapshots struct {
	Keep    int      `yaml:"keep"`     // the newest verified snapshots; 0: none for their number
	KeepFor Duration `yaml:"keep_for"` // every moment of that time; 0: none for its time
}

// HTTP is the address of serve, and who may ask it.
type HTTP struct {
	Listen     string   `yaml:"listen"`
	Token      Secret   `yaml:"token"`
	TokenFile  string   `yaml:"token_file"`  // read by Load into Token
	TokensFile string   `yaml:"tokens_file"` // see LoadTokens
	JWTKeys    []string `yaml:"jwt_keys"`    // files of public keys, PEM
	TLS        TLS      `yaml:"tls"`
}

// TLS is the certificate of serve; without one it is not encrypted.
type TLS struct {
	CertFile string `yaml:"cert_file"`
	KeyFile  string `yaml:"key_file"`
}

// Guarded reports whether something is configured that asks who it is.
func (h HTTP) Guarded() bool {
	return h.Token != "" || h.TokenFile != "" || h.TokensFile != "" || len(h.JWTKeys) > 0
}

// Log is the form and level of the log on stderr.
type Log struct {
	Format string `yaml:"format"` // text, json
	Level  string `yaml:"level"`  // debug, info, warn, error
}

// Metrics says where the metrics of a job that ends are left.
type Metrics struct {
	Textfile    string `yaml:"textfile"`
	Pushgateway string `yaml:"pushgateway"`
	PerTimeline string `yaml:"per_timeline"` // failing, all
}

// DefaultJobName is the job that exists when the file names none.
const DefaultJobName = "nightly"

// Default is the configuration of an empty file, before paths are resolved.
func Default() Config {
	return Config{
		DataDir:  "./redoubt-data",
		Jobs:     map[string]Job{DefaultJobName: DefaultJob()},
		Memory:   1 << 30,
		Scratch:  Scratch{MinFree: 1 << 30},
		Server:   Server{Memory: 1 << 30},
		Recovery: Recovery{Parallel: 2, Memory: 512 << 20, DurableEvery: Auto, Retries: Retries{Attempts: 10, FirstWait: Duration(5 * time.Second), MaxWait: Duration(2 * time.Minute)}},
		Reports:  Reports{Dir: "./redoubt-reports", PageBytes: "masked"},

		WALBackup: DefaultWALBackup(),

		Retention: Retention{Runs: Duration(400 * 24 * time.Hour), Reports: Duration(90 * 24 * time.Hour)},

		Snapshots: Snapshots{Keep: 2},

		HTTP:    HTTP{Listen: "127.0.0.1:8480"},
		Log:     Log{Format: "text", Level: "info"},
		Metrics: Metrics{PerTimeline: "failing"},
	}
}

// DefaultSource holds the defaults of a source's keys.
func DefaultSource() Source {
	return Source{
		Layout: "auto", Official: "snapshots", Timeline: "main",
		Live: Live{WALWait: Duration(5 * time.Minute), Patience: Duration(10 * time.Minute), MemoryFunction: "redoubt.get_page"},
		Neon: Neon{Timeout: Duration(10 * time.Second), Parallel: 4},
	}
}

// DefaultJob holds the defaults of a job's keys.
func DefaultJob() Job {
	return Job{
		Schedule:      "CRON_TZ=UTC 0 2 * * *",
		Pick:          Pick{Timelines: 10, Patience: 2},
		ParallelSpans: 2,
		SpanWALBytes:  1 << 30,
		Engine:        "native",
		Confirm:       "none",
		Sample:        1,
		Scan:          Scan{Deep: true},
		Limits:        Limits{WALBytes: 200 << 30, Duration: Duration(4 * time.Hour)},
		Retries:       Retries{Attempts: 3, FirstWait: Duration(5 * time.Second), MaxWait: Duration(2 * time.Minute)},
	}
}

func (s *Source) setDefaults() { *s = DefaultSource() }
func (j *Job) setDefaults()    { *j = DefaultJob() }

// LedgerPath is the ledger's file below the data directory.
func (c Config) LedgerPath() string { return filepath.Join(c.DataDir, "ledger.db") }

// PrefetchDir is the directory of segments that archive-get fetched ahead.
func (c Config) PrefetchDir() string {
	if c.WALBackup.Prefetch.Dir != "" {
		return c.WALBackup.Prefetch.Dir
	}
	return filepath.Join(c.DataDir, "prefetch")
}

// RecoveryDir is the directory below which timelines are made by recovery.
func (c Config) RecoveryDir() string {
	if c.Recovery.Dir != "" {
		return c.Recovery.Dir
	}
	return filepath.Join(c.DataDir, "recovery")
}

// ScratchDir is the directory for pages that do not fit into memory.
func (c Config) ScratchDir() string {
	if c.Scratch.Dir != "" {
		return c.Scratch.Dir
	}
	return filepath.Join(c.DataDir, "scratch")
}
