package storagetest

import (
	"fmt"
	"os"
	"path/filepath"
	"testing"

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
	startServer(t, addr, bin, "--access", accessKey, "--secret", secretKey, "--port", addr, "--region", "us-east-1", "posix", dir)
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

// versitygw is the S3 server's program, "" if it is not there.
func versitygw() string { return cached("REDOUBT_VERSITYGW", "bin", "versitygw") }
