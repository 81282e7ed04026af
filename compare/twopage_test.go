package compare_test

import (
	"bytes"
	"encoding/binary"
	"math"
	"testing"

	"redoubt/compare"
	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/page"
)

func setSequence(p page.Page, last, logCnt int64, called bool) {
	at, _ := p.SequenceValueOffset()
	binary.LittleEndian.PutUint64(p[at:], uint64(last))
	binary.LittleEndian.PutUint64(p[at+8:], uint64(logCnt))
	p[at+16] = 0
	if called {
		p[at+16] = 1
	}
}

func TestSequences(t *testing.T) {
	type state struct {
		last, log int64
		called    bool
	}
	cases := []struct {
		name      string
		o, r      state
		inc       int64
		untouched bool
		rule      string
	}{
		{"ahead by all", state{1, 32, true}, state{33, 0, true}, 0, false, "sequence-prefetch"},
		{"ahead by some", state{30, 3, true}, state{33, 0, true}, 1, false, "sequence-prefetch"},
		{"ahead, untouched", state{30, 3, true}, state{33, 0, true}, 1, true, "sequence-prefetch"},
		{"ahead by sevens", state{100, 5, true}, state{135, 0, true}, 0, false, "sequence-prefetch"},
		{"descending", state{-10, 4, true}, state{-18, 0, true}, -2, false, "sequence-prefetch"},
		{"near the end", state{math.MaxInt64 - 2, 2, true}, state{math.MaxInt64, 0, true}, 0, false, "sequence-prefetch"},
		{"another increment than the catalog's", state{100, 5, true}, state{135, 0, true}, 1, false, ""},
		{"wrong direction for the catalog", state{100, 5, true}, state{95, 0, true}, 1, false, ""},
		{"no whole increment", state{100, 5, true}, state{134, 0, true}, 0, false, ""},
		{"more than 32", state{100, 33, true}, state{133, 0, true}, 0, false, ""},
		{"negative log_cnt", state{100, -5, true}, state{95, 0, true}, 0, false, ""},
		{"behind at log_cnt 0", state{100, 0, true}, state{90, 0, true}, 0, false, ""},
		{"same value, other log_cnt", state{100, 7, true}, state{100, 0, true}, 0, false, ""},
		{"same log_cnt, other value", state{100, 7, true}, state{107, 7, true}, 0, false, ""},
		{"not called", state{1, 32, false}, state{33, 0, true}, 0, false, ""},
		{"copied page, values used up", state{13, 20, true}, state{9, 24, true}, 0, false, "sequence-after-image"},
		{"copied page from the base", state{13, 20, true}, state{9, 24, true}, 0, true, ""},
		{"copied page, official older", state{9, 24, true}, state{13, 20, true}, 0, false, ""},
		{"overflow", state{math.MinInt64, 2, true}, state{math.MaxInt64, 0, true}, 0, false, ""},
	}
	for _, c := range cases {
		in := input(fixture(t, "sequence"))
		setSequence(in.Official, c.o.last, c.o.log, c.o.called)
		setSequence(in.Replayed, c.r.last, c.r.log, c.r.called)
		in.SeqIncrement, in.Touched = c.inc, !c.untouched
		res := compare.Pages(in)
		if string(res.Rule) != c.rule || res.Benign() != (c.rule != "") || res.Equal {
			t.Errorf("%s: rule %q, severity %s: %s", c.name, res.Rule, res.Severity, res.Explanation)
		}
	}
}

// The rule is about two fields: whatever else differs with them counts.
func TestSequenceWithOtherDamage(t *testing.T) {
	in := input(fixture(t, "sequence"))
	setSequence(in.Official, 1, 32, true)
	setSequence(in.Replayed, 33, 0, true)
	in.Official[page.Page(in.Official).ItemID(1).Offset()] ^= 1
	if res := compare.Pages(in); res.Benign() {
		t.Errorf("%+v", res)
	}
}

