package compare

import (
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
)

// NoFile is the size of a fork that has no file.
const NoFile = -1

// SizeInput is the files of one relation fork.
type SizeInput struct {
	Rel   pg.RelFork
	Major int
	// Sizes in whole blocks, NoFile if there is no file.
	Official, Replayed int64
	// TornTail is how many bytes the official fork has behind its last whole block.
	TornTail int
	// BlankBeyond: every block beyond the shorter side is Blank.
	BlankBeyond bool
	// BloomInit: the official block 0 is sound and such as BloomInit describes.
	BloomInit bool
	// Base is the fork's size at the start of the span.
	Base int64
	// Dropped is the record of the span that drops the relation, 0 if none does.
	Dropped pg.LSN
	// Nobody: no catalog names the relation, and nothing in the span can have
	// left its file behind.
	Nobody bool
}

// Sizes compares the sizes of a fork, and whether it is there at all. The
// blocks both sides have are compared by Pages. An extra file without blocks
// is a tombstone that the next checkpoint removes; trailing blocks that say
// nothing say the same as missing ones; a missing visibility map is one
// without bits. A main or init fork whose file is missing is never benign.
func Sizes(in SizeInput) Result {
	o, r := in.Official, in.Replayed
	if o == r && in.TornTail == 0 {
		return Result{Equal: true}
	}
	if rule, why := in.tolerated(); rule != "" {
		return Result{Kind: finding.SizeMismatch, Severity: finding.Benign, Blame: finding.BlameUnknown, Rule: rule, Explanation: why}
	}
	res := Result{Kind: finding.SizeMismatch, Severity: finding.Critical, Blame: finding.BlameUnknown}
	switch {
	case o == NoFile:
		res.Kind, res.Blame = finding.MissingRelation, finding.BlameOfficial
		res.Explanation = fmt.Sprintf("The official side has no file of this %s fork; the WAL leaves one of %s.", in.Rel.Fork, plural64(r, "block"))
	case r == NoFile:
		return in.extra(res)
	case in.TornTail != 0:
		res.Blame = finding.BlameOfficial
		res.Explanation = fmt.Sprintf("The official fork has %s and %d bytes, which is no whole number of blocks; the WAL leaves %s.",
			plural64(o, "block"), in.TornTail, plural64(r, "block"))
	case o < r:
		res.Blame = finding.BlameOfficial
		res.Explanation = fmt.Sprintf("The official fork has %s, the WAL leaves %s: blocks %d to %d with their contents are missing.",
			plural64(o, "block"), plural64(r, "block"), o, r-1)
	case in.Base > r && o <= in.Base:
		res.Blame = finding.BlameOfficial
		res.Explanation = fmt.Sprintf("The official fork has %s, the WAL truncates it to %s: the truncation was lost, and blocks %d to %d with their old contents came back.",
			plural64(o, "block"), plural64(r, "block"), r, o-1)
	default:
		res.Explanation = fmt.Sprintf("The official fork has %s, the WAL leaves %s: no WAL wrote the contents of blocks %d to %d, or a truncation was lost.",
			plural64(o, "block"), plural64(r, "block"), r, o-1)
	}
	return res
}

// extra is the verdict on a fork that only the official side has.
func (in *SizeInput) extra(res Result) Result {
	res.Kind = finding.ExtraRelation
	have := fmt.Sprintf("The official side has a %s fork of %s", in.Rel.Fork, plural64(in.Official, "block"))
	switch {
	case in.Dropped != 0:
		res.Severity, res.Blame = finding.Warning, finding.BlameOfficial
		res.Explanation = fmt.Sprintf("%s that the record at %s drops: a relation came back. No catalog names it any more; its file only takes room.", have, in.Dropped)
	case in.Nobody:
		res.Severity, res.Blame = finding.Warning, finding.BlameOfficial
		res.Explanation = have + " that no catalog, base or WAL knows of; no crash in the span can have left it there."
	default:
		res.Explanation = have + " of which neither base nor WAL knows."
	}
	return res
}

// tolerated finds the rule that makes the difference benign, "" if none does.
func (in *SizeInput) tolerated() (mask.RuleID, string) {
	o, r, fork := in.Official, in.Replayed, in.Rel.Fork
	switch {
	case fork == pg.FSMFork:
		return RuleFSM, "The free space map is a hint that is not WAL-logged."
	case in.TornTail != 0:
	case r == NoFile && o == 0:
		return RuleEmptyFile, "An empty file that a dropped relation leaves until the next checkpoint."
	case fork == pg.VMFork && in.BlankBeyond:
		return RuleVMNoBits, "A missing visibility map, or part of one, says the same as one without bits."
	case o != NoFile && in.BlankBeyond:
		return RuleTrailingZero, "Blocks that are all zeros at the end of a fork say the same as missing ones."
	case r == 0 && o == 1 && in.BloomInit:
		return RuleBloomInitFork, "The init fork of an unlogged bloom index is not WAL-logged since PostgreSQL 16."
	}
	return "", ""
}

func plural64(n int64, noun string) string {
	if n == 1 {
		return "1 " + noun
	}
	return fmt.Sprintf("%d %ss", n, noun)
}
