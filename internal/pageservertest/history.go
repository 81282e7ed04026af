package pageservertest

import (
	"bytes"
	"context"
	"fmt"
	"maps"
	"slices"
	"sync"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/replay"
	"redoubt/replay/native"
)

// Base is the data directory that a history starts from.
type Base interface {
	Walk(ctx context.Context, v datadir.Visitor) error
}

// History is a timeline from Start on: the pages of Base, and what redo of WAL
// makes of them.
type History struct {
	Start pg.LSN
	WAL   replay.WALSource
	Last  pg.LSN // up to which WAL may be asked for; 0: all there is
	// First is where the base, taken from a running server, is consistent: no
	// LSN before may be asked for. 0: it is of Start.
	First pg.LSN
	// Temp is where the engine may put pages.
	Temp string

	base *baseFiles

	mu     sync.Mutex
	states []*State // last used first
}

// maxStates is how many LSNs are kept at hand.
const maxStates = 6

// NewHistory reads the base into memory. A branch starts from its ancestor's
// base and replays its WAL, too: src then yields both, one after the other.
func NewHistory(ctx context.Context, base Base, start pg.LSN, src replay.WALSource, temp string) (*History, error) {
	h := &History{Start: start, WAL: src, Temp: temp, base: &baseFiles{pages: make(map[pg.RelFork][]byte), files: make(map[string][]byte)}}
	if err := base.Walk(ctx, h.base); err != nil {
		return nil, err
	}
	if h.base.files[datadir.ControlPath] == nil {
		return nil, fmt.Errorf("the base has no %s", datadir.ControlPath)
	}
	return h, nil
}

// baseFiles is a data directory in memory.
type baseFiles struct {
	pages map[pg.RelFork][]byte
	files map[string][]byte
}

func (b *baseFiles) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	all := b.pages[f.RelFork]
	if end := int(first)*pg.BlockSize + len(pages); end > len(all) {
		all = append(all, make([]byte, end-len(all))...)
	}
	copy(all[int(first)*pg.BlockSize:], pages)
	b.pages[f.RelFork] = all
	return nil
}

func (b *baseFiles) EndRelation(f datadir.RelFile, _ int64) error {
	if !f.Temp && b.pages[f.RelFork] == nil {
		b.pages[f.RelFork] = []byte{}
	}
	return nil
}

func (b *baseFiles) File(path string, content []byte) error {
	b.files[path] = bytes.Clone(content)
	return nil
}

// feed shows the base to a visitor.
func (b *baseFiles) feed(v datadir.Visitor) error {
	for f, pages := range b.pages {
		file := datadir.RelFile{RelFork: f, Path: datadir.RelPath(f, 0, "")}
		if err := v.Blocks(file, 0, pages); err != nil {
			return err
		}
		if err := v.EndRelation(file, int64(len(pages))); err != nil {
			return err
		}
	}
	for path, content := range b.files {
		if err := v.File(path, content); err != nil {
			return err
		}
	}
	return nil
}

// Close frees what the engines hold.
func (h *History) Close() error {
	h.mu.Lock()
	defer h.mu.Unlock()
	for _, s := range h.states {
		s.users.Wait()
		_ = s.engine.Close()
	}
	h.states = nil
	return nil
}

// At is the timeline as it is at an LSN; release it when done.
func (h *History) At(ctx context.Context, lsn pg.LSN) (*State, error) {
	h.mu.Lock()
	defer h.mu.Unlock()
	if i := slices.IndexFunc(h.states, func(s *State) bool { return s.lsn == lsn }); i >= 0 {
		s := h.states[i]
		h.states = append([]*State{s}, slices.Delete(h.states, i, i+1)...)
		s.users.Add(1)
		return s, nil
	}
	s, err := h.replay(ctx, lsn)
	if err != nil {
		return nil, err
	}
	h.states = append([]*State{s}, h.states...)
	if len(h.states) > maxStates {
		old := h.states[maxStates]
		h.states = h.states[:maxStates]
		go func() {
			old.users.Wait()
			_ = old.engine.Close()
		}()
	}
	s.users.Add(1)
	return s, nil
}

func (h *History) replay(ctx context.Context, lsn pg.LSN) (*State, error) {
	if first := max(h.Start, h.First); lsn < first {
		return nil, fmt.Errorf("the history starts at %s", first)
	}
	e := native.New(native.Config{Scratch: h.Temp, DetectDialect: true, KeepStates: true, Memory: 256 << 20}, h.WAL,
		native.Span{Range: pg.Range{From: h.Start, To: lsn}, Clean: h.First == 0})
	_, err := e.Scan(ctx)
	if err == nil {
		err = h.base.feed(e)
	}
	s := &State{lsn: lsn, base: h.base, engine: e}
	if err == nil {
		s.control, err = datadir.ParseControl(h.base.files[datadir.ControlPath])
		e.SetBase(native.Base{Checksums: s.control.Checksums(), WALLogHints: s.control.WALLogHints, CommitTs: s.control.TrackCommitTimestamp})
	}
	if err == nil {
		s.result, err = e.Replay(ctx)
	}
	if err != nil {
		_ = e.Close()
		return nil, err
	}
	return s, nil
}

