package redo_test

import (
	"bytes"
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"github.com/jackc/pgx/v5/pgconn"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/mask"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/replay/redo"
)

// proof replays a cluster's WAL over a copy of its data directory and holds
// every block against what PostgreSQL says it is: the consistency images that
// wal_consistency_checking put into the records, and in the end the data
// directory of the cleanly stopped cluster.
type proof struct {
	t     *testing.T
	env   redo.Env
	rmgrs []pg.RmgrID // whose images are compared; all others are adopted
	base  string      // data directory at the start of the WAL

	pages  map[pg.Block]page.Page
	cut    map[pg.RelFork]pg.BlockNumber // base blocks from here on are gone
	copied map[pg.OID]bool               // databases made by logging every page
	clears []redo.VMClear

	scratch [3][pg.BlockSize]byte // an image, and what is compared

	applied   map[string]int      // block references by operation and outcome
	compared  map[string]int      // images that were equal, by operation
	unmasked  map[string]int      // bytes that only the masks forgive, by operation and field
	noBase    map[string]int      // blocks that had no base, by operation
	special   map[string]int      // variants of records
	kept      map[string]realCase // for testdata, if that is to be rewritten
	variant   string              // of the record that is being redone
	unequal   int
	lastClean int // blocks equal to the stopped cluster's
	twin      *neonTwin
}

// startProof makes a cluster, copies its data directory and starts it.
func startProof(t *testing.T, major int, opts ...pgtest.Option) (*pgtest.Cluster, *proof) {
	t.Helper()
	c := pgtest.Server(t, major, append([]pgtest.Option{
		pgtest.NoStart(), pgtest.NoArchive(), pgtest.ConsistencyChecking(), pgtest.Conf("checkpoint_timeout", "1h"),
		pgtest.Conf("max_wal_size", "20GB"), pgtest.Conf("jit", "off")}, opts...)...)
	p := &proof{t: t, base: t.TempDir(), env: redo.Env{HintBitsLogged: c.Checksums},
		pages: map[pg.Block]page.Page{}, cut: map[pg.RelFork]pg.BlockNumber{}, copied: map[pg.OID]bool{},
		applied: map[string]int{}, compared: map[string]int{}, unmasked: map[string]int{}, noBase: map[string]int{}, special: map[string]int{}}
	if err := os.CopyFS(p.base, os.DirFS(c.Data)); err != nil {
		t.Fatal(err)
	}
	c.Start()
	return c, p
}

// run stops the cluster, replays all of its WAL and compares.
func (p *proof) run(c *pgtest.Cluster, rmgrs ...pg.RmgrID) {
	p.t.Helper()
	p.rmgrs = rmgrs
	if p.twin != nil {
		p.twin.rmgrs = append(slices.Clone(rmgrs), pg.RmgrNeon)
	}
	c.Stop(pgtest.Fast)
	raw, err := os.ReadFile(filepath.Join(p.base, "global", "pg_control"))
	if err != nil {
		p.t.Fatal(err)
	}
	control, err := datadir.ParseControl(raw)
	if err != nil {
		p.t.Fatal(err)
	}
	r := wal.NewReader(segmentsOf(c), wal.Config{Start: control.CheckPointLSN, SegmentSize: c.SegmentSize})
	var rec wal.Record
	for err = r.Next(&rec); err == nil; err = r.Next(&rec) {
		p.record(&rec)
		if p.twin != nil {
			p.twin.redoNeon(&rec)
		}
	}
	var end *wal.EndError
	if !errors.As(err, &end) || end.Reason > wal.EndZeroLength {
		var missing *wal.MissingError
		if !errors.As(err, &missing) {
			p.t.Errorf("reading ended with %v", err)
		}
	}
	p.compareDirectory(c.Data)
	p.report()
	if p.twin != nil {
		p.twin.finish(p, c.Data)
	}
	p.keepCases()
}

// segmentsOf reads a stopped cluster's WAL.
func segmentsOf(c *pgtest.Cluster) wal.PageFunc {
	return func(at pg.LSN) ([]byte, error) {
		no := pg.SegmentOf(at, c.SegmentSize)
		name := pg.SegmentName(1, no, c.SegmentSize)
		b, err := os.ReadFile(filepath.Join(c.Data, "pg_wal", name))
		if errors.Is(err, os.ErrNotExist) {
			return nil, &wal.MissingError{Segment: name}
		}
		if err != nil {
			return nil, err
		}
		return b[at-no.Start(c.SegmentSize):], nil
	}
}

