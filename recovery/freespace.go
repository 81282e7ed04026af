package recovery

import (
	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// Free space maps are hints that PostgreSQL checks before it believes them,
// and that nobody derives from WAL here. The base's map goes over if the
// relation is still there and was not cut: then it names no block that is not.
// A page of it that does not fit its checksum, as in a backup of a running
// server, is replaced by an empty one, as PostgreSQL would (RBM_ZERO_ON_ERROR).

// freeSpace writes pages of a free space map.
func (m *merger) freeSpace(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if err := m.openFreeSpace(f); err != nil || m.file == nil {
		return err
	}
	m.buf = append(m.buf[:0], pages...)
	out := m.buf
	for i := 0; i < len(out); i += pg.BlockSize {
		p := page.Page(out[i : i+pg.BlockSize])
		n := first + pg.BlockNumber(i/pg.BlockSize)
		if m.survey.decoded.Checksums() && rotten(p, n) {
			clear(p)
		}
	}
	_, err := m.file.w.Write(out)
	return err
}

func (m *merger) endFreeSpace(f datadir.RelFile) error {
	if err := m.openFreeSpace(f); err != nil || m.file == nil {
		return err
	}
	w := m.file.w
	m.file = nil
	return w.Close()
}

// openFreeSpace makes the map's file the current one, none if it is not to go over.
func (m *merger) openFreeSpace(f datadir.RelFile) error {
	if m.file != nil && m.file.key == key(f) {
		return nil
	}
	main, ok := m.result.Fork(pg.RelFork{RelFileLocator: f.RelFileLocator})
	if !ok || main.Created || main.BaseBlocks < m.survey.main[f.RelFileLocator] {
		return nil
	}
	if err := m.database(f.Spc, f.DB); err != nil {
		return err
	}
	name := datadir.RelPath(f.RelFork, f.Segment, m.versionDir())
	w, err := m.sink.File(name, m.survey.fsm[f.Path])
	if err != nil {
		return err
	}
	m.file = &relationFile{name: name, key: key(f), fork: native.Fork{RelFork: f.RelFork}, w: w}
	return nil
}
