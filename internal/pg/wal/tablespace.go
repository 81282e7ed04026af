package wal

import "redoubt/internal/pg"

// Operations of resource manager Tablespace (commands/tablespace.h).
const (
	tblspcCreate = 0x00
	tblspcDrop   = 0x10
)

// TablespaceCreate is Tablespace CREATE (xl_tblspc_create_rec). Path is
// absolute on the primary, or empty for a tablespace within the data directory.
type TablespaceCreate struct {
	Spc  pg.OID
	Path string
}

// DecodeTablespaceCreate decodes CREATE; false for other records.
func DecodeTablespaceCreate(r *Record) (TablespaceCreate, bool, error) {
	if ok, err := r.is(pg.RmgrTablespace, tblspcCreate); !ok {
		return TablespaceCreate{}, false, err
	}
	c := newCursor(r.Main)
	t := TablespaceCreate{Spc: pg.OID(c.u32()), Path: c.cString()}
	if err := r.wantEnd(&c); err != nil {
		return TablespaceCreate{}, false, err
	}
	return t, true, nil
}

// DecodeTablespaceDrop decodes Tablespace DROP (xl_tblspc_drop_rec) and
// returns the tablespace; false for other records.
func DecodeTablespaceDrop(r *Record) (pg.OID, bool, error) {
	if ok, err := r.is(pg.RmgrTablespace, tblspcDrop); !ok {
		return 0, false, err
	}
	c := newCursor(r.Main)
	spc := pg.OID(c.u32())
	if err := r.wantEnd(&c); err != nil {
		return 0, false, err
	}
	return spc, true, nil
}
