package archive

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

const (
	neonTenant = "de200bd42b49cc1814412c7e592dd6e9"
	neonMain   = "11f2fc0be1d9a1a2f1e7d2a1b3c4d5e6"
	neonChild  = "22f2fc0be1d9a1a2f1e7d2a1b3c4d5e6"
	neonGrand  = "33f2fc0be1d9a1a2f1e7d2a1b3c4d5e6"
	ofMain     = neonTenant + "/" + neonMain + "/"
	ofChild    = neonTenant + "/" + neonChild + "/"
	ofGrand    = neonTenant + "/" + neonGrand + "/"
)

// partialName is what a safekeeper calls what it has of a segment.
func partialName(term uint64, flush, commit pg.LSN, sk uint64) string {
	return walfile.NeonPartial{Segment: name(1, pg.SegmentOf(flush, testSize)), Term: term, Flush: flush, Commit: commit, Safekeeper: sk}.String()
}

// putPartial stores what a safekeeper has, of the contents of a segment.
func putPartial(t testing.TB, s *storage.Store, prefix string, data []byte, term uint64, flush, commit pg.LSN, sk uint64) {
	t.Helper()
	storagetest.Put(t, s, prefix+partialName(term, flush, commit, sk), data[:uint64(flush)%testSize])
}

// putIndex stores what a pageserver keeps of a timeline; branch may be empty.
func putIndex(t testing.TB, s *storage.Store, shard, timeline, generation, rest string) {
	t.Helper()
	storagetest.Put(t, s, "tenants/"+shard+"/timelines/"+timeline+"/index_part.json"+generation, []byte(index(rest)))
}

func index(rest string) string {
	return `{"version":15,"layer_metadata":{"a__b":{"file_size":1,"generation":3},"c":{"file_size":2}},"disk_consistent_lsn":"0/5",` + rest + `}`
}

func branchOf(timeline string, at pg.LSN) string {
	return fmt.Sprintf(`"metadata_bytes":{"disk_consistent_lsn":"0/5","prev_record_lsn":null,"ancestor_timeline":"%s","ancestor_lsn":"%s","latest_gc_cutoff_lsn":"0/1","initdb_lsn":"0/1","pg_version":15}`, timeline, at)
}

const rootMeta = `"metadata_bytes":{"disk_consistent_lsn":"0/5","ancestor_timeline":null,"ancestor_lsn":"0/0","pg_version":15}`

func neonSource(t testing.TB, s *storage.Store, id string, opt Options) *Source {
	t.Helper()
	a, err := Open(context.Background(), s, Auto, opt)
	if err != nil || a.Layout() != Neon {
		t.Fatalf("layout %v: %v", a, err)
	}
	tl, err := a.Timeline(context.Background(), neonTenant, id)
	if err != nil {
		t.Fatal(err)
	}
	src, err := tl.Source(context.Background(), 0)
	if err != nil {
		t.Fatal(err)
	}
	return src
}

func TestNeonLayout(t *testing.T) {
	ctx := context.Background()
	s := mem(t)
	other := strings.Repeat("e", 32)
	for _, k := range []string{ofMain + name(1, 1), ofMain + name(1, 2), ofChild + partialName(1, 0x300010, 0x300010, 2), other + "/" + neonMain + "/" + name(1, 1),
		"note", "tenants/" + neonTenant + "/x", neonTenant + "/stray", neonTenant + "/dir/x", "ABC" + neonTenant[3:] + "/x/y"} {
		storagetest.Put(t, s, k, []byte("x"))
	}
	opt := quick
	opt.Wanted = func(tenant string) bool { return tenant == neonTenant }
	a, err := Open(ctx, s, Auto, opt)
	if err != nil || a.Layout() != Neon {
		t.Fatalf("%v: %v", a, err)
	}
	all, strays, err := a.Timelines(ctx)
	if err != nil || len(all) != 2 || all[0].ID() != neonMain || all[1].ID() != neonChild || all[1].Tenant() != neonTenant {
		t.Fatalf("timelines %v: %v", all, err)
	}
	slices.Sort(strays)
	if want := []string{"ABC" + neonTenant[3:] + "/", neonTenant + "/dir/", neonTenant + "/stray", "note"}; !slices.Equal(strays, want) {
		t.Errorf("strays %q, want %q", strays, want)
	}
	for _, id := range [][2]string{{neonTenant, neonGrand}, {"a", "b"}, {neonTenant, ""}} {
		if _, err := a.Timeline(ctx, id[0], id[1]); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("timeline %s: %v", id, err)
		}
	}
	if tl, err := a.Named(neonTenant, neonGrand); err != nil || tl.ID() != neonGrand {
		t.Errorf("a timeline of which nothing is stored: %v", err)
	}
	storagetest.Put(t, s, "a/x/wal/"+name(1, 1), []byte("x"))
	if _, err := Open(ctx, s, Auto, opt); err == nil || !strings.Contains(err.Error(), "name the layout") {
		t.Errorf("two layouts at once: %v", err)
	}
}

