package config

import (
	"fmt"
	"maps"
	"math"
	"net"
	"net/url"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"time"

	"redoubt/internal/pg"
)

// validate checks what the form of a value cannot: ranges, names, and what
// this version can do.
func validate(c *Config, d *document) {
	if c.DataDir == "" {
		d.fail("data_dir", "is empty: name a directory")
	}
	if c.Reports.Dir == "" {
		d.fail("reports.dir", "is empty: name a directory")
	}
	validateSources(c, d)
	for _, name := range slices.Sorted(maps.Keys(c.Jobs)) {
		validateJob(c, d, name)
	}
	atLeast(d, "memory", c.Memory, 64<<20)
	validateServer(c, d)
	between(d, "recovery.parallel", c.Recovery.Parallel, 1, 1024)
	atLeast(d, "recovery.memory", c.Recovery.Memory, 64<<20)
	validateRetries(c.Recovery.Retries, d, "recovery.retries")
	validateWALBackup(c, d)
	if c.Workers < 0 || c.Workers > 1024 {
		d.fail("workers", "%d is not between 0 (one per core) and 1024", c.Workers)
	}
	oneOf(d, "reports.page_bytes", c.Reports.PageBytes, "masked", "shown")
	for key, keep := range map[string]Duration{"retention.runs": c.Retention.Runs, "retention.reports": c.Retention.Reports} {
		if keep != 0 && keep < Duration(24*time.Hour) {
			d.fail(key, "%v is less than a day: write 0 to keep all, or a duration such as 90d", keep)
		}
	}
	if c.Snapshots.Keep < 0 {
		d.fail("snapshots.keep", "%d is negative: write how many verified snapshots are to be kept", c.Snapshots.Keep)
	}
	if c.Snapshots.KeepFor < 0 {
		d.fail("snapshots.keep_for", "%v is negative: write a duration such as 30d", c.Snapshots.KeepFor)
	}
	if c.Snapshots.Keep == 0 && c.Snapshots.KeepFor == 0 {
		d.fail("snapshots.keep", "neither this nor snapshots.keep_for keeps anything: set one of them")
	}
	oneOf(d, "log.format", c.Log.Format, "text", "json")
	oneOf(d, "log.level", c.Log.Level, "debug", "info", "warn", "error")
	oneOf(d, "metrics.per_timeline", c.Metrics.PerTimeline, "failing", "all")
	validatePushgateway(c.Metrics.Pushgateway, d)
	validateHTTP(c, d)
}

func atLeast(d *document, path string, got, floor Size) {
	if got < floor {
		d.fail(path, "%v is less than %v, the least that works", got, floor)
	}
}

// oneOf reports whether got is one of the values; otherwise it records a fault.
func oneOf(d *document, path, got string, values ...string) bool {
	if slices.Contains(values, got) {
		return true
	}
	d.fail(path, "%q is not one of %s", got, strings.Join(values, ", "))
	return false
}

// available is oneOf for values of which some come with a later version.
func available(d *document, path, got string, now, later []string) {
	if slices.Contains(later, got) {
		d.fail(path, "%s is not available in this version: use %s", got, strings.Join(now, " or "))
		return
	}
	oneOf(d, path, got, now...)
}

var nameForm = regexp.MustCompile(`^[A-Za-z0-9][A-Za-z0-9._-]{0,63}$`)

const nameRule = "use letters, digits, dot, dash and underscore, at most 64, a letter or digit first"

func validateSources(c *Config, d *document) {
	if len(c.Sources) == 0 && c.WALBackup.Bucket != "" {
		c.Sources = []Source{c.WALBackup.source()}
	}
	if len(c.Sources) == 0 {
		d.fail("sources", "there is none: name at least one bucket or directory with WAL")
	}
	names, timelines := map[string]bool{}, map[string]string{}
	for i := range c.Sources {
		s := &c.Sources[i]
		path := fmt.Sprintf("sources[%d]", i)
		validateSource(s, d, path)
		if names[s.Name] && s.Name != "" {
			d.fail(path+".name", "%q stands twice: give each source a name of its own", s.Name)
		}
		names[s.Name] = true
		key := s.Tenant + "/" + s.Timeline
		if other, taken := timelines[key]; taken && s.Name != "" {
			d.fail(path+".tenant", "source %q has the same tenant and timeline (%s): give this one another", other, key)
		}
		timelines[key] = s.Name
	}
}

