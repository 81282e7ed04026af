package recovery

import (
	"bytes"
	"fmt"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
)

// survey is what the first pass over the base learns, besides what the engine
// does: the small files that are not copied as they are, and sizes.
type survey struct {
	control  []byte
	decoded  datadir.Control
	label    []byte
	origins  []byte
	twoPhase map[string][]byte // by path
	config   map[string][]byte // by path
	main     map[pg.RelFileLocator]pg.BlockNumber
	fsm      map[string]int64 // bytes of whole pages, by path
	// rotten are pages that redo builds on and that do not fit their checksum,
	// should there be any: pg_control may come last.
	rotten map[pg.Block]bool
	needs  func(pg.RelFork, pg.BlockNumber) bool
	read   func(int64)
}

func newSurvey(needs func(pg.RelFork, pg.BlockNumber) bool, read func(int64)) *survey {
	return &survey{
		rotten: make(map[pg.Block]bool), needs: needs,
		twoPhase: make(map[string][]byte), config: make(map[string][]byte),
		main: make(map[pg.RelFileLocator]pg.BlockNumber), fsm: make(map[string]int64), read: read,
	}
}

var _ datadir.Visitor = (*survey)(nil)

// Blocks looks at the pages that redo builds on: it would give a rotten one a
// new checksum.
func (s *survey) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	s.read(int64(len(pages)))
	if f.Temp || f.Fork == pg.FSMFork {
		return nil
	}
	for i := 0; i+pg.BlockSize <= len(pages); i += pg.BlockSize {
		n := first + pg.BlockNumber(i/pg.BlockSize)
		p := page.Page(pages[i : i+pg.BlockSize])
		if s.needs(f.RelFork, n) && rotten(p, n) {
			s.isRotten(f.RelFork, n)
		}
	}
	return nil
}

func (s *survey) isRotten(f pg.RelFork, n pg.BlockNumber) {
	if len(s.rotten) < maxRotten {
		s.rotten[pg.Block{RelFork: f, Number: n}] = true
	}
}

// maxRotten bounds what is remembered; without checksums it may be all pages,
// and does not matter.
const maxRotten = 1 << 16

// EndRelation notes sizes.
func (s *survey) EndRelation(f datadir.RelFile, size int64) error {
	switch {
	case f.Temp:
	case f.Fork == pg.FSMFork:
		s.fsm[f.Path] = size / pg.BlockSize * pg.BlockSize
	case f.Fork == pg.MainFork && (f.Segment == 0 || size > 0):
		end := pg.BlockNumber(int64(f.Segment)*pg.BlocksPerFile + size/pg.BlockSize)
		s.main[f.RelFileLocator] = max(s.main[f.RelFileLocator], end)
	}
	return nil
}

// File keeps what is needed whole.
func (s *survey) File(path string, content []byte) error {
	own := func() []byte { return bytes.Clone(content) }
	switch datadir.Classify(path).Class {
	case datadir.ControlFile:
		s.control = own()
	case datadir.LabelFile:
		s.label = own()
	case datadir.OriginsFile:
		s.origins = own()
	case datadir.TwoPhaseFile:
		s.twoPhase[path] = own()
	case datadir.ConfigFile:
		s.config[path] = own()
	}
	return nil
}

// settle checks that the base is whole and is what it said it is.
func (s *survey) settle(name string, m Meta) (*datadir.Control, error) {
	if s.control == nil {
		return nil, inputErrorf("%s has no %s: it is not a whole data directory", name, datadir.ControlPath)
	}
	c, err := datadir.ParseControl(s.control)
	if err != nil {
		return nil, &InputError{err}
	}
	if c.Major() == 0 {
		return nil, inputErrorf("%s is of no release of PostgreSQL that is known (catalog version %d)", name, c.CatalogVersion)
	}
	if s.origins != nil {
		if _, err := datadir.ParseOrigins(s.origins); err != nil {
			return nil, &InputError{fmt.Errorf("%s: %w", name, err)}
		}
	}
	if m.Online && s.label == nil && c.State != datadir.ShutDownInRecovery {
		return nil, inputErrorf("%s was taken for an online backup and has no %s", name, datadir.LabelPath)
	}
	s.decoded = c
	return &s.decoded, nil
}

// both hands everything to two visitors.
type both [2]datadir.Visitor

func (b both) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if err := b[0].Blocks(f, first, pages); err != nil {
		return err
	}
	return b[1].Blocks(f, first, pages)
}

func (b both) EndRelation(f datadir.RelFile, size int64) error {
	if err := b[0].EndRelation(f, size); err != nil {
		return err
	}
	return b[1].EndRelation(f, size)
}

func (b both) File(path string, content []byte) error {
	if err := b[0].File(path, content); err != nil {
		return err
	}
	return b[1].File(path, content)
}