// TestNeonPartials cuts what safekeepers have of a segment at every kind of
// place: what may be used goes up to where it was committed, then zeros fill
// the page.
func TestNeonPartials(t *testing.T) {
	const start = pg.LSN(3 * testSize)
	want := segment(1, 3, testSysid)
	for _, c := range []struct{ flush, commit pg.LSN }{
		{8, 8}, {24, 24}, {48, 40}, {8192, 8192}, {8192 + 8, 8192 + 8}, {8200, 8192}, {8192 + 4096, 8192 + 24}, {9 * 8192, 9*8192 - 8},
		{testSize - 8, testSize - 8}, {testSize - 8, 16384 + 8}, {100 * 8192, 2 * testSize},
	} {
		s := mem(t)
		put(t, s, ofMain, 1, 2, 2)
		putPartial(t, s, ofMain, want, 5, start+c.flush, start+c.commit, 1)
		got, err := readStream(t, openAt(t, neonSource(t, s, neonMain, quick), start), start)
		usable := int(min(c.flush, c.commit))
		full := slices.Concat(want[:usable], make([]byte, (wal.PageSize-usable%wal.PageSize)%wal.PageSize))
		if !bytes.Equal(got, full) {
			t.Errorf("flushed %#x, committed %#x: %d bytes, want %d", uint64(c.flush), uint64(c.commit), len(got), len(full))
		}
		var missing *wal.MissingError
		if !errors.As(err, &missing) || len(full) < testSize && (missing.Segment != name(1, 3) || missing.Range != (pg.Range{From: start + pg.LSN(len(full)), To: start + testSize})) {
			t.Errorf("flushed %#x, committed %#x: ended with %v", uint64(c.flush), uint64(c.commit), err)
		}
	}
}

// TestNeonPartialChosen: the highest term, then what was flushed furthest; one
// that is not as long as its name says, or has nothing committed, is none.
func TestNeonPartialChosen(t *testing.T) {
	const start = pg.LSN(3 * testSize)
	want, other := segment(1, 3, testSysid), makeSegment(1, 3, testSysid)
	for i := 4096; i < len(other); i += 8192 {
		other[i] = 0xEE
	}
	s := mem(t)
	put(t, s, ofMain, 1, 2, 2)
	putPartial(t, s, ofMain, other, 7, start+500_000, start+500_000, 1)
	putPartial(t, s, ofMain, other, 9, start+90_000, start+90_000, 2)
	putPartial(t, s, ofMain, want, 10, start+200_000, start+100_000, 3)
	putPartial(t, s, ofMain, other, 10, start+180_000, start+180_000, 1)
	putPartial(t, s, ofMain, other, 11, start+200_000, start-8, 2) // nothing of it is certain
	storagetest.Put(t, s, ofMain+partialName(12, start+200_000, start+200_000, 2), other[:100_000])
	src := neonSource(t, s, neonMain, quick)
	got, err := readStream(t, openAt(t, src, start), start)
	if !bytes.Equal(got[:100_000], want[:100_000]) || len(got) != 13*8192 {
		t.Errorf("%d bytes, or not those of the right file: %v", len(got), err)
	}
	unexpected := 0
	for e, err := range src.t.List(context.Background()) {
		if err != nil {
			t.Fatal(err)
		}
		if e.Kind == walfile.Unexpected {
			unexpected++
		}
	}
	if unexpected != 1 {
		t.Errorf("%d files are said to be none, want the one that is too short", unexpected)
	}
	storagetest.Put(t, s, ofMain+name(1, 3), want)
	if got, err = readStream(t, openAt(t, src, start), start); !bytes.Equal(got, want) {
		t.Errorf("with the whole segment there: %d bytes, %v", len(got), err)
	}
}

