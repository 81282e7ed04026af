package wal_test

import (
	"encoding/binary"
	"hash/crc32"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

var magicOf = map[int]uint16{14: 0xD10D, 15: 0xD110, 16: 0xD113, 17: 0xD116, 18: 0xD118}

// builder writes WAL as PostgreSQL lays it out, from the start of a segment.
type builder struct {
	major   int
	segment int64
	sysid   uint64
	tli     pg.TLI
	start   pg.LSN
	data    []byte
	prev    pg.LSN
	lsns    []pg.LSN // of all records
}

func newBuilder(major int, segment int64) *builder {
	b := &builder{major: major, segment: segment, sysid: 0x6543210987654321, tli: 1, start: pg.LSN(segment)}
	b.page(0, 0)
	return b
}

func (b *builder) pos() pg.LSN { return b.start + pg.LSN(len(b.data)) }

// page begins a page; the data end at a page boundary.
func (b *builder) page(flags uint16, remaining uint32) {
	at := b.pos()
	h := make([]byte, wal.ShortHeaderSize, wal.LongHeaderSize)
	if uint64(at)%uint64(b.segment) == 0 {
		flags |= 2
		h = h[:wal.LongHeaderSize]
		binary.LittleEndian.PutUint64(h[24:], b.sysid)
		binary.LittleEndian.PutUint32(h[32:], uint32(b.segment))
		binary.LittleEndian.PutUint32(h[36:], wal.PageSize)
	}
	binary.LittleEndian.PutUint16(h, magicOf[b.major])
	binary.LittleEndian.PutUint16(h[2:], flags)
	binary.LittleEndian.PutUint32(h[4:], uint32(b.tli))
	binary.LittleEndian.PutUint64(h[8:], uint64(at))
	binary.LittleEndian.PutUint32(h[16:], remaining)
	b.data = append(b.data, h...)
}

// align moves to where the next record starts.
func (b *builder) align() {
	b.data = append(b.data, make([]byte, -len(b.data)&7)...)
	if len(b.data)%wal.PageSize == 0 {
		b.page(0, 0)
	}
}

// record makes a whole record for the current position, with the right CRC.
func (b *builder) record(rmgr pg.RmgrID, info uint8, xid pg.XID, body []byte) []byte {
	r := make([]byte, 24, 24+len(body))
	binary.LittleEndian.PutUint32(r, uint32(24+len(body)))
	binary.LittleEndian.PutUint32(r[4:], uint32(xid))
	binary.LittleEndian.PutUint64(r[8:], uint64(b.prev))
	r[16], r[17] = info, uint8(rmgr)
	r = append(r, body...)
	seal(r)
	return r
}

// seal sets a record's CRC.
func seal(r []byte) {
	table := crc32.MakeTable(crc32.Castagnoli)
	binary.LittleEndian.PutUint32(r[20:], crc32.Update(crc32.Checksum(r[24:], table), table, r[:20]))
}

// write puts a record into the WAL, across pages where needed.
func (b *builder) write(r []byte) pg.LSN {
	b.align()
	lsn := b.pos()
	for {
		n := min(len(r), wal.PageSize-len(b.data)%wal.PageSize)
		b.data = append(b.data, r[:n]...)
		if r = r[n:]; len(r) == 0 {
			break
		}
		b.page(1, uint32(len(r)))
	}
	b.prev = lsn
	b.lsns = append(b.lsns, lsn)
	return lsn
}

// add makes and writes a record.
func (b *builder) add(rmgr pg.RmgrID, info uint8, xid pg.XID, body []byte) pg.LSN {
	b.align()
	return b.write(b.record(rmgr, info, xid, body))
}

// noop adds a logical message whose whole record is n bytes long.
func (b *builder) noop(n int) pg.LSN {
	return b.add(pg.RmgrLogicalMessage, 0, 7, mainData(pattern(n-24-5)))
}

// fill adds records so that the next one starts left bytes before the page's end.
func (b *builder) fill(left int) {
	for {
		b.align()
		n := wal.PageSize - left - len(b.data)%wal.PageSize
		switch {
		case n == 0:
			return
		case n < 0:
			n += wal.PageSize - wal.ShortHeaderSize // through the next page
		}
		if n < 32 {
			n += wal.PageSize - wal.ShortHeaderSize
		}
		b.noop(n)
	}
}

// bytes is the WAL, the rest of its last page and of its segment zero.
func (b *builder) bytes() []byte {
	return append(b.data[:len(b.data):len(b.data)], make([]byte, -int64(len(b.data))&(b.segment-1))...)
}

// pages is the WAL up to the end of its last page.
func (b *builder) pages() []byte {
	return append(b.data[:len(b.data):len(b.data)], make([]byte, -len(b.data)&(wal.PageSize-1))...)
}

func (b *builder) config() wal.Config {
	return wal.Config{Start: b.start, SegmentSize: b.segment, SystemID: b.sysid}
}

// pattern is n bytes that are not zero.
func pattern(n int) []byte {
	p := make([]byte, max(n, 0))
	for i := range p {
		p[i] = byte(i%251 + 1)
	}
	return p
}

// mainData is main data with its long header.
func mainData(p []byte) []byte {
	return append(binary.LittleEndian.AppendUint32([]byte{254}, uint32(len(p))), p...)
}

// read reads records until an error.
func read(r *wal.Reader) ([]wal.Record, error) {
	var recs []wal.Record
	for {
		var rec wal.Record
		if err := r.Next(&rec); err != nil {
			return recs, err
		}
		recs = append(recs, rec)
	}
}

// readAll reads what the builder wrote in chunks of that size and checks the LSNs.
func (b *builder) readAll(t testing.TB, chunk int) []wal.Record {
	t.Helper()
	r := wal.NewReader(pagesOf(b.start, b.bytes(), b.segment, chunk), b.config())
	recs, err := read(r)
	want := "end of written WAL"
	if !isEnd(err, wal.EndZeroLength, 0) && !isEnd(err, wal.EndZeroPage, 0) {
		t.Fatalf("after %d records: %v, want the %s", len(recs), err, want)
	}
	if len(recs) != len(b.lsns) {
		t.Fatalf("read %d records, want %d", len(recs), len(b.lsns))
	}
	for i := range recs {
		if recs[i].LSN != b.lsns[i] {
			t.Fatalf("record %d is at %s, want %s", i, recs[i].LSN, b.lsns[i])
		}
	}
	return recs
}
