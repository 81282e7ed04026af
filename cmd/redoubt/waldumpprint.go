package main

import (
	"bufio"
	"cmp"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"slices"
	"strings"
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
	"redoubt/internal/pg/waldesc"
)

// dump writes records or counts them.
type dump struct {
	out    *bufio.Writer
	notes  io.Writer
	keep   func(*wal.Record) bool
	json   bool
	stats  string
	counts map[string]*statLine
	buf    []byte

	dialects wal.Dialects // those that a record read is of and no other
	evidence int64        // such records
	odd      int64        // records that are of none
}

// statLine counts the records of a resource manager or an operation. Sizes are bytes.
type statLine struct {
	Name     string `json:"name"` // Heap, Heap/INSERT
	N        int64  `json:"n"`
	Records  int64  `json:"record_size"` // without images
	Images   int64  `json:"fpi_size"`
	Combined int64  `json:"combined_size"`
}

// dumpedRecord is a record as --format json prints it.
type dumpedRecord struct {
	LSN          pg.LSN        `json:"lsn"`
	End          pg.LSN        `json:"end"` // what redo stores as page LSN
	Prev         pg.LSN        `json:"prev"`
	TLI          pg.TLI        `json:"tli"`
	Rmgr         string        `json:"rmgr"`
	Op           string        `json:"op"`
	Desc         string        `json:"desc,omitempty"` // of PostgreSQL 15 only
	XID          pg.XID        `json:"xid"`
	TopXID       pg.XID        `json:"top_xid,omitempty"`
	Origin       uint16        `json:"origin,omitempty"` // of replication
	Length       uint32        `json:"length"`           // bytes
	RecordLength uint32        `json:"record_length"`    // without images
	MainData     int           `json:"main_data"`        // bytes
	Blocks       []dumpedBlock `json:"blocks"`
}

// dumpedBlock is a block reference.
type dumpedBlock struct {
	ID uint8 `json:"id"`
	finding.Relation
	Block    pg.BlockNumber `json:"block"`
	WillInit bool           `json:"will_init"`
	Data     int            `json:"data"` // bytes
	Image    *dumpedImage   `json:"image,omitempty"`
}

// dumpedImage is a full-page image.
type dumpedImage struct {
	Apply       bool   `json:"apply"` // false: it only proves (wal_consistency_checking)
	Bytes       int    `json:"bytes"` // as stored
	HoleOffset  uint16 `json:"hole_offset"`
	HoleLength  uint16 `json:"hole_length"`
	Compression string `json:"compression"` // none, pglz, lz4, zstd
}

// records handles the records before to; its error is the reader's or that of writing.
func (d *dump) records(reader *wal.Reader, to pg.LSN) error {
	var r wal.Record
	for {
		if err := reader.Next(&r); err != nil {
			return err
		}
		if to != 0 && r.LSN >= to {
			return nil
		}
		d.tell(&r)
		if !d.keep(&r) {
			continue
		}
		if d.stats != "" {
			d.count(&r)
			continue
		}
		if err := d.print(&r); err != nil {
			return err
		}
	}
}

// tell notes what a record says of its dialect, whether it is printed or not.
func (d *dump) tell(r *wal.Record) {
	s := r.Dialects()
	if _, one := s.One(); one {
		d.dialects |= s
		d.evidence++
	}
	if s == 0 {
		d.odd++
	}
}

// noteDialect says what the records read told of their dialect, if it is not
// stock PostgreSQL's.
func (d *dump) noteDialect() {
	one, ok := d.dialects.One()
	switch {
	case d.odd > 0:
		fmt.Fprintf(d.notes, "dialect unknown: %d records are in the format of neither PostgreSQL nor Neon\n", d.odd)
	case d.dialects != 0 && !ok:
		fmt.Fprintln(d.notes, "dialect mixed: some records can only be PostgreSQL's, some only Neon's")
	case ok && one != wal.Postgres:
		fmt.Fprintf(d.notes, "dialect %s: %d records are of no other\n", one, d.evidence)
	}
}

func (d *dump) print(r *wal.Record) error {
	if d.json {
		return json.NewEncoder(d.out).Encode(asJSON(r))
	}
	d.buf = append(r.AppendText(d.buf[:0], describe), '\n')
	_, err := d.out.Write(d.buf)
	return err
}

// describe appends what PostgreSQL's own program says of a record's fields, with
// times as it has them, too, in the time zone of this machine.
func describe(dst []byte, r *wal.Record) []byte { return waldesc.Append(dst, r, time.Local) }

func asJSON(r *wal.Record) dumpedRecord {
	out := dumpedRecord{
		LSN: r.LSN, End: r.End, Prev: r.Prev, TLI: r.TLI, Rmgr: r.Rmgr.String(), Op: wal.OpName(r.Rmgr, r.Info, r.Major),
		XID: r.XID, TopXID: r.TopXID, Origin: r.Origin, Length: r.Length, RecordLength: r.Length - uint32(r.ImageBytes()),
		Desc:     strings.TrimSpace(string(describe(nil, r))),
		MainData: len(r.Main), Blocks: make([]dumpedBlock, len(r.Blocks)),
	}
	for i := range r.Blocks {
		b := &r.Blocks[i]
		out.Blocks[i] = dumpedBlock{ID: b.ID, Relation: finding.RelationOf(b.RelFork), Block: b.Number, WillInit: b.WillInit, Data: len(b.Data)}
		if b.HasImage {
			out.Blocks[i].Image = &dumpedImage{Apply: b.Image.Apply, Bytes: len(b.Image.Bytes), HoleOffset: b.Image.HoleOffset,
				HoleLength: b.Image.HoleLength, Compression: b.Image.Compression.String()}
		}
	}
	return out
}

func (d *dump) count(r *wal.Record) {
	name := r.Rmgr.String()
	if d.stats == "record" {
		name += "/" + wal.OpName(r.Rmgr, r.Info, r.Major)
	}
	l := d.counts[name]
	if l == nil {
		l = &statLine{Name: name}
		d.counts[name] = l
	}
	images := int64(r.ImageBytes())
	l.N++
	l.Images += images
	l.Records += int64(r.Length) - images
}

// summary prints the statistics, if they were asked for: lines and their sum.
func (d *dump) summary() error {
	if d.stats == "" {
		return nil
	}
	lines := make([]statLine, 0, len(d.counts))
	total := statLine{Name: "Total"}
	for _, l := range d.counts {
		l.Combined = l.Records + l.Images
		lines = append(lines, *l)
		total.N, total.Records, total.Images, total.Combined = total.N+l.N, total.Records+l.Records, total.Images+l.Images, total.Combined+l.Combined
	}
	slices.SortFunc(lines, func(a, b statLine) int { return cmp.Compare(a.Name, b.Name) })
	if d.json {
		return json.NewEncoder(d.out).Encode(struct {
			Stats []statLine `json:"stats"`
			Total statLine   `json:"total"`
		}{lines, total})
	}
	_, err := fmt.Fprintf(d.out, "%-36s %12s %16s %16s %16s\n", "Type", "N", "Record size", "FPI size", "Combined size")
	for _, l := range append(lines, total) {
		_, werr := fmt.Fprintf(d.out, "%-36s %12d %16d %16d %16d\n", l.Name, l.N, l.Records, l.Images, l.Combined)
		err = errors.Join(err, werr)
	}
	return err
}