// TestNeonBranches reads timelines whose WAL begins where they leave their
// ancestor: what is before is the ancestor's, to the byte.
func TestNeonBranches(t *testing.T) {
	main, child, grandchild := map[pg.SegmentNo][]byte{}, map[pg.SegmentNo][]byte{}, map[pg.SegmentNo][]byte{}
	for n := pg.SegmentNo(1); n <= 4; n++ {
		main[n], child[n], grandchild[n] = segment(1, n, testSysid), tinted(n, 0xC0), tinted(n, 0xD0)
	}
	for _, at := range []pg.LSN{3*testSize + 24*8192 + 400, 3*testSize + 8192, 3 * testSize, 3*testSize + 40, 3*testSize - 8, 3*testSize + 5*8192 + 24} {
		for _, grand := range []pg.LSN{0, at - testSize + 400, at + 100} { // the child's branch of a branch
			if grand%testSize > testSize-wal.PageSize {
				continue // not one header would be in its only segment
			}
			s := mem(t)
			put(t, s, ofMain, 1, 1, 4)
			cut := int(at % testSize)
			first := pg.SegmentOf(at, testSize)
			storagetest.Put(t, s, ofChild+name(1, first), slices.Concat(make([]byte, cut), child[first][cut:]))
			for n := first + 1; n <= 4; n++ {
				storagetest.Put(t, s, ofChild+name(1, n), child[n])
			}
			putIndex(t, s, neonTenant, neonMain, "-00000001", rootMeta)
			putIndex(t, s, neonTenant, neonChild, "-00000002", branchOf(neonMain, at))
			want := slices.Concat(slices.Concat(main[1], main[2], main[3], main[4])[:at-testSize], slices.Concat(child[1], child[2], child[3], child[4])[at-testSize:])
			id, branches := neonChild, []pg.LSN{at}
			if grand != 0 { // leaves the child there, and has nothing of its own but one segment
				id = neonGrand
				branches = []pg.LSN{min(at, grand), grand}
				n := pg.SegmentOf(grand, testSize)
				own := grandchild[n]
				storagetest.Put(t, s, ofGrand+name(1, n), slices.Concat(make([]byte, grand%testSize), own[grand%testSize:]))
				putIndex(t, s, neonTenant, neonGrand, "-0000000a", branchOf(neonChild, grand))
				if grand < at { // it was reparented: what is below is the root's
					branches = branches[1:]
				}
				want = slices.Concat(want[:grand-testSize], own[grand%testSize:])
			}
			src := neonSource(t, s, id, quick)
			got, err := readStream(t, openAt(t, src, testSize), testSize)
			if !bytes.Equal(got, want) {
				t.Errorf("branch at %s, of it one at %s: %d bytes, want %d, differ at %d: %v", at, grand, len(got), len(want), firstDifference(got, want), err)
			}
			if !slices.Equal(src.Branches(), slices.Compact(branches)) {
				t.Errorf("branch at %s, of it one at %s: branches %v", at, grand, src.Branches())
			}
		}
	}
}

// tinted is a segment with every eighth byte of the pages' contents its own.
func tinted(n pg.SegmentNo, tint byte) []byte {
	data := makeSegment(1, n, testSysid)
	for i := range data {
		if i%8 == 0 && i%wal.PageSize >= 40 {
			data[i] = tint
		}
	}
	return data
}

func firstDifference(a, b []byte) int {
	for i := range min(len(a), len(b)) {
		if a[i] != b[i] {
			return i
		}
	}
	return min(len(a), len(b))
}

