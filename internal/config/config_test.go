package config

import (
	"errors"
	"flag"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/goccy/go-yaml/ast"
	"github.com/google/go-cmp/cmp"
	"github.com/google/go-cmp/cmp/cmpopts"
)

var update = flag.Bool("update", false, "rewrite the golden error texts")

const examplePath = "../../config.example.yaml"

func TestExampleHoldsTheDefaults(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	got, err := Parse(examplePath, data)
	if err != nil {
		t.Fatal(err)
	}
	want := Default()
	src := DefaultSource()
	src.Name, src.WAL, src.Tenant = "prod", "./archive", "prod"
	want.Sources = []Source{src}
	want.WALBackup.Bucket = "./wal-backup"
	want.WALBackup.Sources = []WALSource{{Path: "./pg_wal", Kind: "auto", Tenant: "prod", Timeline: "main"}}
	if diff := cmp.Diff(want, *got, cmpopts.EquateEmpty()); diff != "" {
		t.Errorf("config.example.yaml is not the defaults (-default +example):\n%s", diff)
	}
}

func TestExampleHasEveryKeyWithAComment(t *testing.T) {
	data, err := os.ReadFile(examplePath)
	if err != nil {
		t.Fatal(err)
	}
	root, err := syntaxTree(examplePath, data)
	if err != nil {
		t.Fatal(err)
	}
	present := map[string]int{}
	collectKeys(root, "", present)
	lines := strings.Split(string(data), "\n")
	for _, path := range keyPaths(reflect.TypeFor[Config](), "") {
		line, ok := present[path]
		if !ok {
			t.Errorf("config.example.yaml lacks %s", path)
			continue
		}
		if !commented(lines, line) {
			t.Errorf("config.example.yaml:%d: %s has no comment", line, path)
		}
	}
}

// commented reports whether a comment stands above the line. Groups of keys need none, nor keys that share one.
func commented(lines []string, line int) bool {
	key, value, _ := strings.Cut(strings.TrimSpace(lines[line-1]), ":")
	shared := []string{"timeline", "attempts", "first_wait", "max_wait"}
	return value == "" || slices.Contains(shared, key) || strings.HasPrefix(strings.TrimSpace(lines[line-2]), "#")
}

// keyPaths are the paths of all keys of t; elements of lists and maps are written *.
func keyPaths(t reflect.Type, prefix string) []string {
	switch t.Kind() {
	case reflect.Slice, reflect.Map:
		return keyPaths(t.Elem(), prefix+".*")
	case reflect.Struct:
	default:
		return nil
	}
	var out []string
	for i := range t.NumField() {
		path := prefix + "." + t.Field(i).Tag.Get("yaml")
		out = append(out, path)
		out = append(out, keyPaths(t.Field(i).Type, path)...)
	}
	return out
}

func collectKeys(n ast.Node, prefix string, out map[string]int) {
	switch n := n.(type) {
	case *ast.MappingNode:
		for _, e := range n.Values {
			collectKeys(e, prefix, out)
		}
	case *ast.MappingValueNode:
		name := n.Key.GetToken().Value
		if prefix == ".jobs" {
			name = "*"
		}
		out[prefix+"."+name] = n.Key.GetToken().Position.Line
		collectKeys(n.Value, prefix+"."+name, out)
	case *ast.SequenceNode:
		for _, item := range n.Values {
			collectKeys(item, prefix+".*", out)
		}
	}
}

func TestGood(t *testing.T) {
	files, _ := filepath.Glob("testdata/good/*.yaml")
	if len(files) == 0 {
		t.Fatal("no good configurations")
	}
	for _, f := range files {
		if _, err := Load(f); err != nil {
			t.Errorf("%s: %v", f, err)
		}
	}
}

