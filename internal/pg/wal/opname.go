package wal

import (
	"fmt"

	"redoubt/internal/pg"
)

// opNames holds the names of operations by resource manager and high nibble
// of xl_info, as the *_identify functions of access/rmgrdesc have them in
// PostgreSQL 18. Where a name moved between majors, opNameBefore has the older one.
var opNames = [...][16]string{
	pg.RmgrXLOG: {"CHECKPOINT_SHUTDOWN", "CHECKPOINT_ONLINE", "NOOP", "NEXTOID", "SWITCH", "BACKUP_END",
		"PARAMETER_CHANGE", "RESTORE_POINT", "FPW_CHANGE", "END_OF_RECOVERY", "FPI_FOR_HINT", "FPI",
		0xD: "OVERWRITE_CONTRECORD", 0xE: "CHECKPOINT_REDO"},
	pg.RmgrTransaction: {"COMMIT", "PREPARE", "ABORT", "COMMIT_PREPARED", "ABORT_PREPARED", "ASSIGNMENT", "INVALIDATION"},
	pg.RmgrStorage:     {1: "CREATE", 2: "TRUNCATE"},
	pg.RmgrCLOG:        {"ZEROPAGE", "TRUNCATE"},
	pg.RmgrDatabase:    {"CREATE_FILE_COPY", "CREATE_WAL_LOG", "DROP"},
	pg.RmgrTablespace:  {"CREATE", "DROP"},
	pg.RmgrMultiXact:   {"ZERO_OFF_PAGE", "ZERO_MEM_PAGE", "CREATE_ID", "TRUNCATE_ID"},
	pg.RmgrRelMap:      {"UPDATE"},
	pg.RmgrStandby:     {"LOCK", "RUNNING_XACTS", "INVALIDATIONS"},
	pg.RmgrHeap2: {"REWRITE", "PRUNE_ON_ACCESS", "PRUNE_VACUUM_SCAN", "PRUNE_VACUUM_CLEANUP", "VISIBLE",
		"MULTI_INSERT", "LOCK_UPDATED", "NEW_CID", 0xD: "MULTI_INSERT+INIT"},
	pg.RmgrHeap: {"INSERT", "DELETE", "UPDATE", "TRUNCATE", "HOT_UPDATE", "HEAP_CONFIRM", "LOCK", "INPLACE",
		"INSERT+INIT", 0xA: "UPDATE+INIT", 0xC: "HOT_UPDATE+INIT"},
	pg.RmgrBtree: {"INSERT_LEAF", "INSERT_UPPER", "INSERT_META", "SPLIT_L", "SPLIT_R", "INSERT_POST", "DEDUP",
		"DELETE", "UNLINK_PAGE", "UNLINK_PAGE_META", "NEWROOT", "MARK_PAGE_HALFDEAD", "VACUUM", "REUSE_PAGE", "META_CLEANUP"},
	pg.RmgrHash: {"INIT_META_PAGE", "INIT_BITMAP_PAGE", "INSERT", "ADD_OVFL_PAGE", "SPLIT_ALLOCATE_PAGE", "SPLIT_PAGE",
		"SPLIT_COMPLETE", "MOVE_PAGE_CONTENTS", "SQUEEZE_PAGE", "DELETE", "SPLIT_CLEANUP", "UPDATE_META_PAGE", "VACUUM_ONE_PAGE"},
	pg.RmgrGin: {1: "CREATE_PTREE", 2: "INSERT", 3: "SPLIT", 4: "VACUUM_PAGE", 5: "DELETE_PAGE", 6: "UPDATE_META_PAGE",
		7: "INSERT_LISTPAGE", 8: "DELETE_LISTPAGE", 9: "VACUUM_DATA_LEAF_PAGE"},
	pg.RmgrGist:     {0: "PAGE_UPDATE", 1: "DELETE", 2: "PAGE_REUSE", 3: "PAGE_SPLIT", 6: "PAGE_DELETE", 7: "ASSIGN_LSN"},
	pg.RmgrSequence: {"LOG"},
	pg.RmgrSPGist: {1: "ADD_LEAF", 2: "MOVE_LEAFS", 3: "ADD_NODE", 4: "SPLIT_TUPLE", 5: "PICKSPLIT", 6: "VACUUM_LEAF",
		7: "VACUUM_ROOT", 8: "VACUUM_REDIRECT"},
	pg.RmgrBRIN: {"CREATE_INDEX", "INSERT", "UPDATE", "SAMEPAGE_UPDATE", "REVMAP_EXTEND", "DESUMMARIZE",
		9: "INSERT+INIT", 0xA: "UPDATE+INIT"},
	pg.RmgrCommitTs:          {"ZEROPAGE", "TRUNCATE"},
	pg.RmgrReplicationOrigin: {"SET", "DROP"},
	pg.RmgrLogicalMessage:    {"MESSAGE"},
}

// neonOpNames are those of Neon's resource manager (pgxn/neon_rmgr of Neon,
// neon_rm_identify).
var neonOpNames = [16]string{"INSERT", "DELETE", "UPDATE", "HOT_UPDATE", "LOCK", "MULTI_INSERT",
	8: "INSERT+INIT", 0xA: "UPDATE+INIT", 0xB: "HOT_UPDATE+INIT", 0xD: "MULTI_INSERT+INIT"}

// opNameBefore finds the name of an operation whose code meant something else,
// or nothing, in an older major.
func opNameBefore(r pg.RmgrID, op uint8, major int) (string, bool) {
	switch {
	case r == pg.RmgrXLOG && op == 0xE0 && major < 17:
		return "", true
	case r == pg.RmgrDatabase && major < 15:
		return [16]string{"CREATE", "DROP"}[op>>4], true
	case r == pg.RmgrHeap2 && major < 17 && op >= 0x10 && op <= 0x30:
		return [...]string{"PRUNE", "VACUUM", "FREEZE_PAGE"}[op>>4-1], true
	}
	return "", false
}

// OpName is the name of a record's operation as pg_waldump of that major
// prints it: "HOT_UPDATE", "INSERT+INIT", "CHECKPOINT_ONLINE"; "UNKNOWN (70)"
// for operations that have none. info is the whole xl_info.
func OpName(r pg.RmgrID, info uint8, major int) string {
	if name := opName(r, info, major); name != "" {
		return name
	}
	return fmt.Sprintf("UNKNOWN (%x)", info&0xF0)
}

// opName is OpName, but "" for unknown operations.
func opName(r pg.RmgrID, info uint8, major int) string {
	op := info & 0xF0
	switch r {
	case pg.RmgrTransaction:
		op &= xactOpMask
	case pg.RmgrGeneric:
		return "Generic" // one name, whatever the operation
	}
	name, older := opNameBefore(r, op, major)
	switch {
	case older:
	case r.BuiltIn():
		name = opNames[r][op>>4]
	case r == pg.RmgrNeon && major >= 16:
		name = neonOpNames[op>>4]
	}
	return name
}
