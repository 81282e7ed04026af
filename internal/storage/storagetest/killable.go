package storagetest

import (
	"os"
	"os/exec"
	"path/filepath"
	"syscall"

	"redoubt/internal/pgtest"
)

// Killable is a real S3 server that a test may kill and start again, over the
// same objects and on the same port.
type Killable struct {
	Dir  string // a directory for each bucket, in it a file for each object
	Addr string

	t      T
	bin    string
	iam    string // directory of the users
	cmd    *exec.Cmd
	policy []any // of the bucket that User was called for
}

// T is the part of testing.TB that a server needs; a program that is no test
// brings its own.
type T interface {
	pgtest.T
	TempDir() string
}

// KillableS3 starts one. What reaches it is in Env.
func KillableS3(t T) *Killable {
	t.Helper()
	bin := versitygw()
	if bin == "" {
		pgtest.SkipProof(t, "no S3 server: build .cache/bin/versitygw with make, or name one in REDOUBT_VERSITYGW")
	}
	s := &Killable{Dir: t.TempDir(), Addr: freeAddr(t), t: t, bin: bin, iam: t.TempDir()}
	s.Start()
	t.Cleanup(s.Kill)
	return s
}

// Start starts the server, which must not run, and does not wait for it.
func (s *Killable) Start() {
	s.cmd = exec.Command(s.bin, "--access", accessKey, "--secret", secretKey, "--port", s.Addr, "--region", "us-east-1", "--iam-dir", s.iam, "posix", s.Dir)
	s.cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := s.cmd.Start(); err != nil {
		s.t.Fatalf("start %s: %v", s.bin, err)
	}
}

// Kill ends it with SIGKILL.
func (s *Killable) Kill() {
	if s.cmd == nil {
		return
	}
	_ = s.cmd.Process.Kill()
	_ = s.cmd.Wait() // it was killed
	s.cmd = nil
}

// Bucket makes a bucket and tells its location.
func (s *Killable) Bucket(name string) string {
	if err := os.Mkdir(filepath.Join(s.Dir, name), 0o700); err != nil {
		s.t.Fatalf("make bucket: %v", err)
	}
	return "s3://" + name + "?endpoint=http://" + s.Addr + "&region=us-east-1&use_path_style=true"
}

// Env are the environment's variables that a process needs to reach it.
func (s *Killable) Env() []string { return env(accessKey, secretKey) }

func env(access, secret string) []string {
	return []string{"AWS_ACCESS_KEY_ID=" + access, "AWS_SECRET_ACCESS_KEY=" + secret, "AWS_EC2_METADATA_DISABLED=true",
		"AWS_CONFIG_FILE=/nonexistent", "AWS_SHARED_CREDENTIALS_FILE=/nonexistent"}
}