// A configuration for the backup alone verifies what it stores.
func TestWALBackupIsASource(t *testing.T) {
	c, err := Load("testdata/good/walbackup.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := filepath.Abs("testdata/good")
	if len(c.Sources) != 1 || c.Sources[0].WAL != filepath.Join(dir, "backup") || c.Sources[0].Layout != "redoubt" {
		t.Errorf("sources are %+v", c.Sources)
	}
	if s := c.WALBackup.Sources[0]; s.Path != "/var/lib/postgresql/17/main/pg_wal" || s.Timeline != "main" {
		t.Errorf("WAL appears in %+v", s)
	}
}

func TestMany(t *testing.T) {
	c, err := Load("testdata/good/many.yaml")
	if err != nil {
		t.Fatal(err)
	}
	dir, _ := filepath.Abs("testdata/good")
	want := Default()
	want.DataDir = "/var/lib/redoubt"
	want.Reports.Dir = filepath.Join(dir, "redoubt-reports")
	want.Sources = []Source{
		{Name: "prod", WAL: "s3://wal/prod?region=eu-central-1", Backups: "s3://backups/prod", Layout: "auto", Official: "snapshots", Tenant: "0001", Timeline: "main", Live: DefaultSource().Live, Neon: DefaultSource().Neon},
		{Name: "staging", WAL: "file:///srv/wal", Layout: "plain", Official: "snapshots", Tenant: "staging", Timeline: "main", Live: DefaultSource().Live, Neon: DefaultSource().Neon},
	}
	nightly, hourly := DefaultJob(), DefaultJob()
	nightly.Schedule, nightly.Pick.Timelines = "CRON_TZ=Europe/Berlin 30 1 * * 1-5", 3
	nightly.Sources, nightly.Limits = []string{"prod", "staging"}, Limits{WALBytes: 50 << 30}
	hourly.Schedule, hourly.CatchUp, hourly.Sample, hourly.Retries.Attempts = "@every 1h", true, 0.1, 1
	hourly.Engine, hourly.Confirm = "both", "server"
	want.Jobs = map[string]Job{"nightly": nightly, "hourly": hourly}
	want.Server = Server{User: "pg", Memory: 2 << 30, Disk: 100 << 30, Duration: Duration(time.Hour), Libraries: []string{"pg_ext"}}
	want.PgBin = map[string]string{"15": filepath.Join(dir, "pg15/bin"), "17": "/opt/pg17/bin"}
	want.Memory, want.Workers = 512<<20, 4
	want.HTTP = HTTP{Listen: "[::]:8480", Token: "abcdefghijklmnop0123"}
	want.Metrics = Metrics{PerTimeline: "all", Pushgateway: "http://push:9091"}
	if diff := cmp.Diff(want, *c); diff != "" {
		t.Errorf("many.yaml (-want +got):\n%s", diff)
	}
	if got := c.LedgerPath(); got != "/var/lib/redoubt/ledger.db" {
		t.Errorf("ledger path %s", got)
	}
	if got := c.ScratchDir(); got != "/var/lib/redoubt/scratch" {
		t.Errorf("scratch dir %s", got)
	}
}

// TestBad compares every error text of testdata/bad with its golden file.
func TestBad(t *testing.T) {
	files, _ := filepath.Glob("testdata/bad/*.yaml")
	if len(files) == 0 {
		t.Fatal("no bad configurations")
	}
	for _, f := range files {
		t.Run(strings.TrimSuffix(filepath.Base(f), ".yaml"), func(t *testing.T) {
			c, err := Load(f)
			if err == nil || c != nil {
				t.Fatalf("accepted: %+v", c)
			}
			text := strings.ReplaceAll(err.Error(), f, filepath.Base(f)) + "\n"
			for line := range strings.Lines(text) {
				if !strings.HasPrefix(line, filepath.Base(f)+":") {
					t.Errorf("does not name the file: %s", line)
				}
			}
			golden := strings.TrimSuffix(f, ".yaml") + ".txt"
			if *update {
				if err := os.WriteFile(golden, []byte(text), 0o644); err != nil {
					t.Fatal(err)
				}
			}
			want, err := os.ReadFile(golden)
			if err != nil {
				t.Fatal(err)
			}
			if diff := cmp.Diff(string(want), text); diff != "" {
				t.Errorf("error text (-want +got):\n%s", diff)
			}
		})
	}
}

func TestLoadResolvesPathsAndReadsTheToken(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
			t.Fatal(err)
		}
		return path
	}
	write("token", "0123456789abcdef\n")
	path := write("c.yaml", "sources: [{name: a, wal: wal, backups: ../b}]\nhttp: {listen: ':1', token_file: token}\nscratch: {dir: s}\nmetrics: {textfile: m.prom}\n")
	c, err := Load(path)
	if err != nil {
		t.Fatal(err)
	}
	got := []string{c.DataDir, c.Sources[0].WAL, c.Sources[0].Backups, c.ScratchDir(), c.Metrics.Textfile, c.HTTP.Token.Reveal()}
	want := []string{dir + "/redoubt-data", dir + "/wal", filepath.Dir(dir) + "/b", dir + "/s", dir + "/m.prom", "0123456789abcdef"}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Error(diff)
	}

	for _, tc := range []struct{ token, want string }{
		{"short", "c.yaml:2:34: http.token_file: the token has 5 bytes"},
		{"", "c.yaml:2:34: http.token_file: the token has 0 bytes"},
		{"0123456789 abcdef", "http.token_file: the token has spaces"},
	} {
		write("token", tc.token)
		if _, err := Load(path); err == nil || !strings.Contains(err.Error(), tc.want) {
			t.Errorf("token %q: %v", tc.token, err)
		}
	}
	if err := os.Remove(filepath.Join(dir, "token")); err != nil {
		t.Fatal(err)
	}
	var e *Error
	if _, err := Load(path); !errors.As(err, &e) || e.Key != "http.token_file" || e.Line != 2 {
		t.Errorf("missing token file: %v", err)
	}
	if _, err := Load(filepath.Join(dir, "none.yaml")); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("missing file: %v", err)
	}
}