// TestNeonBranchWithoutAncestor: the ancestor's WAL is gone, or its index is;
// the branch's own is read from its first page on.
func TestNeonBranchWithoutAncestor(t *testing.T) {
	const at = pg.LSN(3*testSize + 24*8192 + 400)
	own := slices.Concat(make([]byte, at%testSize), segment(1, 3, testSysid)[at%testSize:])
	s := mem(t)
	storagetest.Put(t, s, ofChild+name(1, 3), own)
	put(t, s, ofChild, 1, 4, 4)
	putIndex(t, s, neonTenant, neonChild, "", branchOf(neonMain, at))
	src := neonSource(t, s, neonChild, quick)
	page := at &^ 8191
	got, _ := readStream(t, openAt(t, src, at), page)
	if !bytes.Equal(got, slices.Concat(own[page%testSize:], segment(1, 4, testSysid))) {
		t.Errorf("from the branch on: %d bytes", len(got))
	}
	var missing *wal.MissingError
	for _, from := range []pg.LSN{2 * testSize, 3 * testSize, page - 8192} {
		if got, err := readStream(t, openAt(t, src, from), from); len(got) != 0 || !errors.As(err, &missing) {
			t.Errorf("from %s: %d bytes, %v", from, len(got), err)
		}
	}
	// What a partial file of the ancestor's has is served, and no more.
	putPartial(t, s, ofMain, segment(1, 3, testSysid), 1, 3*testSize+20_000, 3*testSize+20_000, 1)
	got, err := readStream(t, openAt(t, src, 3*testSize), 3*testSize)
	if len(got) != 3*8192 || !bytes.Equal(got[:20_000], segment(1, 3, testSysid)[:20_000]) || !errors.As(err, &missing) {
		t.Errorf("a part of the ancestor's: %d bytes, %v", len(got), err)
	}
}

// TestNeonIndex: the highest generation of the newest shards counts.
func TestNeonIndex(t *testing.T) {
	ctx := context.Background()
	s := mem(t)
	putIndex(t, s, neonTenant, neonChild, "", branchOf(neonGrand, 0x10))
	putIndex(t, s, neonTenant, neonChild, "-0000001f", branchOf(neonGrand, 0x20))
	putIndex(t, s, neonTenant+"-0004", neonChild, "-00000020", branchOf(neonGrand, 0x30))
	putIndex(t, s, neonTenant+"-0104", neonChild, "-00000030", branchOf(neonGrand, 0x40))
	putIndex(t, s, neonTenant+"-0004", neonChild, "-0000002F", "junk")
	putIndex(t, s, neonTenant+"-0004", neonChild, "-0000002f", branchOf(neonMain, 0x50))
	putIndex(t, s, neonTenant+"-0400", neonChild, "-00000031", "junk")
	if b, err := neonBranch(ctx, s, quick.Retry, neonTenant, neonChild); err != nil || *b != (Branch{neonMain, 0x50}) {
		t.Errorf("%v, %v", b, err)
	}
	if b, err := neonBranch(ctx, s, quick.Retry, neonTenant, neonMain); !errors.Is(err, storage.ErrNotExist) {
		t.Errorf("a timeline that has none: %v, %v", b, err)
	}
	var d *DamagedError
	putIndex(t, s, neonTenant+"-0004", neonChild, "-00000033", `"metadata":{"ancestor_timeline":"x"}`)
	if b, err := neonBranch(ctx, s, quick.Retry, neonTenant, neonChild); !errors.As(err, &d) {
		t.Errorf("one that says nonsense: %v, %v", b, err)
	}
}

