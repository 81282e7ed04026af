package local

import (
	"cmp"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"time"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/walbackup/names"
)

var errNotDir = syscall.ENOTDIR

// File is a complete file, or in Partials a begun segment.
type File struct {
	Name string
	wal.FileName
	Size    int64
	ModTime time.Time
}

// SegmentOf is the file as a segment.
func (f *File) SegmentOf() names.Segment {
	return names.Segment{TLI: f.TLI, No: f.FileName.Segment}
}

// Refused is a file under a final name that can't be backed up.
type Refused struct {
	Name   string
	Reason string
}

// Inventory is what lies in one directory.
type Inventory struct {
	SegmentSize int64  // 0 while no segment is there
	SystemID    uint64 // of the lowest segment
	Complete    []File // by name
	Partials    []File
	Refused     []Refused
	// Missing are files that PostgreSQL wants archived (.ready) and that are not there.
	Missing []string
}

// Find is a complete file by its name.
func (inv *Inventory) Find(name string) (*File, bool) {
	i, ok := slices.BinarySearchFunc(inv.Complete, name, func(f File, name string) int { return strings.Compare(f.Name, name) })
	if !ok {
		return nil, false
	}
	return &inv.Complete[i], true
}

// reader reads one directory again and again, and looks at each file once.
type reader struct {
	dir   Dir
	known map[string]File // complete, by name
	size  int64
	sysid uint64
}

// read makes the inventory. An error is one of the directory itself.
func (r *reader) read() (Inventory, error) {
	found, ready, err := r.list()
	if err != nil {
		return Inventory{}, err
	}
	slices.Sort(found)
	var inv Inventory
	if err := r.identify(found); err != nil {
		return inv, err
	}
	known := make(map[string]File, len(found))
	for _, name := range found {
		r.take(name, ready, known, &inv)
	}
	for name := range ready {
		if _, err := os.Lstat(filepath.Join(r.dir.Path, name)); errors.Is(err, fs.ErrNotExist) {
			inv.Missing = append(inv.Missing, name)
		}
	}
	slices.Sort(inv.Missing)
	r.known = known
	inv.SegmentSize, inv.SystemID = r.size, r.sysid
	return inv, nil
}

// list reads the names in the directory; ready, if PostgreSQL owns it, those
// it wants archived.
func (r *reader) list() (found []string, ready map[string]bool, err error) {
	if r.dir.Owned() {
		// Read first: what becomes ready later is there the next time.
		ready = make(map[string]bool)
		status, err := readNames(r.dir.status())
		if err != nil {
			return nil, nil, err
		}
		for _, s := range status {
			if name, ok := strings.CutSuffix(s, ".ready"); ok && filepath.Base(name) == name {
				ready[name] = true
			}
		}
	}
	found, err = readNames(r.dir.Path)
	return found, ready, err
}

func readNames(path string) ([]string, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, fmt.Errorf("read WAL directory: %w", err)
	}
	defer func() { _ = f.Close() }() // it was only read
	out, err := f.Readdirnames(-1)
	if err != nil {
		return nil, fmt.Errorf("read WAL directory: %w", err)
	}
	return out, nil
}

// take puts one file where it belongs.
func (r *reader) take(name string, ready map[string]bool, known map[string]File, inv *Inventory) {
	if r.dir.Owned() && !ready[name] {
		return
	}
	if f, ok := r.known[name]; ok {
		known[name] = f
		inv.Complete = append(inv.Complete, f)
		return
	}
	n, err := names.Parse(name, max(r.size, pg.MinSegmentSize))
	if err != nil {
		if stem, _, _ := strings.Cut(name, "."); pg.IsSegmentName(stem) && !strings.HasSuffix(name, ".tmp") && !strings.HasSuffix(name, ".partial") {
			inv.Refused = append(inv.Refused, Refused{name, "it is no name of a WAL file; let the agent compress, not who writes the files"})
		}
		return
	}
	fi, err := os.Lstat(filepath.Join(r.dir.Path, name))
	if errors.Is(err, fs.ErrNotExist) {
		return
	}
	if err != nil || !fi.Mode().IsRegular() {
		inv.Refused = append(inv.Refused, Refused{name, cmp.Or(errText(err), "it is no regular file")})
		return
	}
	f := File{Name: name, FileName: n, Size: fi.Size(), ModTime: fi.ModTime()}
	if n.Kind == wal.PartialFile && !r.dir.Owned() {
		inv.Partials = append(inv.Partials, f)
		return
	}
	if reason := r.check(&f, len(known) == 0); reason != "" {
		inv.Refused = append(inv.Refused, Refused{name, reason})
		return
	}
	known[name] = f
	inv.Complete = append(inv.Complete, f)
}

