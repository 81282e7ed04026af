package server

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay"
)

// Config says how servers are run. The zero value of a field means its default.
type Config struct {
	Bins    Bins   // where PostgreSQL's binaries are
	Scratch string // directory for the server's data; default os.TempDir()
	MinFree int64  // bytes that stay free there
	// Disk is how many bytes a server's directory may grow to: base, WAL and
	// what recovery adds. Default: no limit but MinFree.
	Disk int64
	// Memory limits the address space of each of the server's processes, the
	// shared buffers included; default 1 GiB.
	Memory int64
	Time   time.Duration // for everything, copying included; default: the context's
	// User runs the server if we are root, whom PostgreSQL refuses; default postgres.
	User string
	// Libraries are loaded at the server's start (shared_preload_libraries), for
	// extensions with a resource manager of their own. Default: none.
	Libraries []string
	Log       *slog.Logger // default: none
}

// Span is what a server replays: the records that start in [From, To).
type Span struct {
	pg.Range
	Major int // of the WAL; decides which binaries are run
}

// Base is where the pages come from: a base backup with its label, or a data
// directory that was stopped cleanly.
type Base interface {
	Walk(ctx context.Context, v datadir.Visitor) error
}

// Run replays a span over a base. Where recovery fails for a reason that lies
// in base or WAL, that is data: Result.Failed says why, and the error is nil.
// The error is an *UnavailableError if no server can be run here at all, a
// *LimitError if a limit was met, the context's, or what reading base and WAL
// met: *wal.MissingError, *wal.EndError or the source's own. Whatever happens,
// no process is left behind. Close the Result.
func Run(ctx context.Context, cfg Config, src replay.WALSource, base Base, span Span) (_ *Result, err error) {
	cfg = cfg.withDefaults()
	if cfg.Time > 0 {
		var cancel context.CancelFunc
		ctx, cancel = context.WithTimeoutCause(ctx, cfg.Time, &LimitError{What: "time", Limit: cfg.Time.String()})
		defer cancel()
	}
	acct, err := findAccount(cfg.User)
	if err != nil {
		return nil, err
	}
	bin, err := cfg.Bins.find(ctx, span.Major, acct)
	if err != nil {
		return nil, err
	}
	start := time.Now()
	dir, err := newScratch(cfg, acct)
	if err != nil {
		return nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(causeOf(ctx, err), dir.close())
		}
	}()
	w, err := fill(ctx, dir, src, base, span)
	if err != nil {
		return nil, err
	}
	if err := configure(dir, cfg, w); err != nil {
		return nil, err
	}
	cfg.Log.Info("server starts", "version", bin.Version, "span", span.Range, "directory", dir.path, "bytes", dir.written)
	p := &process{cfg: cfg, bin: bin, acct: acct, dir: dir, data: filepath.Join(dir.path, dataDir)}
	out, err := p.run(ctx)
	if err != nil {
		return nil, err
	}
	res := &Result{Version: bin.Version, Log: out.tail(), Last: w.wal.last, End: w.wal.end, dir: dir}
	if res.Failed = out.failure(w); res.Failed == nil {
		if err := res.settle(); err != nil {
			return nil, err
		}
	}
	res.Took = time.Since(start)
	cfg.Log.Info("server stopped", "version", bin.Version, "span", span.Range, "seconds", res.Took.Seconds(), "failed", res.Failed != nil)
	return res, nil
}

func (c Config) withDefaults() Config {
	if c.Scratch == "" {
		c.Scratch = os.TempDir()
	}
	if c.Memory <= 0 {
		c.Memory = 1 << 30
	}
	if c.Log == nil {
		c.Log = slog.New(slog.DiscardHandler)
	}
	return c
}

// causeOf is the reason a limit gave for cancelling, or err itself.
func causeOf(ctx context.Context, err error) error {
	var limit *LimitError
	if ctx.Err() != nil && errors.As(context.Cause(ctx), &limit) {
		return limit
	}
	return err
}

// filled is what the server's directory was made of.
type filled struct {
	base *baseWriter
	wal  *walWriter
}

// fill makes the server's data directory: base first, then the WAL, whose
// segment size is the base's.
func fill(ctx context.Context, dir *scratch, src replay.WALSource, base Base, span Span) (filled, error) {
	b := &baseWriter{dir: dir, major: span.Major}
	err := base.Walk(ctx, b)
	if cerr := b.close(); err == nil {
		err = cerr
	}
	if err != nil {
		return filled{}, fmt.Errorf("copy base for the server: %w", err)
	}
	if err := b.settle(span); err != nil {
		return filled{}, err
	}
	if size := src.SegmentSize(); size != int64(b.control.SegmentSize) {
		return filled{}, fmt.Errorf("the base's WAL segments have %d bytes, the WAL's %d: they are of different clusters", b.control.SegmentSize, size)
	}
	w := &walWriter{dir: dir, src: src, span: span.Range, checkpoint: b.checkpoint(), size: src.SegmentSize(), tli: b.startTLI()}
	if err := w.run(ctx); err != nil {
		return filled{}, fmt.Errorf("copy WAL for the server: %w", err)
	}
	return filled{b, w}, nil
}
