// Package scheduler says when and which: it fires jobs by their schedules,
// picks timelines, cuts them into spans at the LSNs where official pages
// exist, replays the spans side by side and keeps the record of the run.
//
//	Loop ── tick ──> Runner.Run ── Pick ── Cut ── arrange ──> plan, in the ledger
//	                     └── spans and scans, as many at once as allowed ──> ledger ──> Verdict
//
// What it promises:
//
//   - The plan is in the ledger before the first span starts, and each result
//     as soon as it is there. A run that ends early, by a kill or because its
//     context ended, stays unfinished; the next start resumes exactly what is left.
//   - A span that fails is data: it is recorded as inconclusive with the
//     reason, and the others go on. Only the end of the context and a
//     ledger that cannot be written stop a run.
//   - Runs of a job never overlap, and a run that did not happen is counted.
//   - The same seed and the same inputs give the same picks and the same order.
//   - No timeline waits for ever; shadow timelines are never picked.
//   - A night in which nothing was checked is inconclusive, never clean.
package scheduler
