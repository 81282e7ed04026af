package scanner

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

func TestDeepClean(t *testing.T) {
	forMajors(t, func(t *testing.T, f *fixture) {
		one, both := len(f.one), len(f.one)+len(f.two)
		t.Run("one TLI", func(t *testing.T) {
			r := scanFiles(t, f.of(f.one...), Options{Deep: true})
			want(t, r, fmt.Sprintf("clean: %d of %d", one, one))
			if r.SegmentsRead != int64(one) || r.TLI != 1 || r.SegmentSize != mib || r.ObjectsListed != int64(one) {
				t.Errorf("%+v", r)
			}
		})
		t.Run("two TLIs, many workers", func(t *testing.T) {
			want(t, scanFiles(t, f.all(), Options{Deep: true, Workers: 8}), fmt.Sprintf("clean: %d of %d", both, both))
		})
		t.Run("without the old branch", func(t *testing.T) {
			files := f.of(append([]string{"00000002.history"}, f.two...)...)
			n := 0
			for _, name := range f.one {
				if _, seg, _ := pg.ParseSegmentName(name, mib); seg < pg.SegmentOf(f.fork, mib) {
					files[name] = f.files[name]
					n++
				} else if seg == pg.SegmentOf(f.fork, mib) {
					files[name+".partial"] = f.files[name]
				}
			}
			n += len(f.two)
			want(t, scanFiles(t, files, Options{Deep: true}), fmt.Sprintf("clean: %d of %d", n, n))
		})
		t.Run("compressed", func(t *testing.T) {
			files := map[string][]byte{}
			for name, data := range f.of(f.one...) {
				files[name+".zst"] = packed(t, data)
			}
			want(t, scanFiles(t, files, Options{Deep: true}), fmt.Sprintf("clean: %d of %d", one, one))
		})
	})
}

// covered says of the bytes of a segment where damage to them is to be
// reported: at the record they are of, at the page whose header they are of or
// the record that goes on there, or, of the zeros behind an XLOG_SWITCH,
// anywhere. What is left is padding and what follows the end of the WAL in the
// last segment.
func covered(t *testing.T, f *fixture) map[string][][]pg.LSN {
	t.Helper()
	out := map[string][][]pg.LSN{}
	first, last := f.one[0], f.one[len(f.one)-1]
	_, n, _ := pg.ParseSegmentName(first, mib)
	mark := func(at pg.LSN, length int, where ...pg.LSN) {
		name := pg.SegmentName(1, pg.SegmentOf(at, mib), mib)
		if out[name] == nil {
			out[name] = make([][]pg.LSN, mib)
		}
		for i := range length {
			out[name][int(at%mib)+i] = where
		}
	}
	page := func(at pg.LSN) []byte {
		data := f.files[pg.SegmentName(1, pg.SegmentOf(at, mib), mib)]
		if data == nil {
			return nil
		}
		off := int(at % mib)
		return data[off : off+wal.PageSize]
	}
	r := wal.NewReader(func(at pg.LSN) ([]byte, error) {
		if p := page(at); p != nil {
			return p, nil
		}
		return nil, &wal.MissingError{Segment: "none"}
	}, wal.Config{Start: n.Start(mib), FindFirst: true, SegmentSize: mib})
	header := func(at, rec pg.LSN) int {
		h, err := wal.ParsePageHeader(page(at))
		if err != nil {
			t.Fatal(err)
		}
		mark(at, 20, at, rec)
		if h.Long() {
			mark(at+24, 16, at, rec)
		}
		return h.Size()
	}
	var rec wal.Record
	end := pg.LSN(0)
	for r.Next(&rec) == nil {
		at := rec.LSN
		if p := at &^ (wal.PageSize - 1); end <= p {
			header(p, at)
		}
		for left := int(rec.Length); left > 0; {
			k := min(left, wal.PageSize-int(at%wal.PageSize))
			mark(at, k, rec.LSN)
			at += pg.LSN(k)
			if left -= k; left > 0 {
				at += pg.LSN(header(at, rec.LSN))
			}
		}
		if end = rec.End; rec.Rmgr == pg.RmgrXLOG && rec.Op() == xlogSwitch {
			mark(at, int(end-at), 0)
		}
	}
	if name := pg.SegmentName(1, pg.SegmentOf(end, mib), mib); name != last {
		t.Fatalf("the WAL ends at %s, in %s, want %s", end, name, last)
	}
	return out
}

