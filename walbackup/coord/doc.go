// Package coord is what the agents of a bucket agree on, in etcd: who uploads
// a timeline, and its WAL backup LSN. With requests, it is the only room that
// knows etcd.
//
//	PREFIX/identity                                  a random name of this etcd
//	PREFIX/election/TENANT/TIMELINE/LEASE            who wants to upload; the oldest key leads
//	PREFIX/lsn/TENANT/TIMELINE/TLI                   State as JSON, TLI of 8 hexadecimal digits
//	PREFIX/horizon/TENANT/TIMELINE/SUBSCRIBER        an LSN: local WAL from there on is still wanted
//	PREFIX/request/…, PREFIX/claim/…                 package requests
//
// A leader's term is the create revision of its election key. The key hangs on
// a lease and is gone when the lease ran out, so a transaction that compares
// the key's create revision can only be won by the current leader (fencing): one that
// was paused past its lease and goes on loses it.
package coord