func opOf(rec *wal.Record) string {
	return rec.Rmgr.String() + " " + wal.OpName(rec.Rmgr, rec.Info, rec.Major)
}

func (p *proof) record(rec *wal.Record) {
	if rec.Rmgr == pg.RmgrStorage && rec.Op() == 0x20 {
		p.truncate(rec)
	}
	if rec.Rmgr == pg.RmgrDatabase && wal.OpName(rec.Rmgr, rec.Info, rec.Major) == "CREATE_WAL_LOG" {
		p.copied[pg.OID(binary.LittleEndian.Uint32(rec.Main))] = true
	}
	var err error
	if p.clears, err = redo.VMClears(rec, p.clears[:0]); err != nil {
		p.failf("%v", err)
	}
	for _, v := range p.clears {
		if b := p.block(v.Page); b != nil {
			p.special["unregistered VM clear"]++
			v.Apply(b)
		}
	}
	p.countVariants(rec)
	p.keepOther(rec)
	for i := range rec.Blocks {
		p.reference(rec, &rec.Blocks[i])
	}
}

// countVariants counts what is special about a record.
func (p *proof) countVariants(rec *wal.Record) {
	var was map[string]int
	if p.kept != nil {
		was = maps.Clone(p.special)
	}
	p.countSpecial(rec)
	p.countBtree(rec)
	p.countGin(rec)
	p.countSPGist(rec)
	p.countMethods(rec)
	if p.kept != nil {
		maps.DeleteFunc(was, func(what string, n int) bool { return p.special[what] > n })
		p.variant = ""
		for _, what := range slices.Sorted(maps.Keys(p.special)) {
			if _, same := was[what]; !same {
				p.variant += ", " + what
			}
		}
	}
}

// truncate is smgr_redo's SMGR_TRUNCATE: xl_smgr_truncate is block, locator, flags.
func (p *proof) truncate(rec *wal.Record) {
	w := func(i int) uint32 { return binary.LittleEndian.Uint32(rec.Main[4*i:]) }
	rel := pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: pg.OID(w(1)), DB: pg.OID(w(2)), Rel: pg.OID(w(3))}}
	heap := pg.BlockNumber(w(0))
	p.forget(rel, heap)
	rel.Fork = pg.VMFork
	last := redo.VMBlock(heap)
	if b := p.block(pg.Block{RelFork: rel, Number: last}); b != nil {
		redo.VMTruncate(b, heap)
		last++
	}
	p.forget(rel, last)
}

func (p *proof) forget(rel pg.RelFork, from pg.BlockNumber) {
	p.cut[rel] = min(from, p.limit(rel))
	for b := range p.pages {
		if b.RelFork == rel && b.Number >= from {
			delete(p.pages, b)
		}
	}
}

func (p *proof) limit(rel pg.RelFork) pg.BlockNumber {
	if n, ok := p.cut[rel]; ok {
		return n
	}
	return pg.InvalidBlock
}

// block is a block as replayed so far, or as in the base; nil if there is none.
func (p *proof) block(b pg.Block) page.Page {
	if pg, ok := p.pages[b]; ok {
		return pg
	}
	if b.Number >= p.limit(b.RelFork) {
		return nil
	}
	got := readBlock(p.base, b)
	if got != nil {
		p.pages[b] = got
	}
	return got
}

// readBlock reads a block of a data directory; nil if it is not there.
func readBlock(dir string, b pg.Block) page.Page {
	f, err := os.Open(filepath.Join(dir, datadir.RelPath(b.RelFork, uint32(b.Number/pg.BlocksPerFile), "")))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	buf := make(page.Page, pg.BlockSize)
	if _, err := f.ReadAt(buf, int64(b.Number%pg.BlocksPerFile)*pg.BlockSize); err != nil {
		return nil
	}
	return buf
}