// A flipped bit anywhere that is protected is found, in the right segment or,
// of a record that goes on from there, in the one before, and at its LSN.
func TestDeepNoticesEveryFlip(t *testing.T) {
	forMajors(t, func(t *testing.T, f *fixture) {
		marks := covered(t, f)
		rnd := rand.New(rand.NewPCG(4, 2))
		unprotected := 0
		for try := range 24 {
			i := rnd.IntN(len(f.one))
			name := f.one[i]
			at := rnd.IntN(mib)
			switch try % 4 { // near the borders too, where seams are
			case 0:
				at = rnd.IntN(4 * wal.PageSize)
			case 1:
				at = mib - 1 - rnd.IntN(4*wal.PageSize)
			}
			near := f.one[max(i-1, 0):min(i+2, len(f.one))]
			files := f.of(near...)
			files[name] = flip(files[name], at)
			r := scanFiles(t, files, Options{Deep: true})
			if i == 0 && at < 4*wal.PageSize || marks[name][at] == nil {
				// The record that the first segment begins with starts in one
				// that is not there.
				unprotected++
				continue
			}
			found := slices.ContainsFunc(r.Damaged, func(d damaged) bool {
				return (d.Segment == name || i > 0 && d.Segment == f.one[i-1]) && slices.ContainsFunc(marks[name][at], func(l pg.LSN) bool {
					return l == 0 || strings.Contains(d.Reason, "at "+l.String())
				})
			})
			if !found || len(r.Damaged) > 2 {
				t.Errorf("bit flipped at %d of %s: %s", at, name, summary(&r))
			}
		}
		if unprotected > 14 {
			t.Errorf("%d of 24 flips fell on unprotected bytes", unprotected)
		}
	})
}

func TestDeepDamage(t *testing.T) {
	forMajors(t, func(t *testing.T, f *fixture) {
		n := len(f.one)
		name := f.one[2]
		data := f.files[name]
		other := bytes.Clone(data)
		other[24]++ // the system identifier in the long header
		for what, c := range map[string]struct {
			change func(files map[string][]byte)
			want   []string
		}{
			"empty": {func(m map[string][]byte) { m[name] = nil }, []string{"damaged " + name + ": the object is empty"}},
			"cut":   {func(m map[string][]byte) { m[name] = data[:mib/2] }, []string{"damaged " + name + ": it holds 524288 of 1048576 bytes"}},
			"cut, compressed": {func(m map[string][]byte) {
				delete(m, name)
				m[name+".zst"] = packed(t, data)[:1000]
			}, []string{"damaged " + name + ": it can't be decompressed"}},
			"half of it, compressed": {func(m map[string][]byte) {
				delete(m, name)
				m[name+".zst"] = packed(t, data[:mib/2])
			}, []string{"damaged " + name + ": it holds 524288 of 1048576 bytes"}},
			"a bomb": {func(m map[string][]byte) {
				delete(m, name)
				m[name+".zst"] = packed(t, append(bytes.Clone(data), make([]byte, 2*mib)...))
			}, []string{"damaged " + name + ": it holds more than 1048576 bytes"}},
			"the wrong suffix": {func(m map[string][]byte) {
				delete(m, name)
				m[name+".gz"] = packed(t, data)
			}, []string{"damaged " + name + ": it can't be decompressed"}},
			"foreign":           {func(m map[string][]byte) { m[name] = other }, []string{"damaged " + name + ": foreign WAL at "}},
			"another segment":   {func(m map[string][]byte) { m[name] = f.files[f.one[3]] }, []string{"damaged " + name + ": invalid page header"}},
			"zeros":             {func(m map[string][]byte) { m[name] = make([]byte, mib) }, []string{"damaged " + name + ": WAL ends at"}},
			"zeros at the end":  {func(m map[string][]byte) { m[f.one[n-1]] = make([]byte, mib) }, []string{"damaged " + f.one[n-1] + ": WAL ends at"}},
			"a page of zeros":   {func(m map[string][]byte) { m[name] = zeroed(data, 5) }, []string{"damaged " + name}},
			"the last one open": {func(m map[string][]byte) { delete(m, f.one[n-1]) }, []string{"clean"}},
			"twice, the same":   {func(m map[string][]byte) { m[name+".zst"] = packed(t, data) }, []string{"clean", "unexpected " + name + ".zst (" + name + " is stored more than once)"}},
			"twice, different": {func(m map[string][]byte) { m[name+".zst"] = packed(t, flip(data, 21)) },
				[]string{"damaged " + name + ": it is stored twice with different contents: " + name + ", " + name + ".zst", "unexpected"}},
			"twice, one empty": {func(m map[string][]byte) { m[name+".zst"] = nil }, []string{"damaged " + name + ": the object is empty"}},
		} {
			t.Run(what, func(t *testing.T) {
				files := f.of(f.one...)
				c.change(files)
				r := scanFiles(t, files, Options{Deep: true})
				wantParts(t, r, c.want...)
				if max := 1; len(r.Damaged) > max {
					t.Errorf("more than one segment is called damaged: %s", summary(&r))
				}
				if len(r.Reasons) > 0 {
					t.Errorf("damage is called unreadable: %s", summary(&r))
				}
			})
		}
	})
}

