package verify_test

import (
	"encoding/binary"
	"fmt"
	"math/rand/v2"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/internal/pgtest"
)

// A mutation changes one page of the official side. It reports false if the
// page is not one it can change.
type mutation struct {
	name  string
	kinds []finding.Kind // what it may be called; none: it must not be above benign
	apply func(m *mutated) bool
}

// mutated is the page that a mutation works on.
type mutated struct {
	page  page.Page // of the official side
	base  page.Page // the base's version, nil if there is none
	other page.Page // some other page of the same relation
	block pg.BlockNumber
	kind  page.Kind
	rng   *rand.Rand
	stale bool // leave the checksum as it is
}

// items are the offset numbers with storage.
func (m *mutated) items() []int {
	var out []int
	for n := 1; n <= m.page.NumItems(); n++ {
		if m.page.ItemID(n).Flags() == page.LPNormal && len(m.page.Item(n)) > page.HeaderSize {
			out = append(out, n)
		}
	}
	return out
}

// inItem changes a byte of some item at or behind an offset within it.
func (m *mutated) inItem(from int) bool {
	items := m.items()
	if len(items) == 0 {
		return false
	}
	it := m.page.Item(items[m.rng.IntN(len(items))])
	if len(it) <= from {
		return false
	}
	at := from + m.rng.IntN(len(it)-from)
	it[at] ^= 1 << m.rng.IntN(8)
	return true
}

var critical = []mutation{
	{"bit rot in an item, checksum stale", []finding.Kind{finding.BitRot}, func(m *mutated) bool {
		m.stale = true
		return m.inItem(24)
	}},
	{"item changed, checksum right", []finding.Kind{finding.Unexplained, finding.BitRot}, func(m *mutated) bool {
		return m.inItem(24)
	}},
	{"zeroed", []finding.Kind{finding.ZeroedPage}, func(m *mutated) bool {
		clear(m.page)
		m.stale = true
		return true
	}},
	{"lost write", []finding.Kind{finding.LostWrite}, func(m *mutated) bool {
		if m.base == nil || m.base.LSN() == m.page.LSN() || m.base.IsNew() {
			return false
		}
		copy(m.page, m.base)
		return true
	}},
	{"torn: the first half is the base's", []finding.Kind{finding.TornPage, finding.BitRot}, func(m *mutated) bool {
		const half = pg.BlockSize / 2
		if m.base == nil || m.base.LSN() == m.page.LSN() || m.base.IsNew() || string(m.base[half:]) == string(m.page[half:]) {
			return false // if only the first half changed, it would be a whole old page
		}
		m.stale = true
		copy(m.page[:half], m.base)
		return true
	}},
	{"another block's page", []finding.Kind{finding.PhantomWrite, finding.LostWrite, finding.BitRot, finding.Unexplained}, func(m *mutated) bool {
		if m.other == nil || string(m.other) == string(m.page) {
			return false
		}
		copy(m.page, m.other)
		return true
	}},
	{"a sector of garbage", []finding.Kind{finding.BitRot}, func(m *mutated) bool {
		m.stale = true
		at := 512 * (1 + m.rng.IntN(15))
		for i := range 512 {
			m.page[at+i] = byte(m.rng.Uint32())
		}
		return true
	}},
	{"line pointer moved", []finding.Kind{finding.Unexplained, finding.BitRot}, func(m *mutated) bool {
		items := m.items()
		if len(items) == 0 {
			return false
		}
		n := items[m.rng.IntN(len(items))]
		id := m.page.ItemID(n)
		m.page.SetItemID(n, page.MakeItemID(id.Offset()^8, id.Flags(), id.Len()))
		return true
	}},
	{"xmin changed", []finding.Kind{finding.Unexplained, finding.BitRot}, func(m *mutated) bool {
		items := m.items()
		if m.kind != page.KindHeap || len(items) == 0 {
			return false
		}
		t := m.page.Item(items[m.rng.IntN(len(items))])
		binary.LittleEndian.PutUint32(t, binary.LittleEndian.Uint32(t)+1)
		return true
	}},
	{"tuple deleted", []finding.Kind{finding.Unexplained, finding.BitRot}, func(m *mutated) bool {
		items := m.items()
		if m.kind != page.KindHeap || len(items) == 0 {
			return false
		}
		t := m.page.Item(items[m.rng.IntN(len(items))])
		binary.LittleEndian.PutUint32(t[4:], 777)
		return true
	}},
	{"tuple frozen", []finding.Kind{finding.Unexplained, finding.BitRot}, func(m *mutated) bool {
		for _, n := range m.items() {
			t := m.page.Item(n)
			mask := binary.LittleEndian.Uint16(t[20:])
			if m.kind == page.KindHeap && mask&0x0300 != 0x0300 {
				binary.LittleEndian.PutUint16(t[20:], mask|0x0300)
				return true
			}
		}
		return false
	}},
	{"PD_ALL_VISIBLE flipped", []finding.Kind{finding.Unexplained, finding.BitRot}, func(m *mutated) bool {
		m.page.SetFlags(m.page.Flags() ^ page.AllVisible)
		return m.kind == page.KindHeap
	}},
	{"btree sibling link changed", []finding.Kind{finding.Unexplained, finding.BitRot}, func(m *mutated) bool {
		m.page[pg.BlockSize-16+4] ^= 1
		return m.kind == page.KindBtree
	}},
	{"heap TID in an index changed", []finding.Kind{finding.Unexplained, finding.BitRot}, func(m *mutated) bool {
		for n := 2; n <= m.page.NumItems() && m.kind == page.KindBtree; n++ {
			if it := m.page.Item(n); m.page.ItemID(n).Flags() == page.LPNormal && len(it) > 8 {
				it[4] ^= 1
				return true
			}
		}
		return false
	}},
	{"page LSN from the future", []finding.Kind{finding.PhantomWrite, finding.BitRot}, func(m *mutated) bool {
		m.page.SetLSN(m.page.LSN() + 1<<32)
		return true
	}},
}

