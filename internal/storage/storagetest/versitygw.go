package storagetest

import (
	"bytes"
	"context"
	"fmt"
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

// Credentials of the server that S3 starts.
const (
	accessKey = "redoubt-test"
	secretKey = "redoubt-test-secret"
)

// S3 starts versitygw, a real S3 server, over a temporary directory and
// returns a function that makes a bucket and tells its location. The test is
// skipped, loudly, where the server's binary is not: REDOUBT_VERSITYGW names
// it, or .cache/bin/versitygw below the repository's root.
func S3(t testing.TB) (newBucket func(name string) string) {
	t.Helper()
	bin := versitygw()
	if bin == "" {
		pgtest.SkipProof(t, "no S3 server: build .cache/bin/versitygw with make, or name one in REDOUBT_VERSITYGW")
	}
	dir := t.TempDir()
	addr := freeAddr(t)
	var log bytes.Buffer
	cmd := exec.Command(bin, "--access", accessKey, "--secret", secretKey, "--port", addr, "--region", "us-east-1", "posix", dir)
	cmd.Stdout, cmd.Stderr = &log, &log
	cmd.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if err := cmd.Start(); err != nil {
		t.Fatalf("start %s: %v", bin, err)
	}
	exited := make(chan struct{})
	go func() {
		_ = cmd.Wait() // it is killed below
		close(exited)
	}()
	t.Cleanup(func() {
		_ = cmd.Process.Kill() // it may have ended by itself
		<-exited
		if t.Failed() {
			t.Logf("versitygw: %s", log.Bytes())
		}
	})
	awaitServer(t, addr, exited)
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	return func(name string) string {
		if err := os.Mkdir(filepath.Join(dir, name), 0o700); err != nil {
			t.Fatal(err)
		}
		return fmt.Sprintf("s3://%s?endpoint=http://%s&region=us-east-1&use_path_style=true", name, addr)
	}
}

func versitygw() string {
	if bin := os.Getenv("REDOUBT_VERSITYGW"); bin != "" {
		return bin
	}
	dir, err := os.Getwd()
	if err != nil {
		return ""
	}
	for ; ; dir = filepath.Dir(dir) {
		if _, err := os.Stat(filepath.Join(dir, "go.mod")); err == nil {
			bin := filepath.Join(dir, ".cache", "bin", "versitygw")
			if fi, err := os.Stat(bin); err == nil && fi.Mode().IsRegular() {
				return bin
			}
			return ""
		}
		if dir == filepath.Dir(dir) {
			return ""
		}
	}
}

func freeAddr(t testing.TB) string {
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = l.Close() }()
	return l.Addr().String()
}

func awaitServer(t testing.TB, addr string, exited <-chan struct{}) {
	ctx, cancel := context.WithTimeout(context.Background(), 30*time.Second)
	defer cancel()
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	for {
		req, err := http.NewRequestWithContext(ctx, http.MethodGet, "http://"+addr+"/", nil)
		if err != nil {
			t.Fatal(err)
		}
		resp, err := client.Do(req)
		if err == nil {
			_ = resp.Body.Close() // any answer will do
			return
		}
		select {
		case <-exited:
			t.Fatal("the S3 server ended at its start")
		case <-ctx.Done():
			t.Fatalf("the S3 server does not answer at %s: %v", addr, err)
		case <-time.After(20 * time.Millisecond):
		}
	}
}
