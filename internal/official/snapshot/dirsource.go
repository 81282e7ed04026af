package snapshot

import (
	"context"
	"io"
	"strings"
)

// dirSource is a data directory, or a base backup in plain format.
type dirSource struct {
	t       tree
	version string // the cluster's directory within tablespaces; those of other clusters are passed over
	all     bool   // also what holds no pages: there is a manifest to check
}

func (s *dirSource) close() error { return s.t.close() }

func (s *dirSource) each(ctx context.Context, fn func(*member) error) error {
	return s.dir(ctx, "", fn)
}

func (s *dirSource) dir(ctx context.Context, dir string, fn func(*member) error) error {
	entries, err := s.t.list(ctx, dir)
	if err != nil {
		return err
	}
	for _, e := range entries {
		if err := ctx.Err(); err != nil {
			return err
		}
		path := join(dir, e.name)
		if _, v, ok := versionDirOf(path); ok && v != s.version {
			continue // left by pg_upgrade, or of another cluster
		}
		if err := fn(s.member(path, e)); err != nil {
			return err
		}
		if e.kind == folder && s.descend(path) {
			if err := s.dir(ctx, path, fn); err != nil {
				return err
			}
		}
	}
	return nil
}

func (s *dirSource) member(path string, e entry) *member {
	return &member{path: path, kind: e.kind, size: e.size, open: func(ctx context.Context) (io.ReadCloser, error) {
		return s.t.open(ctx, path, 0)
	}}
}

// descend says whether to look into a directory. pg_wal is in no manifest.
func (s *dirSource) descend(path string) bool {
	if s.all {
		return path != "pg_wal"
	}
	return matters(path) && !strings.HasPrefix(path[strings.LastIndexByte(path, '/')+1:], "pgsql_tmp")
}
