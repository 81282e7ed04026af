package recovery

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
)

// originalSuffix is what the base's configuration files are called by in the
// target, where nothing reads them.
const originalSuffix = ".original"

// configure writes a configuration of our own. postgresql.auto.conf has what
// the first start must not do without: it overrules postgresql.conf, so that
// whoever puts his own there too early does not undo it.
func (r *run) configure(context.Context) error {
	r.out.RecoverySettings = r.recoverySettings()
	files := map[string]string{
		"postgresql.conf":      r.settings(),
		"postgresql.auto.conf": r.out.RecoverySettings,
		"pg_hba.conf":          hba,
		"pg_ident.conf":        "# Written by redoubt recover.\n",
		"recovery.signal":      "",
	}
	for path, content := range r.originals() {
		files[path+originalSuffix] = string(content)
	}
	for _, path := range slices.Sorted(maps.Keys(files)) {
		if err := r.sink.put(path, []byte(files[path])); err != nil {
			return err
		}
	}
	return nil
}

// originals are the base's configuration files, by path.
func (r *run) originals() map[string][]byte {
	if r.after != nil {
		return r.after.Config
	}
	return r.survey.config
}

const hba = `# Written by redoubt recover: only local users, as the role of their own name.
# The original, where the base had it, is pg_hba.conf.original.
local all all peer
`

// text is a configuration file in the making.
type text struct{ strings.Builder }

func (t *text) set(name string, value any) { fmt.Fprintf(t, "%s = '%v'\n", name, value) }

// settings is postgresql.conf: what recovery depends on as it was on the
// primary, and no connection but local ones.
func (r *run) settings() string {
	c := r.control()
	for _, s := range r.target.settings { // those of the tail, too: what was last, and the most there was
		c.WALLogHints, c.TrackCommitTimestamp = s.WALLogHints, s.TrackCommitTimestamp
		c.MaxPreparedXacts, c.MaxLocksPerXact = max(c.MaxPreparedXacts, s.MaxPreparedXacts), max(c.MaxLocksPerXact, s.MaxLocksPerXact)
	}
	var b text
	b.WriteString("# Written by redoubt recover. The original, where the base had it, is\n# postgresql.conf.original; nothing of it is in effect.\n")
	b.set("listen_addresses", "")
	b.set("max_connections", 100)
	b.set("max_prepared_transactions", max(int(c.MaxPreparedXacts), r.out.Prepared, 0))
	b.set("max_locks_per_transaction", max(c.MaxLocksPerXact, 64))
	b.set("track_commit_timestamp", onOff(c.TrackCommitTimestamp))
	b.set("wal_log_hints", onOff(c.WALLogHints))
	b.set("wal_level", "replica")
	origins := max(100, len(r.result.Origins())+20)
	b.set("max_replication_slots", origins)
	if r.out.Major >= 18 {
		b.set("max_active_replication_origins", origins)
	}
	b.set("shared_preload_libraries", "")
	if r.inPlace() {
		b.WriteString("# tablespaces are directories in pg_tblspc (14.5 and later)\n")
		b.set("allow_in_place_tablespaces", "on")
	}
	return b.String()
}

// inPlace reports whether there are tablespaces, or will be at the target.
func (r *run) inPlace() bool {
	return len(r.out.Tablespaces) > 0 || len(r.target.spaces) > 0
}

// recoverySettings is postgresql.auto.conf. The target is the last record
// itself: if it can't be reached, because the tail was damaged since, the
// server says so and ends, and does not promote itself early.
func (r *run) recoverySettings() string {
	var b text
	b.WriteString("# Written by redoubt recover, for the first start. Afterwards: ALTER SYSTEM RESET ALL\n")
	b.set("hot_standby", "off")
	b.set("archive_mode", "off")
	b.set("archive_command", "")
	if r.out.Major >= 15 {
		b.set("archive_library", "")
	}
	b.set("primary_conninfo", "")
	b.set("primary_slot_name", "")
	b.set("restore_command", "false") // there is nothing but what is in pg_wal
	b.set("archive_cleanup_command", "")
	b.set("recovery_end_command", "")
	b.set("recovery_target_timeline", r.target.TLI)
	for _, other := range []string{"recovery_target", "recovery_target_name", "recovery_target_time", "recovery_target_xid"} {
		b.set(other, "")
	}
	lsn := ""
	if r.redone() {
		r.out.Redone = r.target.Last
		lsn = r.target.Last.String()
	}
	b.set("recovery_target_lsn", lsn)
	b.set("recovery_target_inclusive", "on")
	b.set("recovery_target_action", "promote")
	b.set("recovery_min_apply_delay", "0")
	return b.String()
}

// redone reports whether a server redoes anything at all: not where the last
// record is that of the shutdown which redo starts behind. Then there is no
// record to stop at, and nothing that could be missed either: without that
// record no server starts.
func (r *run) redone() bool {
	at := r.target.Checkpoint
	if !r.target.Native() {
		at = r.meta.Checkpoint
	}
	return r.target.Last != at || r.target.Redo != at
}

func onOff(b bool) string {
	if b {
		return "on"
	}
	return "off"
}
