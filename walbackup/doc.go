// Package walbackup is the WAL backup agent: it brings every complete segment
// from local disks into the bucket and keeps the WAL backup LSN, below which
// every segment is there.
//
// One Agent serves all timelines of a machine. For each it stands for election
// at etcd; who wins leads: it uploads what is complete and not in the bucket,
// in parallel and out of order, collects the ranges that are done, and records
// the end of their contiguous prefix in a transaction that only its own term
// can win. An upload never replaces anything, so that a leader who was paused
// past its lease and goes on does no harm.
//
// Every agent, leading or not, serves requests for segments that are missing,
// watches all timelines it knows for alarms, and retires local files that are
// safe: recorded in etcd, found in the bucket, wanted by nobody.
package walbackup
