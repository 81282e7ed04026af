package main

import (
	"fmt"
	"os"
	"os/exec"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
	"redoubt/internal/storage/storagetest"
)

// peak runs redoubt as its child and says on the last line of stderr how many
// KiB it had resident at most. A child of the tests themselves would begin with
// their own peak: the kernel hands it on until exec.
func peak() {
	self, err := os.Executable()
	if err != nil {
		panic(err)
	}
	c := exec.Command(self, os.Args[1:]...)
	c.Args[0] = "redoubt"
	c.Stdout, c.Stderr = os.Stdout, os.Stderr
	_ = c.Run() // its exit code is what counts
	fmt.Fprintln(os.Stderr, c.ProcessState.SysUsage().(*syscall.Rusage).Maxrss)
	os.Exit(c.ProcessState.ExitCode())
}

// measured runs redoubt and returns how many bytes it had resident at most.
func measured(t *testing.T, args ...string) (outcome, int64) {
	t.Helper()
	c := command(t, args...)
	c.Args[0] = "peak"
	o := finish(t, c)
	lines := strings.Fields(o.stderr)
	kib, err := strconv.ParseInt(lines[len(lines)-1], 10, 64)
	must(t, err)
	return o, kib << 10
}

// TestScanOfMany scans lists of a length that is normal for an archive, whole
// and with every second segment missing, through the client of S3.
func TestScanOfMany(t *testing.T) {
	segments := 100_000
	if os.Getenv("REDOUBT_PROVE") == "1" {
		segments = 1_000_000
	}
	for what, step := range map[string]int{"whole": 1, "every second": 2} {
		t.Run(what, func(t *testing.T) {
			number := func(i int) pg.SegmentNo { return pg.SegmentNo(1 + i*step) }
			g := &storagetest.Generated{Prefix: "prod/main/wal/", Count: segments / step, Size: pg.DefaultSegmentSize,
				Name: func(i int) string { return pg.SegmentName(1, number(i), pg.DefaultSegmentSize) },
				Head: func(i int) []byte { return pgtest.SegmentHead(1, number(i), pg.DefaultSegmentSize, 7) },
			}
			o, resident := measured(t, "scan", "--wal", g.Serve(t), "--format", "json")
			r := parse[finding.Scan](t, o.stdout).Timelines[0]
			missing := int64(g.Count-1) * int64(step-1)
			if r.Present != int64(g.Count) || r.MissingSegments() != missing || (o.code == exitClean) != (missing == 0) {
				t.Errorf("exit %d: %d there, %d missing in %d gaps and %d\n%s", o.code, r.Present, r.MissingSegments(), len(r.Gaps), r.MissingUnlisted, o.stderr)
			}
			t.Logf("%d objects: %d MB resident at most, %d KB of JSON, %.1f s", g.Count, resident>>20, len(o.stdout)>>10, parse[finding.Scan](t, o.stdout).Timing.WallSeconds)
			const most = 200 << 20
			if resident > most {
				t.Errorf("%d bytes were resident, want at most %d", resident, int64(most))
			}
		})
	}
}
