package main

import (
	"fmt"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/check"
	"redoubt/internal/finding"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

// checked runs a check and reads its report.
func checked(t testing.TB, code int, config string, words ...string) check.Report {
	t.Helper()
	o := redoubt(t, "check", "-c", config, "--format", "json")
	o.want(t, code, words...)
	r := parse[check.Report](t, o.stdout)
	if (r.Verdict == finding.Clean) != (code == exitClean) {
		t.Errorf("verdict %s, exit code %d", r.Verdict, code)
	}
	return r
}

// configuration writes one with a source.
func configuration(t testing.TB, source, more string) (file string) {
	t.Helper()
	file = filepath.Join(t.TempDir(), "config.yaml")
	put(t, file, []byte(fmt.Sprintf("data_dir: ./data\nsources: [{%s}]\nscratch: {min_free: 0B}\nreports: {dir: ./reports}\n%s", source, more)))
	return file
}

func TestCheck(t *testing.T) {
	t.Parallel()
	bucket := pristine(t)
	file := configuration(t, "name: demo, wal: "+bucket, "")
	r := checked(t, exitClean, file)
	if len(r.Sources) != 1 || r.Sources[0].Layout != "redoubt" || r.Sources[0].Count != 3 || len(r.Sources[0].Timelines) != 3 {
		t.Fatalf("%+v", r.Sources)
	}
	for _, tl := range r.Sources[0].Timelines {
		if tl.Major != 17 || len(tl.Snapshots) != 3 || len(tl.Spans) != 2 || tl.WAL.Segments == 0 || len(tl.Proves) < 3 {
			t.Errorf("%+v", tl)
		}
	}
	empty(t, filepath.Join(filepath.Dir(file), "data")) // nothing was made

	redoubt(t, "check", "-c", file).want(t, exitClean, "acme/main: PostgreSQL 17, 9 WAL segments", "proves", "cannot prove", "All is well, 0 warnings.")
	redoubt(t, "check", "-c", file, "--timelines", "1").want(t, exitClean, "and 2 more timelines, not looked at")
	redoubt(t, "check", "-c", file, "--timelines", "0").want(t, exitUsage, "--timelines")
	redoubt(t, "check", "-c", filepath.Join(bucket, "none.yaml")).want(t, exitUsage, "none.yaml")
	put(t, file, []byte("sources: []\nnonsense: 1\n"))
	redoubt(t, "check", "-c", file).want(t, exitUsage, "nonsense")
}

// TestCheckFaults plants one fault each and wants it named, with its cure.
func TestCheckFaults(t *testing.T) {
	t.Parallel()
	bucket := pristine(t)
	wal := filepath.Join(bucket, "acme", "main", "wal")
	snapshots := filepath.Join(bucket, "acme", "main", "snapshots")
	brokenBackups := t.TempDir()
	link(t, snapshots, brokenBackups)
	put(t, filepath.Join(brokenBackups, "nightly-2", "base.tar.zst"), []byte("this is no tar"))
	onlyOne := t.TempDir()
	link(t, filepath.Join(snapshots, "nightly-1"), filepath.Join(onlyOne, "nightly-1"))
	for _, c := range []struct {
		name, source, more string
		code               int
		words              []string
	}{
		{"no such directory", "name: a, wal: /nowhere/at/all", "", exitInconclusive, []string{"source a", "/nowhere/at/all", "check the location"}},
		{"nothing there", "name: a, wal: " + t.TempDir(), "", exitInconclusive, []string{"neither WAL segments", "WAL is being archived"}},
		{"no word on backups", "name: a, wal: " + wal, "", exitInconclusive, []string{"base backups of a/main", "source's key backups"}},
		{"no backups", fmt.Sprintf("name: a, wal: %s, backups: %s", wal, t.TempDir()), "", exitInconclusive, []string{"no base backup", "take two base backups"}},
		{"one backup", fmt.Sprintf("name: a, wal: %s, backups: %s", wal, onlyOne), "", exitInconclusive, []string{"one base backup, nightly-1", "take a second one"}},
		{"a broken backup", fmt.Sprintf("name: a, wal: %s, backups: %s", wal, brokenBackups), "", exitInconclusive, []string{"base backup nightly-2 of a/main", "take a new one"}},
		{"reports in a file", "name: a, wal: " + bucket, "metrics: {textfile: /nowhere/x.prom}", exitInconclusive, []string{"metrics.textfile", "/nowhere is not there"}},
		{"no address of ours", "name: a, wal: " + bucket, `http: {listen: "192.0.2.1:1", token: "correct-horse-battery"}`, exitInconclusive, []string{"http.listen", "an address that this machine has"}},
		{"no pushgateway", "name: a, wal: " + bucket, `metrics: {pushgateway: "http://me:correct-horse@127.0.0.1:9"}`, exitInconclusive, []string{"metrics.pushgateway", "does not answer"}},
		{"a local schedule", "name: a, wal: " + bucket, `jobs: {nightly: {schedule: "0 2 * * *"}}`, exitClean, []string{"CRON_TZ=UTC", "1 warnings"}},
	} {
		t.Run(c.name, func(t *testing.T) {
			t.Parallel()
			o := redoubt(t, "check", "-c", configuration(t, c.source, c.more))
			o.want(t, c.code, c.words...)
			if strings.Contains(o.stdout+o.stderr, "correct-horse") {
				t.Error("a secret is shown")
			}
		})
	}
	// One broken backup of three still leaves a span, over it.
	r := checked(t, exitInconclusive, configuration(t, fmt.Sprintf("name: a, wal: %s, backups: %s", wal, brokenBackups), ""))
	if tl := r.Sources[0].Timelines[0]; len(tl.Spans) != 1 || len(tl.Snapshots) != 3 {
		t.Errorf("%+v", tl)
	}
}

// TestCheckDisk: a disk that is full, and directories that are not ours.
func TestCheckDisk(t *testing.T) {
	t.Parallel()
	bucket := pristine(t)
	t.Run("full", func(t *testing.T) {
		d := smallDisk(t, 64<<10)
		if !d.mounted {
			return // internal/check has the like
		}
		file := configuration(t, "name: a, wal: "+bucket, "")
		put(t, file, []byte(strings.Replace(string(read(t, file)), "./reports", d.dir, 1)))
		o := redoubt(t, "check", "-c", file)
		o.want(t, exitInconclusive, "reports.dir", "64 KiB free", "16 MiB are needed", "on another disk")
		empty(t, d.dir)
	})
	t.Run("not ours", func(t *testing.T) {
		closed := t.TempDir()
		must(t, os.Chmod(closed, 0))
		t.Cleanup(func() { must(t, os.Chmod(closed, 0o700)) })
		file := configuration(t, "name: a, wal: "+closed, "")
		put(t, file, []byte(strings.Replace(string(read(t, file)), "./reports", closed, 1)))
		o := finish(t, powerless(t, command(t, "check", "-c", file)))
		o.want(t, exitInconclusive, "reports.dir", "write permission on "+closed, "source a", "let the user that runs Redoubt list and read it")
	})
}

// powerless is a command without root's power to read and write everything.
func powerless(t testing.TB, c *exec.Cmd) *exec.Cmd {
	t.Helper()
	if os.Geteuid() != 0 {
		return c
	}
	setpriv, err := exec.LookPath("setpriv")
	if err != nil {
		pgtest.SkipProof(t, "check names directories it may not read: this is root, and setpriv is not installed")
	}
	out := exec.CommandContext(t.Context(), setpriv, append([]string{"--bounding-set=-all", filepath.Join(withRedoubt(t, c.Path), "redoubt")}, c.Args[1:]...)...)
	return out
}

// TestCheckS3 meets a real S3 server with what is usually wrong.
func TestCheckS3(t *testing.T) {
	newBucket := storagetest.S3(t)
	loc := newBucket("walbucket")
	fill(t, loc, filepath.Join(pristine(t), "acme", "main"), "acme/main")
	file := configuration(t, fmt.Sprintf("name: a, wal: %q, layout: redoubt", loc), "")
	checked(t, exitClean, file, "store of a", "of this machine's") // within 1 s, or 2 where the answer takes long

	missing := strings.Replace(loc, "walbucket", "nobucket", 1)
	checked(t, exitInconclusive, configuration(t, fmt.Sprintf("name: a, wal: %q", missing), ""), "no such bucket", "check the bucket's name")
	closed := strings.Replace(loc, "endpoint=http://127.0.0.1", "endpoint=http://127.0.0.2", 1)
	checked(t, exitInconclusive, configuration(t, fmt.Sprintf("name: a, wal: %q", closed), ""), "nothing listens there")
	for name, c := range map[string]struct {
		key, secret, word string
	}{
		"unknown key":  {"nobody-we-know", "redoubt-test-secret", "the store does not know this access key"},
		"wrong secret": {"redoubt-test", "not-the-secret-at-all", "the secret key is wrong"},
	} {
		cmd := command(t, "check", "-c", file)
		cmd.Env = append(os.Environ(), "AWS_ACCESS_KEY_ID="+c.key, "AWS_SECRET_ACCESS_KEY="+c.secret)
		o := finish(t, cmd)
		o.want(t, exitInconclusive, "source a", c.word)
		if strings.Contains(o.stdout+o.stderr, c.secret) {
			t.Errorf("%s: the secret is shown", name)
		}
	}
	cmd := command(t, "check", "-c", file)
	cmd.Env = without(os.Environ(), "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY")
	finish(t, cmd).want(t, exitInconclusive, "there are no credentials: set AWS_ACCESS_KEY_ID")

	ahead := strings.Replace(loc, hostOf(t, loc), datedProxy(t, hostOf(t, loc), 5*time.Minute), 1)
	checked(t, exitInconclusive, configuration(t, fmt.Sprintf("name: a, wal: %q, layout: redoubt", ahead), ""), "ahead of this machine's", "set the clock that is wrong")
}

func without(env []string, names ...string) (out []string) {
	for _, e := range env {
		name, _, _ := strings.Cut(e, "=")
		keep := true
		for _, n := range names {
			keep = keep && n != name
		}
		if keep {
			out = append(out, e)
		}
	}
	return out
}

func hostOf(t testing.TB, loc string) string {
	t.Helper()
	u, err := url.Parse(loc)
	must(t, err)
	e, err := url.Parse(u.Query().Get("endpoint"))
	must(t, err)
	return e.Host
}

// datedProxy is a proxy to a server whose clock it changes.
func datedProxy(t testing.TB, to string, ahead time.Duration) (address string) {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	must(t, err)
	p := &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(&url.URL{Scheme: "http", Host: to})
			r.Out.Host = r.In.Host // it is signed
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Set("Date", time.Now().Add(ahead).UTC().Format(http.TimeFormat))
			return nil
		},
	}
	s := &http.Server{Handler: p, ReadHeaderTimeout: time.Minute}
	go func() { _ = s.Serve(l) }() // ends when it is closed
	t.Cleanup(func() { must(t, s.Close()) })
	return l.Addr().String()
}

// fill copies a directory's files into a bucket, below a prefix.
func fill(t testing.TB, loc, dir, prefix string) {
	t.Helper()
	store, err := storage.Open(t.Context(), loc)
	must(t, err)
	defer func() { must(t, store.Close()) }()
	must(t, filepath.WalkDir(dir, func(path string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		rel, err := filepath.Rel(dir, path)
		must(t, err)
		f, err := os.Open(path)
		must(t, err)
		defer f.Close()
		return store.Put(t.Context(), filepath.ToSlash(filepath.Join(prefix, rel)), f, storage.PutOptions{})
	}))
}