func vmInput(t *testing.T) compare.Input {
	t.Helper()
	in := input(fixture(t, "vm"))
	clear(in.Official[page.HeaderSize:])
	clear(in.Replayed[page.HeaderSize:])
	return in
}

func TestVisibilityMaps(t *testing.T) {
	in := vmInput(t)
	page.Page(in.Replayed).SetLSN(8)
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleVMNoBits {
		t.Errorf("two maps without bits: %+v", res)
	}
	in.Replayed = make([]byte, pg.BlockSize)
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleVMNoBits {
		t.Errorf("zeros and a map without bits: %+v", res)
	}
	in.Replayed = nil
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleVMNoBits {
		t.Errorf("nothing and a map without bits: %+v", res)
	}
	in.Official[30] = 1
	want(t, compare.Pages(in), finding.SizeMismatch, finding.Critical, finding.BlameUnknown)
}

func TestVisibilityMapThatMayLackBits(t *testing.T) {
	in := vmInput(t)
	in.Block.Number = 2
	in.Official[24], in.Official[25] = 0x03, 0x40
	want(t, compare.Pages(in), finding.Unexplained, finding.Critical, finding.BlameUnknown, "2 heap blocks", "65344", "index-only")
	in.VMMayLackBits = true
	res := compare.Pages(in)
	if !res.Benign() || res.Rule != compare.RuleVMCopied || len(res.Claims) != 2 || res.Claims[0] != 65344 || res.Claims[1] != 65351 {
		t.Errorf("%+v", res)
	}
	in.Replayed[100] = 1 // a bit only replay has
	want(t, compare.Pages(in), finding.Unexplained, finding.Critical, finding.BlameUnknown, "3 heap blocks")
	in.Replayed[100] = 0
	page.Page(in.Official).SetLSN(0x7777770)
	if res := compare.Pages(in); res.Benign() {
		t.Errorf("another LSN: %+v", res)
	}
	at := page.Page(in.Replayed).LSN()
	in.HistoryKnown, in.History = true, []compare.Touch{{End: at}, {End: 0x7777700, MaySetLSN: true}, {End: 0x7777770, MaySetLSN: true}}
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleVMCopied || len(res.Claims) != 2 {
		t.Errorf("the LSN of a record that cleared bits which replay lacked: %+v", res)
	}
	in.History[1].MaySetLSN = false
	if res := compare.Pages(in); res.Benign() {
		t.Errorf("behind a record that changed the replayed page: %+v", res)
	}
	in.History[1].MaySetLSN = true
	page.Page(in.Official).SetLSN(at)
	page.Page(in.Replayed).SetLSN(0x7777770)
	if res := compare.Pages(in); res.Benign() {
		t.Errorf("an older LSN: %+v", res)
	}
}

func TestPageLSNRules(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	at := page.Page(in.Replayed).LSN()
	page.Page(in.Official).SetLSN(0x1000)
	in.HistoryKnown = true
	in.History = []compare.Touch{{End: 0x1000}, {End: 0x2000, MaySetLSN: true}, {End: at, MaySetLSN: true}}
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleLSNHint {
		t.Errorf("only hints since: %+v", res)
	}
	in.Official, in.Replayed = in.Replayed, in.Official
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleLSNHint {
		t.Errorf("the other way round: %+v", res)
	}
	in.Official, in.Replayed = in.Replayed, in.Official
	in.History[1].MaySetLSN = false
	want(t, compare.Pages(in), finding.LostWrite, finding.Critical, finding.BlameOfficial)
	in.History[1].MaySetLSN = true
	in.History[0].End = 0x900
	want(t, compare.Pages(in), finding.PhantomWrite, finding.Critical, finding.BlameUnknown)
	in.BaseLSN = 0x1000
	if res := compare.Pages(in); !res.Benign() {
		t.Errorf("the base's LSN: %+v", res)
	}
	in.HistoryKnown = false
	if res := compare.Pages(in); res.Benign() {
		t.Errorf("unknown history: %+v", res)
	}

	in = input(fixture(t, "gist-leaf"))
	page.Page(in.Official).SetLSN(1)
	in.Major = 16
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleLSNGistBuild {
		t.Errorf("%+v", res)
	}
	in.Major = 17
	want(t, compare.Pages(in), finding.PhantomWrite, finding.Critical, finding.BlameOfficial)

	in = input(fixture(t, "btree-meta"))
	page.Page(in.Official).SetLSN(0)
	in.Block.Fork, in.Major = pg.InitFork, 15
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleLSNInitFork {
		t.Errorf("%+v", res)
	}
	in.Major = 16
	want(t, compare.Pages(in), finding.PhantomWrite, finding.Critical, finding.BlameUnknown)
}

