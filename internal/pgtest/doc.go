// Package pgtest runs real PostgreSQL servers for tests: PostgreSQL itself is
// the judge of what is right. It makes clusters, drives them with SQL, stops
// and kills them, takes base backups with the low-level API and collects WAL.
//
// Servers are looked for in $REDOUBT_PG<major> (a directory with initdb and
// postgres), then below .cache/pg/<major>/bin of the repository, where
// `make test` puts what it fetched, then in Debian's
// /usr/lib/postgresql/<major>/bin. A test whose server is missing is skipped
// with a line that starts with "SKIPPED PROOF", or fails where
// REDOUBT_NO_SKIP=1 is set.
//
// PostgreSQL refuses to run as root, so a test that runs as root starts it as
// the user postgres, or as another unprivileged user. Whatever a test starts
// ends with the test.
package pgtest

import (
	"fmt"
	"os"
)

// T is the part of testing.TB that this package needs; programs that are no
// tests, such as the fixture generator, bring their own.
type T interface {
	Helper()
	Name() string
	Logf(format string, args ...any)
	Fatalf(format string, args ...any)
	Skipf(format string, args ...any)
	Failed() bool
	Cleanup(func())
}

// SkipProof skips the test and says which proof was not made; it fails the
// test where REDOUBT_NO_SKIP=1 forbids that. The count at the end of
// `make test` is made from these lines.
func SkipProof(t T, format string, args ...any) {
	t.Helper()
	why := fmt.Sprintf(format, args...)
	if os.Getenv("REDOUBT_NO_SKIP") == "1" {
		t.Fatalf("proof not made, and REDOUBT_NO_SKIP=1: %s", why)
	}
	t.Skipf("SKIPPED PROOF: %s", why)
}

// PutOff puts a test off that is long and not about locking; see later.
func PutOff(t T) {
	t.Helper()
	later(t)
}

// later puts a test off where internal/testsum asks for it: under the race
// detector a proof takes eight times as long, and it proves redo, not locking.
// testsum then runs it once more, without the detector.
func later(t T) {
	t.Helper()
	if raceDetector && os.Getenv("REDOUBT_PUT_OFF") == "1" {
		t.Skipf("PUT OFF to the pass without the race detector")
	}
}
