// Package mask knows what two right versions of a page may differ in.
//
// There are two sets of rules. Normalize is the narrow one: what was measured
// to differ between a cleanly stopped primary and a replayed copy of it; two
// pages are equal under the rules if and only if their normal forms are the
// same bytes. MaskConsistency is the wide one of PostgreSQL itself
// (access/common/bufmask.c and each resource manager's rm_mask), for images
// that wal_consistency_checking put into the WAL.
//
// A rule never trusts a page: where bytes are ignored is decided only by
// bytes that are compared. So a damaged line pointer or header can't widen
// what is ignored on one side without differing from the other, and a page
// whose header or items make no sense is compared whole.
//
// docs/tolerated-differences.md lists every rule with its reason.
package mask

// RuleID names one tolerated difference; docs/tolerated-differences.md has a
// row for each.
type RuleID string

// The rules of the normal form.
const (
	RuleChecksum         RuleID = "checksum"
	RuleHole             RuleID = "hole"
	RuleNewPage          RuleID = "new-page"
	RuleHeapPruneXID     RuleID = "heap-prune-xid"
	RuleHeapPageFlags    RuleID = "heap-page-flags"
	RuleHeapCID          RuleID = "heap-cid"
	RuleHeapComboCID     RuleID = "heap-combocid"
	RuleHeapXminHints    RuleID = "heap-xmin-hints"
	RuleHeapXmaxHints    RuleID = "heap-xmax-hints"
	RuleHeapPadding      RuleID = "heap-padding"
	RuleHeapSpeculative  RuleID = "heap-speculative-ctid"
	RuleBtreeLPDead      RuleID = "btree-lp-dead"
	RuleBtreeFlags       RuleID = "btree-flags"
	RuleBtreeCycleID     RuleID = "btree-cycleid"
	RuleHashLPDead       RuleID = "hash-lp-dead"
	RuleHashDeadFlag     RuleID = "hash-dead-flag"
	RuleHashUnused       RuleID = "hash-unused-page"
	RuleGistLPDead       RuleID = "gist-lp-dead"
	RuleGistGarbage      RuleID = "gist-garbage-flag"
	RuleGistTuplesGone   RuleID = "gist-tuples-deleted-flag"
	RuleGinDeleted       RuleID = "gin-deleted-page"
	RuleSPGistLastUsed   RuleID = "spgist-last-used-pages"
	RuleBRINEvacuateFlag RuleID = "brin-evacuate-flag"
)

// Rules lists the rules of the normal form.
func Rules() []RuleID {
	return []RuleID{
		RuleChecksum, RuleHole, RuleNewPage,
		RuleHeapPruneXID, RuleHeapPageFlags, RuleHeapCID, RuleHeapComboCID,
		RuleHeapXminHints, RuleHeapXmaxHints, RuleHeapPadding, RuleHeapSpeculative,
		RuleBtreeLPDead, RuleBtreeFlags, RuleBtreeCycleID,
		RuleHashLPDead, RuleHashDeadFlag, RuleHashUnused,
		RuleGistLPDead, RuleGistGarbage, RuleGistTuplesGone, RuleGinDeleted, RuleSPGistLastUsed, RuleBRINEvacuateFlag,
	}
}
