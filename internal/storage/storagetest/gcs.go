package storagetest

import (
	"context"
	"fmt"
	"net"
	"net/http"
	"strings"
	"testing"

	"redoubt/internal/pgtest"
)

// GCS starts fake-gcs-server, which speaks Google Cloud Storage's protocol, in
// memory, and returns a function that makes a bucket and tells its location.
// The test is skipped, loudly, where the binary is not: REDOUBT_FAKE_GCS names
// it, or .cache/bin/fake-gcs-server below the repository's root.
func GCS(t testing.TB) (newBucket func(name string) string) {
	t.Helper()
	bin := cached("REDOUBT_FAKE_GCS", "bin", "fake-gcs-server")
	if bin == "" {
		pgtest.SkipProof(t, "no GCS server: build .cache/bin/fake-gcs-server with make, or name one in REDOUBT_FAKE_GCS")
	}
	addr := freeAddr(t)
	host, port, err := net.SplitHostPort(addr)
	if err != nil {
		t.Fatal(err)
	}
	startServer(t, addr, bin, "-scheme", "http", "-host", host, "-port", port, "-public-host", addr, "-backend", "memory", "-log-level", "error")
	t.Setenv("STORAGE_EMULATOR_HOST", addr)
	return func(name string) string {
		req, err := http.NewRequestWithContext(context.Background(), http.MethodPost,
			"http://"+addr+"/storage/v1/b?project=test", strings.NewReader(fmt.Sprintf(`{"name":%q}`, name)))
		if err != nil {
			t.Fatal(err)
		}
		req.Header.Set("Content-Type", "application/json")
		resp, err := http.DefaultClient.Do(req)
		if err != nil {
			t.Fatal(err)
		}
		defer func() { _ = resp.Body.Close() }() // the status is what counts
		if resp.StatusCode != http.StatusOK {
			t.Fatalf("make bucket %s: %s", name, resp.Status)
		}
		return "gs://" + name
	}
}
