package waldesc

// messages describes invalidation messages (storage/sinval.h); db is where
// database and tablespace are, 0: nowhere.
func (d *desc) messages(r run, db int, relcacheFile bool) {
	var database, tablespace uint32
	if db != 0 {
		database, tablespace = d.u32(db), d.u32(db+4)
	}
	d.invalidations(r, database, tablespace, relcacheFile)
}

func (d *desc) invalidations(r run, database, tablespace uint32, relcacheFile bool) {
	if int32(r.n) <= 0 {
		return
	}
	if relcacheFile {
		d.text("; relcache init file inval dbid ")
		d.num(uint64(database))
		d.text(" tsid ")
		d.num(uint64(tablespace))
	}
	d.text("; inval msgs:")
	for i := range d.items(r.n, r.at, messageSize) {
		d.message(r.at + i*messageSize)
	}
}

// message describes one: its first byte is the number of a catalog cache, or
// says what else it is of.
func (d *desc) message(at int) {
	switch id := int8(d.u8(at)); id {
	case -1:
		u4(" catalog ", at+8)(d)
	case -2:
		u4(" relcache ", at+8)(d)
	case -3:
		d.text(" smgr")
	case -4:
		u4(" relmap db ", at+4)(d)
	case -5:
		u4(" snapshot ", at+8)(d)
	default:
		d.text(map[bool]string{true: " catcache ", false: " unrecognized id "}[id >= 0])
		d.signed(int64(id))
	}
}

// standbyInvalidations describes INVALIDATIONS (xl_invalidations).
func standbyInvalidations(d *desc) {
	r, _ := d.runAt(12, messageSize)
	d.invalidations(r, d.u32(0), d.u32(4), d.u8(8) != 0)
}

// standbyLocks describes LOCK (xl_standby_locks).
func standbyLocks(d *desc) {
	const size = 12
	r, _ := d.runAt(0, size)
	for i := range d.items(r.n, r.at, size) {
		at := r.at + i*size
		u4("xid ", at)(d)
		u4(" db ", at+4)(d)
		u4(" rel ", at+8)(d)
		d.text(" ")
	}
}

// runningXacts describes RUNNING_XACTS (xl_running_xacts).
func runningXacts(d *desc) {
	u4("nextXid ", 12)(d)
	u4(" latestCompletedXid ", 20)(d)
	u4(" oldestRunningXid ", 16)(d)
	if n := d.u32(0); int32(n) > 0 {
		d.text("; ")
		d.num(uint64(n))
		d.text(" xacts:")
		d.numbers(n, 24)
	}
	d.flag(d.u8(8) != 0, "; subxid ovf")
}
