package pageview

import (
	"fmt"
	"strings"

	"redoubt/internal/pg/page"
)

var tupleFields = []spec{
	{"t_xmin", 0, 4, decimal},
	{"t_xmax", 4, 4, decimal},
	{"t_field3", 8, 4, decimal}, // t_cid, or t_xvac of a VACUUM FULL before 9.0
	{"t_ctid", 12, 6, ctid},
	{"t_infomask2", 18, 2, infomask2},
	{"t_infomask", 20, 2, flags(infomaskFlags)},
	{"t_hoff", 22, 1, decimal},
}

// sequenceFields is FormData_pg_sequence_data, the data of a sequence's only tuple.
var sequenceFields = []spec{
	{"last_value", 0, 8, func(v uint64) string { return fmt.Sprint(int64(v)) }}, // may be negative
	{"log_cnt", 8, 8, decimal},
	{"is_called", 16, 1, boolean},
}

var infomaskFlags = []flag{
	{page.HeapHasNull, "HASNULL"}, {page.HeapHasVarWidth, "HASVARWIDTH"}, {page.HeapHasExternal, "HASEXTERNAL"},
	{page.HeapHasOIDOld, "HASOID_OLD"},
	{page.HeapXmaxExcl | page.HeapXmaxKeyShr, "XMAX_SHR_LOCK"},
	{page.HeapXmaxKeyShr, "XMAX_KEYSHR_LOCK"}, {page.HeapComboCID, "COMBOCID"}, {page.HeapXmaxExcl, "XMAX_EXCL_LOCK"},
	{page.HeapXmaxLockOnly, "XMAX_LOCK_ONLY"},
	{page.HeapXminFrozen, "XMIN_FROZEN"},
	{page.HeapXminCommitted, "XMIN_COMMITTED"}, {page.HeapXminInvalid, "XMIN_INVALID"},
	{page.HeapXmaxCommitted, "XMAX_COMMITTED"}, {page.HeapXmaxInvalid, "XMAX_INVALID"}, {page.HeapXmaxIsMulti, "XMAX_IS_MULTI"},
	{page.HeapUpdated, "UPDATED"}, {page.HeapMovedOff, "MOVED_OFF"}, {page.HeapMovedIn, "MOVED_IN"},
}

var infomask2Flags = flags([]flag{
	{page.HeapKeysUpdated, "KEYS_UPDATED"}, {page.HeapHotUpdated, "HOT_UPDATED"}, {page.HeapOnlyTuple, "HEAP_ONLY"},
})

// infomask2 is the number of attributes and the flags beside it.
func infomask2(v uint64) string {
	s := fmt.Sprintf("%d attributes", v&page.HeapNattsMask)
	if v&page.HeapNattsMask == 1 {
		s = "1 attribute"
	}
	if rest := v &^ page.HeapNattsMask; rest != 0 {
		s += ", " + infomask2Flags(rest)
	}
	return s
}

// ctid is a tid with the two offset numbers that are none.
func ctid(v uint64) string {
	switch v >> 32 {
	case page.SpecTokenOffset:
		return fmt.Sprintf("speculative token %d", v&0xFFFF<<16|v>>16&0xFFFF)
	case page.MovedPartitionsOffset:
		return "moved to another partition"
	}
	return tid(v)
}

// tuple is the header of the heap tuple in bytes [from, end) and where its
// data starts: at t_hoff, if that makes sense. Conceal takes the null bitmap.
func tuple(p page.Page, from, end int, masked bool) ([]Field, int) {
	if end-from < page.HeapTupleHeaderSize {
		return nil, from
	}
	out := fields(p, from, end, tupleFields)
	t := page.HeapTuple(p[from:end])
	bits := from + page.HeapTupleHeaderSize
	data := from + t.Hoff()
	if data < bits || data > end {
		return out, bits
	}
	if t.Infomask()&page.HeapHasNull != 0 && !masked {
		if n := int(t.Infomask2()&page.HeapNattsMask+7) / 8; bits+n <= data {
			out = append(out, Field{"t_bits", nullBits(p[bits:bits+n], int(t.Infomask2()&page.HeapNattsMask)), bits, bits + n})
		}
	}
	return out, data
}

// nullBits writes the null bitmap as pageinspect does: 1 is there, 0 is null.
func nullBits(b []byte, natts int) string {
	var s strings.Builder
	for i := range natts {
		s.WriteByte('0' + b[i/8]>>(i%8)&1)
	}
	return s.String()
}
