package compare

import (
	"bytes"

	"redoubt/internal/pg"
)

// SLRUBetween is what an SLRU page of a running server must be: where the
// official page's entry is what it was before or is after, that, else what it is after.
// Missing pages are all zeros. A transaction's status may also be
// sub-committed on its way from in progress to committed
// (TransactionIdSetTreeStatus, access/transam/clog.c), and in progress though
// it has aborted: a checkpoint does not wait for the abort whose record is
// before its redo pointer (RecordTransactionAbort, access/transam/xact.c), and to
// whoever asks the two are the same.
func SLRUBetween(slru pg.SLRU, official, before, after []byte) []byte {
	o, okO := slruPage(official)
	a, okA := slruPage(before)
	b, okB := slruPage(after)
	if !okO || !okA || !okB {
		return after
	}
	out := bytes.Clone(b)
	if slru == pg.XactSLRU {
		for i := range out {
			out[i] = xactsBetween(o[i], a[i], b[i])
		}
		return out
	}
	n := slruEntry(slru)
	for i := 0; i < len(out); i += n {
		end := min(i+n, len(out))
		if bytes.Equal(o[i:end], a[i:end]) {
			copy(out[i:end], o[i:end])
		}
	}
	return out
}

// slruEntry is how many bytes change at once: flags of multixact members are
// bytes among words, so that there every byte stands for itself.
func slruEntry(slru pg.SLRU) int {
	switch slru {
	case pg.MultiXactOffsetSLRU:
		return 4
	case pg.CommitTsSLRU:
		return commitTsEntry
	}
	return 1
}

func xactsBetween(o, a, b byte) byte {
	const subCommitted, aborted = 3, 2
	out := b
	for shift := 0; shift < 8; shift += 2 {
		so, sa, sb := o>>shift&3, a>>shift&3, b>>shift&3
		if so == sa || so == subCommitted && sa == 0 && sb != aborted || so == 0 && sb == aborted {
			out = out&^(3<<shift) | so<<shift
		}
	}
	return out
}
