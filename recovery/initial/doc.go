// Package initial keeps a timeline's first data directory: what initdb made,
// or a base backup of it, without which WAL alone rebuilds nothing. It says
// which files of a data directory belong into the snapshot, and proves that
// the snapshot and the timeline's WAL fit.
package initial
