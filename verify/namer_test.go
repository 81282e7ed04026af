package verify

import (
	"encoding/binary"
	"testing"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/catalog"
	"redoubt/internal/pg/page"
)

// catalogPage is a heap page of rows, each with a tuple header of 24 bytes.
type catalogPage struct {
	page.Page
	n int
}

func newCatalogPage() *catalogPage {
	p := make(page.Page, pg.BlockSize)
	p.SetLower(page.HeaderSize)
	p.SetUpper(pg.BlockSize)
	p.SetSpecial(pg.BlockSize)
	p.SetPageSizeVersion(pg.BlockSize | page.LayoutVersion)
	return &catalogPage{Page: p}
}

func (p *catalogPage) add(xmin, xmax pg.XID, infomask uint16, row []byte) {
	size := (24 + len(row) + 7) &^ 7
	at := p.Upper() - size
	p.n++
	p.SetUpper(at)
	p.SetLower(page.HeaderSize + p.n*page.ItemIDSize)
	p.SetItemID(p.n, page.MakeItemID(at, page.LPNormal, 24+len(row)))
	binary.LittleEndian.PutUint32(p.Page[at:], uint32(xmin))
	binary.LittleEndian.PutUint32(p.Page[at+4:], uint32(xmax))
	binary.LittleEndian.PutUint16(p.Page[at+20:], infomask)
	p.Page[at+22] = 24
	copy(p.Page[at+24:], row)
}

// classRow is a row of pg_class of PostgreSQL 17.
func classRow(oid pg.OID, name string, node pg.OID, kind byte, toast pg.OID) []byte {
	row := make([]byte, 200)
	binary.LittleEndian.PutUint32(row, uint32(oid))
	copy(row[4:], name)
	binary.LittleEndian.PutUint32(row[68:], 2200)
	binary.LittleEndian.PutUint32(row[88:], uint32(node))
	binary.LittleEndian.PutUint32(row[108:], uint32(toast))
	row[115] = kind
	return row
}

func namespaceRow(oid pg.OID, name string) []byte {
	row := make([]byte, 72)
	binary.LittleEndian.PutUint32(row, uint32(oid))
	copy(row[4:], name)
	return row
}

// TestNamer wants a name only where one live row says it.
func TestNamer(t *testing.T) {
	const frozen = xminCommitted | xminInvalid | xmaxInvalid
	states := map[pg.XID]compare.XactState{100: compare.XactCommitted, 101: compare.XactAborted, 103: compare.XactNotKnown}
	for name, c := range map[string]struct {
		rows func(p *catalogPage)
		want string
	}{
		"frozen":                 {func(p *catalogPage) { p.add(5, 0, frozen, classRow(50, "a", 50, 'r', 0)) }, "public.a"},
		"committed by pg_xact":   {func(p *catalogPage) { p.add(100, 0, xmaxInvalid, classRow(50, "a", 50, 'r', 0)) }, "public.a"},
		"rolled back":            {func(p *catalogPage) { p.add(101, 0, xmaxInvalid, classRow(50, "a", 50, 'r', 0)) }, ""},
		"under way":              {func(p *catalogPage) { p.add(102, 0, xmaxInvalid, classRow(50, "a", 50, 'r', 0)) }, ""},
		"nobody knows":           {func(p *catalogPage) { p.add(103, 0, xmaxInvalid, classRow(50, "a", 50, 'r', 0)) }, ""},
		"deleted":                {func(p *catalogPage) { p.add(5, 100, xminCommitted, classRow(50, "a", 50, 'r', 0)) }, ""},
		"deletion rolled back":   {func(p *catalogPage) { p.add(5, 101, xminCommitted, classRow(50, "a", 50, 'r', 0)) }, "public.a"},
		"perhaps deleted":        {func(p *catalogPage) { p.add(5, 103, xminCommitted, classRow(50, "a", 50, 'r', 0)) }, ""},
		"deleted by a multixact": {func(p *catalogPage) { p.add(5, 7, xminCommitted|xmaxIsMulti, classRow(50, "a", 50, 'r', 0)) }, ""},
		"locked":                 {func(p *catalogPage) { p.add(5, 100, xminCommitted|xmaxLockOnly, classRow(50, "a", 50, 'r', 0)) }, "public.a"},
		"another file":           {func(p *catalogPage) { p.add(5, 0, frozen, classRow(50, "a", 51, 'r', 0)) }, ""},
		"another tablespace":     {func(p *catalogPage) { r := classRow(50, "a", 50, 'r', 0); r[92] = 9; p.add(5, 0, frozen, r) }, ""},
		"no such schema":         {func(p *catalogPage) { r := classRow(50, "a", 50, 'r', 0); r[68] = 1; p.add(5, 0, frozen, r) }, ""},
		"two rows that disagree": {func(p *catalogPage) {
			p.add(5, 0, frozen, classRow(50, "a", 50, 'r', 0))
			p.add(5, 0, frozen, classRow(51, "b", 50, 'r', 0))
		}, ""},
		"renamed": {func(p *catalogPage) {
			p.add(5, 100, xminCommitted, classRow(50, "old", 50, 'r', 0))
			p.add(100, 0, xmaxInvalid, classRow(50, "new", 50, 'r', 0))
		}, "public.new"},
		"renaming was rolled back": {func(p *catalogPage) {
			p.add(5, 101, xminCommitted, classRow(50, "old", 50, 'r', 0))
			p.add(101, 0, xmaxInvalid, classRow(50, "new", 50, 'r', 0))
		}, "public.old"},
		"a name ends at a zero byte": {func(p *catalogPage) { p.add(5, 0, frozen, classRow(50, "x\x00y", 50, 'r', 0)) }, "public.x"},
	} {
		t.Run(name, func(t *testing.T) {
			sp := &spool{dir: t.TempDir()}
			t.Cleanup(func() { _ = sp.close() })
			home := dbKey{1663, 5}
			file := func(oid pg.OID) pg.RelFork {
				return pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: oid}}
			}
			side := &catalogSide{
				spool: sp, loaded: make(map[pg.RelFork][]int64),
				relMap: func(pg.OID, pg.OID) []byte { return nil },
				state:  func(x pg.XID) (compare.XactState, error) { return states[x], nil },
			}
			class, schemas := newCatalogPage(), newCatalogPage()
			c.rows(class)
			class.add(5, 0, frozen, classRow(catalog.NamespaceRelation, "pg_namespace", catalog.NamespaceRelation, 'r', 0))
			schemas.add(5, 0, frozen, namespaceRow(2200, "public"))
			for f, p := range map[pg.RelFork]*catalogPage{file(catalog.ClassRelation): class, file(catalog.NamespaceRelation): schemas, file(catalog.IndexRelation): newCatalogPage()} {
				if err := side.keep(f, p.Page); err != nil {
					t.Fatal(err)
				}
			}
			n := &namer{side: side, major: 17}
			d := n.newDatabase(home)
			at := file(50).RelFileLocator
			d.files[at] = true
			d.system[catalog.ClassRelation], d.system[catalog.IndexRelation] = file(catalog.ClassRelation), file(catalog.IndexRelation)
			if err := n.read(t.Context(), d); err != nil {
				t.Fatal(err)
			}
			var rel finding.Relation
			d.fill(&rel, at)
			if rel.Name != c.want {
				t.Errorf("named %q, want %q", rel.Name, c.want)
			}
		})
	}
}
