package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"time"

	"github.com/dustin/go-humanize"
	"github.com/spf13/cobra"

	"redoubt/internal/archive"
	"redoubt/internal/config"
	"redoubt/internal/pg"
	"redoubt/recovery"
	pgserver "redoubt/replay/server"
)

// recoverFlags are the flags of `redoubt recover` into a directory.
type recoverFlags struct {
	output
	base, wal       string
	layout, cluster string
	pages           string
	tli             uint32
	toDir           string
	to, toTime      string
	spaces          []string
	engine          string
	pgBin           []string
	workers         int
	memory, scratch string
	durableEvery    string
	progress        string
	remote          remoteFlags
}

func recoverCommand() *cobra.Command {
	f := &recoverFlags{}
	cmd := &cobra.Command{
		Use:   "recover (--base LOC --wal LOC --to-dir DIR | --api URL --tenant T --timeline TL)",
		Short: "Make a data directory of a base and WAL, as of any moment",
		Long: `Make a data directory of a base backup (or a data directory that was stopped
cleanly) and the WAL behind it, on which PostgreSQL of the same major version
starts. Base and WAL are only read.

Redoubt replays the WAL itself up to the last checkpoint before the target. The
short rest is left to PostgreSQL's own recovery: DIR is exactly at the target
after its first start, when the server says "database system is ready to accept
connections". Until then DIR holds the checkpoint and the WAL up to the target.

Archiving, replication and every setting of the original are switched off; its
configuration files are in DIR as *.original. Nobody but local users can connect
until you change pg_hba.conf and listen_addresses. To switch all on again after
the first start: put your configuration back, and ALTER SYSTEM RESET ALL.

A DIR that is not finished has no global/pg_control, and no server starts on it.
The same command goes on with it, from its last durable point (--durable-every),
or begins it anew where there is none.

With --api a redoubt serve does it, from its configured sources into a new
timeline with a directory on its machine; the id of the new timeline is printed.
Its token is read from --token-file or $REDOUBT_TOKEN.`,
		Example: `  # everything there is
  redoubt recover --base /backups/mon --wal /archive --to-dir /var/lib/postgresql/17/rescue

  # right before the record at an LSN; a moment in time
  redoubt recover --base s3://b/pg/mon/base.tar.zst --wal s3://b/pg/wal --to-dir DIR --to 16/B374D848
  redoubt recover --base /backups/mon --wal /archive --to-dir DIR --to-time "2026-03-01 02:15:00+01"

  # by a server
  redoubt recover --api http://127.0.0.1:8480 --tenant prod --timeline main --wait`,
		Args: cobra.NoArgs,
		RunE: func(cmd *cobra.Command, _ []string) error {
			if f.remote.url != "" {
				return f.runRemote(cmd)
			}
			for _, name := range []string{"tenant", "timeline", "from-lsn", "to-lsn", "target", "wait", "token-file", "ca-file"} {
				if cmd.Flags().Changed(name) {
					return fmt.Errorf("--%s goes with --api only", name)
				}
			}
			return f.run(cmd)
		},
	}
	fl := cmd.Flags()
	f.output.flags(cmd)
	fl.StringVar(&f.base, "base", "", "location of the base backup or data directory to start from")
	fl.StringVar(&f.wal, "wal", "", "location of the WAL")
	fl.StringVar(&f.layout, "layout", "auto", "how the WAL lies there: auto, plain, redoubt or neon")
	fl.StringVar(&f.pages, "neon-pages", "", neonPagesUsage)
	fl.StringVar(&f.cluster, "cluster", "", "TENANT/TIMELINE, where the WAL's location holds several")
	fl.Uint32Var(&f.tli, "tli", 0, "PostgreSQL's timeline number to follow (default: the newest)")
	fl.StringVar(&f.toDir, "to-dir", "", "the data directory to make: empty, not there yet, or the unfinished one of this command")
	fl.StringVar(&f.to, "to", "", "LSN to stop before, exclusive (default: the end of the WAL)")
	fl.StringVar(&f.toTime, "to-time", "", "stop before the first commit after this time: RFC 3339, or \"2026-03-01 02:15:00+01\"")
	fl.StringArrayVar(&f.spaces, "tablespace-mapping", nil, "`OID=DIR`: put this tablespace there (default: in pg_tblspc itself)")
	fl.StringVar(&f.engine, "engine", "native", "what replays up to the last checkpoint: native, or server (a real PostgreSQL does all)")
	fl.StringArrayVar(&f.pgBin, "pg-bin", nil, "`DIR` of PostgreSQL's programs, or 17=DIR: make the first start at once, let nobody in, and stop it again (default with --engine server: where they are usually installed)")
	fl.IntVar(&f.workers, "workers", 0, "threads that replay (default: one per core)")
	fl.StringVar(&f.memory, "memory", "1GiB", "memory for pages; the rest goes to --scratch")
	fl.StringVar(&f.scratch, "scratch", "", "directory for pages beyond --memory (default: the system's)")
	fl.StringVar(&f.durableEvery, "durable-every", "auto", "after how much WAL the state is made durable, so that the same command goes on from there after a kill: a size, never, or auto (16GiB, or twice the base if that is more)")
	fl.StringVar(&f.progress, "progress", "auto", "progress on stderr: auto or never")
	f.remote.flags(cmd)
	return cmd
}

