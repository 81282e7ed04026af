package waldesc

import "redoubt/internal/pg"

// customPieces are of extensions' resource managers, which only they can describe
// (bin/pg_waldump/rmgrdesc.c, default_desc).
var customPieces = []piece{func(d *desc) {
	d.text("rmid: ")
	d.num(uint64(d.r.Rmgr))
}}

// checkPoint are the fields of CheckPoint (catalog/pg_control.h).
func checkPoint(how string) []piece {
	return []piece{
		lsn("redo ", 0), u4("; tli ", 8), u4("; prev tli ", 12), either("; fpw ", 16, 0xFF, "true", "false"), fullXID("; xid ", 24),
		u4("; oid ", 32), u4("; multi ", 36), u4("; offset ", 40), u4("; oldest xid ", 44), u4(" in DB ", 48),
		u4("; oldest multi ", 52), u4(" in DB ", 56), u4("; oldest/newest commit timestamp xid: ", 72), u4("/", 76),
		u4("; oldest running xid ", 80), say("; " + how),
	}
}

var parameters = []piece{
	i4("max_connections=", 0), i4(" max_worker_processes=", 4), i4(" max_wal_senders=", 8), i4(" max_prepared_xacts=", 12),
	i4(" max_locks_per_xact=", 16), walLevel(" wal_level=", 20),
	either(" wal_log_hints=", 24, 0xFF, "on", "off"), either(" track_commit_timestamp=", 25, 0xFF, "on", "off"),
}

var (
	btreeInsert = []piece{u2("off ", 0)}
	btreeSplit  = []piece{u4("level ", 0), u2(", firstrightoff ", 4), u2(", newitemoff ", 6), u2(", postingoff ", 8)}
	btreeUnlink = []piece{
		u4("left ", 0), u4("; right ", 4), u4("; level ", 8), fullXID("; safexid ", 16),
		u4("; leafleft ", 24), u4("; leafright ", 28), u4("; leaftopparent ", 32),
	}
	heapUpdate = []piece{
		u2("off ", 4), u4(" xmax ", 0), x1(" flags ", 7), infobits(" ", 6), u2("; new off ", 12), u4(" xmax ", 8),
	}
)

