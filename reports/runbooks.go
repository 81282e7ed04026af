package reports

import "redoubt/internal/finding"

// meanings say what each kind is, to somebody who has not met it before.
var meanings = map[finding.Kind]string{
	finding.LostWrite:       "The page is whole, its checksum fits, and it is old: a write that PostgreSQL took for durable never reached the storage, or was undone there. PostgreSQL cannot notice this. Queries return rows as they were, and indexes point to rows that are not there.",
	finding.BitRot:          "Bytes changed without PostgreSQL: on a disk, in a controller, in memory, or in a copy. With data checksums the server refuses the page where the checksum fails (“invalid page in block”); without them, or where the bytes changed before the checksum was made, it serves them.",
	finding.TornPage:        "Half a write: the page is made of 512-byte sectors of two versions. After a crash, full-page images in the WAL repair that, in a base backup its own WAL does. Here nothing did.",
	finding.ZeroedPage:      "One side has nothing but zeros. PostgreSQL takes such a page for one that was never used: what was on it is gone without an error. File systems leave them after a crash, copies of sparse files do, and zero_damaged_pages makes them on purpose.",
	finding.PhantomWrite:    "The page says that it was changed at an LSN at which the WAL has no change to it: a write that belongs to another history (a restored clone, a promoted standby, two servers on one storage), one that went to the wrong block, or WAL that was changed since.",
	finding.MissingRelation: "The WAL creates or keeps a relation that the official side does not have: a file was lost or deleted.",
	finding.ExtraRelation:   "The official side has a relation that the WAL does not know, or dropped: a drop that was undone, or files of another history.",
	finding.SizeMismatch:    "The relation is longer or shorter than the WAL says: a file was cut, or its growth or its truncation was lost.",
	finding.WrongRedo:       "A record was redone, and the page is not the one that the record itself carries, or that the second engine made. An engine is wrong, or the page it started from. That is no proof of damage in production.",
	finding.SLRUMismatch:    "What the server remembers of transactions differs from what the WAL says: rows of a transaction that was rolled back may show, committed ones may vanish. The table pages themselves may all be right.",
	finding.HintBits:        "Differs only in what PostgreSQL itself makes no promise about.",
	finding.Unexplained:     "Both versions have the same LSN and different contents, and no known way of damage explains it: memory, a bug in PostgreSQL or in an extension, a write that nobody logged, or an engine that is wrong.",
}

// falseAlarms say when a finding is none.
var falseAlarms = map[finding.Kind]string{
	finding.LostWrite:       "If the official side was not copied as PostgreSQL wants it (no backup mode, a storage snapshot that is not atomic), or WAL and pages are of two histories. Then very many blocks differ at once, all of them old.",
	finding.BitRot:          "If the server's page is right: then production is not damaged, a copy is. The backup is still not to be restored.",
	finding.TornPage:        "If a running server's files were copied without backup mode: such a copy is torn by nature, and is no backup.",
	finding.ZeroedPage:      "If the server's page has contents: then only the copy lost them. The backup is still not to be restored.",
	finding.PhantomWrite:    "If the WAL is not that of this server's history: compare system identifier and timeline. If full_page_writes or wal_log_hints were switched while the span ran, report it: that should be told from the WAL.",
	finding.MissingRelation: "If the relation was created by a transaction that a crash ended: such files may be missing or left over. Redoubt tells most of them from the catalog; check whether pg_class names it.",
	finding.ExtraRelation:   "If pg_class does not name it, it is a leftover of a crash: it wastes space and harms nothing.",
	finding.SizeMismatch:    "If the blocks that one side lacks hold nothing: a crash between growing a file and using it leaves such a tail.",
	finding.WrongRedo:       "If the next release of Redoubt, or the server engine, makes the page right: then only this engine was wrong. Report the record.",
	finding.SLRUMismatch:    "If all the transactions are older than the cluster's oldest unfrozen one: nobody asks about them any more.",
	finding.HintBits:        "Always: it never changes a verdict.",
	finding.Unexplained:     "If an extension writes pages without WAL, or the bytes are ones whose meaning Redoubt does not know. A second engine settles most of these.",
}
