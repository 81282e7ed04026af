package scanner

import (
	"context"
	"errors"
	"fmt"
	"io"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/walfile"
)

const chunkSize = 256 << 10

// errNoMore says that no segment follows the run that is read.
var errNoMore = errors.New("no segment follows")

// fileError is about the file of one segment; its cause tells damage from what
// could not be read.
type fileError struct {
	n   pg.SegmentNo
	err error
}

func (e *fileError) Error() string { return e.err.Error() }
func (e *fileError) Unwrap() error { return e.err }

// pages feeds a wal.Reader from the files of one run of segments, each read
// once and to its end.
type pages struct {
	ctx  context.Context
	w    WAL
	size int64
	// find names the file of a segment, and the TLI whose name it has;
	// errNoMore where there is none.
	find func(n pg.SegmentNo) (walfile.Entry, error)
	// page sees every page once, in order; an error ends the reading.
	page func(e *walfile.Entry, at pg.LSN, page []byte) error
	// left is called when a segment was read to its end without an error.
	left func(n pg.SegmentNo)

	rc    io.ReadCloser // the open segment's; nil if none is
	entry walfile.Entry
	n     pg.SegmentNo
	pos   pg.LSN // what rc yields next

	kept     []chunk // what is at or behind keep, oldest first; before the first forget the last chunk only
	keep     pg.LSN
	zeroFrom pg.LSN // in segment n, nothing but zeros is behind it; 0 if not so
	switchAt pg.LSN
}

type chunk struct {
	at   pg.LSN
	data []byte
}

// read is the reader's wal.PageFunc.
func (p *pages) read(at pg.LSN) ([]byte, error) {
	n := pg.SegmentOf(at, p.size)
	if p.rc != nil && n != p.n {
		if err := p.leave(); err != nil {
			return nil, err
		}
	}
	if p.rc == nil {
		if at != n.Start(p.size) {
			return nil, fmt.Errorf("read WAL at %s: not where a segment starts", at)
		}
		if err := p.enter(n); err != nil {
			return nil, err
		}
	}
	if at != p.pos {
		return nil, fmt.Errorf("read WAL at %s: the next page is that at %s", at, p.pos)
	}
	return p.chunk()
}

func (p *pages) enter(n pg.SegmentNo) error {
	e, err := p.find(n)
	if err != nil {
		return p.of(n, err)
	}
	rc, err := p.w.OpenEntry(p.ctx, e)
	if err != nil {
		return p.of(n, err)
	}
	p.rc, p.entry, p.n, p.pos, p.zeroFrom = rc, e, n, n.Start(p.size), 0
	return nil
}

func (p *pages) of(n pg.SegmentNo, err error) error {
	if errors.Is(err, errNoMore) {
		return err
	}
	return &fileError{n, err}
}

// chunk reads the next pages of the open segment and keeps them.
func (p *pages) chunk() ([]byte, error) {
	end := (p.n + 1).Start(p.size)
	data := make([]byte, min(chunkSize, uint64(end-p.pos)))
	if _, err := io.ReadFull(p.rc, data); err != nil {
		if err == io.EOF || err == io.ErrUnexpectedEOF {
			err = p.damage("it ends at %s", p.pos)
		}
		return nil, p.of(p.n, err)
	}
	at := p.pos
	p.pos += pg.LSN(len(data))
	for off := 0; off < len(data); off += wal.PageSize {
		if err := p.page(&p.entry, at+pg.LSN(off), data[off:off+wal.PageSize]); err != nil {
			return nil, p.of(p.n, err)
		}
	}
	if p.keep == 0 {
		p.kept = nil // no record was read yet: nothing of one has to be kept
	}
	p.kept = append(p.kept, chunk{at, data})
	return data, nil
}

func (p *pages) damage(format string, args ...any) error {
	return &walfile.DamagedError{Key: p.entry.Key, Reason: fmt.Sprintf(format, args...)}
}

// leave reads the open segment to its end, where a decompressor checks its
// sums, and closes it. What a reader did not ask for is behind an XLOG_SWITCH
// and must be zero.
func (p *pages) leave() error {
	end := (p.n + 1).Start(p.size)
	for p.pos < end {
		if _, err := p.chunk(); err != nil {
			return err
		}
		if p.zeroFrom == 0 {
			p.kept = nil
		} else if err := p.checkZeros(); err != nil {
			return err
		}
	}
	if err := p.checkZeros(); err != nil {
		return err
	}
	if _, err := io.Copy(io.Discard, p.rc); err != nil {
		return p.of(p.n, err)
	}
	p.left(p.n)
	return p.close()
}

// checkZeros checks what is kept behind zeroFrom, and drops it.
func (p *pages) checkZeros() error {
	if p.zeroFrom == 0 {
		return nil
	}
	for _, c := range p.kept {
		end := c.at + pg.LSN(len(c.data))
		if end <= p.zeroFrom {
			continue
		}
		from := max(c.at, p.zeroFrom)
		for i, b := range c.data[from-c.at:] {
			if b != 0 {
				return p.of(p.n, p.damage("byte at %s is not zero, behind the XLOG_SWITCH at %s", from+pg.LSN(i), p.switchAt))
			}
		}
		p.zeroFrom = max(p.zeroFrom, end)
	}
	p.kept = nil
	return nil
}

func (p *pages) close() error {
	if p.rc == nil {
		return nil
	}
	err := p.rc.Close()
	p.rc = nil
	return err
}

// forget drops kept pages before the one that holds l.
func (p *pages) forget(l pg.LSN) {
	p.keep = l &^ (wal.PageSize - 1)
	for len(p.kept) > 0 && p.kept[0].at+pg.LSN(len(p.kept[0].data)) <= p.keep {
		p.kept = p.kept[1:]
	}
}

// since lists the kept pages from the one that holds l on.
func (p *pages) since(l pg.LSN) [][]byte {
	var out [][]byte
	from := l &^ (wal.PageSize - 1)
	for _, c := range p.kept {
		for off := 0; off < len(c.data); off += wal.PageSize {
			if c.at+pg.LSN(off) >= from {
				out = append(out, c.data[off:off+wal.PageSize])
			}
		}
	}
	return out
}
