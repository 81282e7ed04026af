package verify_test

import (
	"context"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
	"redoubt/replay/native"
	"redoubt/replay/server"
	"redoubt/verify"
)

// witnessed is a short history with a table whose records are known, and the
// options of a verification by the engine.
func witnessed(t *testing.T, major int, opts ...pgtest.Option) (h history, table pg.RelFork) {
	t.Helper()
	h = live(t, major, func(c *pgtest.Cluster) {
		c.Exec(
			"CREATE TABLE w (id int PRIMARY KEY, v text)",
			"INSERT INTO w SELECT i, repeat('x', 100) FROM generate_series(1, 2000) i",
			"CHECKPOINT",
			"UPDATE w SET v = 'first' WHERE id = 1", "UPDATE w SET v = 'second' WHERE id = 2",
			"UPDATE w SET v = 'third' WHERE id = 3", "DELETE FROM w WHERE id = 4",
			"CREATE INDEX g ON w USING hash (v)", "INSERT INTO w SELECT i, 'h' || i FROM generate_series(3000, 3300) i")
		table = relFork(t, c, "w")
	}, opts...)
	return h, table
}

func relFork(t *testing.T, c *pgtest.Cluster, name string) (f pg.RelFork) {
	t.Helper()
	if _, err := fmt.Sscanf(c.Query("SELECT pg_relation_filepath('"+name+"')"), "base/%d/%d", &f.DB, &f.Rel); err != nil {
		t.Fatal(err)
	}
	f.Spc = pg.DefaultTablespaceOID
	return f
}

func (h history) engine(name string) verify.Options {
	o := h.options()
	o.Engine, o.Server = name, server.Config{Bins: server.Bins{Dir: h.Bin}, Scratch: h.scratch}
	return o
}

// TestEngines: the same history by the server and by both engines. What the
// native engine cannot redo is verified by the server; the engines agree.
func TestEngines(t *testing.T) {
	for _, major := range pgtest.Thorough() {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			h, _ := witnessed(t, major, pgtest.Checksums(major == 17))
			o := h.engine(verify.EngineServer)
			v := mustVerify(t, o)
			wantClean(t, v)
			if v.Engine != "server" || v.Witness == nil || !strings.HasPrefix(v.Witness.Version, fmt.Sprint(major)) || v.Coverage.BlocksTainted != 0 {
				t.Errorf("engine %s, witness %+v, %d tainted", v.Engine, v.Witness, v.Coverage.BlocksTainted)
			}
			v = mustVerify(t, h.engine(verify.EngineBoth))
			if v.DiscrepancyCounts.Critical != 0 || v.Witness == nil || v.Witness.BlocksCompared < 1000 || v.Witness.Differing != 0 {
				t.Errorf("both: witness %+v\n%s", v.Witness, describe(v))
			}
			leftNothing(t, h.scratch)
		})
	}
}

// TestConfirm: who is blamed when official side, native engine and server
// disagree, each in its turn.
func TestConfirm(t *testing.T) {
	h, table := witnessed(t, 17)
	o := h.engine(verify.EngineNative)
	o.Confirm = true
	t.Run("clean", func(t *testing.T) {
		v := mustVerify(t, o)
		if v.DiscrepancyCounts.Critical != 0 || v.Witness != nil {
			t.Errorf("a server ran (%+v) although there was nothing to confirm\n%s", v.Witness, describe(v))
		}
	})
	bad := func(*native.Result) {}
	redo := func(at int) func(*native.Result) {
		return func(res *native.Result) {
			p, err := res.Page(table, 0, make([]byte, pg.BlockSize))
			if err != nil || p.Bytes == nil {
				t.Fatalf("page %v: %v", p, err)
			}
			p.Bytes[at] ^= 0x55
		}
	}
	official := func(t *testing.T, at int64) verify.Options {
		bent := o
		dir := filepath.Join(t.TempDir(), "official")
		if err := os.CopyFS(dir, os.DirFS(h.Data)); err != nil {
			t.Fatal(err)
		}
		file := filepath.Join(dir, fmt.Sprintf("base/%d/%d", table.DB, table.Rel))
		flip(t, file, at)
		bent.Official = dirSnap{dir}
		return bent
	}
	for _, c := range []struct {
		name   string
		o      func(t *testing.T) verify.Options
		tamper func(*native.Result)
		blame  finding.Blame
		kind   finding.Kind // any if empty
		by     string
	}{
		{"official side", func(t *testing.T) verify.Options { return official(t, 8100) }, bad, finding.BlameOfficial, "", "server"},
		{"engine", func(*testing.T) verify.Options { return o }, redo(8100), finding.BlameEngine, finding.WrongRedo, ""},
		{"all three", func(t *testing.T) verify.Options { return official(t, 8100) }, redo(8050), finding.BlameUnknown, "", ""},
		{"both engines at once", func(*testing.T) verify.Options { o := o; o.Engine = verify.EngineBoth; return o }, redo(8100), finding.BlameEngine, finding.WrongRedo, ""},
	} {
		t.Run(c.name, func(t *testing.T) {
			v, err := verify.RunTampered(context.Background(), c.o(t), c.tamper)
			if err != nil {
				t.Fatal(err)
			}
			if len(v.Discrepancies) != 1 {
				t.Fatalf("%d discrepancies, want 1\n%s", len(v.Discrepancies), describe(v))
			}
			d := v.Discrepancies[0]
			if d.Blame != c.blame || c.kind != "" && d.Kind != c.kind || d.ConfirmedBy != c.by || v.Witness == nil || v.Witness.BlocksCompared == 0 {
				t.Errorf("%s, blame %s, confirmed by %q, witness %+v: %s", d.Kind, d.Blame, d.ConfirmedBy, v.Witness, d.Explanation)
			}
			t.Logf("%s blame %s, first divergent %v (%s): %s", d.Kind, d.Blame, d.FirstDivergentLSN, d.FirstDivergentReason, d.Explanation)
		})
	}
	leftNothing(t, h.scratch)
}

