package waldesc

import "redoubt/internal/pg/wal"

// walLevel is a name of wal_level (access/xlog.h, WalLevel).
func walLevel(text string, at int) piece {
	names := [...]string{"minimal", "replica", "logical"}
	return field(text, at, 4, func(d *desc, v uint64) {
		if v < uint64(len(names)) {
			d.text(names[v])
		} else {
			d.text("?")
		}
	})
}

// inBlock reads a piece's field from the data of block 0.
func inBlock(p piece) piece {
	return func(d *desc) {
		main := d.fields
		d.fields = d.blockData()
		p(d)
		d.fields = main
	}
}

// blockData is the data of block 0.
func (d *desc) blockData() fields {
	if b := d.r.Block(0); b != nil {
		return b.Data
	}
	return nil
}

// databaseDrop describes DROP (xl_dbase_drop_rec).
func databaseDrop(d *desc) {
	d.text("dir")
	for i := range d.items(d.u32(4), 8, 4) {
		u4(" ", 8+4*i)(d)
		u4("/", 0)(d)
	}
}

// multiXact describes CREATE_ID (xl_multixact_create).
func multiXact(d *desc) {
	status := [...]string{"keysh", "sh", "fornokeyupd", "forupd", "nokeyupd", "upd"}
	u4("", 0)(d)
	u4(" offset ", 4)(d)
	i4(" nmembers ", 8)(d)
	d.text(": ")
	for i := range d.items(d.u32(8), 12, 8) {
		at := 12 + 8*i
		u4("", at)(d)
		name := "unk"
		if s := d.u32(at + 4); s < uint32(len(status)) {
			name = status[s]
		}
		d.text(" (" + name + ") ")
	}
}

// heapTruncate describes TRUNCATE (xl_heap_truncate).
func heapTruncate(d *desc) {
	bits("", 8, "cascade", "restart_seqs")(d)
	u4("nrelids ", 4)(d)
	d.text(" relids")
	d.numbers(d.u32(4), 12)
}

// logicalMessage describes MESSAGE (xl_logical_message): its prefix, and its
// contents as bytes.
func logicalMessage(d *desc) {
	either("", 4, 0xFF, "transactional", "non-transactional")(d)
	prefix, size := d.u64(8), d.u64(16)
	d.text(`, prefix "` + d.cString(24) + `"; payload (`)
	d.num(size)
	d.text(" bytes): ")
	if prefix > uint64(len(d.fields)) {
		return
	}
	payload := d.from(24 + int(prefix))
	for i, b := range payload[:min(size, uint64(len(payload)))] {
		if i > 0 {
			d.text(" ")
		}
		d.hex(uint64(b), 2)
	}
}

// imageWords says that block 0 has an image, if it has one.
func (d *desc) imageWords() bool {
	b := d.r.Block(0)
	if b == nil || !b.HasImage {
		return false
	}
	if b.Image.Apply {
		d.text(" (full page image)")
	} else {
		d.text(" (full page image, for WAL verification)")
	}
	return true
}

// ginInsert describes INSERT (ginxlogInsert), by kind of tree and page.
func ginInsert(d *desc) {
	bit("isdata: ", 0, 1)(d)
	bit(" isleaf: ", 0, 2)(d)
	data, leaf := d.u8(0)&1 != 0, d.u8(0)&2 != 0
	if !leaf {
		blockID(" children: ", 2)(d)
		blockID("/", 6)(d)
	}
	switch {
	case d.imageWords():
	case !data:
		inBlock(letter(" isdelete: ", 2))(d)
	case leaf:
		d.ginActions()
	default:
		for _, p := range []piece{blockID(" pitem: ", 2), blockID("-", 6), u2("/", 10)} {
			inBlock(p)(d)
		}
	}
}

func ginVacuumLeaf(d *desc) {
	if !d.imageWords() {
		d.ginActions()
	}
}

// ginActions describes changes to the segments of a leaf of a posting tree.
func (d *desc) ginActions() {
	n, _ := d.blockData().uint(0, 2)
	d.text(" ")
	d.num(n)
	d.text(" segments:")
	b := d.r.Block(0)
	if b == nil {
		return
	}
	actions, err := wal.DecodeGinActions(d.r, b)
	if err != nil {
		return
	}
	for {
		a, ok, err := actions.Next()
		if err != nil || !ok {
			return
		}
		d.text(" ")
		d.num(uint64(a.Segment))
		switch a.Kind {
		case wal.GinSegmentAdd:
			d.text(" (add ")
			d.num(uint64(len(a.Items) / 6))
			d.text(" items)")
		case wal.GinSegmentDelete:
			d.text(" (delete)")
		case wal.GinSegmentInsert:
			d.text(" (insert)")
		case wal.GinSegmentReplace:
			d.text(" (replace)")
		}
	}
}
