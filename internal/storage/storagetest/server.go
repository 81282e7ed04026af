package storagetest

import (
	"bytes"
	"context"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	"redoubt/internal/pgtest"
)

// server is a program that listens at an address until the test ends.
type server struct {
	addr   string
	exited chan struct{}
}

// startServer runs a program and waits until it answers HTTP at addr.
func startServer(t testing.TB, addr, program string, args ...string) *server {
	t.Helper()
	var log bytes.Buffer
	cmd := exec.Command(program, args...)
	cmd.Dir = t.TempDir()
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true, Pdeathsig: syscall.SIGKILL}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", program, err)
	}
	s := &server{addr: addr, exited: make(chan struct{})}
	go func() {
		_ = cmd.Wait() // it is killed below
		close(s.exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		<-s.exited
		if t.Failed() {
			t.Logf("%s: %s", filepath.Base(program), log.Bytes())
		}
	})
	s.await(t)
	return s
}

func (s *server) await(t testing.TB) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 60*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+s.addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close() // any answer will do
			return
		}
		select {
		case <-s.exited:
			t.Fatalf("the server for %s ended at its start", s.addr)
		case <-ctx.Done():
			t.Fatalf("the server does not answer at %s: %v", s.addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}

func freeAddr(t pgtest.T) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatalf("find a free port: %v", err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

// cached finds a file below the repository's .cache, "" if it is not there;
// an environment variable overrides it.
func cached(variable string, path ...string) string {
	if file := os.Getenv(variable); file != "" {
		return file
	}
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			file := filepath.Join(append([]string{dir, ".cache"}, path...)...)
			if fi, err := os.Stat(file); err == nil && fi.Mode().IsRegular() {
				return file
			}
			return ""
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}
