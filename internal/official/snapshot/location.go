package snapshot

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"redoubt/internal/storage"
)

// redacted is a location fit for errors.
func redacted(loc string) string { return storage.Redacted(loc) }

// openLocation opens what loc names: a directory or, with its name, the tar in one.
func openLocation(ctx context.Context, loc string) (t tree, name string, err error) {
	if loc == "" {
		return nil, "", fmt.Errorf("open backup: the location is empty; give a directory, a tar, or a URL such as s3://bucket/backups/base.tar.zst")
	}
	u, err := url.Parse(loc)
	if err != nil || u.Scheme == "" || !strings.Contains(loc, "://") {
		return openPath(loc)
	}
	if u.Scheme == "file" {
		if u.Host != "" && u.Host != "localhost" || u.Path == "" {
			return nil, "", fmt.Errorf("open backup %s: write an absolute path with three slashes, such as file:///srv/backup", redacted(loc))
		}
		return openPath(u.Path)
	}
	loc, name = splitTar(u)
	b, err := openBucket(ctx, loc)
	if err != nil {
		return nil, "", fmt.Errorf("open backup: %w", err)
	}
	return b, name, nil
}

// splitTar takes the name of a tar from the end of a bucket's URL.
func splitTar(u *url.URL) (dir, name string) {
	d := *u
	if _, _, ok := tarName(u.Path); ok {
		d.Path, name = path.Split(u.Path)
		d.RawPath = ""
	}
	return d.String(), name
}

// openPath opens a local directory or tar, which may themselves be named by a link.
func openPath(p string) (tree, string, error) {
	real, err := filepath.EvalSymlinks(p)
	if err != nil {
		return nil, "", fmt.Errorf("open backup: %w", err)
	}
	st, err := os.Stat(real)
	if err != nil {
		return nil, "", fmt.Errorf("open backup: %w", err)
	}
	name := ""
	if !st.IsDir() {
		real, name = filepath.Split(real)
	}
	t, err := openLocal(filepath.Clean(real))
	if err != nil {
		return nil, "", fmt.Errorf("open backup: %w", err)
	}
	return t, name, nil
}

// below is the location of name in the directory loc.
func below(loc, name string) string {
	u, err := url.Parse(loc)
	if err != nil || u.Scheme == "" || !strings.Contains(loc, "://") {
		return filepath.Join(loc, name)
	}
	u.RawPath = ""
	u.Path = path.Join("/", u.Path, name)
	return u.String()
}