// reference redoes one block reference and compares the result with the
// record's consistency image.
func (p *proof) reference(rec *wal.Record, ref *wal.BlockRef) {
	var image page.Page
	if ref.HasImage && !ref.Image.Apply {
		image = p.scratch[0][:]
		if err := ref.Image.Restore(image); err != nil {
			p.failf("%s: restore image of %s: %v", opOf(rec), ref.Block, err)
			return
		}
	}
	b := p.block(ref.Block)
	if b == nil {
		b = make(page.Page, pg.BlockSize)
		if !ref.HasImage && !ref.WillInit && !redo.ZeroOnMissing(rec, ref) {
			p.noBase[opOf(rec)]++
			return
		}
		p.pages[ref.Block] = b
		if image != nil && !ref.WillInit && !redo.ZeroOnMissing(rec, ref) {
			p.noBase[opOf(rec)]++
			p.adopt(rec, b, image)
			return
		}
	}
	var start []byte
	if p.kept != nil {
		start = bytes.Clone(b)
	}
	outcome, err := redo.Apply(&p.env, rec, ref, b)
	switch {
	case errors.Is(err, redo.ErrUnsupported):
		p.adopt(rec, b, image)
		return
	case err != nil:
		p.failf("%v", err)
		p.adopt(rec, b, image)
		return
	}
	p.applied[fmt.Sprintf("%s block %d %s", opOf(rec), ref.ID, outcomes[outcome])]++
	if image == nil || b.LSN() > rec.End || !slices.Contains(p.rmgrs, rec.Rmgr) {
		return
	}
	if p.compare(rec, ref, b, image) {
		p.keep(fmt.Sprintf("%s block %d %s%s", opOf(rec), ref.ID, outcomes[outcome], p.variant), rec, ref, start, b)
	}
}

var outcomes = map[redo.Outcome]string{redo.Skipped: "skipped", redo.NoChange: "unchanged", redo.Changed: "changed",
	redo.Restored: "restored", redo.Initialised: "initialised"}

// adopt goes on with what the image says.
func (p *proof) adopt(rec *wal.Record, b, image page.Page) {
	if image != nil {
		copy(b, image)
		b.SetLSN(rec.End)
	}
}

// compare reports whether the page is equal to PostgreSQL's.
func (p *proof) compare(rec *wal.Record, ref *wal.BlockRef, b, image page.Page) bool {
	ours, theirs := page.Page(p.scratch[1][:]), page.Page(p.scratch[2][:])
	copy(ours, b)
	copy(theirs, image)
	if !mask.MaskConsistency(ours, rec.Rmgr, ref.Fork, ref.Number) {
		return false // the visibility map is compared with the stopped cluster's
	}
	mask.MaskConsistency(theirs, rec.Rmgr, ref.Fork, ref.Number)
	if !bytes.Equal(ours, theirs) {
		p.failf("%s at %s: %s differs from its image: %s", opOf(rec), rec.LSN, ref.Block, differences(ours, theirs, ref.Fork))
		p.adopt(rec, b, image)
		return false
	}
	leftChild(rec, ref, image)
	normalForm(ours, b, ref.Block)
	normalForm(theirs, image, ref.Block)
	if a, b := ours, theirs; !bytes.Equal(a, b) {
		p.failf("%s at %s: %s differs from its image under the narrow rules: %s", opOf(rec), rec.LSN, ref.Block, differences(a, b, ref.Fork))
	}
	p.compared[opOf(rec)]++
	p.countUnmasked(rec, ref, b, image)
	return true
}

// normalForm makes n the normal form of a page under the rules of
// mask.Normalize, without its LSN: an image holds the one before its record.
func normalForm(n, p page.Page, b pg.Block) {
	mask.Normalize(n, p, page.KindOf(p, b.Fork), b.Number)
	n.SetLSN(0)
}

// countUnmasked counts by field the bytes in which page and image differ
// though equal under PostgreSQL's masks. LSN, checksum and hole are left out:
// images hold the LSN before the record and no hole.
func (p *proof) countUnmasked(rec *wal.Record, ref *wal.BlockRef, b, image page.Page) {
	kind := page.KindOf(image, ref.Fork)
	differs := func(at int) bool {
		return at < pg.BlockSize && b[at] != image[at] && (at < image.Lower() || at >= image.Upper())
	}
	const step = 64
	for from := 0; from < pg.BlockSize; from += step {
		if bytes.Equal(b[from:from+step], image[from:from+step]) {
			continue
		}
		for at := max(from, 10); at < from+step; at++ {
			if !differs(at) {
				continue
			}
			first := at
			for differs(at + 1) {
				at++
			}
			p.unmasked[opOf(rec)+": "+fieldOnly(page.Describe(image, kind, first))] += at + 1 - first
		}
	}
}

