package compare

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"strings"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/pg/mask"
)

// SLRUInput is one page of an SLRU.
type SLRUInput struct {
	Page               pg.SLRUPage
	Official, Replayed []byte // pg.BlockSize long; nil where there is no such page
	Base               []byte // the base's page, nil if there is none or it is not known
	Touched            bool   // the span's WAL writes the page; if not, Replayed is the base's

	// NextMulti and NextOffset are the next multixact and the next member at
	// the end of the span, by the official pg_control's checkpoint; used for
	// pg_multixact/offsets if NextMulti is not 0.
	NextMulti  pg.MultiXactID
	NextOffset uint32
	// Named reports whether a CREATE_ID record of the span named that
	// multixact; nil if that is not known.
	Named func(pg.MultiXactID) bool
}

// Shapes of the SLRUs' pages.
const (
	xidsPerPage       = pg.BlockSize * 4 // two bits each (CLOG_XACTS_PER_PAGE)
	offsetsPerPage    = pg.BlockSize / 4 // one uint32 each (MULTIXACT_OFFSETS_PER_PAGE)
	memberGroup       = 20               // bytes: 4 of flags, 4 xids (MULTIXACT_MEMBERGROUP_SIZE)
	memberGroups      = pg.BlockSize / memberGroup
	membersPerPage    = memberGroups * 4
	commitTsEntry     = 10 // bytes: timestamp, origin (SizeOfCommitTimestampEntry)
	commitTsPerPage   = pg.BlockSize / commitTsEntry
	maxNamedSLRUItems = 5
)

// SLRUPages compares two versions of an SLRU page. Every byte counts, but for
// the entries of pg_multixact/offsets that multixactTolerated lists. A page
// that one side lacks and the other has all zeros says nothing on either.
func SLRUPages(in SLRUInput) Result {
	o, ok := slruPage(in.Official)
	r, ok2 := slruPage(in.Replayed)
	res := Result{Kind: finding.SLRUMismatch, Severity: finding.Critical, Blame: finding.BlameUnknown}
	if !ok || !ok2 {
		res.Explanation = fmt.Sprintf("Pages of %d and %d bytes can't be compared; a page is %d bytes.", len(in.Official), len(in.Replayed), pg.BlockSize)
		return res
	}
	if bytes.Equal(o, r) {
		if (in.Official == nil) == (in.Replayed == nil) {
			return Result{Equal: true}
		}
		return slruBenign(RuleSLRUAbsent, nil, "The page is missing on one side and all zeros on the other; neither says anything.")
	}
	res.Ranges, _ = rangesWithout(o, r, 0, 0) // no header, no checksum
	items, rule := in.items(o, r)
	if rule != "" {
		return slruBenign(rule, res.Ranges, "Only entries differ that belong to no multixact: "+items.String()+".")
	}
	what := "The official page differs from what the WAL says"
	switch {
	case in.Official == nil:
		res.Blame, what = finding.BlameOfficial, "The official side lacks this page; the WAL says"
	case in.Replayed == nil:
		what = "The official side has a page of which neither base nor WAL knows"
	case isZero(o):
		res.Blame, what = finding.BlameOfficial, "The official page is all zeros; the WAL says otherwise"
	case in.Touched && in.behind(o, r):
		res.Blame, what = finding.BlameOfficial, "The official page still says what the base says, though the WAL changed it since: a lost write"
	case !in.Touched:
		what = "No WAL of the span changes this page, yet the official one differs from the base's"
	}
	res.Explanation = what + ": " + items.String() + "."
	return res
}

// behind reports whether every byte in which the official page differs is the
// base's: an older version of the page, or of a part of it.
func (in *SLRUInput) behind(o, r []byte) bool {
	if len(in.Base) != pg.BlockSize {
		return false
	}
	for i := range o {
		if o[i] != r[i] && o[i] != in.Base[i] {
			return false
		}
	}
	return true
}

func slruBenign(rule mask.RuleID, ranges [][2]int, why string) Result {
	return Result{Kind: finding.SLRUMismatch, Severity: finding.Benign, Blame: finding.BlameUnknown, Rule: rule, Ranges: ranges, Explanation: why}
}

var zeroPage [pg.BlockSize]byte

func isZero(b []byte) bool { return bytes.Equal(b, zeroPage[:]) }

// slruPage makes a missing page all zeros.
func slruPage(b []byte) ([]byte, bool) {
	if b == nil {
		return zeroPage[:], true
	}
	return b, len(b) == pg.BlockSize
}

// items names what differs, and returns a rule if all of it may.
func (in *SLRUInput) items(o, r []byte) (*itemList, mask.RuleID) {
	switch in.Page.SLRU {
	case pg.XactSLRU:
		return xactItems(in.Page.Page, o, r), ""
	case pg.MultiXactOffsetSLRU:
		return in.offsetItems(o, r)
	case pg.MultiXactMemberSLRU:
		return memberItems(in.Page.Page, o, r), ""
	case pg.CommitTsSLRU:
		return commitTsItems(in.Page.Page, o, r), ""
	}
	l := &itemList{}
	l.add("%s is not known", in.Page)
	return l, ""
}

