package datadir

import (
	"testing"

	"pgregory.net/rapid"

	"redoubt/internal/pg"
)

const versionDir17 = "PG_17_202406281"

func rel(spc, db, rel pg.OID, fork pg.ForkNumber) pg.RelFork {
	return pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: spc, DB: db, Rel: rel}, Fork: fork}
}

func TestParseRelPath(t *testing.T) {
	for path, want := range map[string]RelFile{
		"base/5/16384":                        {RelFork: rel(1663, 5, 16384, pg.MainFork)},
		"base/5/16384_vm.1":                   {RelFork: rel(1663, 5, 16384, pg.VMFork), Segment: 1},
		"base/5/16384_fsm":                    {RelFork: rel(1663, 5, 16384, pg.FSMFork)},
		"base/5/16384_init":                   {RelFork: rel(1663, 5, 16384, pg.InitFork)},
		"base/4294967295/4294967295.32767":    {RelFork: rel(1663, 4294967295, 4294967295, pg.MainFork), Segment: 32767},
		"base/5/t3_16384":                     {RelFork: rel(1663, 5, 16384, pg.MainFork), Temp: true},
		"base/5/t0_16384_fsm.2":               {RelFork: rel(1663, 5, 16384, pg.FSMFork), Temp: true, Segment: 2},
		"global/1262":                         {RelFork: rel(1664, 0, 1262, pg.MainFork)},
		"pg_tblspc/16385/PG_17_202406281/5/9": {RelFork: rel(16385, 5, 9, pg.MainFork)},
	} {
		want.Path = path
		got, ok := ParseRelPath(path)
		if !ok || got != want {
			t.Errorf("ParseRelPath(%q) = %+v, %t; want %+v", path, got, ok, want)
		}
		if !want.Temp && RelPath(got.RelFork, got.Segment, versionDir17) != path {
			t.Errorf("RelPath of %q = %q", path, RelPath(got.RelFork, got.Segment, versionDir17))
		}
	}
}

func TestParseRelPathRefuses(t *testing.T) {
	for _, path := range []string{
		"", "/", "base", "base/", "base/5", "base/5/", "base//5", "base/5/16384/", "/base/5/16384", "./base/5/16384",
		"base/5/../5/16384", "base/05/16384", "base/5/016384", "base/0/16384", "base/5/0", "base/5/4294967296",
		"base/4294967296/1", "base/5/-1", "base/5/+1", "base/5/ 1", "base/5/1 ", "base/5/1\x00", "base/5/1_main", "base/5/1_",
		"base/5/1_vm_fsm", "base/5/1.0", "base/5/1.01", "base/5/1.32768", "base/5/1.", "base/5/1.1.1", "base/5/1.1_vm",
		"base/5/t_1", "base/5/t1", "base/5/tx_1", "base/5/t01_1", "base/5/t2147483648_1", "base/5/t1_t1_1", "base/pgsql_tmp/1",
		"global/t1_1262", "global/5/1262", "global/pg_control", "base/5/pg_filenode.map", "base/5/PG_VERSION",
		"pg_tblspc/16385/PG_17_202406281/9", "pg_tblspc/1663/PG_17_202406281/5/9", "pg_tblspc/1664/PG_17_202406281/5/9",
		"pg_tblspc/016385/PG_17_202406281/5/9", "pg_tblspc/16385/PG_17/5/9", "pg_tblspc/16385/5/9/9", "pg_tblspc/16385/PG_017_202406281/5/9",
		"pg_tblspc/16385/PG_17_0202406281/5/9", "pg_tblspc/16385/PG_17_202406281/05/9", "pg_tblspc/16385/PG_17_202406281/0/9",
		"base/5/99999999999999999999", "base/5/１２", "pg_xact/0000", "BASE/5/1",
	} {
		if f, ok := ParseRelPath(path); ok {
			t.Errorf("ParseRelPath(%q) = %+v, want none", path, f)
		}
	}
}

func genRelFork(t *rapid.T) pg.RelFork {
	oid := rapid.Uint32Range(1, 1<<32-1)
	r := rel(pg.DefaultTablespaceOID, pg.OID(oid.Draw(t, "db")), pg.OID(oid.Draw(t, "rel")),
		pg.ForkNumber(rapid.IntRange(0, int(pg.MaxFork)).Draw(t, "fork")))
	switch rapid.IntRange(0, 2).Draw(t, "where") {
	case 1:
		r.Spc, r.DB = pg.GlobalTablespaceOID, 0
	case 2:
		r.Spc = pg.OID(rapid.Uint32Range(16384, 1<<32-1).Draw(t, "spc"))
	}
	return r
}

func TestRelPathRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		r, seg := genRelFork(t), rapid.Uint32Range(0, 32767).Draw(t, "segment")
		path := RelPath(r, seg, versionDir17)
		f, ok := ParseRelPath(path)
		if !ok || f.RelFork != r || f.Segment != seg || f.Temp || f.Path != path {
			t.Fatalf("%v segment %d -> %q -> %+v, %t", r, seg, path, f, ok)
		}
		if c := Classify(path); c.Class != Relation || c.Rel != f {
			t.Fatalf("Classify(%q) = %+v", path, c)
		}
	})
}

