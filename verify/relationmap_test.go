package verify

import (
	"reflect"
	"testing"

	"pgregory.net/rapid"

	"redoubt/internal/pg"
)

func TestRangeList(t *testing.T) {
	var l rangeList
	for _, b := range []pg.BlockNumber{1, 2, 3, 7, 9, 10} {
		l.add(b)
	}
	if got, want := l.ranges(), [][2]int64{{1, 4}, {7, 8}, {9, 11}}; !reflect.DeepEqual(got, want) {
		t.Errorf("ranges %v, want %v", got, want)
	}
	if got := new(rangeList).ranges(); got == nil || len(got) != 0 {
		t.Errorf("no ranges are %v", got)
	}
	if got, want := joined([][2]int64{{0, 1}, {2, 3}, {9, 10}, {12, 13}}, 2), [][2]int64{{0, 3}, {9, 13}}; !reflect.DeepEqual(got, want) {
		t.Errorf("joined %v, want %v", got, want)
	}
}

// TestRangesKeepBlocks: however many blocks there are, none is lost, the
// ranges are few, and with few of them nothing is added.
func TestRangesKeepBlocks(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		n := rapid.IntRange(0, 40000).Draw(t, "blocks")
		step := rapid.IntRange(1, 5).Draw(t, "step")
		var l rangeList
		for i := range n {
			l.add(pg.BlockNumber(i * step))
		}
		got := l.ranges()
		if len(got) > maxRanges {
			t.Fatalf("%d ranges", len(got))
		}
		covered := 0
		for i, r := range got {
			if r[0] >= r[1] || i > 0 && r[0] <= got[i-1][1] {
				t.Fatalf("range %v behind %v", r, got[max(0, i-1)])
			}
			covered += (int(r[1]) - int(r[0]) + step - 1) / step
		}
		if covered != n {
			t.Fatalf("%d of %d blocks", covered, n)
		}
	})
}
