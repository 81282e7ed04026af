package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"strings"
	"time"

	"github.com/spf13/cobra"

	"redoubt/internal/api"
	"redoubt/internal/api/client"
	"redoubt/internal/finding"
)

// tokenVariable is the environment's variable with the token, where no file is named.
const tokenVariable = "REDOUBT_TOKEN"

// remoteFlags are the flags of `redoubt recover` by a server.
type remoteFlags struct {
	url, tokenFile, caFile   string
	tenant, timeline, target string
	fromLSN, toLSN           string
	wait                     bool
}

func (f *remoteFlags) flags(cmd *cobra.Command) {
	fl := cmd.Flags()
	fl.StringVar(&f.url, "api", "", "let the redoubt serve at this URL recover, into a timeline of its own")
	fl.StringVar(&f.tenant, "tenant", "", "with --api: the tenant")
	fl.StringVar(&f.timeline, "timeline", "", "with --api: the timeline to recover (default: all official ones of the tenant)")
	fl.StringVar(&f.fromLSN, "from-lsn", "", "with --api: start from official pages at this LSN (default: by WAL alone)")
	fl.StringVar(&f.toLSN, "to-lsn", "", "with --api: LSN to stop before, exclusive (default: the end of the WAL)")
	fl.StringVar(&f.target, "target", "", "with --api and --from-lsn: id of the new timeline, 32 hex digits")
	fl.BoolVar(&f.wait, "wait", false, "with --api: wait until it is recovered")
	fl.StringVar(&f.tokenFile, "token-file", "", "with --api: file with the token (default: $"+tokenVariable+")")
	fl.StringVar(&f.caFile, "ca-file", "", "with --api: certificates to trust, PEM (default: the system's)")
}

// runRemote asks the server.
func (f *recoverFlags) runRemote(cmd *cobra.Command) error {
	in, err := f.remoteRequest(cmd)
	if err != nil {
		return err
	}
	token, err := f.remote.token()
	if err != nil {
		return err
	}
	c, err := client.New(f.remote.url, token, f.remote.caFile)
	if err != nil {
		return err
	}
	prog, err := newProgress(cmd.ErrOrStderr(), f.progress)
	if err != nil {
		return err
	}
	defer prog.end()
	if in.Timeline == "" {
		return f.recoverAll(cmd, c, in, prog)
	}
	begun, err := c.Recover(cmd.Context(), in)
	if err != nil {
		return remoteExit(err)
	}
	if !f.remote.wait {
		return f.print(cmd.OutOrStdout(), func(w io.Writer) error { return writeJSON(w, begun) }, func(w io.Writer) error {
			_, err := fmt.Fprintf(w, "%s\nrecovery begins from snapshot %s at %s; see %s/v1/tenant/%s/timeline/%s\n",
				begun.TimelineID, begun.Base, begun.BaseLSN, strings.TrimSuffix(f.remote.url, "/"), in.Tenant, begun.TimelineID)
			return err
		})
	}
	t, err := awaitTimeline(cmd.Context(), c, in.Tenant, begun.TimelineID, prog)
	prog.end()
	if err != nil {
		return err
	}
	return errors.Join(f.print(cmd.OutOrStdout(), func(w io.Writer) error { return writeJSON(w, t) }, func(w io.Writer) error { return printTimeline(w, t) }), stateExit(t))
}

// remoteRequest reads the flags.
func (f *recoverFlags) remoteRequest(cmd *cobra.Command) (in api.RecoverRequest, err error) {
	if err := f.output.check(); err != nil {
		return in, err
	}
	for _, name := range []string{"base", "wal", "to-dir", "to", "layout", "neon-pages", "cluster", "tli", "engine", "memory", "workers", "scratch", "tablespace-mapping"} {
		if cmd.Flags().Changed(name) {
			return in, fmt.Errorf("--%s does not go with --api: the server's configuration says it, or there is another flag: see redoubt recover --help", name)
		}
	}
	r := &f.remote
	if r.tenant == "" {
		return in, errors.New("--tenant is missing: name the tenant")
	}
	in = api.RecoverRequest{Tenant: r.tenant, Timeline: r.timeline, Target: r.target}
	if in.From, err = parseLSNFlag("--from-lsn", r.fromLSN); err != nil {
		return in, err
	}
	if in.To, err = parseLSNFlag("--to-lsn", r.toLSN); err != nil {
		return in, err
	}
	if in.ToTime, err = parseTimeFlag(f.toTime); err != nil {
		return in, err
	}
	if in.Timeline == "" && (in.From != 0 || in.To != 0 || in.Target != "") {
		return in, errors.New("--timeline is missing: all timelines of a tenant can be recovered to the end of their WAL or to --to-time only")
	}
	return in, nil
}

