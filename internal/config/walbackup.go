package config

import (
	"fmt"
	"slices"
	"strings"
	"time"
)

// WALBackup says where the WAL of this machine's timelines goes: for
// `redoubt walbackup`, archive-push and archive-get. Without a bucket there is
// none.
type WALBackup struct {
	Bucket      string      `yaml:"bucket"`      // location, layout redoubt
	Compression string      `yaml:"compression"` // none, zstd, lz4, gzip
	Sources     []WALSource `yaml:"sources"`
	Storage     Storage     `yaml:"storage"`
	Prefetch    Prefetch    `yaml:"prefetch"`
	Agent       Agent       `yaml:"agent"`
}

// WALSource is a directory in which WAL files of one timeline appear or, of
// kind tree, of those below it.
type WALSource struct {
	Path     string `yaml:"path"`
	Kind     string `yaml:"kind"` // auto, segments, postgres, tree
	Tenant   string `yaml:"tenant"`
	Timeline string `yaml:"timeline"`
	// Compression is that of this timeline alone; empty: walbackup.compression.
	Compression string `yaml:"compression"`
	// ConfigFile is PostgreSQL's, where it can't be found from the data directory.
	ConfigFile string `yaml:"config_file"`
}

// Storage says how the bucket of WALBackup is used.
type Storage struct {
	ConditionalWrites bool     `yaml:"conditional_writes"`
	BytesPerSecond    Size     `yaml:"bytes_per_second"`    // 0: no limit
	RequestsPerSecond int      `yaml:"requests_per_second"` // 0: no limit
	Timeout           Duration `yaml:"timeout"`             // of one push or get, all attempts; 0: none
	Retries           Retries  `yaml:"retries"`
}

// Prefetch says how archive-get fetches segments before PostgreSQL asks.
type Prefetch struct {
	Segments int    `yaml:"segments"` // 0: none
	Dir      string `yaml:"dir"`      // empty: DATA_DIR/prefetch
}

// DefaultWALBackup holds the defaults of the section.
func DefaultWALBackup() WALBackup {
	return WALBackup{
		Compression: "zstd",
		Storage: Storage{ConditionalWrites: true, Timeout: Duration(10 * time.Minute),
			Retries: Retries{Attempts: 5, FirstWait: Duration(200 * time.Millisecond), MaxWait: Duration(10 * time.Second)}},
		Prefetch: Prefetch{Segments: 4},
		Agent:    DefaultAgent(),
	}
}

// DefaultWALSource holds the defaults of a source's keys.
func DefaultWALSource() WALSource { return WALSource{Kind: "auto", Timeline: "main"} }

// source is the bucket as a source to verify, where the file names no other.
func (w *WALBackup) source() Source {
	s := DefaultSource()
	s.Name, s.WAL, s.Layout = "walbackup", w.Bucket, "redoubt"
	return s
}

func (s *WALSource) setDefaults() { *s = DefaultWALSource() }

var compressions = []string{"none", "zstd", "lz4", "gzip"}

func validateWALBackup(c *Config, d *document) {
	w := &c.WALBackup
	location(d, "walbackup.bucket", w.Bucket)
	oneOf(d, "walbackup.compression", w.Compression, compressions...)
	taken := map[string]bool{}
	for i := range w.Sources {
		validateWALSource(&w.Sources[i], d, fmt.Sprintf("walbackup.sources[%d]", i), taken)
	}
	if len(w.Sources) > 0 && w.Bucket == "" {
		d.fail("walbackup.bucket", "is missing: name the bucket or directory that the WAL goes to")
	}
	between(d, "walbackup.storage.requests_per_second", w.Storage.RequestsPerSecond, 0, 1_000_000)
	between(d, "walbackup.storage.retries.attempts", w.Storage.Retries.Attempts, 1, 100)
	if w.Storage.Retries.MaxWait < w.Storage.Retries.FirstWait {
		d.fail("walbackup.storage.retries.max_wait", "%v is less than first_wait (%v)", w.Storage.Retries.MaxWait, w.Storage.Retries.FirstWait)
	}
	if b := w.Storage.BytesPerSecond; b != 0 {
		atLeast(d, "walbackup.storage.bytes_per_second", b, 64<<10)
	}
	between(d, "walbackup.prefetch.segments", w.Prefetch.Segments, 0, 256)
	validateAgent(c, d)
}

func validateWALSource(s *WALSource, d *document, path string, taken map[string]bool) {
	if s.Path == "" {
		d.fail(path+".path", "is missing: name the directory in which WAL segments appear, such as .../pg_wal")
	}
	oneOf(d, path+".kind", s.Kind, "auto", "segments", "postgres", "tree")
	if s.Compression != "" && !slices.Contains(compressions, s.Compression) {
		d.fail(path+".compression", "%q is not one of %s", s.Compression, strings.Join(compressions, ", "))
	}
	if s.Kind == "tree" {
		if s.Tenant != "" {
			d.fail(path+".tenant", "a tree names its tenants and timelines by its directories: leave it out")
		}
		return
	}
	for key, name := range map[string]string{".tenant": s.Tenant, ".timeline": s.Timeline} {
		if !nameForm.MatchString(name) {
			d.fail(path+key, "%q is no name: %s", name, nameRule)
		}
	}
	key := s.Tenant + "/" + s.Timeline
	if taken[key] {
		d.fail(path+".timeline", "%s stands twice: give each directory a timeline of its own", key)
	}
	taken[key] = true
}
