package archive

import (
	"context"
	"errors"
	"fmt"
	"io"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// chunkSize is what a stream reads and hands out at a time, chunksAhead how
// many chunks it may be ahead of its consumer: 8 MiB in all.
const (
	chunkSize   = 512 << 10
	chunksAhead = 16
)

// stream reads WAL in the background. It is made for reading onwards; a jump
// back, or over more than what is read ahead, starts the reading anew.
type stream struct {
	src    *Source
	ctx    context.Context
	cancel context.CancelFunc // of the reading; nil if none goes on
	chunks chan chunk
	cur    chunk // the chunk last received
	reuse  bool
	spent  chan []byte // memory of chunks, to be filled again
}

// chunk is a run of pages, or the error in their place.
type chunk struct {
	at   pg.LSN
	data []byte
	err  error
}

func (c *chunk) end() pg.LSN { return c.at + pg.LSN(len(c.data)) }

func newStream(ctx context.Context, src *Source, from pg.LSN) *stream {
	s := &stream{src: src, ctx: ctx, spent: make(chan []byte, chunksAhead)}
	s.start(from &^ (wal.PageSize - 1))
	return s
}

// start begins to read at a page.
func (s *stream) start(at pg.LSN) {
	ctx, cancel := context.WithCancel(s.ctx)
	chunks := make(chan chunk, chunksAhead)
	s.cancel, s.chunks, s.cur = cancel, chunks, chunk{at: at}
	go func() {
		defer close(chunks)
		err := s.src.read(ctx, at, s.room, func(c chunk) error {
			select {
			case chunks <- c:
				return nil
			case <-ctx.Done():
				return ctx.Err()
			}
		})
		select {
		case chunks <- chunk{err: err}: // read ends with an error only
		case <-ctx.Done():
		}
	}()
}

// stop ends the reading and waits until it has ended.
func (s *stream) stop() {
	if s.cancel == nil {
		return
	}
	s.cancel()
	for range s.chunks { // until it is closed
	}
	s.cancel = nil
}

// ReadPages returns pages from at on; see replay.WALStream.
func (s *stream) ReadPages(at pg.LSN) ([]byte, error) {
	if at%wal.PageSize != 0 {
		return nil, fmt.Errorf("read WAL at %s: not the start of a page", at)
	}
	if err := s.ctx.Err(); err != nil {
		return nil, err
	}
	if s.cancel == nil || at < s.cur.at || at > s.cur.end()+chunksAhead*chunkSize {
		s.restart(at)
	}
	for at >= s.cur.end() {
		if s.cur.err != nil {
			if at == s.cur.at {
				return nil, s.cur.err
			}
			s.restart(at) // what failed is before what is asked for
		}
		next, ok := <-s.chunks
		if !ok {
			return nil, s.ctx.Err()
		}
		if next.err != nil {
			next.at = s.cur.end()
		}
		if s.reuse {
			select {
			case s.spent <- s.cur.data:
			default:
			}
		}
		s.cur = next
	}
	return s.cur.data[at-s.cur.at:], nil
}

// Reuse says that what ReadPages returns is wanted only until its next call.
func (s *stream) Reuse() { s.reuse = true }

// room is memory for a chunk of n bytes, at most chunkSize.
func (s *stream) room(n int) []byte {
	select {
	case b := <-s.spent:
		if n <= cap(b) {
			return b[:n]
		}
	default:
	}
	return make([]byte, n, chunkSize)
}

func (s *stream) restart(at pg.LSN) {
	s.stop()
	s.start(at)
}

// Close ends the stream; what it handed out stays valid.
func (s *stream) Close() error {
	s.stop()
	return nil
}

// read hands chunks from the page at on, in memory that room gives, to out,
// segment after segment, until something fails, as it does at the latest where
// the WAL ends. The error is that of the place behind the last chunk.
func (s *Source) read(ctx context.Context, at pg.LSN, room func(int) []byte, out func(chunk) error) error {
	for {
		n := pg.SegmentOf(at, s.t.size)
		p, err := s.open(ctx, n, at)
		if err != nil {
			return err
		}
		err = s.readPiece(p, n, at, room, out)
		if cl := p.file.Close(); err == nil {
			err = cl
		}
		if err != nil {
			return err
		}
		at = (n + 1).Start(s.t.size)
	}
}

// readPiece hands out what a file holds from at on. A file that ends, or may
// be used, only up to before the segment's end leaves the rest missing.
func (s *Source) readPiece(p *piece, n pg.SegmentNo, at pg.LSN, room func(int) []byte, out func(chunk) error) error {
	start, end := n.Start(s.t.size), (n + 1).Start(s.t.size)
	if _, err := io.CopyN(io.Discard, p.file, int64(at-start)); err != nil && err != io.EOF {
		return err
	}
	for at < p.end {
		data := room(int(min(chunkSize-uint64(at)%chunkSize, uint64(p.end-at))))
		got, err := io.ReadFull(p.file, data)
		data = data[:got&^(wal.PageSize-1)]
		if len(data) > 0 {
			if err := out(chunk{at: at, data: data}); err != nil {
				return err
			}
			at += pg.LSN(len(data))
		}
		if errors.Is(err, io.EOF) || errors.Is(err, io.ErrUnexpectedEOF) {
			break
		}
		if err != nil {
			return err
		}
	}
	if at < end {
		missing := &wal.MissingError{Segment: pg.SegmentName(p.left, n, s.t.size), Range: pg.Range{From: at, To: end}}
		return missing
	}
	return drain(p.file)
}

// drain reads the end of a file, where a decompressor checks its sums.
func drain(r io.Reader) error {
	n, err := io.Copy(io.Discard, r)
	if err == nil && n > 0 {
		err = fmt.Errorf("%d bytes follow the end of a segment", n)
	}
	return err
}