var benign = []mutation{
	{"XMIN hint bit", nil, func(m *mutated) bool {
		for _, n := range m.items() {
			t := m.page.Item(n)
			mask := binary.LittleEndian.Uint16(t[20:])
			if m.kind == page.KindHeap && mask&0x0300 == 0x0100 {
				binary.LittleEndian.PutUint16(t[20:], mask&^0x0100)
				return true
			}
		}
		return false
	}},
	{"byte in the hole", nil, func(m *mutated) bool {
		if m.page.Upper()-m.page.Lower() < 16 {
			return false
		}
		m.page[m.page.Lower()+8] ^= 0x55
		return true
	}},
	{"prune xid", nil, func(m *mutated) bool {
		m.page.SetPruneXID(m.page.PruneXID() + 5)
		return m.kind == page.KindHeap
	}},
	{"LP_DEAD in a btree leaf", nil, func(m *mutated) bool {
		if m.kind != page.KindBtree || binary.LittleEndian.Uint16(m.page[pg.BlockSize-4:])&1 == 0 || m.page.NumItems() < 3 {
			return false
		}
		id := m.page.ItemID(2)
		m.page.SetItemID(2, page.MakeItemID(id.Offset(), page.LPDead, id.Len()))
		return id.Flags() == page.LPNormal
	}},
	{"btree cycle id", nil, func(m *mutated) bool {
		binary.LittleEndian.PutUint16(m.page[pg.BlockSize-2:], 17)
		return m.kind == page.KindBtree
	}},
}

// candidates lists the heap and btree blocks of user relations on the official side.
func candidates(t *testing.T, dir string) []pg.Block {
	t.Helper()
	var out []pg.Block
	err := filepath.WalkDir(filepath.Join(dir, "base"), func(path string, e os.DirEntry, err error) error {
		if err != nil || e.IsDir() {
			return err
		}
		rel, _ := filepath.Rel(dir, path)
		f, ok := datadir.ParseRelPath(filepath.ToSlash(rel))
		st, err := e.Info()
		if err != nil || !ok || f.Fork != pg.MainFork || f.Rel < 16384 {
			return err
		}
		for b := range st.Size() / pg.BlockSize {
			out = append(out, pg.Block{RelFork: f.RelFork, Number: pg.BlockNumber(b)})
		}
		return nil
	})
	if err != nil {
		t.Fatal(err)
	}
	return out
}

// pageAt reads a page of a data directory, nil if it is not there.
func pageAt(dir string, b pg.Block) page.Page {
	f, err := os.Open(filepath.Join(dir, datadir.RelPath(b.RelFork, 0, "")))
	if err != nil {
		return nil
	}
	defer func() { _ = f.Close() }()
	p := make(page.Page, pg.BlockSize)
	if _, err := f.ReadAt(p, int64(b.Number)*pg.BlockSize); err != nil {
		return nil
	}
	return p
}

