// Package jobs makes timelines by recovery, many at once under limits, and
// takes them away again.
//
// What it promises:
//
//   - A recovery is in the ledger before Start returns, and each further step
//     before it counts. After a kill at any moment the next start goes on with
//     what is unfinished: recoveries and deletions.
//   - Nobody else, of this process or another, works on a timeline meanwhile: a
//     file beside its directory is locked, and the kernel drops the lock when
//     the process ends, however it ends.
//   - A recovery that fails is data, with a reason, never an error that stops
//     its neighbours.
//   - A directory that is to go loses its pg_control first: no server starts on
//     what is left of it. One on which a server runs is not touched.
//
// How a directory is made is not known here: see Engine.
package jobs