func TestParseNeonIndex(t *testing.T) {
	detached := `"lineage":{"reparenting_history":["e1bfd8c633d713d279e6fcd2bcc15b6d"],"original_ancestor":["e2bfd8c633d713d279e6fcd2bcc15b6d","0/15A7618","2024-05-07T18:52:36.322426563"]}`
	for what, c := range map[string]struct {
		json string
		want *Branch
		err  string
	}{
		"a root":              {index(rootMeta), nil, ""},
		"a branch":            {index(branchOf(neonMain, 0x15A7618)), &Branch{neonMain, 0x15A7618}, ""},
		"by the newer name":   {index(strings.Replace(branchOf(neonMain, 16), "metadata_bytes", "metadata", 1)), &Branch{neonMain, 16}, ""},
		"detached":            {index(detached + "," + rootMeta), &Branch{"e2bfd8c633d713d279e6fcd2bcc15b6d", 0x15A7618}, ""},
		"unknown keys":        {index(`"new":[{"x":[1,[2,{}]]}],` + rootMeta), nil, ""},
		"nothing":             {"", nil, "no JSON object"},
		"a list":              {"[]", nil, "no JSON object"},
		"no metadata":         {index(`"x":1`), nil, "no metadata"},
		"old metadata":        {index(`"metadata_bytes":[226,88,25,241]`), nil, "before version 7"},
		"cut off":             {index(rootMeta)[:150], nil, "EOF"},
		"not closed":          {strings.TrimSuffix(index(rootMeta), "}"), nil, "EOF"},
		"no LSN":              {index(`"metadata":{"ancestor_timeline":"` + neonMain + `"}`), nil, "metadata.ancestor_lsn"},
		"LSN of zero":         {index(branchOf(neonMain, 0)), nil, "has no LSN"},
		"an LSN that is none": {index(strings.Replace(branchOf(neonMain, 16), "0/10", "0/x", 1)), nil, "LSN"},
		"a path":              {index(branchOf("../../etc", 16)), nil, "can't be the id"},
		"half a lineage":      {index(rootMeta + `,"lineage":{"original_ancestor":["a"]}`), nil, "original_ancestor"},
	} {
		got, err := parseNeonIndex(strings.NewReader(c.json))
		if c.err == "" && (err != nil || (got == nil) != (c.want == nil) || got != nil && *got != *c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %+v, %v; want %+v, %q", what, got, err, c.want, c.err)
		}
	}
}

func FuzzNeonIndex(f *testing.F) {
	f.Add([]byte(index(branchOf(neonMain, 0x15A7618))))
	f.Add([]byte(`{"lineage":{"original_ancestor":["e2bfd8c633d713d279e6fcd2bcc15b6d","0/15A7618"]},"metadata":{}}`))
	f.Add([]byte(`{"a":[[[[{"b":`))
	f.Fuzz(func(t *testing.T, data []byte) {
		b, err := parseNeonIndex(bytes.NewReader(data))
		if b != nil && (err != nil || !NeonID(b.Timeline) || b.LSN == 0) {
			t.Fatalf("%+v, %v", b, err)
		}
	})
}

// TestNeonCircle: ancestors that go round in circles end.
func TestNeonCircle(t *testing.T) {
	s := mem(t)
	put(t, s, ofMain, 1, 3, 3)
	put(t, s, ofChild, 1, 3, 3)
	putIndex(t, s, neonTenant, neonMain, "", branchOf(neonChild, 0x300100))
	putIndex(t, s, neonTenant, neonChild, "", branchOf(neonMain, 0x300100))
	a, err := Open(context.Background(), s, Neon, quick)
	if err != nil {
		t.Fatal(err)
	}
	tl, err := a.Timeline(context.Background(), neonTenant, neonMain)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := tl.Source(context.Background(), 0); err == nil || !strings.Contains(err.Error(), "circles") {
		t.Errorf("%v", err)
	}
}

// TestNeonFaults fails the i-th call for every i: once it is overcome, from
// then on it is an error, never less WAL.
func TestNeonFaults(t *testing.T) {
	const at = pg.LSN(3*testSize + 24*8192 + 400)
	s := mem(t)
	put(t, s, ofMain, 1, 3, 3)
	storagetest.Put(t, s, ofChild+name(1, 3), slices.Concat(make([]byte, at%testSize), segment(1, 3, testSysid)[at%testSize:]))
	putPartial(t, s, ofChild, segment(1, 4, testSysid), 2, 4*testSize+50_000, 4*testSize+40_000, 1)
	putIndex(t, s, neonTenant, neonChild, "-00000001", branchOf(neonMain, at))
	read := func(fail func(int64, storagetest.Op, string) error) (_ []byte, calls int64, _ error) {
		faulty, count := storagetest.Inject(s, fail)
		defer func() { calls = count.Calls() }()
		a, err := Open(context.Background(), faulty, Auto, quick)
		if err != nil {
			return nil, 0, err
		}
		tl, err := a.Timeline(context.Background(), neonTenant, neonChild)
		if err != nil {
			return nil, 0, err
		}
		src, err := tl.Source(context.Background(), 0)
		if err != nil {
			return nil, 0, err
		}
		got, err := readStream(t, openAt(t, src, 3*testSize), 3*testSize)
		return got, 0, err
	}
	want, total, err := read(func(int64, storagetest.Op, string) error { return nil })
	var missing *wal.MissingError
	if !errors.As(err, &missing) || len(want) != testSize+5*8192 || total < 10 {
		t.Fatalf("without faults: %d bytes in %d calls, %v", len(want), total, err)
	}
	for i := int64(0); i < total; i += 1 + i/20 {
		got, _, err := read(storagetest.From(i, true))
		if !bytes.Equal(got, want) || !errors.As(err, &missing) {
			t.Errorf("call %d fails once: %d bytes, %v", i, len(got), err)
		}
		got, _, err = read(storagetest.From(i, false))
		if errors.As(err, &missing) && len(got) < len(want) || errors.Is(err, storage.ErrNotExist) || !bytes.HasPrefix(want, got) {
			t.Errorf("from call %d on all fail: %d bytes, %v", i, len(got), err)
		}
	}
}