func validateSource(s *Source, d *document, path string) {
	if !nameForm.MatchString(s.Name) {
		d.fail(path+".name", "%q is no name: %s", s.Name, nameRule)
	}
	if s.Tenant == "" {
		s.Tenant = s.Name
	}
	for key, name := range map[string]string{".tenant": s.Tenant, ".timeline": s.Timeline} {
		if !nameForm.MatchString(name) && s.Name != "" {
			d.fail(path+key, "%q is no name: %s", name, nameRule)
		}
	}
	if s.WAL == "" {
		d.fail(path+".wal", "is missing: name the directory or bucket that holds the WAL segments")
	}
	location(d, path+".wal", s.WAL)
	location(d, path+".backups", s.Backups)
	available(d, path+".layout", s.Layout, []string{"auto", "plain", "redoubt", "neon"}, []string{"wal-g", "pgbackrest", "barman"})
	validateNeon(s, d, path)
	official(d, path+".official", s)
	live(d, path+".live", &s.Live)
}

func official(d *document, path string, s *Source) {
	got := s.Official
	scheme, rest, isURL := strings.Cut(got, "://")
	switch {
	case got == "snapshots":
	case isURL && (scheme == "postgres" || scheme == "postgresql"):
	case isURL && scheme == "pageserver":
		if u, err := url.Parse(got); err != nil || u.Hostname() != "" || u.Path != "" || u.User != nil || u.Fragment != "" {
			d.fail(path, "write pageserver://:PORT, with parameters but no host: %s says which pageservers there are", "neon.pageservers")
		} else if len(s.Neon.Pageservers) == 0 {
			d.fail(path, "pageserver://%s wants neon.pageservers, which say where pages can be read", rest)
		}
	default:
		d.fail(path, "%s is not available: use snapshots, or postgres://USER@HOST/DATABASE of a running server", withoutSecrets(got))
	}
}

// withoutSecrets quotes a value; of a URL only its scheme.
func withoutSecrets(s string) string {
	if scheme, _, ok := strings.Cut(s, "://"); ok {
		s = scheme + "://…"
	}
	return strconv.Quote(s)
}

func live(d *document, path string, l *Live) {
	if l.PagesPerSecond < 0 {
		d.fail(path+".pages_per_second", "is negative: want 0, for no limit, or more")
	}
	if l.Hours != "" && !hoursForm.MatchString(l.Hours) {
		d.fail(path+".hours", "%q is no part of the day: write 22:00-06:00", l.Hours)
	}
	if l.MemoryFunction == "" {
		d.fail(path+".memory_function", "is empty: name the function that returns pages in memory, with its schema")
	}
}

// hoursForm is HH:MM-HH:MM.
var hoursForm = regexp.MustCompile(`^([01]\d|2[0-3]):[0-5]\d-([01]\d|2[0-3]):[0-5]\d$`)

func isURL(s string) bool { return strings.Contains(s, "://") }

// location checks a location of objects: a path or a URL of a known kind.
func location(d *document, path, got string) {
	if !isURL(got) {
		return
	}
	u, err := url.Parse(got)
	if err != nil {
		d.fail(path, "not a URL: write s3://bucket/prefix, gs://, azblob://, file:///dir or a plain path")
		return
	}
	switch u.Scheme {
	case "s3", "gs", "azblob":
		if u.Host == "" {
			d.fail(path, "%q names no bucket: write %s://bucket/prefix", got, u.Scheme)
		}
	case "file":
		if u.Host != "" || !filepath.IsAbs(u.Path) {
			d.fail(path, "%q is not absolute: write file:///dir or a plain path", got)
		}
	default:
		d.fail(path, "%s:// is not a kind of location: write s3://bucket/prefix, gs://, azblob://, file:///dir or a plain path", u.Scheme)
	}
}

