package main

import (
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"os"
	"runtime/debug"

	"github.com/spf13/cobra"
	"golang.org/x/term"
)

// version is set by the linker; see the Makefile.
var version = "devel"

// versionString is the version, with the revision where a plain go build knows it.
func versionString() string {
	if version != "devel" {
		return version
	}
	if info, ok := debug.ReadBuildInfo(); ok {
		for _, s := range info.Settings {
			if s.Key == "vcs.revision" && len(s.Value) >= 12 {
				return version + "-" + s.Value[:12]
			}
		}
	}
	return version
}

func rootCommand() *cobra.Command {
	root := &cobra.Command{
		Use:   "redoubt",
		Short: "Prove that PostgreSQL can be rebuilt from its WAL, and that what it serves is what the WAL says",
		Long: `Redoubt replays historic WAL over base backups and compares the result, page by
page, with what production has; and it checks that every WAL segment is there.

Exit codes: 0 clean; 1 something is wrong; 2 bad usage or input, nothing was
checked; 3 inconclusive, not everything could be checked.`,
		SilenceUsage: true, SilenceErrors: true,
	}
	root.SetFlagErrorFunc(func(cmd *cobra.Command, err error) error {
		return fmt.Errorf("%w: see %s --help", err, cmd.CommandPath())
	})
	root.AddCommand(demoCommand(), runCommand(), planCommand(), serveCommand(), verifyCommand(), scanCommand(),
		walbackupCommand(), recoverCommand(), snapshotCommand(), waldumpCommand(), pageCommand(), reportCommand(), ackCommand(), checkCommand(),
		archivePushCommand(), archiveGetCommand(), versionCommand())
	return root
}

func versionCommand() *cobra.Command {
	return &cobra.Command{
		Use: "version", Short: "Print the version", Args: cobra.NoArgs,
		Example: "  redoubt version",
		RunE: func(cmd *cobra.Command, _ []string) error {
			_, err := fmt.Fprintln(cmd.OutOrStdout(), "redoubt", versionString())
			return err
		},
	}
}

// output is how a command prints its result.
type output struct {
	format string
}

func (o *output) flags(cmd *cobra.Command) {
	cmd.Flags().StringVar(&o.format, "format", "table", "how to print the result: table or json")
	_ = cmd.RegisterFlagCompletionFunc("format", cobra.FixedCompletions([]cobra.Completion{"table", "json"}, cobra.ShellCompDirectiveNoFileComp)) // the flag is there
}

func (o *output) check() error {
	if o.format != "table" && o.format != "json" {
		return fmt.Errorf("unknown --format %q: want table or json", o.format)
	}
	return nil
}

// print writes the result in the form asked for.
func (o *output) print(w io.Writer, asJSON, asText func(io.Writer) error) error {
	write := asText
	if o.format == "json" {
		write = asJSON
	}
	if err := write(w); err != nil {
		return fmt.Errorf("write the result: %w", err)
	}
	return nil
}

func writeJSON(w io.Writer, v any) error {
	e := json.NewEncoder(w)
	e.SetIndent("", "  ")
	return e.Encode(v)
}

// isTerminal says whether a person looks at w.
func isTerminal(w io.Writer) bool {
	f, ok := w.(*os.File)
	return ok && term.IsTerminal(int(f.Fd()))
}

func newLogger(format, level string) (*slog.Logger, error) {
	var l slog.Level
	if err := l.UnmarshalText([]byte(level)); err != nil {
		return nil, fmt.Errorf("unknown log level %q: want debug, info, warn or error", level)
	}
	opt := &slog.HandlerOptions{Level: l}
	if format == "json" {
		return slog.New(slog.NewJSONHandler(os.Stderr, opt)), nil
	}
	return slog.New(slog.NewTextHandler(os.Stderr, opt)), nil
}
