package server

import (
	"fmt"
	"path"
	"regexp"
	"strings"
)

// configure writes the server's configuration and hands everything to its user.
func configure(dir *scratch, cfg Config, in filled) error {
	for _, lib := range cfg.Libraries {
		if len(lib) > longestLibrary || !libraryForm.MatchString(lib) {
			return unavailable("%q is no name of a library", lib)
		}
	}
	files := map[string]string{
		"postgresql.conf":      conf(cfg, in),
		"pg_hba.conf":          "local all all reject\n",
		"pg_ident.conf":        "",
		"postgresql.auto.conf": "",
		"recovery.signal":      "",
	}
	for name, content := range files {
		if err := dir.put(path.Join(dataDir, name), []byte(content)); err != nil {
			return err
		}
	}
	return dir.handOver()
}

// libraryForm is what may stand in shared_preload_libraries without quotes.
var libraryForm = regexp.MustCompile(`^[A-Za-z0-9_$/.-]+$`)

const longestLibrary = 255

// buffers is the server's shared memory for pages: a quarter of what one process
// may have in all, from 1 MiB to 1 GiB.
func buffers(memory int64) int64 { return min(max(memory/4, 1<<20), 1<<30) }

// conf is the whole postgresql.conf.
//
// Nothing but recovery happens in this server: no connections, no autovacuum
// (not even against wrap-around), no workers. Recovery wants slots for
// prepared transactions, commit timestamps as they were kept on the primary,
// and wal_log_hints, on which the LSN of pages depends where there are no
// checksums. A page whose checksum fails, or that is missing, is a warning in
// the log and does not keep all other pages from being replayed.
func conf(cfg Config, in filled) string {
	c := in.base.control
	prepared, locks := max(c.MaxPreparedXacts, 0), max(c.MaxLocksPerXact, 64)
	commitTs, hints := c.TrackCommitTimestamp, c.WALLogHints
	for _, s := range in.wal.settings {
		prepared, locks = max(prepared, s.MaxPreparedXacts), max(locks, s.MaxLocksPerXact)
		commitTs, hints = s.TrackCommitTimestamp, s.WALLogHints
	}
	major := in.base.major
	var b strings.Builder
	set := func(name string, value any) { fmt.Fprintf(&b, "%s = '%v'\n", name, value) }
	set("listen_addresses", "")
	set("unix_socket_directories", "../"+socketsDir)
	set("unix_socket_permissions", "0700")
	set("ssl", "off")
	set("max_connections", 10)
	set("superuser_reserved_connections", 1)
	set("hot_standby", "off")
	set("restore_command", "false")
	set("recovery_target_timeline", in.wal.tli)
	set("recovery_target_action", "promote")
	set("archive_mode", "off")
	set("wal_level", "replica")
	set("max_wal_senders", 0)
	set("max_prepared_transactions", min(int64(prepared)+16, 100_000))
	set("max_locks_per_transaction", min(int64(locks), 10_000))
	set("max_replication_slots", 1000)
	set("track_commit_timestamp", onOff(commitTs))
	set("wal_log_hints", onOff(hints))
	set("shared_buffers", fmt.Sprintf("%dkB", buffers(cfg.Memory)>>10))
	set("huge_pages", "off")
	set("dynamic_shared_memory_type", "mmap")
	set("fsync", "off")
	set("full_page_writes", "off")
	set("synchronous_commit", "off")
	set("checkpoint_timeout", "1d")
	set("max_wal_size", "1TB")
	set("min_wal_size", fmt.Sprintf("%dMB", 2*max(int64(c.SegmentSize)>>20, 1)))
	set("bgwriter_lru_maxpages", 0)
	set("autovacuum", "off")
	set("autovacuum_freeze_max_age", 2_000_000_000)
	set("autovacuum_multixact_freeze_max_age", 2_000_000_000)
	set("max_worker_processes", 0)
	set("max_parallel_workers", 0)
	set("max_logical_replication_workers", 0)
	set("restart_after_crash", "off")
	set("shared_preload_libraries", strings.Join(cfg.Libraries, ","))
	set("session_preload_libraries", "")
	set("local_preload_libraries", "")
	set("jit", "off")
	set("ignore_checksum_failure", "on")
	set("ignore_invalid_pages", "on")
	set("logging_collector", "off")
	set("log_destination", "stderr")
	set("log_line_prefix", "")
	set("log_timezone", "UTC")
	set("timezone", "UTC")
	set("lc_messages", "C")
	set("log_checkpoints", "off")
	set("log_min_messages", "warning")
	set("cluster_name", "redoubt")
	if major >= 15 {
		set("allow_in_place_tablespaces", "on")
	}
	if major >= 18 {
		set("max_active_replication_origins", 1000)
		set("autovacuum_worker_slots", 1)
		set("io_method", "sync")
	}
	return b.String()
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
