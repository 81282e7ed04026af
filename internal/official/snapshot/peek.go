package snapshot

import (
	"context"
	"errors"

	"redoubt/internal/pg/datadir"
)

// Peek finds out where the snapshot starts, reading as little as it can. Of a
// directory everything is known already. A tar is read up to its
// backup_label, with which pg_basebackup begins. Where pg_control comes
// first and says that the cluster was shut down, there is no label; where it
// says anything else, the tar is read on until one is found.
func (s *Snapshot) Peek(ctx context.Context) (Info, error) {
	if s.info.Known {
		return s.info, nil
	}
	g := newGather()
	g.manifest = s.manifest
	err := s.src.each(ctx, func(m *member) error { return peekMember(ctx, g, m) })
	if ctx.Err() != nil {
		return Info{}, ctx.Err()
	}
	if err != nil && !errors.Is(err, errEnough) {
		return Info{}, s.fail(err)
	}
	if g.label == nil && g.control == nil {
		return Info{}, s.fail(g.complete(&Info{}))
	}
	info, err := g.info(s.form)
	if err != nil {
		return Info{}, s.fail(err)
	}
	s.info = info
	return info, nil
}

func peekMember(ctx context.Context, g *gather, m *member) error {
	g.path(m)
	c := datadir.Classify(m.path).Class
	if m.kind != file || c != datadir.ControlFile && c != datadir.LabelFile && m.path != datadir.VersionPath && c != datadir.TablespaceMap {
		return nil
	}
	rc, err := m.open(ctx)
	if err != nil {
		return err
	}
	defer func() { _ = rc.Close() }() // only read from
	content, err := readSmall(rc, m.path, maxSmall)
	if err != nil {
		return err
	}
	if err := g.content(m.path, content); err != nil {
		return err
	}
	if g.label != nil || g.control != nil && (g.control.State == datadir.ShutDown || g.control.State == datadir.ShutDownInRecovery) {
		return errEnough
	}
	return nil
}