// table has what is said of each operation, by resource manager and the high
// four bits of its code. Offsets are those of the structs in access/*_xlog.h,
// nbtxlog.h, spgxlog.h, commands/*, storage/standbydefs.h of PostgreSQL 15.
var table = [...][16][]piece{
	pg.RmgrXLOG: {
		0x0: checkPoint("shutdown"), 0x1: checkPoint("online"), 0x3: {u4("", 0)}, 0x5: {lsn("", 0)}, 0x6: parameters,
		0x7: {str("", 8)}, 0x8: {either("", 0, 0xFF, "true", "false")},
		0x9: {u4("tli ", 8), u4("; prev tli ", 12), stamp("; time ", 0)}, 0xD: {lsn("lsn ", 0), stamp("; time ", 8)},
	},
	pg.RmgrTransaction: {
		0x0: {xactEnd}, 0x1: {xactPrepare}, 0x2: {xactEnd}, 0x3: {xactEnd}, 0x4: {xactEnd}, 0x5: {xactAssignment}, 0x6: {xactInvalidations},
	},
	pg.RmgrStorage: {
		0x1: {path(0, 12)}, 0x2: {path(4, -1), u4(" to ", 0), i4(" blocks flags ", 16)},
	},
	pg.RmgrCLOG: {
		0x0: {i4("page ", 0)}, 0x1: {i4("page ", 0), u4("; oldestXact ", 4)},
	},
	pg.RmgrDatabase: {
		0x0: {u4("copy dir ", 12), u4("/", 8), u4(" to ", 4), u4("/", 0)}, 0x1: {u4("create dir ", 4), u4("/", 0)}, 0x2: {databaseDrop},
	},
	pg.RmgrTablespace: {
		0x0: {u4("", 0), str(` "`, 4), say(`"`)}, 0x1: {u4("", 0)},
	},
	pg.RmgrMultiXact: {
		0x0: {i4("", 0)}, 0x1: {i4("", 0)}, 0x2: {multiXact},
		0x3: {u4("offsets [", 4), u4(", ", 8), u4("), members [", 12), u4(", ", 16), say(")")},
	},
	pg.RmgrRelMap: {
		0x0: {u4("database ", 0), u4(" tablespace ", 4), i4(" size ", 8)},
	},
	pg.RmgrStandby: {
		0x0: {standbyLocks}, 0x1: {runningXacts}, 0x2: {standbyInvalidations},
	},
	pg.RmgrHeap2: {
		0x1: {u4("latestRemovedXid ", 0), u2(" nredirected ", 4), u2(" ndead ", 6)}, 0x2: {u2("nunused ", 0)},
		0x3: {u4("cutoff xid ", 0), u2(" ntuples ", 4)}, 0x4: {u4("cutoff xid ", 0), x1(" flags ", 4)},
		0x5: {u2("", 2), x1(" tuples flags ", 0)}, 0x6: {u2("off ", 4), u4(": xmax ", 0), x1(": flags ", 7), infobits(" ", 6)},
		0x7: {
			rel("rel ", 16), blockID("; tid ", 28), u2("/", 32), u4("; cmin: ", 4), u4(", cmax: ", 8), u4(", combo: ", 12),
		},
	},
	pg.RmgrHeap: {
		0x0: {u2("off ", 0), x1(" flags ", 2)}, 0x1: {u2("off ", 4), x1(" flags ", 7), infobits(" ", 6)},
		0x2: heapUpdate, 0x3: {heapTruncate}, 0x4: heapUpdate, 0x5: {u2("off ", 0)},
		0x6: {u2("off ", 4), u4(": xid ", 0), x1(": flags ", 7), infobits(" ", 6)}, 0x7: {u2("off ", 0)},
	},
	pg.RmgrBtree: {
		0x0: btreeInsert, 0x1: btreeInsert, 0x2: btreeInsert, 0x3: btreeSplit, 0x4: btreeSplit, 0x5: btreeInsert,
		0x6: {u2("nintervals ", 0)}, 0x7: {u4("latestRemovedXid ", 0), u2("; ndeleted ", 4), u2("; nupdated ", 6)},
		0x8: btreeUnlink, 0x9: btreeUnlink, 0xA: {u4("lev ", 4)},
		0xB: {u4("topparent ", 16), u4("; leaf ", 4), u4("; left ", 8), u4("; right ", 12)},
		0xC: {u2("ndeleted ", 0), u2("; nupdated ", 2)}, 0xD: {rel("rel ", 0), fullXID("; latestRemovedXid ", 16)},
		0xE: {inBlock(u4("last_cleanup_num_delpages ", 20))},
	},
	pg.RmgrHash: {
		0x0: {double("num_tuples ", 0), u2(", fillfactor ", 12)}, 0x1: {u2("bmsize ", 0)}, 0x2: {u2("off ", 0)},
		0x3: {u2("bmsize ", 0), letter(", bmpage_found ", 2)},
		0x4: {u4("new_bucket ", 0), bit(", meta_page_masks_updated ", 8, 1), bit(", issplitpoint_changed ", 8, 2)},
		0x6: {u2("old_bucket_flag ", 0), u2(", new_bucket_flag ", 2)}, 0x7: {u2("ntups ", 0), letter(", is_primary ", 2)},
		0x8: {u4("prevblkno ", 0), u4(", nextblkno ", 4), u2(", ntups ", 8), letter(", is_primary ", 10)},
		0x9: {letter("clear_dead_marking ", 0), letter(", is_primary ", 1)}, 0xB: {double("ntuples ", 0)},
		0xC: {i4("ntuples ", 4), u4(", latestRemovedXid ", 0)},
	},
	pg.RmgrGin: {
		0x2: {ginInsert}, 0x3: {bit("isrootsplit: ", 24, 4), bit(" isdata: ", 24, 1), bit(" isleaf: ", 24, 2)},
		0x8: {i4("ndeleted: ", 56)}, 0x9: {ginVacuumLeaf},
	},
	pg.RmgrGist: {
		0x1: {u4("delete: latestRemovedXid ", 0), u2(", nitems: ", 4)},
		0x2: {rel("rel ", 0), u4("; blk ", 12), fullXID("; latestRemovedXid ", 16)},
		0x3: {u2("page_split: splits to ", 18), say(" pages")}, 0x6: {fullXID("deleteXid ", 0), u2("; downlink ", 8)},
	},
	pg.RmgrSequence: {
		0x0: {rel("rel ", 0)},
	},
	pg.RmgrSPGist: {
		0x1: {
			u2("off: ", 2), u2(", headoff: ", 4), u2(", parentoff: ", 6), u2(", nodeI: ", 8), when(0, " (newpage)"), when(1, " (nulls)"),
		},
		0x2: {
			u2("nmoves: ", 0), u2(", parentoff: ", 6), u2(", nodeI: ", 8), when(2, " (newpage)"), when(3, " (replacedead)"), when(4, " (nulls)"),
		},
		0x3: {
			u2("off: ", 0), u2(", newoff: ", 2), i1(", parentBlk: ", 5), u2(", parentoff: ", 6), u2(", nodeI: ", 8), when(4, " (newpage)"),
		},
		0x4: {u2("prefixoff: ", 0), u2(", postfixoff: ", 2), when(4, " (newpage)"), when(5, " (same)")},
		0x5: {
			u2("ndelete: ", 2), u2(", ninsert: ", 4), u2(", inneroff: ", 8), u2(", parentoff: ", 14), u2(", nodeI: ", 16),
			when(12, " (innerIsParent)"), when(11, " (nulls)"), when(0, " (isRootSplit)"),
		},
		0x6: {u2("ndead: ", 0), u2(", nplaceholder: ", 2), u2(", nmove: ", 4), u2(", nchain: ", 6)},
		0x7: {u2("ndelete: ", 0)}, 0x8: {u2("ntoplaceholder: ", 0), u2(", firstplaceholder: ", 2), u4(", newestredirectxid: ", 4)},
	},
	pg.RmgrBRIN: {
		0x0: {u2("v", 4), u4(" pagesPerRange ", 0)}, 0x1: {u4("heapBlk ", 0), u4(" pagesPerRange ", 4), u2(" offnum ", 8)},
		0x2: {u4("heapBlk ", 4), u4(" pagesPerRange ", 8), u2(" old offnum ", 0), u2(", new offnum ", 12)},
		0x3: {u2("offnum ", 0)}, 0x4: {u4("targetBlk ", 0)},
		0x5: {u4("pagesPerRange ", 0), u4(", heapBlk ", 4), u2(", page offset ", 8)},
	},
	pg.RmgrCommitTs: {
		0x0: {i4("", 0)}, 0x1: {i4("pageno ", 0), u4(", oldestXid ", 4)},
	},
	pg.RmgrReplicationOrigin: {
		0x0: {u2("set ", 8), lsn("; lsn ", 0), u1("; force: ", 10)}, 0x1: {u2("drop ", 0)},
	},
	pg.RmgrLogicalMessage: {
		0x0: {logicalMessage},
	},
}
