package datadir

import (
	"bytes"
	"encoding/binary"
	"encoding/json"
	"flag"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
)

var update = flag.Bool("update", false, "rewrite testdata/control from the servers that are found")

// controlSQL asks a server for all it knows of its own pg_control.
const controlSQL = `SELECT jsonb_pretty(to_jsonb(s) || to_jsonb(c) || to_jsonb(r) || to_jsonb(i) || jsonb_build_object(
	'wal_level', current_setting('wal_level'), 'wal_log_hints', current_setting('wal_log_hints')::bool,
	'track_commit_timestamp', current_setting('track_commit_timestamp')::bool,
	'max_connections', current_setting('max_connections')::int,
	'max_worker_processes', current_setting('max_worker_processes')::int,
	'max_wal_senders', current_setting('max_wal_senders')::int,
	'max_prepared_transactions', current_setting('max_prepared_transactions')::int,
	'max_locks_per_transaction', current_setting('max_locks_per_transaction')::int))
	FROM pg_control_system() s, pg_control_checkpoint() c, pg_control_recovery() r, pg_control_init() i`

// describeControl says in a server's words what was decoded.
func describeControl(c *Control) map[string]string {
	at := func(sec int64) string { return time.Unix(sec, 0).UTC().Format("2006-01-02T15:04:05+00:00") }
	p := &c.CheckPoint
	m := map[string]any{
		"pg_control_version": c.Version, "catalog_version_no": c.CatalogVersion, "system_identifier": c.SystemIdentifier,
		"pg_control_last_modified": at(c.Time),
		"checkpoint_lsn":           c.CheckPointLSN, "redo_lsn": p.Redo, "timeline_id": p.TLI, "prev_timeline_id": p.PrevTLI,
		"redo_wal_file":    pg.SegmentName(p.TLI, pg.SegmentOf(p.Redo, int64(c.SegmentSize)), int64(c.SegmentSize)),
		"full_page_writes": p.FullPageWrites, "next_xid": fmt.Sprintf("%d:%d", p.NextXID>>32, uint32(p.NextXID)),
		"next_oid": p.NextOID, "next_multixact_id": p.NextMulti, "next_multi_offset": p.NextMultiOffset,
		"oldest_xid": p.OldestXID, "oldest_xid_dbid": p.OldestXIDDB, "oldest_active_xid": p.OldestActiveXID,
		"oldest_multi_xid": p.OldestMulti, "oldest_multi_dbid": p.OldestMultiDB,
		"oldest_commit_ts_xid": p.OldestCommitTsXID, "newest_commit_ts_xid": p.NewestCommitTsXID, "checkpoint_time": at(p.Time),
		"min_recovery_end_lsn": c.MinRecoveryPoint, "min_recovery_end_timeline": c.MinRecoveryPointTLI,
		"backup_start_lsn": c.BackupStartPoint, "backup_end_lsn": c.BackupEndPoint, "end_of_backup_record_required": c.BackupEndRequired,
		"max_data_alignment": c.MaxAlign, "database_block_size": c.BlockSize, "blocks_per_segment": c.BlocksPerFile,
		"wal_block_size": c.WALBlockSize, "bytes_per_wal_segment": c.SegmentSize, "max_identifier_length": c.NameDataLen,
		"max_index_columns": c.IndexMaxKeys, "max_toast_chunk_size": c.ToastMaxChunkSize, "large_object_chunk_size": c.LargeObjectChunk,
		"float8_pass_by_value": c.Float8ByVal, "data_page_checksum_version": c.DataChecksumVersion,
		"wal_level": []string{"minimal", "replica", "logical"}[c.WALLevel], "wal_log_hints": c.WALLogHints,
		"track_commit_timestamp": c.TrackCommitTimestamp, "max_connections": c.MaxConnections,
		"max_worker_processes": c.MaxWorkerProcesses, "max_wal_senders": c.MaxWALSenders,
		"max_prepared_transactions": c.MaxPreparedXacts, "max_locks_per_transaction": c.MaxLocksPerXact,
	}
	if c.Version >= controlVersion18 {
		m["default_char_signedness"] = c.DefaultCharSignedness
	}
	out := map[string]string{}
	for k, v := range m {
		out[k] = fmt.Sprint(v)
	}
	return out
}