func (f *recoverFlags) run(cmd *cobra.Command) (err error) {
	cfg, dir, err := f.options()
	if err != nil {
		return err
	}
	var every config.Interval
	if err := every.UnmarshalText([]byte(f.durableEvery)); err != nil {
		return fmt.Errorf("--durable-every: %w", err)
	}
	prog, err := newProgress(cmd.ErrOrStderr(), f.progress)
	if err != nil {
		return err
	}
	cfg.Stage, cfg.Note = prog.update, prog.note(cmd.ErrOrStderr())
	dir.Open = openDurable
	var rep *recovery.Report
	err = outlast(cmd.Context(), cfg.Note, func(ctx context.Context, begun func()) (err error) {
		rep, err = f.once(ctx, cfg, dir, every, begun)
		return err
	})
	if err == nil && f.starts() {
		prog.update("first start of PostgreSQL", 0, 0)
		err = f.firstStart(cmd.Context(), rep, dir)
	}
	prog.end()
	if err != nil {
		return recoverExit(err)
	}
	out := cmd.OutOrStdout()
	err = f.print(out, func(w io.Writer) error { return writeJSON(w, resultOf(rep, f.toDir)) },
		func(w io.Writer) error { return printRecovered(w, rep, f.toDir) })
	if err == nil && rep.DamagedPages+rep.FuturePages > 0 {
		err = &exitError{code: exitFindings}
	}
	return err
}

// once recovers into the directory, or goes on with what an attempt before has
// left there. It tells when base and WAL were reached.
func (f *recoverFlags) once(ctx context.Context, cfg recovery.Config, dir recovery.Directory, every config.Interval, begun func()) (_ *recovery.Report, err error) {
	base, err := openSide(ctx, f.base)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, base.Close()) }()
	closeWAL, err := f.openWAL(ctx, &cfg)
	if err != nil {
		return nil, err
	}
	defer func() { err = errors.Join(err, closeWAL()) }()
	if err := f.serverReady(ctx, base); err != nil {
		return nil, err
	}
	begun()
	cfg.Base, cfg.Every = recoverySide{base}, durableEvery(every, base.Size())
	return recovery.ToDirectory(ctx, cfg, dir)
}

// minDurable is how much WAL there is at least from one durable point to the
// next, unless somebody says another size: less is replayed in minutes.
const minDurable = 16 << 30