func validateJob(c *Config, d *document, name string) {
	j, path := c.Jobs[name], "jobs."+name
	if !nameForm.MatchString(name) {
		d.fail(path, "%q is no name for a job: %s", name, nameRule)
	}
	if _, err := ParseSchedule(j.Schedule); err != nil {
		d.fail(path+".schedule", "%v", err)
	}
	for i, s := range j.Sources {
		if !slices.ContainsFunc(c.Sources, func(x Source) bool { return x.Name == s }) {
			d.fail(fmt.Sprintf("%s.sources[%d]", path, i), "there is no source %q", s)
		}
	}
	between(d, path+".pick.timelines", j.Pick.Timelines, 1, 1_000_000)
	between(d, path+".pick.patience", j.Pick.Patience, 1, 1000)
	between(d, path+".parallel_spans", j.ParallelSpans, 1, 1024)
	atLeast(d, path+".span_wal_bytes", j.SpanWALBytes, 1<<20)
	validateRetries(j.Retries, d, path+".retries")
	if math.IsNaN(j.Sample) || j.Sample <= 0 || j.Sample > 1 {
		d.fail(path+".sample", "%v is not above 0 and at most 1 (all blocks)", j.Sample)
	}
	if math.IsNaN(j.Untouched) || j.Untouched < 0 || j.Untouched > 1 {
		d.fail(path+".untouched", "%v is not between 0 and 1 (all blocks)", j.Untouched)
	}
	oneOf(d, path+".engine", j.Engine, "native", "server", "both")
	oneOf(d, path+".confirm", j.Confirm, "none", "server")
}

func validateRetries(r Retries, d *document, path string) {
	between(d, path+".attempts", r.Attempts, 1, 100)
	if r.MaxWait < r.FirstWait {
		d.fail(path+".max_wait", "%v is less than first_wait (%v)", r.MaxWait, r.FirstWait)
	}
}

// libraryForm is what may stand in shared_preload_libraries without quotes.
var libraryForm = regexp.MustCompile(`^[A-Za-z0-9_$/.-]+$`)

const longestLibrary = 255

func validateServer(c *Config, d *document) {
	atLeast(d, "server.memory", c.Server.Memory, 256<<20)
	for i, lib := range c.Server.Libraries {
		if len(lib) > longestLibrary || !libraryForm.MatchString(lib) {
			d.fail(fmt.Sprintf("server.libraries[%d]", i), "%q is no name of a library: write one as shared_preload_libraries has it", lib)
		}
	}
	for _, major := range slices.Sorted(maps.Keys(c.PgBin)) {
		if n, err := strconv.Atoi(major); err != nil || n < pg.MinMajor || n > pg.MaxMajor {
			d.fail("pg_bin."+major, "%q is no major version from %d to %d", major, pg.MinMajor, pg.MaxMajor)
		}
		if c.PgBin[major] == "" {
			d.fail("pg_bin."+major, "is empty: name the directory of the program postgres, or leave the version out")
		}
	}
}

func between(d *document, path string, got, low, high int) {
	if got < low || got > high {
		d.fail(path, "%d is not between %d and %d", got, low, high)
	}
}

func validatePushgateway(s string, d *document) {
	if s == "" {
		return
	}
	u, err := url.Parse(s)
	if err != nil || u.Host == "" || (u.Scheme != "http" && u.Scheme != "https") {
		d.fail("metrics.pushgateway", "not a URL: write http://host:9091")
	}
}

// Loopback reports whether a listen address can be reached from this machine only.
func Loopback(listen string) bool {
	host, _, err := net.SplitHostPort(listen)
	if err != nil {
		return false
	}
	if strings.EqualFold(host, "localhost") {
		return true
	}
	ip := net.ParseIP(host)
	return ip != nil && ip.IsLoopback()
}
