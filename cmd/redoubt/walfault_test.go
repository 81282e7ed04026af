package main

import (
	"bytes"
	"compress/gzip"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"strings"
	"syscall"
	"testing"

	"github.com/klauspost/compress/zstd"

	"redoubt/internal/finding"
)

// walFault is one thing that happened to the WAL of acme/billing, whose
// segments are as PostgreSQL wrote them, or acme/main, whose are compressed.
type walFault struct {
	name     string
	timeline string
	do       func(t testing.TB, wal string) // wal is a directory of its own
	names    string                         // what the answer must name
	code     int
	// harmless is for faults that may be in bytes which mean nothing: then the
	// result must be that of the WAL without it.
	harmless bool
}

const (
	billingSegment = "00000001000000000000000E" // in the middle of the first span
	mainSegment    = "00000001000000000000000F.zst"
)

func TestVerifyDamagedWAL(t *testing.T) {
	t.Parallel()
	bucket := pristine(t)
	clean := make(map[string]finding.Verification)
	for _, timeline := range []string{"billing", "main"} {
		o := redoubt(t, spanIn(bucket, "acme", timeline, "nightly-1", "nightly-2").args()...)
		o.want(t, exitClean)
		clean[timeline] = o.verification(t)
	}
	for _, f := range walFaults(t) {
		t.Run(f.name, func(t *testing.T) {
			t.Parallel()
			s := spanIn(bucket, "acme", f.timeline, "nightly-1", "nightly-2")
			wal := filepath.Join(t.TempDir(), "wal")
			link(t, s.wal, wal)
			f.do(t, wal)
			s.wal = wal
			o := redoubt(t, s.args()...)
			scanFinds(t, wal, f, o.code)
			if o.code == exitClean && f.harmless {
				same(t, "a harmless fault", clean[f.timeline], o.verification(t))
				return
			}
			o.want(t, f.code, f.names)
			if o.code == exitUsage {
				return
			}
			v := o.verification(t)
			if v.Verdict == finding.Clean || v.DiscrepancyCounts.Critical+v.DiscrepancyCounts.Warning > 0 {
				t.Errorf("verdict %s, %+v", v.Verdict, v.Discrepancies)
			}
			if (v.Verdict == finding.Inconclusive) != (len(v.Reasons) > 0) {
				t.Errorf("verdict %s for %q", v.Verdict, v.Reasons)
			}
		})
	}
}

// scanFinds wants a deep scan to see whatever kept verify from its work.
func scanFinds(t testing.TB, wal string, f walFault, verified int) {
	t.Helper()
	o := redoubt(t, "scan", "--wal", wal, "--deep", "--from", "0/D00000", "--to", "0/1200000", "--format", "json")
	switch {
	case f.name == "all missing":
		o.want(t, exitUsage, f.names)
		return
	case f.name == "missing 0C": // not in the range
	case f.name == "all another cluster's": // a whole archive, though not the one asked for
	case verified != exitClean:
		o.want(t, exitFindings)
	case o.code != exitClean && o.code != exitFindings:
		t.Errorf("scan: exit code %d: %s%s", o.code, o.stdout, o.stderr)
	}
	scan := parse[finding.Scan](t, o.stdout)
	if (scan.Verdict == finding.Clean) != (o.code == exitClean) || len(scan.Timelines) != 1 {
		t.Errorf("scan: exit code %d, %+v", o.code, scan)
	}
}

func walFaults(t testing.TB) []walFault {
	t.Helper()
	fs := append(missingSegments(), cutSegments()...)
	fs = append(fs, flippedSegments()...)
	fs = append(fs, duplicates(t)...)
	return append(fs, strangers(t)...)
}

