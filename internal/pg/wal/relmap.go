package wal

import "redoubt/internal/pg"

const relmapUpdate = 0x00 // XLOG_RELMAP_UPDATE (utils/relmapper.h)

// RelMapUpdate is RelMap UPDATE: the whole new pg_filenode.map of a database,
// or of the shared relations where DB is 0 (xl_relmap_update).
type RelMapUpdate struct {
	DB   pg.OID
	Spc  pg.OID
	Data []byte // the file's content, aliases the record
}

// sizeOfRelMap is sizeof(RelMapFile): 62 mappings up to 15, 64 since.
func sizeOfRelMap(major int) int {
	if major < 16 {
		return 512
	}
	return 524
}

// DecodeRelMapUpdate decodes RelMap's one operation; any other record is an error.
func DecodeRelMapUpdate(r *Record) (RelMapUpdate, error) {
	ok, err := r.is(pg.RmgrRelMap, relmapUpdate)
	if err != nil {
		return RelMapUpdate{}, err
	}
	if !ok {
		return RelMapUpdate{}, r.dialect("it is not RelMap UPDATE")
	}
	c := newCursor(r.Main)
	m := RelMapUpdate{DB: pg.OID(c.u32()), Spc: pg.OID(c.u32())}
	n := c.count(1)
	m.Data = c.bytes(n)
	if err := r.wantEnd(&c); err != nil {
		return RelMapUpdate{}, err
	}
	if n != sizeOfRelMap(r.Major) {
		return RelMapUpdate{}, r.dialect("relation map has %d bytes, want %d", n, sizeOfRelMap(r.Major))
	}
	return m, nil
}
