// Package compare says whether two versions of a page differ in a way that
// matters, and what the difference is evidence of.
//
// Pages compares strictly first; what differs goes through pg/mask's normal
// form; what still differs through the few rules that need to see both pages
// (sequences, visibility maps, page LSNs); what differs then is a
// discrepancy, and gets the first kind of the contract's table that its
// evidence fits. SLRUPages and Sizes do the same for SLRU pages and for
// sizes of relation forks.
//
// The package is pure: bytes in, verdict out. Both pages may hold anything.
// docs/tolerated-differences.md lists every difference that is called benign.
package compare

import "redoubt/internal/pg/mask"

// Rules that need to see both pages, or a relation's files.
const (
	RuleTrailingZero  mask.RuleID = "trailing-zero-blocks"
	RuleEmptyFile     mask.RuleID = "empty-file"
	RuleVMNoBits      mask.RuleID = "vm-no-bits"
	RuleVMCopied      mask.RuleID = "vm-may-lack-bits"
	RuleSequence      mask.RuleID = "sequence-prefetch"
	RuleSequenceImage mask.RuleID = "sequence-after-image"
	RuleLSNHint       mask.RuleID = "lsn-of-hint-record"
	RuleLSNInitFork   mask.RuleID = "lsn-init-fork"
	RuleLSNGistBuild  mask.RuleID = "lsn-gist-build"
	RuleBloomInitFork mask.RuleID = "bloom-init-fork"
	RuleFSM           mask.RuleID = "fsm"
	RuleSLRUAbsent    mask.RuleID = "slru-absent-zero"
	RuleNextMulti     mask.RuleID = "multixact-next-offset"
	RuleUnnamedMulti  mask.RuleID = "multixact-unnamed-offset"
)

// Rules lists every rule that can make a difference benign: the normal form's
// and this package's own.
func Rules() []mask.RuleID {
	return append(mask.Rules(),
		RuleTrailingZero, RuleEmptyFile, RuleVMNoBits, RuleVMCopied, RuleSequence, RuleSequenceImage,
		RuleLSNHint, RuleLSNInitFork, RuleLSNGistBuild, RuleBloomInitFork, RuleFSM,
		RuleSLRUAbsent, RuleNextMulti, RuleUnnamedMulti)
}