// TestUnconfirmed: where no server can be run the finding stays, and it is said.
func TestUnconfirmed(t *testing.T) {
	h, table := witnessed(t, 15)
	o := h.engine(verify.EngineNative)
	o.Confirm, o.Server.Bins = true, server.Bins{Dir: h.Dir("nobin")}
	tamper := func(res *native.Result) {
		p, err := res.Page(table, 0, make([]byte, pg.BlockSize))
		if err != nil {
			t.Fatal(err)
		}
		page.Page(p.Bytes)[8100] ^= 1
	}
	v, err := verify.RunTampered(context.Background(), o, tamper)
	if err != nil || v.Verdict != finding.Discrepancies || v.Discrepancies[0].ConfirmedBy != "" ||
		!strings.Contains(strings.Join(v.Reasons, "\n"), "unconfirmed") {
		t.Errorf("error %v\n%s", err, describe(v))
	}
	for _, engine := range []string{verify.EngineServer, verify.EngineBoth} {
		o.Engine = engine
		_, err := verify.Run(context.Background(), o)
		var input *verify.InputError
		if !errors.As(err, &input) || !strings.Contains(err.Error(), "postgres --version") {
			t.Errorf("engine %s without binaries: %v, want an input error that says so", engine, err)
		}
	}
	o.Server = server.Config{Bins: server.Bins{Dir: h.Bin}, Scratch: h.scratch, Disk: 1 << 20}
	for _, engine := range []string{verify.EngineServer, verify.EngineBoth} {
		o.Engine = engine
		v, err := verify.Run(context.Background(), o)
		if err != nil || v.Verdict != finding.Inconclusive || !strings.Contains(strings.Join(v.Reasons, "\n"), "limit of disk") {
			t.Errorf("engine %s with a small disk: error %v\n%s", engine, err, describe(v))
		}
	}
	leftNothing(t, h.scratch)
}

// TestBlameWAL: a record that no engine can redo is the WAL's fault.
func TestBlameWAL(t *testing.T) {
	h, table := witnessed(t, 15)
	o := h.engine(verify.EngineNative)
	o.Confirm = true
	dir := filepath.Join(t.TempDir(), "wal")
	if err := os.CopyFS(dir, os.DirFS(h.wal)); err != nil {
		t.Fatal(err)
	}
	at := breakInsert(t, dirWAL{dir, h.SegmentSize}, table, startOf(t, h))
	o.WAL = dirWAL{dir, h.SegmentSize}
	v := mustVerify(t, o)
	for _, d := range v.Discrepancies {
		if d.Blame == finding.BlameWAL && d.ConfirmedBy == "server" && strings.Contains(d.Explanation, at.String()) {
			leftNothing(t, h.scratch)
			return
		}
	}
	t.Errorf("no discrepancy blames the record at %s\n%s", at, describe(v))
}

func startOf(t *testing.T, h history) pg.LSN {
	t.Helper()
	m, err := dirSnap{h.base}.Meta(context.Background())
	if err != nil {
		t.Fatal(err)
	}
	return m.Redo
}

// breakInsert gives an INSERT into the table, one without an image and within
// one WAL page, a line pointer that no page has, and the record a CRC that fits.
func breakInsert(t *testing.T, src dirWAL, table pg.RelFork, from pg.LSN) pg.LSN {
	t.Helper()
	s, err := src.Open(context.Background(), from)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = s.Close() }()
	r := wal.NewReader(s.ReadPages, wal.Config{Start: from, SegmentSize: src.size})
	var rec wal.Record
	for {
		if err := r.Next(&rec); err != nil {
			t.Fatalf("no record to break: %v", err)
		}
		whole := rec.LSN/pg.BlockSize == (rec.LSN+pg.LSN(rec.Length)-1)/pg.BlockSize
		if rec.Rmgr != pg.RmgrHeap || rec.Op() != 0 || !whole || rec.Blocks[0].RelFork != table || rec.Blocks[0].HasImage || rec.Blocks[0].WillInit {
			continue
		}
		name := filepath.Join(src.dir, pg.SegmentName(1, pg.SegmentOf(rec.LSN, src.size), src.size))
		seg, err := os.ReadFile(name)
		if err != nil {
			t.Fatal(err)
		}
		raw := seg[uint64(rec.LSN)%uint64(src.size):][:rec.Length]
		binary.LittleEndian.PutUint16(raw[len(raw)-len(rec.Main):], 2000)
		crc := crc32.MakeTable(crc32.Castagnoli)
		binary.LittleEndian.PutUint32(raw[20:], crc32.Update(crc32.Checksum(raw[24:], crc), crc, raw[:20]))
		if err := os.WriteFile(name, seg, 0o600); err != nil {
			t.Fatal(err)
		}
		return rec.LSN
	}
}

func flip(t *testing.T, file string, at int64) {
	t.Helper()
	f, err := os.OpenFile(file, os.O_RDWR, 0)
	if err != nil {
		t.Fatal(err)
	}
	var b [1]byte
	if _, err := f.ReadAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	b[0] ^= 0xFF
	if _, err := f.WriteAt(b[:], at); err != nil {
		t.Fatal(err)
	}
	if err := f.Close(); err != nil {
		t.Fatal(err)
	}
}

// leftNothing checks that no server left anything in the scratch directory.
func leftNothing(t *testing.T, scratch string) {
	t.Helper()
	left, err := os.ReadDir(scratch)
	if err != nil || len(left) != 0 {
		t.Errorf("the scratch directory holds %v (%v)", left, err)
	}
}
