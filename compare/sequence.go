package compare

import (
	"bytes"
	"fmt"

	"redoubt/internal/pg/page"
)

// sequence judges two pages of a sequence that differ in last_value and
// log_cnt only.
//
// nextval logs up to SEQ_LOG_VALS (32) values ahead: the record says the state
// after all of them, with log_cnt 0; the server goes on from the value it
// handed out, with log_cnt as the number of logged values that remain, and
// counts both on without WAL (commands/sequence.c, nextval_internal). So
//
//	last_value + log_cnt × increment
//
// is the same on both sides, exactly. The increment is in the catalog: if the
// caller knows it, it must fit; if not, there must be an integer other than 0
// that does, and the explanation names it. Two cases:
//
//   - replayed log_cnt is 0, the official one 1 to 32: replay is ahead;
//   - replayed log_cnt is 1 to 32, because the page came whole (a database
//     copied by WAL_LOG) and not from the base, and the official one is less:
//     replay is behind by values that were used up without WAL.
//
// is_called must be true on both sides: the first nextval always logs.
func sequence(c *pair) (Result, bool) {
	if c.kind != page.KindSequence || !c.onlySequenceValue() {
		return Result{}, false
	}
	o, ok := c.o.Sequence()
	r, ok2 := c.r.Sequence()
	if !ok || !ok2 || !o.IsCalled || !r.IsCalled {
		return Result{}, false
	}
	inc, ok := sequenceIncrement(o, r)
	if !ok || c.in.SeqIncrement != 0 && c.in.SeqIncrement != inc {
		return Result{}, false
	}
	rule, how := RuleSequence, "replay is ahead by"
	if r.LogCnt > 0 {
		if !c.in.Touched {
			return Result{}, false // after a checkpoint the next nextval logs
		}
		rule, how = RuleSequenceImage, "replay is behind by"
	}
	why := fmt.Sprintf("The sequence is at %d, %s %s of %d that PostgreSQL logs in advance.",
		o.LastValue, how, plural(int(max(o.LogCnt-r.LogCnt, r.LogCnt-o.LogCnt)), "increment"), inc)
	res := c.benign(rule, why)
	res.SeqIncrement = inc
	return res, true
}

// onlySequenceValue reports whether the normal forms differ in nothing but
// last_value and log_cnt, at the same place.
func (c *pair) onlySequenceValue() bool {
	at, ok := c.o.SequenceValueOffset()
	at2, ok2 := c.r.SequenceValueOffset()
	return ok && ok2 && at == at2 && bytes.Equal(c.on[:at], c.rn[:at]) && bytes.Equal(c.on[at+16:], c.rn[at+16:])
}

// sequenceIncrement is the only increment that leads from the official to the
// replayed state by the values logged in advance; ok is false if none does.
func sequenceIncrement(o, r page.Sequence) (inc int64, ok bool) {
	steps := o.LogCnt - r.LogCnt
	switch {
	case o.LogCnt < 0 || o.LogCnt > page.SequenceLogValues || r.LogCnt < 0 || r.LogCnt > page.SequenceLogValues:
		return 0, false
	case steps == 0 || steps > 0 && r.LogCnt != 0:
		return 0, false
	}
	ahead := r.LastValue - o.LastValue
	if (ahead < 0) != (r.LastValue < o.LastValue) { // overflow
		return 0, false
	}
	if ahead == 0 || ahead%steps != 0 {
		return 0, false
	}
	return ahead / steps, true
}

// sequenceWords says what two sequence pages mean.
func (c *pair) sequenceWords() string {
	o, ok := c.o.Sequence()
	r, ok2 := c.r.Sequence()
	if !ok || !ok2 || o == r {
		return ""
	}
	why := "no increment leads from one to the other"
	if inc := c.in.SeqIncrement; inc != 0 {
		why = fmt.Sprintf("its increment %d, as the catalog has it, does not lead from one to the other", inc)
	}
	return fmt.Sprintf(" The sequence is at last_value %d, log_cnt %d, is_called %t; the WAL leaves it at %d, %d, %t, and %s.",
		o.LastValue, o.LogCnt, o.IsCalled, r.LastValue, r.LogCnt, r.IsCalled, why)
}
