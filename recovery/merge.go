package recovery

import (
	"fmt"
	"io"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
	"redoubt/internal/pg/page"
	"redoubt/replay/native"
)

// sure refuses what the native engine could not redo for sure. Every block
// that a record touched and that is still there is looked at.
func (r *run) sure() error {
	bad := &BlocksError{}
	for m, n := range r.result.UnknownRelUpdates {
		bad.Count += int(n) - 1
		bad.add(fmt.Sprintf("%d records of resource manager %s may have changed any block", n, m))
	}
	for _, m := range r.result.Mismatches {
		bad.add(fmt.Sprintf("%s differs after the record at %s from the image in the WAL", m.Block, m.Record.LSN))
	}
	buf, sums := make([]byte, pg.BlockSize), r.survey.decoded.Checksums()
	for _, f := range r.result.Forks() {
		err := r.result.EachTouched(f.RelFork, func(n pg.BlockNumber) error {
			p, err := r.result.Page(f.RelFork, n, buf)
			if err != nil {
				return err
			}
			why := unsure(&p)
			if why == "" && sums && !p.Whole && r.survey.rotten[pg.Block{RelFork: f.RelFork, Number: n}] {
				why = "does not fit its checksum in the base, and redo builds on it"
			}
			if why != "" {
				bad.add(fmt.Sprintf("%s block %d %s", f.RelFork, n, why))
			}
			if p.Future != 0 {
				r.out.FuturePages++
			}
			return nil
		})
		if err != nil {
			return err
		}
	}
	return bad.orNil()
}

func unsure(p *native.Page) string {
	switch {
	case p.Failed != nil:
		return "could not be redone: " + p.Failed.Error()
	case p.Tainted:
		return fmt.Sprintf("was changed by resource manager %s, whose redo is not known", p.TaintedBy)
	case p.Invalid != 0:
		return fmt.Sprintf("is missing from the base, and the record at %s needs it", p.Invalid)
	}
	return ""
}

// merger is the second pass over the base: it writes each file as it is after
// replay. What it has not met by the end, rest makes.
type merger struct {
	*run
	file  *relationFile // being written, nil: none
	done  map[datadir.RelFile]bool
	maps  map[native.RelMapKey]bool
	dbs   map[string]bool              // directories of databases made
	slrus [pg.NumSLRUs]map[uint32]bool // segments written, by their first page
	buf   []byte
}

var _ datadir.Visitor = (*merger)(nil)

// relationFile is one file of a fork on its way into the sink.
type relationFile struct {
	name string
	key  datadir.RelFile // without its path
	fork native.Fork
	next pg.BlockNumber // first one not written yet
	end  pg.BlockNumber // behind the file's last one
	w    io.WriteCloser
}

// key names a file whatever its path is called.
func key(f datadir.RelFile) datadir.RelFile {
	return datadir.RelFile{RelFork: f.RelFork, Segment: f.Segment}
}

// part is which blocks of a fork are in its file number seg; ok is false if
// there is no such file.
func part(f native.Fork, seg uint32) (first, end pg.BlockNumber, ok bool) {
	start := uint64(seg) * pg.BlocksPerFile
	if seg > 0 && start >= uint64(f.Size) {
		return 0, 0, false
	}
	return pg.BlockNumber(start), pg.BlockNumber(min(uint64(f.Size), start+pg.BlocksPerFile)), true
}

// begin begins a file of a fork.
func (m *merger) begin(f native.Fork, seg uint32) (*relationFile, error) {
	first, end, ok := part(f, seg)
	if !ok {
		return nil, nil
	}
	k := datadir.RelFile{RelFork: f.RelFork, Segment: seg}
	name := datadir.RelPath(f.RelFork, seg, m.versionDir())
	if m.done[k] {
		return nil, inputErrorf("the base has %s twice", name)
	}
	m.done[k] = true
	if err := m.database(f.Spc, f.DB); err != nil {
		return nil, err
	}
	w, err := m.sink.File(name, int64(end-first)*pg.BlockSize)
	if err != nil {
		return nil, err
	}
	return &relationFile{name: name, key: k, fork: f, next: first, end: end, w: w}, nil
}