// hinted makes tuple 1 carry those hints on one side or the other.
func hinted(in *compare.Input, o, r uint16) {
	for p, bits := range map[*[]byte]uint16{&in.Official: o, &in.Replayed: r} {
		h, _ := page.Page(*p).HeapTuple(1)
		h.SetXmin(900)
		h.SetXmax(901)
		h.SetInfomask(h.Infomask()&^0x1FF0 | bits)
	}
}

func TestContradictoryHints(t *testing.T) {
	states := map[pg.XID]compare.XactState{900: compare.XactCommitted, 901: compare.XactAborted}
	const (
		xminC, xminI = page.HeapXminCommitted, page.HeapXminInvalid
		xmaxC, xmaxI = page.HeapXmaxCommitted, page.HeapXmaxInvalid
	)
	cases := []struct {
		name   string
		o, r   uint16
		states bool
		wrong  bool
	}{
		{"hint on one side", xminC, 0, false, false},
		{"opposed", xminC, xminI, false, true},
		{"opposed the other way", xminI, xminC, false, true},
		{"xmax opposed", xminC | xmaxC, xminC | xmaxI, false, true},
		{"lock gone", xmaxI | page.HeapXmaxLockOnly, xmaxC | page.HeapXmaxLockOnly, false, false},
		{"multixact", xmaxI | page.HeapXmaxIsMulti, xmaxC | page.HeapXmaxIsMulti, false, false},
		{"by pg_xact", xminC | xmaxI, 0, true, false},
		{"xmin against pg_xact", xminI, 0, true, true},
		{"xmax against pg_xact", xmaxC, 0, true, true},
		{"only the replayed side hints", 0, xminI, true, false},
	}
	for _, c := range cases {
		in := input(fixture(t, "heap-hints"))
		hinted(&in, c.o, c.r)
		if c.states {
			in.XactState = func(x pg.XID) compare.XactState { return states[x] }
		}
		res := compare.Pages(in)
		if c.wrong {
			want(t, res, finding.Unexplained, finding.Critical, finding.BlameUnknown, "Tuple 1", "hint bits")
		} else if !res.Benign() {
			t.Errorf("%s: %s", c.name, res.Explanation)
		}
	}
}

// A transaction that crashed has no status; one that runs or crashed has not committed.
func TestHintsOfTransactionsWithoutStatus(t *testing.T) {
	in := input(fixture(t, "heap-hints"))
	in.XactState = func(pg.XID) compare.XactState { return compare.XactUnknown }
	hinted(&in, page.HeapXminInvalid, 0)
	if res := compare.Pages(in); !res.Benign() {
		t.Errorf("%+v", res)
	}
	hinted(&in, page.HeapXminCommitted, 0)
	want(t, compare.Pages(in), finding.Unexplained, finding.Critical, finding.BlameUnknown, "did not end")
}

func TestFreeSpaceMapsDontCount(t *testing.T) {
	in := input(fixture(t, "vm"))
	in.Block.Fork, in.Checksums = pg.FSMFork, true
	in.Official = bytes.Repeat([]byte{7}, pg.BlockSize)
	if res := compare.Pages(in); !res.Benign() || res.Rule != compare.RuleFSM {
		t.Errorf("%+v", res)
	}
}
