package snapshot

import (
	"context"
	"fmt"
	"slices"
	"strconv"
	"strings"

	"redoubt/internal/pg/datadir"
)

// tarSource is a base backup in one tar, or in base.tar with a tar for each
// tablespace beside it.
type tarSource struct {
	t     tree
	files []tarFile // base first
}

func (s *tarSource) close() error { return s.t.close() }

func (s *tarSource) each(ctx context.Context, fn func(*member) error) error {
	seen := map[string]bool{}
	for _, f := range s.files {
		f.seen = seen
		if err := f.each(ctx, fn); err != nil {
			return err
		}
	}
	return nil
}

// singleTar is a source of one archive.
func singleTar(t tree, name string, o *Options) (*tarSource, error) {
	_, c, ok := tarName(name)
	if !ok {
		return nil, fmt.Errorf("open %s: want a name that ends in .tar, .tar.gz, .tar.zst, .tar.lz4 or .tar.bz2", name)
	}
	return &tarSource{t, []tarFile{{t: t, name: name, codec: c, opts: o}}}, nil
}

// tarDirectory is what pg_basebackup writes in tar format: base.tar*, OID.tar*
// for each tablespace, pg_wal.tar* (which is not read), backup_manifest. It
// returns nil where there is no base.tar.
func tarDirectory(t tree, entries []entry, o *Options) (*tarSource, error) {
	s := &tarSource{t: t}
	have := map[string]string{}
	for _, e := range entries {
		stem, c, ok := tarName(e.name)
		if e.kind != file || !ok {
			continue
		}
		f := tarFile{t: t, name: e.name, codec: c, opts: o}
		if stem != "base" {
			if _, isSpace := parseOID(stem); !isSpace {
				continue
			}
			f.prefix = join(tablespaces, stem)
		}
		if first := have[stem]; first != "" {
			return nil, fmt.Errorf("find the backup: both %s and %s are there; remove one", first, e.name)
		}
		have[stem] = e.name
		s.files = append(s.files, f)
	}
	if have["base"] == "" {
		return nil, nil
	}
	slices.SortStableFunc(s.files, func(a, b tarFile) int { return strings.Compare(a.prefix, b.prefix) })
	return s, nil
}

// parseOID reads the name of a tablespace.
func parseOID(name string) (uint32, bool) {
	if datadir.Classify(join(tablespaces, name)).Class != datadir.TablespaceFolder {
		return 0, false
	}
	n, err := strconv.ParseUint(name, 10, 32)
	return uint32(n), err == nil
}