// durableEvery is how much WAL there is from one durable point to the next, 0:
// there are none. Where auto does not know the size of the base, a point could
// cost more than it saves.
func durableEvery(i config.Interval, base int64) uint64 {
	switch {
	case i != config.Auto:
		return uint64(i)
	case base <= 0:
		return 0
	}
	return uint64(max(minDurable, 2*base))
}

// openDurable opens the directory of a durable point.
func openDurable(ctx context.Context, path string) (recovery.Kept, error) {
	s, err := openSide(ctx, path)
	return recoverySide{s}, err
}

// starts reports whether a server makes the first start.
func (f *recoverFlags) starts() bool { return len(f.pgBin) > 0 || f.engine == "server" }

func (f *recoverFlags) server() (c pgserver.Config, err error) {
	c.Bins, err = pgserver.ParseBins(f.pgBin)
	if err != nil {
		return c, fmt.Errorf("--pg-bin: %w", err)
	}
	c.Scratch = f.scratch
	return c, nil
}

// serverReady looks for the server before anything is done, if the base says
// of which version it must be.
func (f *recoverFlags) serverReady(ctx context.Context, base snapshotSide) error {
	c, err := f.server()
	if err != nil || !f.starts() || base.Info().Major == 0 {
		return err
	}
	_, err = c.Find(ctx, base.Info().Major)
	return err
}

// firstStart lets a server recover what is left to it.
func (f *recoverFlags) firstStart(ctx context.Context, rep *recovery.Report, dir recovery.Directory) error {
	c, err := f.server()
	if err != nil {
		return err
	}
	r := pgserver.Recovery{Data: dir.Path, Major: rep.Major, Last: rep.Redone}
	for _, d := range dir.Tablespaces {
		r.Spaces = append(r.Spaces, d)
	}
	if rep.FirstStart, err = pgserver.Finish(ctx, c, r); err != nil {
		return exitWith(exitInconclusive, fmt.Errorf("%s is made, but PostgreSQL's first start on it did not get to the target: %w", dir.Path, err))
	}
	return nil
}

// options reads the flags.
func (f *recoverFlags) options() (c recovery.Config, d recovery.Directory, err error) {
	if err := f.output.check(); err != nil {
		return c, d, err
	}
	for _, flag := range [][2]string{{"--base", f.base}, {"--wal", f.wal}, {"--to-dir", f.toDir}} {
		if flag[1] == "" {
			return c, d, fmt.Errorf("%s is missing: see redoubt recover --help", flag[0])
		}
	}
	if f.engine != "native" && f.engine != "server" {
		return c, d, fmt.Errorf("--engine %s: want native or server", f.engine)
	}
	c.Plain = f.engine == "server"
	if f.to != "" && f.toTime != "" {
		return c, d, errors.New("both --to and --to-time are given: name one")
	}
	if f.workers < 0 {
		return c, d, fmt.Errorf("--workers %d: want 0, for one per core, or more", f.workers)
	}
	if st, err := os.Stat(f.scratch); f.scratch != "" && (err != nil || !st.IsDir()) {
		return c, d, fmt.Errorf("--scratch %s is no directory: name one that can be written to", f.scratch)
	}
	if c.To, err = parseLSNFlag("--to", f.to); err != nil {
		return c, d, err
	}
	if c.ToTime, err = parseTimeFlag(f.toTime); err != nil {
		return c, d, err
	}
	var memory config.Size
	if err := memory.UnmarshalText([]byte(f.memory)); err != nil {
		return c, d, fmt.Errorf("--memory: %w", err)
	}
	c.Memory, c.Workers, c.Scratch = int64(memory), f.workers, f.scratch
	d.Path = f.toDir
	d.Tablespaces, err = parseSpaces(f.spaces)
	return c, d, err
}

// timeForms are how people write a moment; without a zone it would be anybody's.
var timeForms = []string{time.RFC3339Nano, "2006-01-02 15:04:05.999999999Z07:00", "2006-01-02 15:04:05.999999999Z07"}

