// Package wire is the messages of Neon's pagestream protocol, version 3, and
// the rule by which a sharded tenant's pages are spread. It is pure: bytes in,
// bytes out.
//
// Each message is the body of one libpq CopyData message, integers big-endian:
//
//	request   tag u8 | id u64 | request LSN u64 | not modified since u64 | what is asked for
//	response  tag u8 | the same, as the request had it                  | the answer
//
//	exists, blocks   tablespace u32 | database u32 | relation u32 | fork u8
//	page             as exists, then block u32
//	database size    database u32
//	SLRU segment     kind u8 | segment u32
//
//	answers: exists u8 (0 or 1); blocks u32; page 8192 bytes; size i64 in bytes;
//	segment: pages u32, then so many pages; error (without what was asked for):
//	text that ends with a zero byte
//
// The reference are Neon's published definitions, libs/pageserver_api/src/pagestream_api.rs
// (PagestreamFeMessage, PagestreamBeMessage), pgxn/neon/pagestore_client.h and, for
// the rule of shards, libs/pageserver_api/src/shard.rs.
package wire