// sameControl compares what was decoded with a server's JSON, every key of it.
func sameControl(t *testing.T, c *Control, server []byte) {
	t.Helper()
	d := json.NewDecoder(bytes.NewReader(server))
	d.UseNumber()
	var want map[string]any
	if err := d.Decode(&want); err != nil {
		t.Fatal(err)
	}
	got := describeControl(c)
	for k, v := range want {
		if g, ok := got[k]; !ok || g != fmt.Sprint(v) {
			t.Errorf("%s: decoded %q, the server says %v", k, g, v)
		}
	}
	for k := range got {
		if _, ok := want[k]; !ok {
			t.Errorf("%s: the server does not say it", k)
		}
	}
}

func readControl(t *testing.T, data string) ([]byte, Control) {
	t.Helper()
	b, err := os.ReadFile(filepath.Join(data, "global", "pg_control"))
	if err != nil {
		t.Fatal(err)
	}
	c, err := ParseControl(b)
	if err != nil {
		t.Fatal(err)
	}
	return b, c
}

// fixtureOptions move every setting away from its default, so that no field
// can hide behind its neighbour.
var fixtureOptions = []pgtest.Option{
	pgtest.WALSegmentMiB(4), pgtest.Conf("wal_log_hints", "on"), pgtest.Conf("track_commit_timestamp", "on"),
	pgtest.Conf("wal_level", "logical"), pgtest.Conf("max_connections", "23"), pgtest.Conf("max_worker_processes", "11"),
	pgtest.Conf("max_wal_senders", "6"), pgtest.Conf("max_prepared_transactions", "5"), pgtest.Conf("max_locks_per_transaction", "77"),
}

// TestControlAgainstServer decodes pg_control of running and stopped servers
// and compares every field with what the server itself reads from it.
func TestControlAgainstServer(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			c := pgtest.Server(t, major, append([]pgtest.Option{pgtest.Conf("checkpoint_timeout", "1h")}, fixtureOptions...)...)
			c.Exec("CREATE TABLE t (a int)", "INSERT INTO t VALUES (1)", "UPDATE t SET a = 2")
			c.Checkpoint()
			said := c.Query(controlSQL)
			raw, ctl := readControl(t, c.Data)
			sameControl(t, &ctl, []byte(said))
			if ctl.State != InProduction || ctl.Major() != major || !ctl.Checksums() || ctl.UnloggedLSN != 1000 {
				t.Errorf("state %s, major %d, checksums %t, unlogged LSN %d", ctl.State, ctl.Major(), ctl.Checksums(), ctl.UnloggedLSN)
			}
			if want := int32(2); major >= 17 && ctl.CheckPoint.WALLevel != want {
				t.Errorf("WAL level in the checkpoint: %d, want %d", ctl.CheckPoint.WALLevel, want)
			}
			controlIsReadAsWritten(t, c)
			c.Stop(pgtest.Fast)
			if _, ctl := readControl(t, c.Data); ctl.State != ShutDown || ctl.CheckPointLSN != ctl.CheckPoint.Redo {
				t.Errorf("after a stop: %s, checkpoint %s, redo %s", ctl.State, ctl.CheckPointLSN, ctl.CheckPoint.Redo)
			}
			if *update {
				writeFixture(t, major, raw[:512], said)
			}
		})
	}
}

func writeFixture(t *testing.T, major int, raw []byte, said string) {
	t.Helper()
	base := filepath.Join("testdata", "control", fmt.Sprint(major))
	if err := os.WriteFile(base+".bin", raw, 0o644); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(base+".json", []byte(said+"\n"), 0o644); err != nil {
		t.Fatal(err)
	}
}

// controlFixtures are the first 512 bytes of pg_control of each major version.
func controlFixtures(t testing.TB) map[int][]byte {
	t.Helper()
	out := map[int][]byte{}
	for major := pg.MinMajor; major <= pg.MaxMajor; major++ {
		b, err := os.ReadFile(filepath.Join("testdata", "control", fmt.Sprintf("%d.bin", major)))
		if err != nil {
			t.Fatal(err)
		}
		out[major] = b
	}
	return out
}

