package storage_test

import (
	"fmt"
	"strings"
	"testing"

	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

// conformsIn passes the suite in buckets of a cloud, half of them below a prefix.
func conformsIn(t *testing.T, newBucket func(name string) string) {
	n := 0
	storagetest.Conformance(t, func(t *testing.T) *storage.Store {
		n++
		loc := newBucket(fmt.Sprintf("bucket-%d", n))
		if base, query, found := strings.Cut(loc, "?"); n%2 == 0 {
			if loc = base + "/some/prefix"; found {
				loc += "?" + query
			}
		}
		return open(t, loc)
	})
}

func TestGCS(t *testing.T) { conformsIn(t, storagetest.GCS(t)) }

func TestAzure(t *testing.T) { conformsIn(t, storagetest.Azure(t)) }