func TestSecretIsNotPrinted(t *testing.T) {
	c := Config{HTTP: HTTP{Token: "hunter2hunter2hunter2"}}
	var log strings.Builder
	slog.New(slog.NewTextHandler(&log, nil)).Info("x", "token", c.HTTP.Token, "config", c)
	text, _ := c.HTTP.Token.MarshalText()
	for _, s := range []string{fmt.Sprintf("%v %+v %#v %s %q", c, c, c, c.HTTP.Token, c.HTTP.Token), log.String(), string(text)} {
		if strings.Contains(s, "hunter2") {
			t.Errorf("printed: %s", s)
		}
	}
}

func TestSizes(t *testing.T) {
	for text, want := range map[string]Size{"0": 0, "17": 17, "1B": 1, "1 KiB": 1024, "200GiB": 200 << 30, "5GB": 5e9, "3kB": 3000, "8388607TiB": 8388607 << 40} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err != nil || s != want {
			t.Errorf("%q: %d, %v", text, s, err)
		}
	}
	for _, text := range []string{"", "GiB", "-1", "+1", "1.5GiB", "1 GiB ", "1gib", "1e9", "8388608TiB", "99999999999999999999", "0x10", "１"} {
		var s Size
		if err := s.UnmarshalText([]byte(text)); err == nil {
			t.Errorf("%q read as %d", text, s)
		}
	}
	for want, s := range map[string]Size{"0": 0, "200GiB": 200 << 30, "1TiB": 1 << 40, "1025": 1025, "3KiB": 3 << 10} {
		if s.String() != want {
			t.Errorf("%d prints as %s, want %s", int64(s), s, want)
		}
	}
}

func TestSchedulesKnowTimeZones(t *testing.T) {
	s, err := ParseSchedule("CRON_TZ=Europe/Berlin 0 2 * * *")
	if err != nil {
		t.Fatal(err)
	}
	got := s.Next(time.Date(2026, 7, 1, 12, 0, 0, 0, time.UTC)).UTC()
	if want := time.Date(2026, 7, 2, 0, 0, 0, 0, time.UTC); !got.Equal(want) {
		t.Errorf("next %v, want %v", got, want)
	}
}

func TestLoopback(t *testing.T) {
	for listen, want := range map[string]bool{
		"127.0.0.1:80": true, "127.9.9.9:80": true, "[::1]:80": true, "localhost:80": true,
		":80": false, "0.0.0.0:80": false, "[::]:80": false, "10.0.0.1:80": false, "localhost.example.org:80": false, "junk": false,
	} {
		if Loopback(listen) != want {
			t.Errorf("%s: %v", listen, !want)
		}
	}
}

func FuzzParse(f *testing.F) {
	for _, glob := range []string{"testdata/good/*.yaml", "testdata/bad/*.yaml", examplePath} {
		files, _ := filepath.Glob(glob)
		for _, name := range files {
			data, err := os.ReadFile(name)
			if err != nil {
				f.Fatal(err)
			}
			f.Add(data)
		}
	}
	f.Fuzz(func(t *testing.T, data []byte) {
		c, err := Parse("c.yaml", data)
		if (c == nil) == (err == nil) {
			t.Fatalf("config %v, error %v", c, err)
		}
		if err != nil {
			if !strings.HasPrefix(err.Error(), "c.yaml:") {
				t.Fatalf("error does not name the file: %v", err)
			}
			return
		}
		if len(c.Sources) == 0 || len(c.Jobs) == 0 {
			t.Fatalf("accepted without sources or jobs: %+v", c)
		}
		for name, j := range c.Jobs {
			if _, err := ParseSchedule(j.Schedule); err != nil || j.ParallelSpans < 1 || !slices.Contains([]string{"native", "server", "both"}, j.Engine) {
				t.Fatalf("accepted job %s: %+v, %v", name, j, err)
			}
		}
	})
}

func TestInterval(t *testing.T) {
	for _, text := range []string{"auto", "never", "16GiB"} {
		var i Interval
		if err := i.UnmarshalText([]byte(text)); err != nil || i.String() != text {
			t.Errorf("%s is read as %s: %v", text, i, err)
		}
	}
	for _, text := range []string{"", "0", "0GiB", "-1", "often"} {
		var i Interval
		if err := i.UnmarshalText([]byte(text)); err == nil || !strings.Contains(err.Error(), "auto, never, or a size") {
			t.Errorf("%q: %v", text, err)
		}
	}
}