func TestControlFixtures(t *testing.T) {
	for major, raw := range controlFixtures(t) {
		said, err := os.ReadFile(filepath.Join("testdata", "control", fmt.Sprintf("%d.json", major)))
		if err != nil {
			t.Fatal(err)
		}
		ctl, err := ParseControl(raw)
		if err != nil {
			t.Fatalf("%d: %v", major, err)
		}
		if ctl.Major() != major {
			t.Errorf("%d: major %d", major, ctl.Major())
		}
		sameControl(t, &ctl, said)
	}
}

// TestControlDamage flips every bit that the CRC covers and cuts the file at every length.
func TestControlDamage(t *testing.T) {
	for major, raw := range controlFixtures(t) {
		size := controlSize(raw)
		for i := range size * 8 {
			b := bytes.Clone(raw)
			b[i/8] ^= 1 << (i % 8)
			if _, err := ParseControl(b); err == nil {
				t.Fatalf("%d: bit %d flipped and not noticed", major, i)
			}
		}
		for n := range size {
			if _, err := ParseControl(raw[:n]); err == nil {
				t.Fatalf("%d: cut to %d bytes and not noticed", major, n)
			}
		}
		if _, err := ParseControl(raw[:size]); err != nil {
			t.Fatalf("%d: the bare struct of %d bytes: %v", major, size, err)
		}
	}
}

// controlSize is the size of the struct, CRC included.
func controlSize(raw []byte) int {
	for n := 16; n+4 <= len(raw); n += 4 {
		if crc32.Checksum(raw[:n], castagnoli) == binary.LittleEndian.Uint32(raw[n:]) {
			return n + 4
		}
	}
	return 0
}

// seal makes the CRC right again.
func seal(raw []byte, size int) {
	binary.LittleEndian.PutUint32(raw[size-4:], crc32.Checksum(raw[:size-4], castagnoli))
}

func TestControlOtherBuilds(t *testing.T) {
	raw := controlFixtures(t)[17]
	size := controlSize(raw)
	good, err := ParseControl(raw)
	if err != nil {
		t.Fatal(err)
	}
	at := func(value uint32) int { // where the only field with this value stands
		var b [4]byte
		binary.LittleEndian.PutUint32(b[:], value)
		i := bytes.Index(raw[200:], b[:])
		return 200 + i
	}
	for name, c := range map[string]struct {
		at    int
		value uint32
		want  string
	}{
		"blocks":   {at(good.BlockSize), 16384, "--with-blocksize"},
		"files":    {at(good.BlocksPerFile), 1 << 20, "--with-segsize"},
		"wal":      {at(good.SegmentSize) - 4, 4096, "--with-wal-blocksize"},
		"segments": {at(good.SegmentSize), 3 << 20, "power of two"},
		"align":    {at(good.BlockSize) - 12, 4, "32-bit"},
		"float":    {at(good.BlockSize) - 4, 7, "IEEE"},
		"format":   {8, 1201, "1201"},
		"endian":   {8, 0xA4060000, "big-endian"},
	} {
		b := bytes.Clone(raw)
		binary.LittleEndian.PutUint32(b[c.at:], c.value)
		seal(b, size)
		if _, err := ParseControl(b); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", name, err, c.want)
		}
	}
}

func FuzzParseControl(f *testing.F) {
	for _, raw := range controlFixtures(f) {
		f.Add(raw)
	}
	f.Add([]byte("short"))
	f.Fuzz(func(t *testing.T, raw []byte) {
		_, _ = ParseControl(raw)
		for _, size := range []int{296, 304, 308} { // right CRC at likely ends: what the CRC covers is hostile too
			if len(raw) >= size {
				b := bytes.Clone(raw)
				seal(b, size)
				if c, err := ParseControl(b); err == nil && (c.BlockSize != pg.BlockSize || !pg.ValidSegmentSize(int64(c.SegmentSize))) {
					t.Fatalf("accepted %+v", c)
				}
			}
		}
	})
}
