package check

import (
	"context"
	"errors"
	"fmt"
	"io/fs"
	"os"
	"strings"
	"time"

	"golang.org/x/sys/unix"

	"redoubt/internal/ledger"
)

// Ledger looks at the ledger's file without changing it.
func Ledger(ctx context.Context, path string, now time.Time) []Item {
	const area, key = "ledger", "data_dir"
	_, err := os.Stat(path)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return []Item{ok(area, key, "%s: will be made by the first run", path)}
	case err != nil:
		return []Item{failed(area, key, err, "let the user that runs Redoubt search its directory")}
	}
	if err := unix.Access(path, unix.R_OK|unix.W_OK); err != nil {
		return []Item{failed(area, key, fmt.Errorf("%s: %w", path, err), fmt.Sprintf("make it readable and writable for user id %d, which runs Redoubt", os.Geteuid()))}
	}
	in, err := ledger.Inspect(ctx, path)
	if err != nil {
		return []Item{failed(area, key, err, "follow what the message says; docs/operations.md tells how to restore a copy")}
	}
	items := []Item{ledgerItem(path, in)}
	if i, bad := Newer(now, in.NewestRun, "the start of the newest run in the ledger"); bad {
		items = append(items, i)
	}
	return items
}

func ledgerItem(path string, in ledger.Inspection) Item {
	const area, key = "ledger", "data_dir"
	if in.Version < in.Known {
		return warning(area, key, fmt.Sprintf("%s: schema version %d", path, in.Version),
			fmt.Sprintf("copy it before the next run, which brings it to version %d; older versions of Redoubt cannot read that", in.Known))
	}
	detail := fmt.Sprintf("%s: schema version %d", path, in.Version)
	if len(in.Unfinished) > 0 {
		detail += "; under way, or interrupted and to be resumed: " + strings.Join(in.Unfinished, ", ")
	}
	return ok(area, key, "%s", detail)
}