func known(sysid uint64) Identity {
	return Identity{SegmentSize: testSize, SystemID: sysid, Major: 17}
}

// TestNeonIdentity learns the segment size: from a header, from the name of a
// partial file, or from a server where nothing is stored.
func TestNeonIdentity(t *testing.T) {
	ctx := context.Background()
	headless := slices.Concat(make([]byte, 8192+400), segment(1, 5, testSysid)[8192+400:])
	identify := func(assumed int64, put func(s *storage.Store)) (Identity, error) {
		s := mem(t)
		put(s)
		a, err := Open(ctx, s, Neon, quick)
		if err != nil {
			t.Fatal(err)
		}
		tl, err := a.Named(neonTenant, neonMain)
		if err != nil {
			t.Fatal(err)
		}
		tl.AssumeSegmentSize(assumed)
		return tl.Identify(ctx)
	}
	for what, c := range map[string]struct {
		assumed int64
		put     func(*storage.Store)
		want    Identity
		err     string
	}{
		"headers":   {0, func(s *storage.Store) { put(t, s, ofMain, 1, 5, 6) }, known(testSysid), ""},
		"no header": {0, func(s *storage.Store) { storagetest.Put(t, s, ofMain+name(1, 5), headless) }, known(0), ""},
		"a partial file": {0, func(s *storage.Store) {
			putPartial(t, s, ofMain, segment(1, 5, testSysid), 1, 5*testSize+9000, 5*testSize, 1)
		}, known(testSysid), ""},
		"one without header": {0, func(s *storage.Store) { putPartial(t, s, ofMain, headless, 1, 5*testSize+50_008, 5*testSize, 1) }, known(0), ""},
		"a header without system identifier, one with": {0, func(s *storage.Store) {
			storagetest.Put(t, s, ofMain+name(1, 5), segment(1, 5, 0))
			put(t, s, ofMain, 1, 6, 6)
		}, known(testSysid), ""},
		"a header without system identifier": {0, func(s *storage.Store) { storagetest.Put(t, s, ofMain+name(1, 5), segment(1, 5, 0)) }, known(0), ""},
		"nothing":                            {0, func(*storage.Store) {}, Identity{}, "no WAL segments"},
		"nothing, but a server says":         {1 << 24, func(*storage.Store) {}, Identity{SegmentSize: 1 << 24}, ""},
		"a server says otherwise":            {1 << 24, func(s *storage.Store) { put(t, s, ofMain, 1, 5, 6) }, Identity{}, "the server that writes them says 16777216"},
		"junk":                               {0, func(s *storage.Store) { storagetest.Put(t, s, ofMain+name(1, 5), []byte("junk")) }, Identity{}, "is damaged"},
		"all zeros":                          {0, func(s *storage.Store) { storagetest.Put(t, s, ofMain+name(1, 5), make([]byte, testSize)) }, Identity{}, "is damaged"},
	} {
		got, err := identify(c.assumed, c.put)
		if c.err == "" && (err != nil || got != c.want) || c.err != "" && (err == nil || !strings.Contains(err.Error(), c.err)) {
			t.Errorf("%s: %+v, %v; want %+v, %q", what, got, err, c.want, c.err)
		}
	}
}