// token is that of the file or, without one, of the environment.
func (f *remoteFlags) token() (string, error) {
	if f.tokenFile == "" {
		return os.Getenv(tokenVariable), nil
	}
	data, err := os.ReadFile(f.tokenFile)
	if err != nil {
		return "", fmt.Errorf("--token-file: %w", err)
	}
	return strings.TrimSpace(string(data)), nil
}

// recoverAll asks for all timelines of the tenant.
func (f *recoverFlags) recoverAll(cmd *cobra.Command, c *client.Client, in api.RecoverRequest, prog *progress) error {
	all, err := c.RecoverAll(cmd.Context(), in.Tenant, in.ToTime)
	if err != nil {
		return remoteExit(err)
	}
	var problems error
	for i := range all {
		one := &all[i]
		if one.TimelineID == nil {
			problems = errors.Join(problems, fmt.Errorf("%s: %s", one.Source, one.Error))
			continue
		}
		if !f.remote.wait {
			continue
		}
		t, err := awaitTimeline(cmd.Context(), c, in.Tenant, *one.TimelineID, prog)
		prog.end()
		if err == nil {
			err = stateExit(t)
		}
		if err != nil {
			one.Error = err.Error()
			problems = errors.Join(problems, fmt.Errorf("%s: %w", one.Source, err))
		}
	}
	err = f.print(cmd.OutOrStdout(), func(w io.Writer) error { return writeJSON(w, all) }, func(w io.Writer) error {
		for _, one := range all {
			id := "-"
			if one.TimelineID != nil {
				id = *one.TimelineID
			}
			if _, err := fmt.Fprintln(w, strings.TrimRight(fmt.Sprintf("%s %s %s", one.Source, id, one.Error), " ")); err != nil {
				return err
			}
		}
		return nil
	})
	if problems != nil {
		return exitWith(exitInconclusive, errors.Join(problems, err))
	}
	return err
}

// Times of waiting for a server.
const (
	pollEvery  = 500 * time.Millisecond
	serverAway = 2 * time.Minute // after so long without an answer nobody waits any more
)

// awaitTimeline waits until a timeline is not recovering any more. A server
// that is away for a while is waited for: it goes on when it is back.
func awaitTimeline(ctx context.Context, c *client.Client, tenant, timeline string, prog *progress) (finding.TimelineStatus, error) {
	answered := time.Now()
	for {
		t, err := c.Timeline(ctx, tenant, timeline)
		switch {
		case err == nil:
			answered = time.Now()
			if t.State != finding.StateRecovering {
				return t, nil
			}
			showRecovery(prog, &t)
		case ctx.Err() != nil:
			return t, exitWith(exitInconclusive, fmt.Errorf("interrupted; %s goes on being recovered by the server", timeline))
		case !client.Temporary(err) || time.Since(answered) > serverAway:
			return t, remoteExit(err)
		}
		select {
		case <-time.After(pollEvery):
		case <-ctx.Done():
		}
	}
}

// showRecovery draws how far it is.
func showRecovery(prog *progress, t *finding.TimelineStatus) {
	r := t.Recovery
	switch {
	case r == nil:
	case r.StartedAt == nil:
		prog.update("wait for others", 0, 0)
	case t.LastRecordLSN == nil:
		prog.update("read WAL and base", 0, 0)
	default:
		var total int64
		if t.TargetLSN != nil {
			total = int64(*t.TargetLSN - r.BaseLSN)
		}
		prog.update("replay WAL", int64(*t.LastRecordLSN-r.BaseLSN), total)
	}
}

// stateExit gives a timeline that is not active its exit code.
func stateExit(t finding.TimelineStatus) error {
	switch {
	case t.State == finding.StateActive && t.Recovery != nil && t.Recovery.Reason != "":
		return exitWith(exitFindings, errors.New(t.Recovery.Reason))
	case t.State == finding.StateActive:
		return nil
	case t.State == finding.StateFailed && t.Recovery != nil:
		return exitWith(exitInconclusive, fmt.Errorf("recovery failed: %s", t.Recovery.Reason))
	}
	return exitWith(exitInconclusive, fmt.Errorf("the timeline is %s", t.State))
}

func printTimeline(w io.Writer, t finding.TimelineStatus) error {
	_, err := fmt.Fprintf(w, "%s\n%s", t.TimelineID, t.State)
	if err == nil && t.State == finding.StateActive && t.Recovery != nil && t.AncestorLSN != nil {
		_, err = fmt.Fprintf(w, ": recovered up to %s, in %s", *t.AncestorLSN, t.Recovery.Directory)
	}
	if err == nil {
		_, err = fmt.Fprintln(w)
	}
	return err
}

// remoteExit gives an error of asking its exit code: what the server refuses
// is bad input, a server that is not there leaves it undone.
func remoteExit(err error) error {
	if client.Temporary(err) {
		return exitWith(exitInconclusive, err)
	}
	return exitWith(exitUsage, err)
}
