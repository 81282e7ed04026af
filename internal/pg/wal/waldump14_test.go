package wal_test

import (
	"bufio"
	"bytes"
	"encoding/binary"
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pgtest"
)

// TestPostgres14AgainstPgWaldump compares WAL of PostgreSQL 14 with what
// pg_waldump of 15 says of it. That program refuses 14's page magic; but what
// frames records is the same in both, but for the flags of images. So it reads
// a copy in which page magic, these flags and the CRCs are those of 15, and
// judges lengths, transaction, LSNs and block references. The contents of
// PREPARE, which 15 has in another form and would crash on, it must not read.
func TestPostgres14AgainstPgWaldump(t *testing.T) {
	t.Parallel()
	tool := pgtest.Tool(t, 15, "pg_waldump")
	c := pgtest.Server(t, 14, pgtest.WALSegmentMiB(1), pgtest.Checksums(false), pgtest.Conf("max_prepared_transactions", "10"), pgtest.Conf("wal_level", "logical"))
	clients := 1
	if pgtest.Prove() {
		clients = 3
	}
	pgtest.Mixed{Clients: clients, Seed: 5, Rounds: 1}.Run(c)
	c.Exec("CREATE TABLE many AS SELECT i a, repeat(md5(i::text), 10) b FROM generate_series(1, 2000) i",
		"CHECKPOINT", "SET wal_compression = on", "UPDATE many SET b = b || 'x' WHERE a % 40 = 3",
		"SET wal_consistency_checking = 'all'", "UPDATE many SET b = b || 'y' WHERE a % 40 = 5",
		"CREATE INDEX ON many USING gin (string_to_array(b, 'a'))", "CREATE INDEX ON many USING hash (b)")
	c.Stop(pgtest.Fast)
	dir := t.TempDir()
	names := c.CollectWAL(dir)
	_, first, err := pg.ParseSegmentName(names[0], c.SegmentSize)
	if err != nil {
		t.Fatal(err)
	}
	read := func() *wal.Reader {
		return wal.NewReader(directory(dir, 1, c.SegmentSize), wal.Config{
			Start: first.Start(c.SegmentSize), FindFirst: true, SegmentSize: c.SegmentSize, History: wal.NewHistory(1)})
	}
	as15 := &translation{t: t, from: dir, to: t.TempDir(), size: c.SegmentSize, segments: map[pg.SegmentNo][]byte{}}
	as15.records(read())
	as15.write(names)

	cmd := exec.Command(tool, filepath.Join(as15.to, names[0]), filepath.Join(as15.to, names[len(names)-1]))
	var stderr strings.Builder
	cmd.Stderr = &stderr
	out, err := cmd.Output()
	var exit *exec.ExitError
	if err != nil && !errors.As(err, &exit) {
		t.Fatal(err)
	}
	records, blocks := compare14(t, read(), bufio.NewScanner(bytes.NewReader(out)))
	t.Logf("%d records and %d block references equal; images translated: %v; pg_waldump: %s", records, blocks, as15.images, stderr.String())
	if records != as15.n || records < 10_000 || len(as15.images) < 4 {
		t.Errorf("%d records compared of %d: too little for a proof", records, as15.n)
	}
}

func compare14(t *testing.T, r *wal.Reader, lines *bufio.Scanner) (records, blocks int) {
	t.Helper()
	lines.Buffer(nil, 1<<20)
	var rec wal.Record
	for lines.Scan() {
		m := dumpLine.FindStringSubmatch(lines.Text())
		if m == nil {
			t.Fatalf("line not understood: %s", lines.Text())
		}
		if err := r.Next(&rec); err != nil {
			t.Fatalf("record %d: %v; pg_waldump has\n%s", records, err, lines.Text())
		}
		got := fmt.Sprintf("%s %d/%d %d %s %s", rec.Rmgr, lengthWithoutImages(&rec), rec.Length, rec.XID, waldumpLSN(rec.LSN), waldumpLSN(rec.Prev))
		if want := strings.Join([]string{m[1], m[2] + "/" + m[3], m[4], m[5], m[6]}, " "); got != want {
			t.Fatalf("record differs\ngot  %s\nwant %s", got, want)
		}
		if refs := blockRefs(&rec); !strings.HasSuffix(m[7], refs) || strings.Count(m[7], "blkref #") != len(rec.Blocks) {
			t.Fatalf("block references differ\ngot  %s\n%s", refs, lines.Text())
		}
		records++
		blocks += len(rec.Blocks)
	}
	return records, blocks
}