func zeroed(data []byte, page int) []byte {
	out := bytes.Clone(data)
	clear(out[page*wal.PageSize : (page+1)*wal.PageSize])
	return out
}

// Segments with pages of a TLI that their history does not have are damage.
func TestDeepWrongTLI(t *testing.T) {
	forMajors(t, func(t *testing.T, f *fixture) {
		files := f.all()
		second := f.two[1]
		files[second] = bytes.Clone(f.files[second])
		for page := 0; page < mib; page += wal.PageSize {
			files[second][page+4] = 1
		}
		r := scanFiles(t, files, Options{Deep: true})
		wantParts(t, r, "findings", "damaged "+second+": the page at", "is of TLI 1, want 2")
	})
}

// Whatever operation fails: once, the result is the same; from then on, it is
// inconclusive, never clean and never a finding.
func TestDeepFaults(t *testing.T) {
	f := realWAL(t, 17)
	s := memory(t, f.all())
	clean := scanStore(t, s, Options{Deep: true})
	counted, calls := storagetest.Inject(s, nil)
	scanStore(t, counted, Options{Deep: true, Workers: 1})
	total := calls.Calls()
	for i := int64(0); i < total; i += 1 + total/16 {
		faulty, _ := storagetest.Inject(s, storagetest.From(i, true))
		if r := scanStore(t, faulty, Options{Deep: true, Workers: 1}); summary(&r) != summary(&clean) {
			t.Errorf("operation %d of %d fails once: %s", i, total, summary(&r))
		}
		faulty, _ = storagetest.Inject(s, storagetest.From(i, false))
		r := scanStore(t, faulty, Options{Deep: true, Workers: 1})
		if v := Verdict(&r.ScanTimeline); v != "inconclusive" || len(r.Reasons) == 0 {
			t.Errorf("all fails from operation %d on: %s", i, summary(&r))
		}
	}
}

func TestDeepCancelled(t *testing.T) {
	f := realWAL(t, 17)
	ctx, cancel := context.WithCancel(context.Background())
	_, err := Timeline(ctx, timeline(t, memory(t, f.all())), Options{Deep: true, Workers: 1,
		Progress: func(int64, int64) { cancel() }})
	cancel()
	if len(f.files) > maxRunSegments && !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled: %v", err)
	}
	_, err = Timeline(ctx, timeline(t, memory(t, f.all())), Options{Deep: true})
	if !errors.Is(err, context.Canceled) {
		t.Errorf("cancelled before: %v", err)
	}
}

func TestDeepGivesUp(t *testing.T) {
	files := map[string][]byte{}
	f := realWAL(t, 17)
	for i := range pg.SegmentNo(200) {
		files[pg.SegmentName(1, 100+i, mib)] = f.files[f.one[0]] // not read
	}
	files[f.one[0]] = f.files[f.one[0]]
	s, _ := storagetest.Inject(memory(t, files), func(_ int64, op storagetest.Op, key string) error {
		if op == storagetest.OpOpen && key != f.one[0] {
			return storagetest.ErrInjected
		}
		return nil
	})
	r := scanStore(t, s, Options{Deep: true, From: 100 << 20})
	wantParts(t, r, "inconclusive", "given up")
}

// The same over S3.
func TestDeepOnS3(t *testing.T) {
	loc := storagetest.S3(t)("scan")
	f := realWAL(t, 17)
	s, err := storage.Open(context.Background(), loc)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	for name, data := range f.all() {
		storagetest.Put(t, s, name, data)
	}
	both := len(f.one) + len(f.two)
	m := &fakeMemory{}
	want(t, scanStore(t, s, Options{Deep: true, Memory: m}), fmt.Sprintf("clean: %d of %d", both, both))
	r := scanStore(t, s, Options{Deep: true, Memory: m})
	if r.SegmentsRead != 0 || r.Remembered != int64(both) {
		t.Errorf("read %d, remembered %d", r.SegmentsRead, r.Remembered)
	}
	storagetest.Put(t, s, f.one[1], flip(f.files[f.one[1]], 12345))
	wantParts(t, scanStore(t, s, Options{Deep: true, Memory: m}), "findings", "damaged "+f.one[1])
	if !strings.Contains(s.Location(), "127.0.0.1") {
		t.Error("that was not the local server")
	}
}

func BenchmarkDeep(b *testing.B) {
	f := makeFixture(b, 17)
	plain, zst := f.of(f.one...), map[string][]byte{}
	for name, data := range plain {
		zst[name+".zst"] = packed(b, data)
	}
	for what, files := range map[string]map[string][]byte{"plain": plain, "zst": zst} {
		b.Run(what, func(b *testing.B) {
			s := memory(b, files)
			b.SetBytes(int64(len(f.one)) * mib)
			for b.Loop() {
				if r := scanStore(b, s, Options{Deep: true}); Verdict(&r.ScanTimeline) != "clean" {
					b.Fatal(summary(&r))
				}
			}
		})
	}
}