// itemList counts what differs and names the first few.
type itemList struct {
	named []string
	n     int
}

func (l *itemList) add(format string, args ...any) {
	if l.n++; l.n <= maxNamedSLRUItems {
		l.named = append(l.named, fmt.Sprintf(format, args...))
	}
}

func (l *itemList) String() string {
	switch {
	case l.n == 0:
		return "only the unused bytes at the page's end differ"
	case l.n > len(l.named):
		return strings.Join(l.named, "; ") + fmt.Sprintf("; and %d more", l.n-len(l.named))
	}
	return strings.Join(l.named, "; ")
}

var xactStates = [4]string{"in progress", "committed", "aborted", "sub-committed"}

// xactItems names transactions whose status differs (access/transam/clog.c).
func xactItems(pageno uint32, o, r []byte) *itemList {
	out := &itemList{}
	for i := range o {
		if o[i] == r[i] {
			continue
		}
		for j := range 4 {
			so, sr := o[i]>>(2*j)&3, r[i]>>(2*j)&3
			if so != sr {
				xid := uint64(pageno)*xidsPerPage + uint64(4*i+j)
				out.add("transaction %d is %s officially, %s by the WAL", xid, xactStates[so], xactStates[sr])
			}
		}
	}
	return out
}

// offsetItems names multixacts whose first member differs.
func (in *SLRUInput) offsetItems(o, r []byte) (out *itemList, rule mask.RuleID) {
	out = &itemList{}
	tolerated := true
	for i := range offsetsPerPage {
		vo, vr := binary.LittleEndian.Uint32(o[4*i:]), binary.LittleEndian.Uint32(r[4*i:])
		if vo == vr {
			continue
		}
		multi := pg.MultiXactID(uint64(in.Page.Page)*offsetsPerPage + uint64(i))
		out.add("multixact %d starts at member %d officially, %d by the WAL", multi, vo, vr)
		why := in.multixactTolerated(multi, o, r, i)
		tolerated = tolerated && why != ""
		if rule != RuleUnnamedMulti {
			rule = why
		}
	}
	if !tolerated {
		rule = ""
	}
	return out, rule
}

// multixactTolerated finds the rule by which entry i of an offsets page, that
// of multi, may differ: 0 on one side, where the other has
//
//   - for the next multixact, which does not exist yet, the next offset
//     (TrimMultiXact; since 14.21, 15.16, 16.12, 17.8, 18.2 also RecordNewMultiXact);
//   - for one that no CREATE_ID ever named, because its creator died, the end
//     of the one before it, which lies between the entries around it.
func (in *SLRUInput) multixactTolerated(multi pg.MultiXactID, o, r []byte, i int) mask.RuleID {
	vo, vr := binary.LittleEndian.Uint32(o[4*i:]), binary.LittleEndian.Uint32(r[4*i:])
	if vo != 0 && vr != 0 {
		return ""
	}
	v := vo | vr
	switch {
	case in.NextMulti != 0 && multi == in.NextMulti:
		if v == in.NextOffset {
			return RuleNextMulti
		}
	case in.Named != nil && !in.Named(multi) && between(o, r, i, v):
		return RuleUnnamedMulti
	}
	return ""
}

// between reports whether v can be the end of entry i-1's members: entry i-1
// and i+1 are on this page, the same on both sides, and v lies behind the one
// and not behind the other, modulo 2^32.
func between(o, r []byte, i int, v uint32) bool {
	if i < 1 || i+1 >= offsetsPerPage {
		return false
	}
	before, after := binary.LittleEndian.Uint32(o[4*i-4:]), binary.LittleEndian.Uint32(o[4*i+4:])
	return bytes.Equal(o[4*i-4:4*i], r[4*i-4:4*i]) && bytes.Equal(o[4*i+4:4*i+8], r[4*i+4:4*i+8]) &&
		before != 0 && after != 0 && v-before != 0 && v-before <= after-before
}

// memberItems names members whose xid or status differs (access/transam/multixact.c).
func memberItems(pageno uint32, o, r []byte) *itemList {
	out := &itemList{}
	for g := range memberGroups {
		for j := range 4 {
			at, flag := g*memberGroup+4+4*j, g*memberGroup+j
			xo, xr := binary.LittleEndian.Uint32(o[at:]), binary.LittleEndian.Uint32(r[at:])
			if xo == xr && o[flag] == r[flag] {
				continue
			}
			n := uint64(pageno)*membersPerPage + uint64(4*g+j)
			out.add("multixact member %d is transaction %d (status %d) officially, %d (status %d) by the WAL", n, xo, o[flag], xr, r[flag])
		}
	}
	return out
}

// commitTsItems names transactions whose commit timestamp or origin differs (access/transam/commit_ts.c).
func commitTsItems(pageno uint32, o, r []byte) *itemList {
	out := &itemList{}
	for i := range commitTsPerPage {
		from, to := i*commitTsEntry, (i+1)*commitTsEntry
		if !bytes.Equal(o[from:to], r[from:to]) {
			out.add("the commit timestamp or origin of transaction %d differs", uint64(pageno)*commitTsPerPage+uint64(i))
		}
	}
	return out
}