func errText(err error) string {
	if err == nil {
		return ""
	}
	return err.Error()
}

// maxSmall is the most a history file or backup label may hold.
const maxSmall = 1 << 20

// check says what speaks against a complete file, "" if nothing.
func (r *reader) check(f *File, first bool) string {
	switch {
	case f.Kind == wal.PartialFile && f.Size <= r.size:
		return ""
	case f.Kind != wal.SegmentFile && f.Size > maxSmall:
		return fmt.Sprintf("it holds %d bytes: such files are small", f.Size)
	case f.Kind != wal.SegmentFile:
		return ""
	case r.size == 0:
		return "no segment in the directory begins with a header that can be read"
	case f.Size != r.size:
		return fmt.Sprintf("it holds %d bytes, a segment has %d", f.Size, r.size)
	}
	page, err := firstPage(filepath.Join(r.dir.Path, f.Name))
	if err != nil {
		return err.Error()
	}
	if first && !r.dir.Owned() && allZero(page) {
		return "" // a safekeeper's first segment is zero up to where the timeline starts
	}
	return Judge(page, f, r.size, r.sysid)
}

// Judge compares the first page of a segment with its name, size and cluster,
// and says what does not fit, "" if all does.
func Judge(page []byte, f *File, size int64, sysid uint64) string {
	h, err := wal.ParsePageHeader(page)
	start := f.FileName.Segment.Start(size)
	switch {
	case err != nil:
		return err.Error()
	case h.Major() == 0:
		return fmt.Sprintf("it does not begin with a WAL page of PostgreSQL %d to %d", pg.MinMajor, pg.MaxMajor)
	case !h.Long() || int64(h.SegmentSize) != size:
		return fmt.Sprintf("its header is not that of a segment of %d bytes", size)
	case h.Addr != start:
		return fmt.Sprintf("its header says it starts at %s, its name %s", h.Addr, start)
	case h.TLI > f.TLI:
		return fmt.Sprintf("its header says TLI %d, its name %d", h.TLI, f.TLI)
	case h.SystemID != sysid:
		return fmt.Sprintf("it is of the cluster with system identifier %d, the others here of %d", h.SystemID, sysid)
	}
	return ""
}

// identify learns segment size and system identifier from the lowest segment,
// complete or not, whose header can be read.
func (r *reader) identify(found []string) error {
	if r.size != 0 {
		return nil
	}
	for _, name := range found {
		stem, suffix, _ := strings.Cut(name, ".")
		if !pg.IsSegmentName(stem) || suffix != "" && suffix != "partial" {
			continue
		}
		page, err := firstPage(filepath.Join(r.dir.Path, name))
		if errors.Is(err, fs.ErrPermission) {
			return fmt.Errorf("read WAL directory: %w", err)
		}
		h, perr := wal.ParsePageHeader(page)
		if err != nil || perr != nil || h.Major() == 0 || !h.Long() || !pg.ValidSegmentSize(int64(h.SegmentSize)) {
			continue
		}
		if tli, n, err := pg.ParseSegmentName(stem, int64(h.SegmentSize)); err != nil || n.Start(int64(h.SegmentSize)) != h.Addr || h.TLI > tli {
			continue // a recycled file, or one of another cluster
		}
		r.size, r.sysid = int64(h.SegmentSize), h.SystemID
		return nil
	}
	return nil
}

func firstPage(path string) ([]byte, error) {
	f, err := os.Open(path)
	if err != nil {
		return nil, err
	}
	defer func() { _ = f.Close() }() // it was only read
	page := make([]byte, wal.PageSize)
	if _, err := io.ReadFull(f, page); err != nil {
		return nil, fmt.Errorf("read %s: %w", path, err)
	}
	return page, nil
}

func allZero(b []byte) bool {
	for _, c := range b {
		if c != 0 {
			return false
		}
	}
	return true
}