func parseTimeFlag(s string) (time.Time, error) {
	if s == "" {
		return time.Time{}, nil
	}
	for _, form := range timeForms {
		if t, err := time.Parse(form, s); err == nil {
			return t.UTC(), nil
		}
	}
	return time.Time{}, fmt.Errorf("--to-time %q: want a time with its zone, such as 2026-03-01T02:15:00Z or \"2026-03-01 02:15:00+01\"", s)
}

func parseSpaces(values []string) (map[pg.OID]string, error) {
	out := make(map[pg.OID]string)
	for _, v := range values {
		oid, dir, _ := strings.Cut(v, "=")
		n, err := strconv.ParseUint(oid, 10, 32)
		switch {
		case err != nil || n == 0 || dir == "":
			return nil, fmt.Errorf("--tablespace-mapping %s: want OID=DIR, such as 16385=/mnt/fast", v)
		case out[pg.OID(n)] != "":
			return nil, fmt.Errorf("--tablespace-mapping: tablespace %d is named twice", n)
		}
		out[pg.OID(n)] = dir
	}
	return out, nil
}

// openWAL opens the WAL of the history that is recovered.
func (f *recoverFlags) openWAL(ctx context.Context, c *recovery.Config) (closeIt func() error, err error) {
	t, store, err := openTimeline(ctx, f.wal, f.layout, f.cluster, f.pages)
	if err != nil {
		return nil, err
	}
	if err := recoverableWAL(ctx, t, pg.TLI(f.tli), c); err != nil {
		return nil, errors.Join(err, store.Close())
	}
	return store.Close, nil
}

// recoverableWAL is the WAL of a timeline along the history of a TLI, 0 for the newest, as recovery wants it.
func recoverableWAL(ctx context.Context, t *archive.Timeline, tli pg.TLI, c *recovery.Config) error {
	source, err := t.Source(ctx, tli)
	if err != nil {
		return err
	}
	stock, err := source.Stock(ctx)
	if err != nil {
		return err
	}
	c.WAL, c.LastSegment = source, stock.Last
	for tli, content := range stock.Histories {
		c.Histories = append(c.Histories, recovery.HistoryFile{TLI: tli, Content: content})
	}
	return nil
}

// recoverySide is a snapshot as recovery wants it.
type recoverySide struct{ snapshotSide }

var _ recovery.Base = recoverySide{}

func (s recoverySide) Meta(ctx context.Context) (recovery.Meta, error) {
	m, err := s.snapshotSide.Meta(ctx)
	if err != nil {
		return recovery.Meta{}, err
	}
	return recovery.Meta{
		Redo: m.Redo, Checkpoint: s.Info().Checkpoint, TLI: m.TLI, Online: m.Online, Consistent: m.Consistent,
	}, nil
}

func (s recoverySide) Tablespaces() []pg.OID { return s.Info().Tablespaces }

// recoverExit gives an error its exit code: WAL that is missing or damaged,
// and blocks that could not be redone, leave what was asked for undone.
func recoverExit(err error) error {
	var walErr *recovery.WALError
	var blocks *recovery.BlocksError
	if errors.As(err, &walErr) || errors.As(err, &blocks) || unreachable(err) {
		return exitWith(exitInconclusive, err)
	}
	return err
}

