// Package metrics says in Prometheus' terms what Redoubt verified and found.
//
// Two kinds of metrics live here. What must survive a restart, and what alerts
// are made of (open discrepancies, missing segments, when a job last ran and
// how it ended), is read from the ledger at every scrape, so that `serve` also
// shows what a `run` beside it found. What is only interesting as a rate
// (blocks compared, WAL replayed, spans) counts since the process started.
//
// A ledger that cannot be read keeps the last known state and sets
// redoubt_ledger_up to 0: findings never vanish because a disk did.
//
// docs/metrics.md explains each metric; a test keeps the two together.
package metrics