// missingSegments takes each of the span's segments away.
func missingSegments() (out []walFault) {
	for _, n := range []string{"0C", "0D", "10", "11"} {
		name := "0000000100000000000000" + n
		out = append(out, walFault{"missing " + n, "billing", func(t testing.TB, wal string) { must(t, os.Remove(filepath.Join(wal, name))) }, name + " ", exitInconclusive, false})
	}
	return append(out, walFault{"all missing", "billing", func(t testing.TB, wal string) {
		must(t, os.RemoveAll(wal))
		must(t, os.Mkdir(wal, 0o700))
	}, "neither WAL segments nor", exitUsage, false})
}

func cutSegments() (out []walFault) {
	for _, n := range []int{0, 1, 23, 8191, 8192, 8193, 24576, 524287, 524288, 700001, 1<<20 - 8192, 1<<20 - 1} {
		out = append(out, walFault{fmt.Sprintf("cut at %d", n), "billing", func(t testing.TB, wal string) {
			path := filepath.Join(wal, billingSegment)
			put(t, path, read(t, path)[:n])
		}, billingSegment, exitInconclusive, false})
	}
	for _, percent := range []int{0, 1, 30, 70, 99} {
		out = append(out, walFault{fmt.Sprintf("compressed, cut at %d%%", percent), "main", func(t testing.TB, wal string) {
			path := filepath.Join(wal, mainSegment)
			whole := read(t, path)
			put(t, path, whole[:len(whole)*percent/100])
		}, mainSegment, exitInconclusive, false})
	}
	return append(out,
		walFault{"longer", "billing", func(t testing.TB, wal string) {
			path := filepath.Join(wal, billingSegment)
			put(t, path, append(bytes.Clone(read(t, path)), 1))
		}, billingSegment, exitInconclusive, false},
		walFault{"all zeros", "billing", func(t testing.TB, wal string) {
			put(t, filepath.Join(wal, billingSegment), make([]byte, 1<<20))
		}, "0/E00000", exitInconclusive, false},
		walFault{"zeros from the middle", "billing", func(t testing.TB, wal string) {
			path := filepath.Join(wal, billingSegment)
			put(t, path, append(bytes.Clone(read(t, path)[:600000]), make([]byte, 1<<20-600000)...))
		}, "0/E", exitInconclusive, false})
}

// flippedSegments changes single bytes: of the first page's header, of a
// later one's, and anywhere. Some bytes say nothing (padding).
func flippedSegments() (out []walFault) {
	flip := func(segment string, at func(size int) int, bit byte) func(testing.TB, string) {
		return func(t testing.TB, wal string) {
			path := filepath.Join(wal, segment)
			b := bytes.Clone(read(t, path))
			b[at(len(b))] ^= bit
			put(t, path, b)
		}
	}
	fixed := func(n int) func(int) int { return func(int) int { return n } }
	for _, at := range []int{0, 2, 4, 8, 9, 16, 24, 32, 36, 8192, 8194, 8196, 8200, 8208} {
		out = append(out, walFault{fmt.Sprintf("flip in a page header, byte %d", at), "billing", flip(billingSegment, fixed(at), 4), "E", exitInconclusive, true})
	}
	rnd := rand.New(rand.NewPCG(1, 2))
	for range 16 {
		at, bit := 40+rnd.IntN(1<<20-40), byte(1)<<rnd.IntN(8)
		out = append(out, walFault{fmt.Sprintf("flip of bit %d in byte %d", bit, at), "billing", flip(billingSegment, fixed(at), bit), "0/E", exitInconclusive, true})
	}
	for range 10 {
		part, bit := rnd.Float64(), byte(1)<<rnd.IntN(8)
		at := func(size int) int { return int(part * float64(size)) }
		out = append(out, walFault{fmt.Sprintf("compressed, flip of bit %d at %.4f", bit, part), "main", flip(mainSegment, at, bit), "F", exitInconclusive, true})
	}
	return out
}