// fieldOnly leaves out the numbers of items.
func fieldOnly(s string) string {
	return strings.Join(strings.FieldsFunc(s, func(r rune) bool { return r == ' ' || r >= '0' && r <= '9' }), " ")
}

// differences names the fields in which two pages differ.
func differences(a, b page.Page, fork pg.ForkNumber) string {
	kind := page.KindOf(b, fork)
	var names []string
	for at := range a {
		if a[at] != b[at] {
			names = append(names, fmt.Sprintf("%s (byte %d: %#02x, want %#02x)", page.Describe(b, kind, at), at, a[at], b[at]))
		}
		if len(names) == 6 {
			names = append(names, "…")
			break
		}
	}
	return strings.Join(names, ", ")
}

func (p *proof) failf(format string, args ...any) {
	p.t.Helper()
	if p.unequal++; p.unequal <= 20 {
		p.t.Errorf(format, args...)
	}
}

// compareDirectory compares every page of the kinds that the proof is about
// with the cleanly stopped cluster, LSNs included, under the narrow rules of
// mask.Normalize. Relations that were dropped are not there any more.
func (p *proof) compareDirectory(dir string) {
	for _, b := range slices.SortedFunc(maps.Keys(p.pages), pg.Block.Compare) {
		want := readBlock(dir, b)
		if want == nil {
			continue
		}
		got := p.pages[b]
		if kind := page.KindOf(want, b.Fork); p.proves(kind, b.Fork) {
			p.compareLast(b, got, want, kind)
		}
	}
}

// kinds are the pages that a resource manager's records change. Sequences are
// left out: replay is ahead of them.
var kinds = map[pg.RmgrID]page.Kind{pg.RmgrHeap: page.KindHeap, pg.RmgrBtree: page.KindBtree, pg.RmgrHash: page.KindHash,
	pg.RmgrGin: page.KindGin, pg.RmgrGist: page.KindGist, pg.RmgrSPGist: page.KindSPGist, pg.RmgrBRIN: page.KindBRIN, pg.RmgrGeneric: page.KindBloom}

// proves says whether the proof is about pages of that kind.
func (p *proof) proves(kind page.Kind, fork pg.ForkNumber) bool {
	return slices.ContainsFunc(p.rmgrs, func(m pg.RmgrID) bool {
		return kinds[m] == kind && kind != page.KindUnknown || m == pg.RmgrHeap && fork == pg.VMFork
	})
}

func (p *proof) compareLast(b pg.Block, got, want page.Page, kind page.Kind) {
	if b.Fork == pg.VMFork && p.copied[b.DB] && got.LSN() == want.LSN() && mask.VMSubset(got, want) {
		// PostgreSQL logs the map of a copied database as a page whose hole is the map.
		p.lastClean++
		return
	}
	a, z := make(page.Page, pg.BlockSize), make(page.Page, pg.BlockSize)
	mask.Normalize(a, got, kind, b.Number)
	mask.Normalize(z, want, kind, b.Number)
	if !bytes.Equal(a, z) {
		p.failf("%s with LSN %s differs from the stopped cluster's with LSN %s: %s", b, got.LSN(), want.LSN(), differences(a, z, b.Fork))
		return
	}
	p.lastClean++
}

// report logs what was seen, redone and compared.
func (p *proof) report() {
	list := func(title string, m map[string]int) {
		p.t.Logf("%s:", title)
		for _, k := range slices.Sorted(maps.Keys(m)) {
			rmgr, _, _ := strings.Cut(k, " ")
			if title == "variants" || slices.ContainsFunc(p.rmgrs, func(m pg.RmgrID) bool { return m.String() == rmgr }) {
				p.t.Logf("  %7d %s", m[k], k)
			}
		}
	}
	list("block references", p.applied)
	list("variants", p.special)
	list("images equal under PostgreSQL's masks", p.compared)
	list("bytes that only the masks forgive", p.unmasked)
	list("blocks without a base", p.noBase)
	p.t.Logf("%d differences; %d pages equal to the stopped cluster's", p.unequal, p.lastClean)
}

// execOn runs statements on a session.
func execOn(t *testing.T, conn *pgconn.PgConn, sql string) {
	t.Helper()
	if _, err := conn.Exec(context.Background(), sql).ReadAll(); err != nil {
		t.Fatalf("run %.100q: %v", sql, err)
	}
}