// Blocks writes pages of the base with what replay made of them.
func (m *merger) Blocks(f datadir.RelFile, first pg.BlockNumber, pages []byte) error {
	if f.Temp {
		return nil
	}
	if f.Fork == pg.FSMFork {
		return m.freeSpace(f, first, pages)
	}
	if err := m.open(f); err != nil || m.file == nil {
		return err
	}
	file := m.file
	if first != file.next && first < file.end {
		return fmt.Errorf("read base: block %d of %s follows block %d", first, file.name, file.next)
	}
	if n := max(int(file.end)-int(first), 0); len(pages) > n*pg.BlockSize {
		pages = pages[:n*pg.BlockSize]
	}
	if len(pages) == 0 {
		return nil
	}
	m.buf = append(m.buf[:0], pages...)
	out := m.buf
	for i := 0; i < len(out); i += pg.BlockSize {
		if err := m.page(file, out[i:i+pg.BlockSize], true); err != nil {
			return err
		}
	}
	_, err := file.w.Write(out)
	return err
}

// open makes f's file the current one; none if replay left none.
func (m *merger) open(f datadir.RelFile) error {
	if m.file != nil && m.file.key == key(f) {
		return nil
	}
	if m.file != nil {
		return fmt.Errorf("read base: %s begins before %s has ended", f.Path, m.file.name)
	}
	fork, ok := m.result.Fork(f.RelFork)
	if !ok {
		return nil
	}
	var err error
	m.file, err = m.begin(fork, f.Segment)
	return err
}

// page makes p, which holds the base's page or zeros, the next page of the file.
func (m *merger) page(file *relationFile, p page.Page, base bool) error {
	n := file.next
	file.next++
	if n >= file.fork.BaseBlocks {
		clear(p)
		base = false
	}
	var buf [pg.BlockSize]byte
	got, err := m.result.Page(file.fork.RelFork, n, buf[:])
	if err != nil {
		return err
	}
	sums := m.survey.decoded.Checksums()
	if got.Bytes == nil {
		if base && sums && rotten(p, n) {
			m.damaged(file.fork.RelFork, n)
		}
		return nil
	}
	copy(p, got.Bytes)
	if sums && got.Touched && !p.IsNew() {
		p.SetChecksum(p.ComputeChecksum(n))
	}
	return nil
}

// maxDamaged is how many pages of the base with a wrong checksum are named.
const maxDamaged = 20

func (m *merger) damaged(f pg.RelFork, n pg.BlockNumber) {
	m.out.DamagedPages++
	if len(m.out.Damaged) < maxDamaged {
		m.out.Damaged = append(m.out.Damaged, fmt.Sprintf("%s block %d", f, n))
	}
}

// EndRelation ends a file: what replay added to it follows the base's pages.
func (m *merger) EndRelation(f datadir.RelFile, _ int64) error {
	if f.Temp {
		return nil
	}
	if f.Fork == pg.FSMFork {
		return m.endFreeSpace(f)
	}
	if err := m.open(f); err != nil || m.file == nil {
		return err
	}
	return m.finish()
}

// finish writes the rest of the current file, of which the base has nothing.
func (m *merger) finish() error {
	file := m.file
	m.file = nil
	const chunk = 32
	if cap(m.buf) < chunk*pg.BlockSize {
		m.buf = make([]byte, chunk*pg.BlockSize)
	}
	for file.next < file.end {
		out := m.buf[:min(chunk, int(file.end-file.next))*pg.BlockSize]
		clear(out)
		for i := 0; i < len(out); i += pg.BlockSize {
			if err := m.page(file, out[i:i+pg.BlockSize], false); err != nil {
				return err
			}
		}
		if _, err := file.w.Write(out); err != nil {
			return err
		}
	}
	return file.w.Close()
}

// rest writes the files of relations that the base has not.
func (m *merger) rest() error {
	for _, f := range m.result.Forks() {
		for seg := uint32(0); ; seg++ {
			if _, _, ok := part(f, seg); !ok {
				break
			}
			if m.done[datadir.RelFile{RelFork: f.RelFork, Segment: seg}] {
				continue
			}
			var err error
			if m.file, err = m.begin(f, seg); err == nil {
				err = m.finish()
			}
			if err != nil {
				return err
			}
		}
	}
	return nil
}

func (r *run) versionDir() string {
	return datadir.VersionDir(r.out.Major, r.survey.decoded.CatalogVersion)
}
