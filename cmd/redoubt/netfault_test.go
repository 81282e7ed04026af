package main

import (
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/storage/storagetest"
)

// s3Site is a machine with segments to back up to a real S3 server.
type s3Site struct {
	t        *testing.T
	server   *storagetest.Killable
	location string
	wal      string
	names    []string
	env      []string
}

func newS3Site(t *testing.T) *s3Site {
	s := &s3Site{t: t, server: storagetest.KillableS3(t), wal: t.TempDir()}
	s.location = s.server.Bucket("wal") + "&idle_timeout=1s"
	s.names = segmentsInto(t, s.wal)
	s.env = s.server.Env()
	return s
}

// config writes a configuration with a location.
func (s *s3Site) config(location, more string) string {
	file := filepath.Join(s.t.TempDir(), "config.yaml")
	put(s.t, file, fmt.Appendf(nil, `
data_dir: ./data
walbackup:
  bucket: %q
  sources: [{path: %s, kind: segments, tenant: prod}]
  storage: {retries: {attempts: 2, first_wait: 10ms}}
  prefetch: {segments: 0}
  %s
`, location, s.wal, more))
	return file
}

// run runs a command with credentials for the server.
func (s *s3Site) run(env []string, args ...string) outcome {
	s.t.Helper()
	c := command(s.t, args...)
	c.Env = append(os.Environ(), env...)
	return finish(s.t, c)
}

// TestCommandsOnABadNetwork: archive-push, archive-get and scan end in bounded
// time, say what is wrong, and never that a file is absent, stored or all is
// well; on a good network they work again. A deep scan reads on where its
// connections are cut.
func TestCommandsOnABadNetwork(t *testing.T) {
	t.Parallel()
	s := newS3Site(t)
	direct := s.config(s.location, "")
	for _, name := range s.names[:2] {
		s.run(s.env, "archive-push", "-c", direct, filepath.Join(s.wal, name)).want(t, exitClean)
	}
	proxy := storagetest.NewProxy(t, s.server.Addr)
	location := strings.Replace(s.location, s.server.Addr, proxy.Addr, 1)
	config, dest := s.config(location, ""), filepath.Join(t.TempDir(), "segment")
	get := []string{"archive-get", "-c", config, s.names[0], dest}
	none := []string{"archive-get", "-c", config, s.names[4], dest}
	push := []string{"archive-push", "-c", config, filepath.Join(s.wal, s.names[2])}
	half, cut := storagetest.Fault{Hole: true}, storagetest.Fault{Cut: 8000}
	for _, c := range []struct {
		fault storagetest.Fault
		args  []string
		code  int
		want  string
	}{
		{half, push, exitUsage, "stands still"},
		{half, get, exitTrouble, "stands still"},
		{half, none, exitTrouble, "stands still"},
		{half, []string{"scan", "--wal", location}, exitInconclusive, "stands still"},
		{cut, get, exitTrouble, "reset"},                                                  // answers to all but the body are shorter
		{cut, []string{"scan", "--deep", "--wal", location}, exitClean, "all 2 expected"}, // it goes on where it was cut
	} {
		proxy.Set(c.fault)
		began := time.Now()
		o := s.run(s.env, c.args...)
		if o.code != c.code || !strings.Contains(o.stderr+o.stdout, c.want) {
			t.Errorf("%+v, %v: exit %d: %s%s", c.fault, c.args, o.code, o.stdout, o.stderr)
		}
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%+v, %v: it took %s", c.fault, c.args, took)
		}
		if _, err := os.Stat(dest); err == nil || proxy.Used() == 0 {
			t.Errorf("%+v, %v: a file is there (%v), or nothing met the fault", c.fault, c.args, err)
		}
	}
	proxy.Set(storagetest.Fault{})
	s.run(s.env, push...).want(t, exitClean)
	s.run(s.env, get...).want(t, exitClean)
	same(t, "the segment", string(read(t, filepath.Join(s.wal, s.names[0]))), string(read(t, dest)))
	s.run(s.env, none...).want(t, exitAbsent)
}

// TestPermissions: the rights that docs/storage.md gives suffice, fewer are
// told as such, and nobody takes a refusal for an absence.
func TestPermissions(t *testing.T) {
	t.Parallel()
	s := newS3Site(t)
	agent := s.server.User("wal", "agent", "s3:PutObject", "s3:GetObject", "s3:ListBucket")
	reader := s.server.User("wal", "reader", "s3:GetObject", "s3:ListBucket")
	nobody := s.server.User("wal", "nobody", "s3:GetBucketTagging")
	config, dest := s.config(s.location, ""), filepath.Join(t.TempDir(), "segment")
	file := filepath.Join(s.wal, s.names[0])
	push := []string{"archive-push", "-c", config, file}
	get := []string{"archive-get", "-c", config, s.names[0], dest}
	s.run(reader, push...).want(t, exitFindings, "access is denied", "write")
	s.run(nobody, push...).want(t, exitUsage, "access is denied")
	s.run(agent, push...).want(t, exitClean)
	s.run(agent, push...).want(t, exitClean) // it is there already
	s.run(nobody, get...).want(t, exitTrouble, "access is denied")
	s.run(reader, get...).want(t, exitClean)
	same(t, "the segment", string(read(t, file)), string(read(t, dest)))
	s.run(reader, "scan", "--wal", s.location).want(t, exitClean)
	if o := s.run(nobody, "scan", "--wal", s.location); o.code != exitUsage && o.code != exitInconclusive || !strings.Contains(o.stderr, "access is denied") {
		t.Errorf("a scan by one who may nothing: exit %d: %s%s", o.code, o.stdout, o.stderr)
	}
	s.run(reader, "walbackup", "-c", s.config(s.location, "agent: {listen: \""+freePort(t)+"\"}")).want(t, exitUsage, "access is denied", "mark the bucket")
	wrong := s.config(strings.Replace(s.location, "s3://wal", "s3://law", 1), "agent: {listen: \""+freePort(t)+"\"}")
	s.run(agent, "walbackup", "-c", wrong).want(t, exitUsage, "law")
	s.run(agent, "archive-push", "-c", wrong, file).want(t, exitUsage, "law")
	s.run(agent, "archive-get", "-c", wrong, s.names[0], dest).want(t, exitTrouble, "law")
}
