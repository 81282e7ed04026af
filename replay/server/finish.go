package server

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// Recovery is a data directory that a server is to recover: it holds its WAL,
// a recovery target and recovery.signal.
type Recovery struct {
	Data  string // its path
	Major int
	// Spaces are directories of tablespaces outside of it.
	Spaces []string
	// Last is where the last record starts that is to be redone, 0 if none is.
	Last pg.LSN
}

// Finish lets a server recover in a data directory, promote itself and stop
// cleanly, under the same limits and with nothing of its configuration in
// effect that lets anybody in or anything out. As root the directory is given
// to the server's user first. It returns the server's version; a server that
// does not get to the target is a *Failure.
func Finish(ctx context.Context, cfg Config, r Recovery) (version string, err error) {
	cfg = cfg.withDefaults()
	acct, err := findAccount(cfg.User)
	if err != nil {
		return "", err
	}
	bin, err := cfg.Bins.find(ctx, r.Major, acct)
	if err != nil {
		return "", err
	}
	data, err := filepath.EvalSymlinks(r.Data)
	if err == nil {
		data, err = filepath.Abs(data)
	}
	if err != nil {
		return "", err
	}
	if err := acct.mayEnter(filepath.Dir(data)); err != nil {
		return "", err
	}
	for _, d := range append([]string{data}, r.Spaces...) {
		if err := acct.take(d); err != nil {
			return "", err
		}
	}
	dir, err := newScratch(cfg, acct) // for its socket
	if err != nil {
		return "", err
	}
	defer func() { err = errors.Join(err, dir.close()) }()
	if err := dir.handOver(); err != nil {
		return "", err
	}
	p := &process{cfg: cfg, bin: bin, acct: acct, dir: dir, data: data, args: private(cfg, dir)}
	out, err := p.run(ctx)
	if err != nil {
		return bin.Version, causeOf(ctx, err)
	}
	if f := out.fell(r.Last); f != nil {
		return bin.Version, f
	}
	return bin.Version, stopped(data, out)
}

// take gives a directory tree to the account.
func (a account) take(dir string) error {
	if !a.become {
		return nil
	}
	return filepath.WalkDir(dir, func(p string, _ fs.DirEntry, err error) error {
		if err != nil {
			return err
		}
		return os.Lchown(p, int(a.uid), int(a.gid))
	})
}

// private are the settings under which nobody but us meets the server, and it
// does nothing but recover.
func private(cfg Config, dir *scratch) []string {
	var out []string
	for _, s := range [][2]string{
		{"listen_addresses", ""}, {"unix_socket_directories", filepath.Join(dir.path, socketsDir)}, {"unix_socket_permissions", "0700"},
		{"ssl", "off"}, {"archive_mode", "off"}, {"hot_standby", "off"}, {"autovacuum", "off"}, {"max_worker_processes", "0"},
		{"max_parallel_workers", "0"}, {"max_logical_replication_workers", "0"}, {"restart_after_crash", "off"},
		{"shared_preload_libraries", ""}, {"session_preload_libraries", ""}, {"local_preload_libraries", ""}, {"jit", "off"},
		{"shared_buffers", fmt.Sprintf("%dkB", buffers(cfg.Memory)>>10)}, {"huge_pages", "off"}, {"dynamic_shared_memory_type", "mmap"},
		{"max_connections", "10"}, {"superuser_reserved_connections", "1"}, {"max_wal_senders", "0"},
		{"logging_collector", "off"}, {"log_destination", "stderr"}, {"log_line_prefix", ""}, {"log_checkpoints", "off"},
		{"log_timezone", "UTC"}, {"timezone", "UTC"}, {"lc_messages", "C"}, {"log_min_messages", "warning"},
	} {
		out = append(out, "-c", s[0]+"="+s[1])
	}
	return out
}

// fell says why recovery did not get to its target, nil if it did.
func (o *output) fell(last pg.LSN) *Failure {
	switch {
	case o.fatal != "":
		return &Failure{LSN: o.fatalAt, Message: o.fatal}
	case o.crash != "":
		return &Failure{Message: o.crash}
	case !o.ready:
		return &Failure{Message: "the server ended before it had recovered: " + o.lastWords()}
	case o.redone != last:
		return &Failure{LSN: o.redone, Message: fmt.Sprintf("the server's recovery ended with the record at %s, the target's last one is at %s: %s", o.redone, last, o.ending)}
	}
	return nil
}

// stopped checks that the server was stopped cleanly.
func stopped(data string, out *output) error {
	raw, err := os.ReadFile(filepath.Join(data, datadir.ControlPath))
	if err != nil {
		return err
	}
	c, err := datadir.ParseControl(raw)
	if err != nil {
		return err
	}
	if c.State != datadir.ShutDown {
		return fmt.Errorf("the server was to be stopped cleanly and was %s; its log ends:\n%s", c.State, out.tail())
	}
	return nil
}
