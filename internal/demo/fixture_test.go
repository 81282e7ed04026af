package demo

import (
	"bytes"
	"encoding/binary"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
)

// unpacked is the bucket that the read-only tests share.
var unpacked = sync.OnceValues(func() (string, error) {
	dir, err := os.MkdirTemp("", "redoubt-demo-test")
	if err != nil {
		return "", err
	}
	fixture, err = Unpack(dir)
	return dir, err
})

var fixture *Fixture

func TestMain(m *testing.M) {
	code := m.Run()
	if dir, err := unpacked(); err == nil {
		_ = os.RemoveAll(dir)
	}
	os.Exit(code)
}

func bucket(t *testing.T) (string, *Fixture) {
	t.Helper()
	dir, err := unpacked()
	if err != nil {
		t.Fatal(err)
	}
	return dir, fixture
}

func TestBundleIsSmall(t *testing.T) {
	if len(bundle) > 8<<20 {
		t.Errorf("the fixture has %d bytes, more than 8 MiB", len(bundle))
	}
}

func TestUnpackedBucketIsWhole(t *testing.T) {
	pgtest.PutOff(t)
	dir, f := bucket(t)
	if !strings.HasPrefix(f.Postgres, "17.") || len(f.Timelines) != 3 {
		t.Fatalf("PostgreSQL %s, %d timelines", f.Postgres, len(f.Timelines))
	}
	tenants, systems, sums := map[string]bool{}, map[string]bool{}, map[bool]bool{}
	for _, tl := range f.Timelines {
		tenants[tl.Tenant], systems[tl.SystemIdentifier], sums[tl.Checksums] = true, true, true
		if len(tl.Snapshots) != 3 {
			t.Errorf("%s/%s has %d snapshots", tl.Tenant, tl.Timeline, len(tl.Snapshots))
		}
		checkWAL(t, filepath.Join(dir, tl.Tenant, tl.Timeline, "wal"), tl)
		for _, s := range tl.Snapshots {
			checkSnapshot(t, filepath.Join(dir, tl.Tenant, tl.Timeline, "snapshots", s.Name), tl, s)
		}
	}
	if len(tenants) != 2 || len(systems) != 3 || len(sums) != 2 {
		t.Errorf("tenants %v, system identifiers %v, checksums %v", tenants, systems, sums)
	}
}

// checkWAL wants every segment from the first backup's to the last, each of
// full size with its own address and system identifier on its first page
// (XLogLongPageHeaderData, access/xlog_internal.h).
func checkWAL(t *testing.T, dir string, tl Timeline) {
	t.Helper()
	ext := ""
	if tl.CompressWAL {
		ext = ".zst"
	}
	entries, err := os.ReadDir(dir)
	if err != nil {
		t.Fatal(err)
	}
	if len(entries) != len(tl.Segments) {
		t.Errorf("%s has %d files, want %d", dir, len(entries), len(tl.Segments))
	}
	next := pg.SegmentOf(tl.Snapshots[0].Start, tl.SegmentSize)
	for _, name := range tl.Segments {
		b := readMaybeZstd(t, filepath.Join(dir, name+ext))
		if want := pg.SegmentName(1, next, tl.SegmentSize); name != want || int64(len(b)) != tl.SegmentSize {
			t.Fatalf("segment %s of %d bytes, want %s of %d", name, len(b), want, tl.SegmentSize)
		}
		magic, addr, sys := binary.LittleEndian.Uint16(b), binary.LittleEndian.Uint64(b[8:]), binary.LittleEndian.Uint64(b[24:])
		if magic != 0xD116 || pg.LSN(addr) != next.Start(tl.SegmentSize) || strconv.FormatUint(sys, 10) != tl.SystemIdentifier {
			t.Errorf("segment %s: magic %X, address %s, system identifier %d", name, magic, pg.LSN(addr), sys)
		}
		next++
	}
	if last := tl.Snapshots[2].Stop; next.Start(tl.SegmentSize) <= last {
		t.Errorf("WAL ends before %s, where the last snapshot is consistent", last)
	}
}

func readMaybeZstd(t *testing.T, path string) []byte {
	t.Helper()
	f, err := os.Open(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = f.Close() }()
	var r io.Reader = f
	if strings.HasSuffix(path, ".zst") {
		dec, err := zstd.NewReader(f)
		if err != nil {
			t.Fatal(err)
		}
		defer dec.Close()
		r = dec
	}
	b, err := io.ReadAll(r)
	if err != nil {
		t.Fatalf("read %s: %v", path, err)
	}
	return b
}

// checkSnapshot wants pg_control with the cluster's system identifier (its
// first 8 bytes), a backup_label with the snapshot's start, and a manifest
// that fits, which refit proves: what PostgreSQL wrote is what refit writes.
func checkSnapshot(t *testing.T, dir string, tl Timeline, s Snapshot) {
	t.Helper()
	base := readMaybeZstd(t, filepath.Join(dir, "base.tar.zst"))
	control, err := File(base, "global/pg_control")
	if err != nil || len(control) != 8192 || strconv.FormatUint(binary.LittleEndian.Uint64(control), 10) != tl.SystemIdentifier {
		t.Errorf("%s: pg_control of %d bytes: %v", dir, len(control), err)
	}
	label, err := File(base, "backup_label")
	if err != nil || !bytes.HasPrefix(label, []byte("START WAL LOCATION: "+s.Start.String()+" ")) {
		t.Errorf("%s: backup_label %q: %v", dir, label, err)
	}
	manifest := readMaybeZstd(t, filepath.Join(dir, "backup_manifest"))
	again, err := refit(slices.Clone(manifest), "backup_label", label)
	if err != nil || !bytes.Equal(again, manifest) {
		t.Errorf("%s: backup_manifest does not fit its backup_label: %v", dir, err)
	}
}
