package wal_test

import (
	"fmt"
	"regexp"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// notCompared cuts what the decoders only count out of PostgreSQL's
// descriptions: invalidation messages, dropped statistics, commit flags.
var notCompared = regexp.MustCompile(`; (relcache init file inval|inval msgs|(commit |abort )?dropped stats)[^;]*|; apply_feedback|; sync\b`)

// describe renders a body in the words of PostgreSQL's *_desc functions, so
// that they can be compared; false where this package has no decoder.
func describe(t *testing.T, r *wal.Record) (string, bool) {
	t.Helper()
	d := describer{t: t, r: r}
	switch r.Rmgr {
	case pg.RmgrTransaction:
		return d.transaction()
	case pg.RmgrStorage:
		return d.storage()
	case pg.RmgrDatabase:
		return d.database()
	case pg.RmgrTablespace:
		return d.tablespace()
	case pg.RmgrRelMap:
		m, err := wal.DecodeRelMapUpdate(r)
		return fmt.Sprintf("database %d tablespace %d size %d", m.DB, m.Spc, len(m.Data)), d.good(true, err)
	case pg.RmgrCLOG, pg.RmgrCommitTs:
		return d.slru()
	case pg.RmgrMultiXact:
		return d.multixact()
	case pg.RmgrXLOG:
		return d.xlog()
	}
	return "", false
}

type describer struct {
	t *testing.T
	r *wal.Record
}

// good fails on an error.
func (d describer) good(ok bool, err error) bool {
	d.t.Helper()
	if err != nil {
		d.t.Fatalf("%s: %v", d.r, err)
	}
	return ok
}

func (d describer) transaction() (string, bool) {
	if p, ok, err := wal.DecodePrepare(d.r); d.good(ok, err) {
		s := fmt.Sprintf("gid %s: %s", p.GID, d.time(p.Time))
		return s + d.rels("rels(commit)", p.CommitRels) + d.rels("rels(abort)", p.AbortRels) + subxacts(p.SubXIDs), true
	}
	x, ok, err := wal.DecodeXact(d.r)
	if !d.good(ok, err) {
		return "", false
	}
	s := ""
	if x.Prepared {
		s = fmt.Sprintf("%d: ", x.XID)
	}
	return s + d.time(x.Time) + d.rels("rels", x.DroppedRels) + subxacts(x.SubXIDs), true
}

func (d describer) time(at wal.Timestamp) string {
	return at.Time().Format("2006-01-02 15:04:05.000000 UTC")
}

func subxacts(xids []pg.XID) string {
	if len(xids) == 0 {
		return ""
	}
	s := "; subxacts:"
	for _, x := range xids {
		s += fmt.Sprintf(" %d", x)
	}
	return s
}

func (d describer) rels(label string, rels []pg.RelFileLocator) string {
	if len(rels) == 0 {
		return ""
	}
	s := "; " + label + ":"
	for _, r := range rels {
		s += " " + d.path(pg.RelFork{RelFileLocator: r})
	}
	return s
}

// catalogVersions are CATALOG_VERSION_NO of the majors that tests run.
var catalogVersions = map[int]string{15: "202209061", 17: "202406281"}

func (d describer) path(f pg.RelFork) string {
	s := fmt.Sprintf("pg_tblspc/%d/PG_%d_%s/%d/%d", f.Spc, d.r.Major, catalogVersions[d.r.Major], f.DB, f.Rel)
	switch f.Spc {
	case pg.DefaultTablespaceOID:
		s = fmt.Sprintf("base/%d/%d", f.DB, f.Rel)
	case pg.GlobalTablespaceOID:
		s = fmt.Sprintf("global/%d", f.Rel)
	}
	if f.Fork != pg.MainFork {
		s += "_" + f.Fork.String()
	}
	return s
}

func (d describer) storage() (string, bool) {
	if f, ok, err := wal.DecodeSmgrCreate(d.r); d.good(ok, err) {
		return d.path(f), true
	}
	tr, ok, err := wal.DecodeSmgrTruncate(d.r)
	flags := 0
	for i, on := range []bool{tr.Heap, tr.VM, tr.FSM} {
		if on {
			flags |= 1 << i
		}
	}
	return fmt.Sprintf("%s to %d blocks flags %d", d.path(pg.RelFork{RelFileLocator: tr.Rel}), tr.Block, flags), d.good(ok, err)
}

func (d describer) database() (string, bool) {
	if c, ok, err := wal.DecodeDatabaseCopy(d.r); d.good(ok, err) {
		return fmt.Sprintf("copy dir %d/%d to %d/%d", c.SrcSpc, c.SrcDB, c.Spc, c.DB), true
	}
	if c, ok, err := wal.DecodeDatabaseCreate(d.r); d.good(ok, err) {
		return fmt.Sprintf("create dir %d/%d", c.Spc, c.DB), true
	}
	c, ok, err := wal.DecodeDatabaseDrop(d.r)
	s := "dir"
	for _, spc := range c.Tablespaces {
		s += fmt.Sprintf(" %d/%d", spc, c.DB)
	}
	return s, d.good(ok, err)
}

func (d describer) tablespace() (string, bool) {
	if c, ok, err := wal.DecodeTablespaceCreate(d.r); d.good(ok, err) {
		return fmt.Sprintf("%d %q", c.Spc, c.Path), true
	}
	spc, ok, err := wal.DecodeTablespaceDrop(d.r)
	return fmt.Sprint(spc), d.good(ok, err)
}

func (d describer) slru() (string, bool) {
	page, ok, err := wal.DecodeZeroPage(d.r)
	if d.good(ok, err) {
		if d.r.Rmgr == pg.RmgrCLOG {
			return fmt.Sprintf("page %d", page), true
		}
		return fmt.Sprint(page), true
	}
	if c, ok, err := wal.DecodeCLOGTruncate(d.r); d.good(ok, err) {
		return fmt.Sprintf("page %d; oldestXact %d", c.Page, c.OldestXID), true
	}
	c, ok, err := wal.DecodeCommitTsTruncate(d.r)
	return fmt.Sprintf("pageno %d, oldestXid %d", c.Page, c.OldestXID), d.good(ok, err)
}

var memberStatus = [...]string{"keysh", "sh", "fornokeyupd", "forupd", "nokeyupd", "upd"}

func (d describer) multixact() (string, bool) {
	if page, _, ok, err := wal.DecodeMultiXactZeroPage(d.r); d.good(ok, err) {
		return fmt.Sprint(page), true
	}
	if m, ok, err := wal.DecodeMultiXactCreate(d.r); d.good(ok, err) {
		s := fmt.Sprintf("%d offset %d nmembers %d: ", m.ID, m.Offset, len(m.Members))
		for _, x := range m.Members {
			s += fmt.Sprintf("%d (%s) ", x.XID, memberStatus[x.Status])
		}
		return strings.TrimSpace(s), true
	}
	m, ok, err := wal.DecodeMultiXactTruncate(d.r)
	return fmt.Sprintf("offsets [%d, %d), members [%d, %d)", m.StartOffset, m.EndOffset, m.StartMembers, m.EndMembers), d.good(ok, err)
}

func (d describer) xlog() (string, bool) {
	if p, ok, err := wal.DecodeCheckPoint(d.r); d.good(ok, err) {
		kind := "online"
		if p.Shutdown {
			kind = "shutdown"
		}
		return fmt.Sprintf("redo %s; tli %d; prev tli %d; fpw %t; xid %d:%d; oid %d; multi %d; offset %d; "+
			"oldest xid %d in DB %d; oldest multi %d in DB %d; oldest/newest commit timestamp xid: %d/%d; oldest running xid %d; %s",
			p.Redo, p.TLI, p.PrevTLI, p.FullPageWrites, p.NextXID>>32, uint32(p.NextXID), p.NextOID, p.NextMulti, p.NextMultiOffset,
			p.OldestXID, p.OldestXIDDB, p.OldestMulti, p.OldestMultiDB, p.OldestCommitTsXID, p.NewestCommitTsXID, p.OldestActiveXID, kind), true
	}
	if oid, ok, err := wal.DecodeNextOID(d.r); d.good(ok, err) {
		return fmt.Sprint(oid), true
	}
	if p, ok, err := wal.DecodeRestorePoint(d.r); d.good(ok, err) {
		return p.Name, true
	}
	if l, ok, err := wal.DecodeBackupEnd(d.r); d.good(ok, err) {
		return l.String(), true
	}
	if e, ok, err := wal.DecodeEndOfRecovery(d.r); d.good(ok, err) {
		return fmt.Sprintf("tli %d; prev tli %d; time %s", e.TLI, e.PrevTLI, d.time(e.Time)), true
	}
	if o, ok, err := wal.DecodeOverwriteContrecord(d.r); d.good(ok, err) {
		return fmt.Sprintf("lsn %s; time %s", o.LSN, d.time(o.Time)), true
	}
	p, ok, err := wal.DecodeParameterChange(d.r)
	level := fmt.Sprint(p.WALLevel)
	if l := int(p.WALLevel); l >= 0 && l < 3 {
		level = []string{"minimal", "replica", "logical"}[l]
	}
	return fmt.Sprintf("max_connections=%d max_worker_processes=%d max_wal_senders=%d max_prepared_xacts=%d "+
		"max_locks_per_xact=%d wal_level=%s wal_log_hints=%s track_commit_timestamp=%s",
		p.MaxConnections, p.MaxWorkerProcesses, p.MaxWALSenders, p.MaxPreparedXacts, p.MaxLocksPerXact, level,
		onOff(p.WALLogHints), onOff(p.TrackCommitTimestamp)), d.good(ok, err)
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
