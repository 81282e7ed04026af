// Package wal decodes PostgreSQL's write-ahead log, majors 14 to 18.
//
// Three layers: pages (page headers, segment sizes, magics), records
// (reassembly across pages and segments, CRC-32C, the xl_prev chain, block
// references, images) and record bodies (one file per resource manager).
//
// A WAL page is 8 KiB:
//
//	xlp_magic u16 | xlp_info u16 | xlp_tli u32 | xlp_pageaddr u64 | xlp_rem_len u32 | pad
//	first page of a segment also: xlp_sysid u64 | xlp_seg_size u32 | xlp_xlog_blcksz u32
//
// Sources: access/xlog_internal.h, access/xlogrecord.h, access/xlogreader.c.
package wal