// duplicates stores a segment twice, under two compressions.
func duplicates(t testing.TB) []walFault {
	t.Helper()
	bucket := pristine(t)
	good := read(t, filepath.Join(bucket, "acme", "billing", "wal", billingSegment))
	other := bytes.Clone(good)
	other[500000] ^= 1
	twice := func(plain, zipped []byte) func(testing.TB, string) {
		return func(t testing.TB, wal string) {
			put(t, filepath.Join(wal, billingSegment), plain)
			put(t, filepath.Join(wal, billingSegment+".gz"), gzipped(t, zipped))
		}
	}
	return []walFault{
		{"twice the same", "billing", twice(good, good), "", exitClean, true},
		{"a second one that differs", "billing", twice(good, other), "0/E", exitInconclusive, true},
		{"a first one that differs", "billing", twice(other, good), "0/E", exitInconclusive, true},
		{"a first one that is empty", "billing", twice(nil, good), billingSegment, exitInconclusive, true},
		{"a second one that is no gzip", "billing", func(t testing.TB, wal string) {
			put(t, filepath.Join(wal, billingSegment+".gz"), []byte("nonsense"))
		}, billingSegment, exitInconclusive, true},
	}
}

func gzipped(t testing.TB, b []byte) []byte {
	t.Helper()
	var out bytes.Buffer
	w := gzip.NewWriter(&out)
	_, err := w.Write(b)
	must(t, err)
	must(t, w.Close())
	return out.Bytes()
}

// strangers puts things at a segment's name that are not this segment.
func strangers(t testing.TB) []walFault {
	t.Helper()
	bucket := pristine(t)
	foreign := segment(t, filepath.Join(bucket, "globex", "main", "wal"), "00000001000000000000000F")
	next := segment(t, filepath.Join(bucket, "acme", "billing", "wal"), "00000001000000000000000F")
	at := func(name string, content []byte) func(testing.TB, string) {
		return func(t testing.TB, wal string) { put(t, filepath.Join(wal, name), content) }
	}
	instead := func(path string, do func(path string) error) func(testing.TB, string) {
		return func(t testing.TB, wal string) {
			must(t, os.Remove(filepath.Join(wal, path)))
			must(t, do(filepath.Join(wal, path)))
		}
	}
	return []walFault{
		{"another cluster's", "billing", at("00000001000000000000000F", foreign), "another cluster", exitInconclusive, false},
		{"all another cluster's", "billing", func(t testing.TB, wal string) {
			must(t, os.RemoveAll(wal))
			link(t, filepath.Join(bucket, "globex", "main", "wal"), wal)
		}, "the WAL of cluster 7710825095742444546", exitUsage, false},
		{"the next one", "billing", at(billingSegment, next), "0/E00000", exitInconclusive, false},
		{"text", "billing", at(billingSegment, []byte(strings.Repeat("not WAL. ", 1<<20)[:1<<20])), "0/E00000", exitInconclusive, false},
		{"a directory", "billing", instead(billingSegment, func(path string) error { return os.Mkdir(path, 0o700) }), billingSegment, exitInconclusive, false},
		{"a pipe nobody writes to", "billing", instead(billingSegment, func(path string) error { return syscall.Mkfifo(path, 0o600) }), billingSegment, exitInconclusive, false},
		{"a link", "billing", instead(billingSegment, func(path string) error { return os.Symlink("/etc/passwd", path) }), billingSegment, exitInconclusive, false},
		{"debris beside it", "billing", func(t testing.TB, wal string) {
			put(t, filepath.Join(wal, billingSegment+".tmp"), []byte("half a segment"))
			put(t, filepath.Join(wal, "README"), nil)
			put(t, filepath.Join(wal, "0000000100000000000000FF"), []byte("cut"))
		}, "", exitClean, true},
	}
}

// segment reads a segment of the demo's bucket, decompressed.
func segment(t testing.TB, wal, name string) []byte {
	t.Helper()
	if b, err := os.ReadFile(filepath.Join(wal, name)); err == nil {
		return b
	}
	d, err := zstd.NewReader(nil)
	must(t, err)
	defer d.Close()
	b, err := d.DecodeAll(read(t, filepath.Join(wal, name+".zst")), nil)
	must(t, err)
	return b
}
