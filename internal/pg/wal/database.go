package wal

import "redoubt/internal/pg"

// dbaseOps are the operations of resource manager Database
// (commands/dbcommands_xlog.h), which moved in 15.
type dbaseOps struct{ copy, create, drop uint8 }

const noOp = 0xFF // equals no operation

func dbaseOpsOf(major int) dbaseOps {
	if major < 15 {
		return dbaseOps{copy: 0x00, create: noOp, drop: 0x10}
	}
	return dbaseOps{copy: 0x00, create: 0x10, drop: 0x20}
}

// DatabaseCopy is CREATE DATABASE by copying files, also ALTER DATABASE SET
// TABLESPACE: Database CREATE_FILE_COPY, CREATE before 15
// (xl_dbase_create_file_copy_rec).
type DatabaseCopy struct {
	Spc, DB       pg.OID
	SrcSpc, SrcDB pg.OID
}

// DecodeDatabaseCopy decodes a file copy; false for other records.
func DecodeDatabaseCopy(r *Record) (DatabaseCopy, bool, error) {
	if ok, err := r.is(pg.RmgrDatabase, dbaseOpsOf(r.Major).copy); !ok {
		return DatabaseCopy{}, false, err
	}
	c := newCursor(r.Main)
	d := DatabaseCopy{DB: pg.OID(c.u32()), Spc: pg.OID(c.u32()), SrcDB: pg.OID(c.u32()), SrcSpc: pg.OID(c.u32())}
	if err := r.wantEnd(&c); err != nil {
		return DatabaseCopy{}, false, err
	}
	return d, true, nil
}

// DatabaseCreate is CREATE DATABASE through the WAL: Database CREATE_WAL_LOG,
// 15 and later (xl_dbase_create_wal_log_rec). It makes the directory with
// PG_VERSION; relation map and pages follow as records of their own.
type DatabaseCreate struct{ Spc, DB pg.OID }

// DecodeDatabaseCreate decodes CREATE_WAL_LOG; false for other records.
func DecodeDatabaseCreate(r *Record) (DatabaseCreate, bool, error) {
	if ok, err := r.is(pg.RmgrDatabase, dbaseOpsOf(r.Major).create); !ok {
		return DatabaseCreate{}, false, err
	}
	c := newCursor(r.Main)
	d := DatabaseCreate{DB: pg.OID(c.u32()), Spc: pg.OID(c.u32())}
	if err := r.wantEnd(&c); err != nil {
		return DatabaseCreate{}, false, err
	}
	return d, true, nil
}

// DatabaseDrop is Database DROP: the database's directories in the listed
// tablespaces go (xl_dbase_drop_rec).
type DatabaseDrop struct {
	DB          pg.OID
	Tablespaces []pg.OID
}

// DecodeDatabaseDrop decodes DROP; false for other records.
func DecodeDatabaseDrop(r *Record) (DatabaseDrop, bool, error) {
	if ok, err := r.is(pg.RmgrDatabase, dbaseOpsOf(r.Major).drop); !ok {
		return DatabaseDrop{}, false, err
	}
	c := newCursor(r.Main)
	d := DatabaseDrop{DB: pg.OID(c.u32())}
	n := c.count(4)
	for range n {
		d.Tablespaces = append(d.Tablespaces, pg.OID(c.u32()))
	}
	if err := r.wantEnd(&c); err != nil {
		return DatabaseDrop{}, false, err
	}
	return d, true, nil
}