// translation rewrites WAL of 14 as that of 15.
type translation struct {
	t        *testing.T
	from, to string
	size     int64
	segments map[pg.SegmentNo][]byte
	images   map[byte]int // by their flags in 14
	n        int
}

func (x *translation) segment(no pg.SegmentNo) []byte {
	if x.segments[no] == nil {
		b, err := os.ReadFile(filepath.Join(x.from, pg.SegmentName(1, no, x.size)))
		if err != nil {
			x.t.Fatal(err)
		}
		x.segments[no] = b
	}
	return x.segments[no]
}

// byteAt is the place of one byte of WAL.
func (x *translation) byteAt(at pg.LSN) *byte {
	no := pg.SegmentOf(at, x.size)
	return &x.segment(no)[at-no.Start(x.size)]
}

func (x *translation) records(r *wal.Reader) {
	x.images = map[byte]int{}
	var rec wal.Record
	for r.Next(&rec) == nil {
		x.n++
		var places []*byte
		for at := rec.LSN; len(places) < int(rec.Length); at++ {
			switch {
			case uint64(at)%uint64(x.size) == 0:
				at += wal.LongHeaderSize
			case at%wal.PageSize == 0:
				at += wal.ShortHeaderSize
			}
			places = append(places, x.byteAt(at))
		}
		x.record(places)
	}
}

// record translates the flags of images in the headers of a record, which end
// where what is left is the data that they announce, and its CRC.
func (x *translation) record(b []*byte) {
	u16 := func(i int) int { return int(*b[i]) | int(*b[i+1])<<8 }
	for i, data := 24, 0; len(b)-i > data; {
		switch id := *b[i]; id {
		case 255: // XLR_BLOCK_ID_DATA_SHORT
			i, data = i+2, data+int(*b[i+1])
		case 254: // XLR_BLOCK_ID_DATA_LONG
			i, data = i+5, data+u16(i+1)+u16(i+3)<<16
		case 253: // XLR_BLOCK_ID_ORIGIN
			i += 3
		case 252: // XLR_BLOCK_ID_TOPLEVEL_XID
			i += 5
		default:
			flags := *b[i+1]
			i, data = i+4, data+u16(i+2)
			if flags&0x10 != 0 { // BKPBLOCK_HAS_IMAGE
				data += u16(i)
				i += 5 + x.image(b[i+4])
			}
			if flags&0x80 == 0 { // no BKPBLOCK_SAME_REL
				i += 12
			}
			i += 4
		}
	}
	const prepare, unknown = 0x10, 0x70 // XLOG_XACT_PREPARE, and an operation that there is not
	if *b[17] == byte(pg.RmgrTransaction) && *b[16]&0x70 == prepare {
		*b[16] |= unknown
	}
	raw := make([]byte, len(b))
	for i := range b {
		raw[i] = *b[i]
	}
	seal(raw)
	for i := 20; i < 24; i++ {
		*b[i] = raw[i]
	}
}

// image translates bimg_info (BKPIMAGE_* in access/xlogrecord.h of 14 and 15)
// and returns how long what follows it is.
func (x *translation) image(info *byte) int {
	const hole, compressed14, apply14, apply15, pglz15 = 1, 2, 4, 2, 4
	was := *info
	x.images[was]++
	*info = was & hole
	if was&apply14 != 0 {
		*info |= apply15
	}
	if was&compressed14 == 0 {
		return 0
	}
	*info |= pglz15
	if was&hole == 0 {
		return 0
	}
	return 2
}

// write writes the segments with 15's page magic.
func (x *translation) write(names []string) {
	for _, name := range names {
		_, no, err := pg.ParseSegmentName(name, x.size)
		if err != nil {
			x.t.Fatal(err)
		}
		b := x.segment(no)
		for at := 0; at < len(b); at += wal.PageSize {
			if binary.LittleEndian.Uint16(b[at:]) == magicOf[14] {
				binary.LittleEndian.PutUint16(b[at:], magicOf[15])
			}
		}
		if err := os.WriteFile(filepath.Join(x.to, name), b, 0o600); err != nil {
			x.t.Fatal(err)
		}
	}
}