func TestVersionDir(t *testing.T) {
	if m, c, ok := ParseVersionDir(VersionDir(17, 202406281)); m != 17 || c != 202406281 || !ok {
		t.Errorf("got %d, %d, %t", m, c, ok)
	}
	for _, s := range []string{"", "PG_", "PG_17", "PG_17_", "PG__2", "PG_0_2", "PG_17_0", "PG_17_2_3", "pg_17_2", "PG_17_4294967296"} {
		if _, _, ok := ParseVersionDir(s); ok {
			t.Errorf("ParseVersionDir(%q) accepted", s)
		}
	}
}

func TestClassify(t *testing.T) {
	for path, want := range map[string]PathInfo{
		"global/pg_control":                                {Class: ControlFile},
		"PG_VERSION":                                       {Class: VersionFile},
		"backup_label":                                     {Class: LabelFile},
		"tablespace_map":                                   {Class: TablespaceMap},
		"backup_manifest":                                  {Class: BackupManifest},
		"global/pg_filenode.map":                           {Class: RelationMap, Spc: 1664},
		"base/5/pg_filenode.map":                           {Class: RelationMap, Spc: 1663, DB: 5},
		"base/5/PG_VERSION":                                {Class: VersionFile, Spc: 1663, DB: 5},
		"base/5/INCREMENTAL.16384_vm.1":                    {Class: IncrementalFile, Spc: 1663, DB: 5},
		"pg_tblspc/9/PG_17_202406281/5/PG_VERSION":         {Class: VersionFile, Spc: 9, DB: 5, VersionDir: versionDir17},
		"pg_tblspc/9":                                      {Class: TablespaceFolder, Spc: 9},
		"pg_xact/0000":                                     {Class: SLRUSegment, SLRU: pg.XactSLRU},
		"pg_multixact/offsets/FFFF":                        {Class: SLRUSegment, SLRU: pg.MultiXactOffsetSLRU, First: 0xFFFF * 32},
		"pg_multixact/members/14078":                       {Class: SLRUSegment, SLRU: pg.MultiXactMemberSLRU, First: 0x14078 * 32},
		"pg_commit_ts/FFFFFF":                              {Class: SLRUSegment, SLRU: pg.CommitTsSLRU, First: 0xFFFFFF * 32},
		"pg_tblspc/9/PG_17_202406281/5/pg_internal.init":   {},
		"pg_tblspc/9/PG_17_202406281/pgsql_tmp/pgsql_tmp1": {},
		"base/5/INCREMENTAL.x":                             {},
		"base/5/pg_internal.init":                          {},
		"global/PG_VERSION":                                {},
		"pg_twophase/000002F1":                             {Class: TwoPhaseFile},
		"pg_twophase/00000001000002F1":                     {Class: TwoPhaseFile},
		"pg_twophase/2F1":                                  {},
		"pg_xact/000":                                      {},
		"pg_xact/00000":                                    {},
		"pg_xact/0FFFF":                                    {},
		"pg_xact/000a":                                     {},
		"pg_xact/1000000":                                  {},
		"pg_xact/000000000000001":                          {},
		"pg_subtrans/0000":                                 {},
		"pg_multixact/0000":                                {},
		"pg_wal/000000010000000000000001":                  {},
		"postgresql.conf":                                  {Class: ConfigFile},
		"pg_hba.conf":                                      {Class: ConfigFile},
		"conf.d/postgresql.conf":                           {},
		"pg_logical/replorigin_checkpoint":                 {Class: OriginsFile},
		"pg_logical/replorigin_checkpoint.tmp":             {},
		"":                                                 {},
		"pg_tblspc/":                                       {},
		"pg_tblspc/x":                                      {},
	} {
		if got := Classify(path); got != want {
			t.Errorf("Classify(%q) = %+v, want %+v", path, got, want)
		}
	}
	if SLRUSegment.String() != "SLRU segment" || Class(99).String() != "unknown class" {
		t.Error("names of classes")
	}
}

func TestSLRUPathRoundTrip(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		p := pg.SLRUPage{SLRU: pg.SLRU(rapid.IntRange(0, pg.NumSLRUs-1).Draw(t, "slru")), Page: rapid.Uint32Range(0, 1<<29-1).Draw(t, "page")}
		s, first, ok := ParseSLRUPath(SLRUPath(p))
		if !ok || s != p.SLRU || first != p.Page/32*32 {
			t.Fatalf("%v -> %q -> %v, %d, %t", p, SLRUPath(p), s, first, ok)
		}
	})
}

func FuzzClassify(f *testing.F) {
	for _, s := range []string{"base/5/16384_vm.1", "global/1262", "pg_tblspc/9/PG_17_202406281/5/t3_9.2", "pg_xact/0000", "pg_multixact/members/14078", "base/5/INCREMENTAL.1", "a/../b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, path string) {
		c := Classify(path)
		switch {
		case c.Class == Relation && !c.Rel.Temp:
			if back := RelPath(c.Rel.RelFork, c.Rel.Segment, c.VersionDir); back != path {
				t.Fatalf("%q -> %+v -> %q", path, c.Rel, back)
			}
		case c.Class == SLRUSegment:
			if back := SLRUPath(pg.SLRUPage{SLRU: c.SLRU, Page: c.First}); back != path {
				t.Fatalf("%q -> %+v -> %q", path, c, back)
			}
		}
	})
}
