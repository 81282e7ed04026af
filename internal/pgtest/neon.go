package pgtest

import (
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"hash/crc32"
	"slices"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// There are no servers of Neon's to be judged by. What there is, is one real
// segment of its WAL and the published definitions of its records. So records
// are translated: a stock server's into Neon's dialect, whose redo must then
// give the stock server's pages; and Neon's own into stock PostgreSQL's, which
// a real server then recovers from. The layouts here are written down once
// more, apart from those of package wal, from access/heapam_xlog.h and
// access/neon_xlog.h of Neon's PostgreSQL.

// Bits of the flags of DELETE and UPDATE: an old tuple is behind the record,
// bytes of the new one come from the old one.
const (
	deleteHasOld = 0x06
	updateHasOld = 0x0C
	updatePrefix = 0x20
	updateSuffix = 0x40
	comboCID     = 0x20 // of infobits
)

// Neonised is a stock server's record as Neon's PostgreSQL of that major
// writes it, with command id cid; combo says that this is a combined one where
// a tuple is changed that was there. Records that Neon has not changed stay as
// they are. The result shares memory with r.
func Neonised(r *wal.Record, cid uint32, combo bool) wal.Record {
	n := *r
	n.Dialect = wal.Neon
	n.Blocks = slices.Clone(r.Blocks)
	id := binary.LittleEndian.AppendUint32(nil, cid)
	bits := byte(0)
	if combo {
		bits = comboCID
	}
	own := r.Major >= 16 // a resource manager of its own
	m := r.Main
	switch op := r.Info & 0x70; {
	case r.Rmgr == pg.RmgrHeap && op == 0x00: // INSERT: number, flags
		setData(&n, func(d []byte) []byte { return withCID(d, id) })
		n.Info, n.Rmgr = neonOp(r, own, 0x00)
	case r.Rmgr == pg.RmgrHeap && op == 0x10: // DELETE: xmax, number, infobits, flags
		old := oldTuple(m[8:], m[7]&deleteHasOld != 0, id)
		n.Main = slices.Concat(m[:6], []byte{0xEE, 0xEE}, id, []byte{m[6] | bits, m[7]}, old)
		if own {
			n.Main = slices.Concat(m[:6], []byte{m[6] | bits, m[7]}, id, old)
		}
		n.Info, n.Rmgr = neonOp(r, own, 0x10)
	case r.Rmgr == pg.RmgrHeap && (op == 0x20 || op == 0x40): // UPDATE: as DELETE, then new xmax and number
		old := oldTuple(m[14:], m[7]&updateHasOld != 0, id)
		n.Main = slices.Concat(m[:6], []byte{m[6] | bits, m[7]}, id, m[8:14], old)
		shared := sharedLengths(m[7])
		setData(&n, func(d []byte) []byte { return slices.Concat(d[:shared], withCID(d[shared:], id)) })
		n.Info, n.Rmgr = neonOp(r, own, map[uint8]uint8{0x20: 0x20, 0x40: 0x30}[op])
	case r.Rmgr == pg.RmgrHeap && op == 0x60: // LOCK: xmax, number, infobits, flags
		n.Main = slices.Concat(m[:6], []byte{0xEE, 0xEE}, id, []byte{m[6] | bits, m[7]})
		if own {
			n.Main = slices.Concat(m[:4], id, m[4:6], []byte{m[6] | bits, m[7]})
		}
		n.Info, n.Rmgr = neonOp(r, own, 0x40)
	case r.Rmgr == pg.RmgrHeap2 && op == 0x50: // MULTI_INSERT: flags, count, numbers
		if own {
			n.Main = slices.Concat(m[:4], id, m[4:])
			n.Info, n.Rmgr = neonOp(r, own, 0x50)
			break
		}
		setData(&n, func(d []byte) []byte {
			return eachTuple(d, 7, func(h []byte) []byte { return slices.Concat(h[:6], []byte{0xEE, 0xEE}, id, h[6:]) })
		})
	}
	return n
}

// neonOp is xl_info and resource manager of a change of heap tuples.
func neonOp(r *wal.Record, own bool, op uint8) (uint8, pg.RmgrID) {
	if !own {
		return r.Info, r.Rmgr
	}
	return r.Info&0x8F | op, pg.RmgrNeon
}

// withCID puts a command id before the t_hoff of an xl_heap_header.
func withCID(header, id []byte) []byte { return slices.Concat(header[:4], id, header[4:]) }

func oldTuple(b []byte, there bool, id []byte) []byte {
	if !there {
		return nil
	}
	return withCID(b, id)
}

// setData changes the data of block 0, where there is any.
func setData(r *wal.Record, change func([]byte) []byte) {
	if ref := r.Block(0); ref != nil && ref.HasData {
		ref.Data = change(ref.Data)
	}
}

// eachTuple changes the header of each tuple in the block data of
// MULTI_INSERT, size bytes that begin with the tuple's length, at even
// positions.
func eachTuple(d []byte, size int, change func(header []byte) []byte) (out []byte) {
	for len(d) > 0 {
		n := size + int(binary.LittleEndian.Uint16(d))
		out = slices.Concat(out, change(d[:size]), d[size:n])
		if n += n & 1; n > len(d) {
			n = len(d)
		}
		if d = d[n:]; len(d) > 0 {
			out = append(out, make([]byte, len(out)&1)...)
		}
	}
	return out
}

// stocked is a record of Neon's PostgreSQL 14 or 15 as a stock server writes it.
func stocked(r *wal.Record) wal.Record {
	s := *r
	s.Dialect = wal.Postgres
	s.Blocks = slices.Clone(r.Blocks)
	bare := func(header []byte) []byte { return slices.Concat(header[:4], header[8:]) }
	bits := func(b byte) byte { return b &^ comboCID }
	m := r.Main
	old := func(at int, there bool) []byte {
		if !there {
			return nil
		}
		return bare(m[at:])
	}
	switch op := r.Info & 0x70; {
	case r.Rmgr == pg.RmgrHeap && op == 0x00:
		setData(&s, bare)
	case r.Rmgr == pg.RmgrHeap && op == 0x10:
		s.Main = slices.Concat(m[:6], []byte{bits(m[12]), m[13]}, old(14, m[13]&deleteHasOld != 0))
	case r.Rmgr == pg.RmgrHeap && (op == 0x20 || op == 0x40):
		s.Main = slices.Concat(m[:6], []byte{bits(m[6]), m[7]}, m[12:18], old(18, m[7]&updateHasOld != 0))
		shared := sharedLengths(m[7])
		setData(&s, func(d []byte) []byte { return slices.Concat(d[:shared], bare(d[shared:])) })
	case r.Rmgr == pg.RmgrHeap && op == 0x60:
		s.Main = slices.Concat(m[:6], []byte{bits(m[12]), m[13]})
	case r.Rmgr == pg.RmgrHeap2 && op == 0x50:
		setData(&s, func(d []byte) []byte {
			return eachTuple(d, 13, func(h []byte) []byte { return slices.Concat(h[:6], h[12:]) })
		})
	}
	return s
}

// sharedLengths is how many bytes of an update's block data say how much of
// the new tuple comes from the old one.
func sharedLengths(flags uint8) int {
	n := 0
	for _, bit := range []byte{updatePrefix, updateSuffix} {
		if flags&bit != 0 {
			n += 2
		}
	}
	return n
}

// StockSegment translates the first segment of a timeline of Neon's PostgreSQL
// 14 or 15 so that a stock server can recover from it. initdb is the segment
// that the data directory it goes on from holds in pg_wal: it serves what
// comes before start, which Neon left zero. Every record stays at its LSN, so
// that pages get the same; bytes that command ids took are filled by fragments
// that redo does not look at. It returns the end of the last record.
func StockSegment(segment, initdb []byte, start pg.LSN) ([]byte, pg.LSN, error) {
	size := int64(len(segment))
	first := pg.SegmentOf(start, size).Start(size)
	out := slices.Concat(initdb[:start-first], segment[start-first:])
	r := wal.NewReader(func(at pg.LSN) ([]byte, error) {
		if at-first >= pg.LSN(size) {
			return nil, &wal.MissingError{}
		}
		return segment[at-first:], nil
	}, wal.Config{Start: start, SegmentSize: size, Dialect: wal.Neon})
	for {
		var rec wal.Record
		if err := r.Next(&rec); err != nil {
			var missing *wal.MissingError
			var end *wal.EndError
			if errors.As(err, &missing) || errors.As(err, &end) && end.Reason <= wal.EndZeroLength {
				return out, r.End(), nil
			}
			return nil, 0, err
		}
		if rec.HeapChange() == wal.NoHeapChange {
			continue
		}
		s := stocked(&rec)
		raw, err := fill(Encode(&s, nil), &s, int(rec.Length))
		if err != nil {
			return nil, 0, err
		}
		if err := lay(out, int(rec.LSN-first), raw, int(rec.Length)); err != nil {
			return nil, 0, fmt.Errorf("%s: %w", &rec, err)
		}
	}
}

// fill lengthens a record to a length, or to one that ends within the same 8
// bytes, by fragments that say nothing: an origin of 0 is 3 bytes, a top-level
// transaction of 0 is 5.
func fill(raw []byte, r *wal.Record, want int) ([]byte, error) {
	origin, top := []byte{253, 0, 0}, []byte{252, 0, 0, 0, 0}
	lack := want - len(raw)
	for tops := 0; tops <= lack/5+1; tops++ {
		for origins := 0; origins <= lack/3+1; origins++ {
			if n := len(raw) + 5*tops + 3*origins; (n+7)/8 == (want+7)/8 && (n == want || lack == 4) {
				return Encode(r, slices.Concat(bytes.Repeat(top, tops), bytes.Repeat(origin, origins))), nil
			}
		}
	}
	return nil, fmt.Errorf("%s: %d bytes cannot be filled up to %d", r, len(raw), want)
}

// Encode is a record as it lies in the WAL of 15 to 18 (access/xlogrecord.h),
// with more fragments before its main data. Images must not be compressed.
func Encode(r *wal.Record, more []byte) []byte {
	var head, payload []byte
	for i := range r.Blocks {
		b := &r.Blocks[i]
		same := i > 0 && b.RelFileLocator == r.Blocks[i-1].RelFileLocator
		flags := uint8(b.Fork)
		for _, f := range []struct {
			set bool
			bit uint8
		}{{b.HasImage, 0x10}, {b.HasData, 0x20}, {b.WillInit, 0x40}, {same, 0x80}} {
			if f.set {
				flags |= f.bit
			}
		}
		head = append(head, b.ID, flags)
		head = binary.LittleEndian.AppendUint16(head, uint16(len(b.Data)))
		if b.HasImage {
			info := uint8(0)
			if b.Image.HoleLength > 0 {
				info |= 0x01
			}
			if b.Image.Apply {
				info |= 0x02
			}
			head = binary.LittleEndian.AppendUint16(head, uint16(len(b.Image.Bytes)))
			head = append(binary.LittleEndian.AppendUint16(head, b.Image.HoleOffset), info)
			payload = append(payload, b.Image.Bytes...)
		}
		if !same {
			for _, oid := range []pg.OID{b.Spc, b.DB, b.Rel} {
				head = binary.LittleEndian.AppendUint32(head, uint32(oid))
			}
		}
		head = binary.LittleEndian.AppendUint32(head, uint32(b.Number))
		payload = append(payload, b.Data...)
	}
	if r.Origin != 0 {
		head = binary.LittleEndian.AppendUint16(append(head, 253), r.Origin)
	}
	if r.TopXID != 0 {
		head = binary.LittleEndian.AppendUint32(append(head, 252), uint32(r.TopXID))
	}
	head = append(head, more...)
	switch n := len(r.Main); {
	case n > 255:
		head = binary.LittleEndian.AppendUint32(append(head, 254), uint32(n))
	case n > 0:
		head = append(head, 255, uint8(n))
	}
	raw := make([]byte, 24)
	raw = slices.Concat(raw, head, payload, r.Main)
	binary.LittleEndian.PutUint32(raw, uint32(len(raw)))
	binary.LittleEndian.PutUint32(raw[4:], uint32(r.XID))
	binary.LittleEndian.PutUint64(raw[8:], uint64(r.Prev))
	raw[16], raw[17] = r.Info, uint8(r.Rmgr)
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(raw[20:], crc32.Update(crc32.Checksum(raw[24:], table), table, raw[:20]))
	return raw
}

// lay puts a record in the place of one that was long bytes long, with what is
// left of it in the headers of the pages it goes on.
func lay(segment []byte, at int, raw []byte, long int) error {
	was := long
	for {
		room := wal.PageSize - at%wal.PageSize
		if (len(raw) > room) != (was > room) {
			return errors.New("it would end on another page")
		}
		n := min(len(raw), room)
		clear(segment[at : at+min(was, room)])
		copy(segment[at:], raw[:n])
		if raw = raw[n:]; len(raw) == 0 {
			return nil
		}
		was -= room
		at += n
		binary.LittleEndian.PutUint32(segment[at+16:], uint32(len(raw)))
		at += wal.ShortHeaderSize
	}
}
