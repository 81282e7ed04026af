package wire

import (
	"bytes"
	"encoding/binary"

	"redoubt/internal/pg"
)

// Append appends the request as it goes over the wire.
func (q *Request) Append(b []byte) []byte {
	return q.body(q.head(append(b, uint8(q.Op))))
}

func (q *Request) head(b []byte) []byte {
	b = binary.BigEndian.AppendUint64(b, q.ID)
	b = binary.BigEndian.AppendUint64(b, uint64(q.LSN))
	return binary.BigEndian.AppendUint64(b, uint64(q.NotModifiedSince))
}

func (q *Request) body(b []byte) []byte {
	u32 := binary.BigEndian.AppendUint32
	switch q.Op {
	case Exists, Blocks, GetPage:
		b = u32(u32(u32(b, uint32(q.Rel.Spc)), uint32(q.Rel.DB)), uint32(q.Rel.Rel))
		b = append(b, uint8(q.Rel.Fork))
		if q.Op == GetPage {
			b = u32(b, uint32(q.Block))
		}
	case DBSize:
		b = u32(b, uint32(q.Database))
	case GetSLRUSegment:
		b = u32(append(b, uint8(q.SLRU)), q.Segment)
	}
	return b
}

// Append appends the response as it goes over the wire.
func (p *Response) Append(b []byte) []byte {
	if p.Failed {
		return append(append(p.head(append(b, tagError)), p.Error...), 0)
	}
	b = p.body(p.head(append(b, p.Op.answer())))
	switch p.Op {
	case Exists:
		if p.Exists {
			return append(b, 1)
		}
		return append(b, 0)
	case Blocks:
		return binary.BigEndian.AppendUint32(b, p.Blocks)
	case GetPage:
		return append(b, p.Pages...)
	case DBSize:
		return binary.BigEndian.AppendUint64(b, uint64(p.Bytes))
	case GetSLRUSegment:
		b = binary.BigEndian.AppendUint32(b, uint32(len(p.Pages)/pg.BlockSize))
		return append(b, p.Pages...)
	}
	return b
}

// ParseRequest reads a request: nothing may be missing, nothing left over.
func ParseRequest(b []byte) (q Request, err error) {
	r := reader{b: b}
	q.Op = Op(r.u8())
	q.readHead(&r)
	q.readBody(&r)
	return q, r.end()
}

func (q *Request) readHead(r *reader) {
	q.ID, q.LSN, q.NotModifiedSince = r.u64(), pg.LSN(r.u64()), pg.LSN(r.u64())
}

func (q *Request) readBody(r *reader) {
	switch q.Op {
	case Exists, Blocks, GetPage:
		q.Rel.Spc, q.Rel.DB, q.Rel.Rel = pg.OID(r.u32()), pg.OID(r.u32()), pg.OID(r.u32())
		q.Rel.Fork = pg.ForkNumber(r.u8())
		if q.Rel.Fork > pg.InitFork {
			r.fail("fork number %d", uint8(q.Rel.Fork))
		}
		if q.Op == GetPage {
			q.Block = pg.BlockNumber(r.u32())
		}
	case DBSize:
		q.Database = pg.OID(r.u32())
	case GetSLRUSegment:
		q.SLRU, q.Segment = SLRUKind(r.u8()), r.u32()
		if _, ok := q.SLRU.SLRU(); !ok {
			r.fail("SLRU %d", uint8(q.SLRU))
		}
	default:
		r.fail("a tag %d of requests is not known", uint8(q.Op))
	}
}

// ParseResponse reads a response: nothing may be missing, nothing left over.
// Its pages alias b.
func ParseResponse(b []byte) (p Response, err error) {
	r := reader{b: b}
	tag := r.u8()
	op, known := opOf(tag)
	switch {
	case tag == tagError:
		p.readHead(&r)
		p.Failed, p.Error = true, r.text()
	case known:
		p.Op = op
		p.readHead(&r)
		p.readBody(&r)
		p.readAnswer(&r)
	default:
		r.fail("a tag %d of responses is not known", tag)
	}
	return p, r.end()
}

func (p *Response) readAnswer(r *reader) {
	switch p.Op {
	case Exists:
		there := r.u8()
		if there > 1 {
			r.fail("%d for whether a relation exists", there)
		}
		p.Exists = there == 1
	case Blocks:
		p.Blocks = r.u32()
	case GetPage:
		p.Pages = r.take(pg.BlockSize)
	case DBSize:
		if p.Bytes = int64(r.u64()); p.Bytes < 0 {
			r.fail("a database of %d bytes", p.Bytes)
		}
	case GetSLRUSegment:
		n := r.u32()
		if n > pg.SLRUPagesPerSegment {
			r.fail("an SLRU segment of %d pages", n)
			return
		}
		p.Pages = r.take(int(n) * pg.BlockSize)
	}
}

// Answers says whether p is the answer to q: a server repeats what it was asked.
func (p *Response) Answers(q *Request) bool {
	if p.Failed {
		return p.Header == q.Header
	}
	return p.Request == *q
}

// reader reads a message; its first error stays.
type reader struct {
	b   []byte
	at  int
	err error
}

func (r *reader) fail(format string, args ...any) {
	if r.err == nil {
		r.err = formatErrorf(r.at, format, args...)
	}
}

func (r *reader) take(n int) []byte {
	if r.err != nil || n > len(r.b)-r.at {
		r.fail("%d bytes are wanted, %d are there", n, len(r.b)-r.at)
		return nil
	}
	r.at += n
	return r.b[r.at-n : r.at : r.at]
}

func (r *reader) u8() uint8 {
	if b := r.take(1); b != nil {
		return b[0]
	}
	return 0
}

func (r *reader) u32() uint32 {
	if b := r.take(4); b != nil {
		return binary.BigEndian.Uint32(b)
	}
	return 0
}

func (r *reader) u64() uint64 {
	if b := r.take(8); b != nil {
		return binary.BigEndian.Uint64(b)
	}
	return 0
}

// text reads a text that a zero byte ends.
func (r *reader) text() string {
	if r.err != nil {
		return ""
	}
	n := bytes.IndexByte(r.b[r.at:], 0)
	if n < 0 {
		r.fail("a text has no end")
		return ""
	}
	return string(r.take(n + 1)[:n])
}

// end says what went wrong, bytes that are left over included.
func (r *reader) end() error {
	if r.err == nil && r.at != len(r.b) {
		r.fail("%d bytes are left over", len(r.b)-r.at)
	}
	return r.err
}