// State is a timeline at one LSN.
type State struct {
	lsn     pg.LSN
	base    *baseFiles
	engine  *native.Engine
	result  *native.Result
	control datadir.Control
	users   sync.WaitGroup
}

func (s *State) release() { s.users.Done() }

// size is a fork's size in blocks.
func (s *State) size(f pg.RelFork) (pg.BlockNumber, bool) {
	fork, ok := s.result.Fork(f)
	return fork.Size, ok
}

// page is a block, zeros beyond the fork's end. It is the caller's.
func (s *State) page(f pg.RelFork, n pg.BlockNumber) ([]byte, error) {
	out := make([]byte, pg.BlockSize)
	fork, ok := s.result.Fork(f)
	if !ok {
		return nil, fmt.Errorf("could not find data for key: relation %s is not there at %s", f, s.lsn)
	}
	if n >= fork.Size {
		return out, nil
	}
	p, err := s.result.Page(f, n, make([]byte, pg.BlockSize))
	switch {
	case err != nil:
		return nil, err
	case p.Tainted || p.Failed != nil:
		return nil, fmt.Errorf("block %d of %s cannot be redone", n, f)
	case p.Bytes != nil:
		copy(out, p.Bytes)
	case n < fork.BaseBlocks && (int(n)+1)*pg.BlockSize <= len(s.base.pages[f]):
		copy(out, s.base.pages[f][int(n)*pg.BlockSize:])
	}
	return out, nil
}

// databaseBytes are all forks of a database in the default tablespace, as
// DbSize counts; free space maps the engine does not follow.
func (s *State) databaseBytes(db pg.OID) (n int64) {
	for _, f := range s.result.Forks() {
		if f.DB == db && f.Spc == defaultTablespace {
			n += int64(f.Size) * pg.BlockSize
		}
	}
	return n
}

const defaultTablespace = 1663 // DEFAULTTABLESPACE_OID

// segments are the SLRU segments that a pageserver keeps, by path.
func (s *State) segments() (map[string][]byte, error) {
	out := make(map[string][]byte)
	for path, content := range s.base.files {
		c := datadir.Classify(path)
		if c.Class == datadir.SLRUSegment && c.SLRU != pg.CommitTsSLRU && !s.result.SLRURemoved(c.SLRU) &&
			!s.result.SLRUTruncated(pg.SLRUPage{SLRU: c.SLRU, Page: c.First}) {
			out[path] = bytes.Clone(content)
		}
	}
	for _, slru := range []pg.SLRU{pg.XactSLRU, pg.MultiXactOffsetSLRU, pg.MultiXactMemberSLRU} {
		for _, n := range s.result.SLRUPages(slru) {
			p := pg.SLRUPage{SLRU: slru, Page: n}
			b, _, ok, err := s.result.SLRUPage(p, make([]byte, pg.BlockSize))
			if err != nil {
				return nil, err
			}
			if !ok || s.result.SLRUTruncated(p) {
				continue
			}
			path := datadir.SLRUPath(p)
			at := int(n%pg.SLRUPagesPerSegment) * pg.BlockSize
			if short := at + pg.BlockSize - len(out[path]); short > 0 {
				out[path] = append(out[path], make([]byte, short)...)
			}
			copy(out[path][at:], b)
		}
	}
	return out, nil
}

// files are what a base backup has besides relations, pg_control last.
func (s *State) files(slrus bool) (names []string, content map[string][]byte, err error) {
	content = make(map[string][]byte)
	if slrus {
		if content, err = s.segments(); err != nil {
			return nil, nil, err
		}
	}
	for path, b := range s.base.files {
		if datadir.Classify(path).Class == datadir.TwoPhaseFile {
			state, err := datadir.ParseTwoPhaseFile(b)
			if err == nil && len(state) >= 8 && !s.result.EndedPrepared(preparedXID(path)) {
				content[path] = b
			}
		}
	}
	for xid, state := range s.result.Prepares() {
		content[datadir.TwoPhasePath(s.control.Major(), xid, s.control.CheckPoint.NextXID)] = datadir.TwoPhaseFileContent(state)
	}
	for _, k := range s.result.RelMaps() {
		content[mapPath(k)] = s.result.RelMap(k.Spc, k.DB)
	}
	ctl := s.control
	ctl.State, ctl.CheckPointLSN, ctl.CheckPoint.Redo = datadir.ShutDown, 0, s.lsn
	control, err := datadir.EncodeControl(s.base.files[datadir.ControlPath], ctl)
	if err != nil {
		return nil, nil, err
	}
	content["PG_VERSION"] = fmt.Appendf(nil, "%d\n", s.control.Major())
	names = append(slices.Sorted(maps.Keys(content)), datadir.ControlPath)
	content[datadir.ControlPath] = control
	return names, content, nil
}

// preparedXID is the transaction that a state file is named by.
func preparedXID(path string) (xid pg.XID) {
	var epoch uint32
	name := path[len("pg_twophase/"):]
	if len(name) == 16 {
		_, _ = fmt.Sscanf(name, "%8X%8X", &epoch, &xid)
	} else {
		_, _ = fmt.Sscanf(name, "%8X", &xid)
	}
	return xid
}

func mapPath(k native.RelMapKey) string {
	if k.DB == 0 {
		return "global/pg_filenode.map"
	}
	return fmt.Sprintf("base/%d/pg_filenode.map", k.DB)
}