// recoveryResult is the JSON of a recovery.
type recoveryResult struct {
	Directory            string           `json:"directory"`
	Postgres             recoveryPostgres `json:"postgres"`
	ToLSN                pg.LSN           `json:"to_lsn"` // exclusive
	LastRecordLSN        pg.LSN           `json:"last_record_lsn"`
	LastCommitAt         *time.Time       `json:"last_commit_at"`
	TLI                  pg.TLI           `json:"tli"`
	WALEnd               string           `json:"wal_end,omitempty"` // why it ends, where to_lsn is its end
	BaseLSN              pg.LSN           `json:"base_lsn"`
	Native               pg.Range         `json:"native"` // what the native engine replayed
	Tail                 pg.Range         `json:"tail"`   // what is PostgreSQL's
	BlocksReplayed       int64            `json:"blocks_replayed"`
	PreparedTransactions int              `json:"prepared_transactions"` // at the start of the tail
	Tablespaces          []pg.OID         `json:"tablespaces"`
	Files                int64            `json:"files"`
	Bytes                int64            `json:"bytes"`
	DamagedPages         int64            `json:"damaged_pages"`
	Damaged              []string         `json:"damaged,omitempty"` // the first of them
	FuturePages          int64            `json:"future_pages"`
	FirstStart           string           `json:"first_start,omitempty"` // version of the server that made it
	ResumedLSN           *pg.LSN          `json:"resumed_lsn"`           // of the durable point that it went on from: WAL before was not read again
	DurableLSNs          []pg.LSN         `json:"durable_lsns"`          // durable points that were made
}

type recoveryPostgres struct {
	Major            int    `json:"major"`
	SystemIdentifier string `json:"system_identifier"`
}

func resultOf(r *recovery.Report, dir string) recoveryResult {
	return recoveryResult{
		Directory: dir, Postgres: recoveryPostgres{r.Major, strconv.FormatUint(r.SystemID, 10)},
		ToLSN: r.To, LastRecordLSN: r.Last, LastCommitAt: given(r.LastCommit), TLI: r.TLI, WALEnd: r.WALEnd, BaseLSN: r.Start,
		Native: pg.Range{From: r.Start, To: r.Redo}, Tail: pg.Range{From: r.Redo, To: r.End},
		BlocksReplayed: r.BlocksReplayed, PreparedTransactions: r.Prepared, Tablespaces: r.Tablespaces, Files: r.Files, Bytes: r.Bytes,
		DamagedPages: r.DamagedPages, Damaged: r.Damaged, FuturePages: r.FuturePages, FirstStart: r.FirstStart,
		ResumedLSN: known(r.Resumed), DurableLSNs: append([]pg.LSN{}, r.Durable...),
	}
}

func printRecovered(w io.Writer, r *recovery.Report, dir string) error {
	_, err := fmt.Fprintf(w, `recovered %s: PostgreSQL %d, cluster %d
target     %s, timeline %d; the last record is that at %s
`, dir, r.Major, r.SystemID, r.To, r.TLI, r.Last)
	line := func(format string, args ...any) {
		if err == nil {
			_, err = fmt.Fprintf(w, format+"\n", args...)
		}
	}
	if !r.LastCommit.IsZero() {
		line("last end   of a transaction: %s", r.LastCommit.Format(time.RFC3339Nano))
	}
	if r.WALEnd != "" {
		line("WAL ends   there: %s", r.WALEnd)
	}
	line("replayed   %s to %s, %d blocks", r.Start, r.Redo, r.BlocksReplayed)
	if r.Resumed != 0 {
		line("went on    from the durable point at %s that an earlier run had left", r.Resumed)
	}
	line("left to    PostgreSQL's first start: %s to %s (%s)", r.Redo, r.End, humanize.IBytes(uint64(r.End-r.Redo)))
	line("written    %d files, %s", r.Files, humanize.IBytes(uint64(r.Bytes)))
	if r.DamagedPages > 0 {
		line("DAMAGED    %d pages of the base that the WAL did not touch do not fit their checksums: %s", r.DamagedPages, strings.Join(r.Damaged, ", "))
	}
	if r.FuturePages > 0 {
		line("DAMAGED    %d pages of the base are newer than it", r.FuturePages)
	}
	if r.FirstStart != "" {
		line("started    by PostgreSQL %s, which got to the target and was stopped again", r.FirstStart)
	} else {
		line("next       start PostgreSQL %d on it; when it is ready, it is at the target", r.Major)
	}
	return err
}