// TestMutations damages many blocks of the official side at once, each in its
// own way: every one must be found, at its block, as a kind that fits, and
// nothing else; benign changes must not be found.
func TestMutations(t *testing.T) {
	for _, major := range majors {
		for _, checksums := range []bool{true, false} {
			t.Run(fmt.Sprintf("%d/checksums=%v", major, checksums), func(t *testing.T) {
				c := pgtest.Server(t, major, pgtest.Checksums(checksums))
				c.Pgbench("-i", "-s", "3", "-q", "postgres")
				h := history{Cluster: c, base: filepath.Join(c.Dir("backups"), "base"), wal: c.Dir("wal"), scratch: c.Dir("scratch")}
				c.BaseBackup(h.base)
				c.Pgbench("-c", "4", "-t", "600", "-n", "postgres")
				c.Exec("VACUUM pgbench_branches", "VACUUM pgbench_tellers", "SELECT count(*) FROM pgbench_accounts", "SELECT count(*) FROM pgbench_history")
				c.Stop(pgtest.Fast)
				c.CollectWAL(h.wal)
				wantClean(t, mustVerify(t, h.options()))
				mutate(t, h, checksums)
			})
		}
	}
}

const rounds = 3 // of all mutations

// withoutChecksums are what damage may also be called where no checksum tells
// it from a change that was written.
var withoutChecksums = []finding.Kind{finding.Unexplained, finding.LostWrite}

func mutate(t *testing.T, h history, checksums bool) {
	t.Helper()
	rng := rand.New(rand.NewPCG(uint64(h.Major), 1))
	blocks := candidates(t, h.Data)
	rng.Shuffle(len(blocks), func(i, j int) { blocks[i], blocks[j] = blocks[j], blocks[i] })
	want := make(map[pg.Block]mutation)
	bad, good := 0, 0
	for range rounds {
		for _, mu := range slices.Concat(critical, benign, benign) {
			for _, b := range blocks {
				if _, used := want[b]; used || !tryMutation(t, h, b, blocks, mu, checksums, rng) {
					continue
				}
				want[b] = mu
				if mu.kinds == nil {
					good++
				} else {
					bad++
				}
				break
			}
		}
	}
	v := mustVerify(t, h.options())
	if v.Verdict != finding.Discrepancies || v.DiscrepancyCounts.Critical != int64(bad) {
		t.Errorf("verdict %s, %d critical; want %d: %s", v.Verdict, v.DiscrepancyCounts.Critical, bad, describe(v))
	}
	for _, d := range v.Discrepancies {
		b := pg.Block{RelFork: pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: d.Relation.Tablespace, DB: d.Relation.Database, Rel: d.Relation.RelFileNode}, Fork: d.Relation.Fork}}
		if d.Block != nil {
			b.Number = pg.BlockNumber(*d.Block)
		}
		mu, planted := want[b]
		if !planted || !slices.Contains(mu.kinds, d.Kind) && (checksums || !slices.Contains(withoutChecksums, d.Kind)) {
			t.Errorf("%s: %q was found as %s: %s", b, mu.name, d.Kind, d.Explanation)
		}
		delete(want, b)
	}
	for b, mu := range want {
		if mu.kinds != nil {
			t.Errorf("%s: %q was not found", b, mu.name)
		}
	}
	t.Logf("%d corruptions found, %d benign changes passed over", bad, good)
}

func tryMutation(t *testing.T, h history, b pg.Block, blocks []pg.Block, mu mutation, checksums bool, rng *rand.Rand) bool {
	t.Helper()
	m := mutated{page: pageAt(h.Data, b), base: pageAt(h.base, b), block: b.Number, rng: rng}
	if m.page == nil || m.page.IsNew() {
		return false
	}
	before := string(m.page)
	m.kind = page.KindOf(m.page, pg.MainFork)
	if m.kind != page.KindHeap && m.kind != page.KindBtree {
		return false
	}
	for _, o := range blocks {
		if o.RelFork == b.RelFork && o.Number != b.Number {
			m.other = pageAt(h.Data, o)
			break
		}
	}
	if !mu.apply(&m) || string(m.page) == before {
		return false
	}
	if checksums && !m.stale {
		m.page.SetChecksum(m.page.ComputeChecksum(b.Number))
	}
	pgtest.ChangeBlock(t, h.Data, datadir.RelPath(b.RelFork, 0, ""), b.Number, func(p []byte) { copy(p, m.page) })
	return true
}
