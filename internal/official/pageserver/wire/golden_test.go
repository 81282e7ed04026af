package wire

import (
	"bytes"
	"encoding/hex"
	"reflect"
	"strings"
	"testing"

	"redoubt/internal/pg"
)

// The byte streams here were written by hand from the published definitions,
// field by field; no pageserver has sent them.

var accounts = pg.RelFork{RelFileLocator: pg.RelFileLocator{Spc: 1663, DB: 5, Rel: 16396}}

const (
	head = "0102030405060708" + "0000000a00000b0c" + "0000000a00000b0c"
	rel  = "0000067f" + "00000005" + "0000400c"
)

var header = Header{ID: 0x0102030405060708, LSN: 0xA00000B0C, NotModifiedSince: 0xA00000B0C}

func unhex(t testing.TB, s string) []byte {
	t.Helper()
	b, err := hex.DecodeString(strings.ReplaceAll(s, " ", ""))
	if err != nil {
		t.Fatal(err)
	}
	return b
}

func vm(f pg.RelFork) pg.RelFork { f.Fork = pg.VMFork; return f }

var goldenRequests = []struct {
	name, bytes string
	want        Request
}{
	{"exists", "00" + head + rel + "00", Request{Op: Exists, Header: header, Rel: accounts}},
	{"blocks of a visibility map", "01" + head + rel + "02", Request{Op: Blocks, Header: header, Rel: vm(accounts)}},
	{"page", "02" + head + rel + "00" + "00007d06", Request{Op: GetPage, Header: header, Rel: accounts, Block: 0x7D06}},
	{"database size", "03" + head + "00000005", Request{Op: DBSize, Header: header, Database: 5}},
	{"segment of pg_xact", "04" + head + "00" + "00000011", Request{Op: GetSLRUSegment, Header: header, Segment: 0x11}},
	{"segment of pg_multixact/members", "04" + head + "01" + "00000000", Request{Op: GetSLRUSegment, Header: header, SLRU: MultiXactMembers}},
	{"segment of pg_multixact/offsets", "04" + head + "02" + "00000000", Request{Op: GetSLRUSegment, Header: header, SLRU: MultiXactOffsets}},
}

func pages(n int) []byte {
	b := make([]byte, n*pg.BlockSize)
	for i := range b {
		b[i] = byte(i / 7)
	}
	return b
}

func goldenResponses() []golden {
	return []golden{
		{"exists", "64" + head + rel + "00" + "01", Response{Request: Request{Op: Exists, Header: header, Rel: accounts}, Exists: true}},
		{"exists not", "64" + head + rel + "00" + "00", Response{Request: Request{Op: Exists, Header: header, Rel: accounts}}},
		{"blocks", "65" + head + rel + "02" + "00000102", Response{Request: Request{Op: Blocks, Header: header, Rel: vm(accounts)}, Blocks: 258}},
		{
			"page", "66" + head + rel + "00" + "00007d06" + hex.EncodeToString(pages(1)),
			Response{Request: Request{Op: GetPage, Header: header, Rel: accounts, Block: 0x7D06}, Pages: pages(1)},
		},
		{"error", "67" + head + "676f6e65" + "00", Response{Request: Request{Header: header}, Failed: true, Error: "gone"}},
		{"database size", "68" + head + "00000005" + "0000000000732000", Response{Request: Request{Op: DBSize, Header: header, Database: 5}, Bytes: 7544832}},
		{
			"segment", "69" + head + "00" + "00000011" + "00000002" + hex.EncodeToString(pages(2)),
			Response{Request: Request{Op: GetSLRUSegment, Header: header, Segment: 0x11}, Pages: pages(2)},
		},
		{
			"empty segment", "69" + head + "02" + "00000000" + "00000000",
			Response{Request: Request{Op: GetSLRUSegment, Header: header, SLRU: MultiXactOffsets}, Pages: []byte{}},
		},
	}
}

type golden struct {
	name, bytes string
	want        Response
}

func TestGoldenRequests(t *testing.T) {
	for _, c := range goldenRequests {
		b := unhex(t, c.bytes)
		got, err := ParseRequest(b)
		if err != nil || got != c.want {
			t.Errorf("%s: read as %+v, error %v, want %+v", c.name, got, err, c.want)
		}
		if out := c.want.Append(nil); !bytes.Equal(out, b) {
			t.Errorf("%s: written as %x, want %x", c.name, out, b)
		}
	}
}

func TestGoldenResponses(t *testing.T) {
	for _, c := range goldenResponses() {
		b := unhex(t, c.bytes)
		got, err := ParseResponse(b)
		if err != nil || !reflect.DeepEqual(got, c.want) {
			t.Errorf("%s: read as %+v, error %v, want %+v", c.name, got.Request, err, c.want.Request)
		}
		if out := c.want.Append(nil); !bytes.Equal(out, b) {
			t.Errorf("%s: written as %x, want %x", c.name, out, b)
		}
		q := c.want.Request
		if !got.Answers(&q) {
			t.Errorf("%s: does not answer its own request", c.name)
		}
		q.ID++
		if got.Answers(&q) {
			t.Errorf("%s: answers another request", c.name)
		}
	}
}

// TestCut: a message that lacks a byte anywhere, or has one more, is none.
func TestCut(t *testing.T) {
	for _, c := range goldenRequests {
		b := unhex(t, c.bytes)
		for n := range len(b) {
			if _, err := ParseRequest(b[:n]); err == nil {
				t.Errorf("%s cut to %d bytes is read", c.name, n)
			}
		}
		if _, err := ParseRequest(append(b, 0)); err == nil {
			t.Errorf("%s with a byte more is read", c.name)
		}
	}
	for _, c := range goldenResponses() {
		b := unhex(t, c.bytes)
		for n := range len(b) {
			if _, err := ParseResponse(b[:n:n]); err == nil {
				t.Errorf("%s cut to %d bytes is read", c.name, n)
			}
		}
		if _, err := ParseResponse(append(b, 0)); err == nil {
			t.Errorf("%s with a byte more is read", c.name)
		}
	}
}

// TestLies: values that nothing can mean are refused.
func TestLies(t *testing.T) {
	for name, s := range map[string]string{
		"request tag":  "05" + head,
		"fork":         "00" + head + rel + "04",
		"kind of SLRU": "04" + head + "03" + "00000000",
	} {
		if _, err := ParseRequest(unhex(t, s)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
	for name, s := range map[string]string{
		"response tag":      "6a" + head,
		"a request's tag":   "00" + head + rel + "00" + "01",
		"existence":         "64" + head + rel + "00" + "02",
		"negative size":     "68" + head + "00000005" + "8000000000000000",
		"pages of segment":  "69" + head + "00" + "00000011" + "ffffffff",
		"33 pages":          "69" + head + "00" + "00000011" + "00000021" + hex.EncodeToString(pages(33)),
		"error without end": "67" + head + "676f6e65",
	} {
		if _, err := ParseResponse(unhex(t, s)); err == nil {
			t.Errorf("%s: read", name)
		}
	}
}

// TestShard: the first row is the example of the published definition's own
// test; the others follow from the rule.
func TestShard(t *testing.T) {
	other := accounts
	other.DB = 6
	init := accounts
	init.Fork = pg.InitFork
	for _, c := range []struct {
		layout Layout
		fork   pg.RelFork
		block  pg.BlockNumber
		want   int
	}{
		{Layout{10, 32768}, accounts, 0x7D06, 8},
		{Layout{10, 32768}, other, 0x7D06, 8},
		{Layout{10, 32768}, accounts, 0, 8},
		{Layout{10, 32768}, init, 0x7D06, 0},
		{Layout{0, 32768}, accounts, 0x7D06, 0},
		{Layout{1, 32768}, accounts, 0x7D06, 0},
	} {
		if got := c.layout.Shard(c.fork, c.block); got != c.want {
			t.Errorf("%+v: %s block %d is on shard %d, want %d", c.layout, c.fork, c.block, got, c.want)
		}
	}
	l := Layout{Shards: 4}
	seen := make(map[int]int)
	for n := range pg.BlockNumber(64) {
		first := l.Shard(accounts, n*DefaultStripe)
		if last := l.Shard(accounts, n*DefaultStripe+DefaultStripe-1); last != first {
			t.Errorf("stripe %d begins on shard %d and ends on %d", n, first, last)
		}
		seen[first]++
	}
	if len(seen) != 4 {
		t.Errorf("64 stripes lie on %d of 4 shards", len(seen))
	}
}

func FuzzRequest(f *testing.F) {
	for _, c := range goldenRequests {
		f.Add(unhex(f, c.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		q, err := ParseRequest(b)
		if err != nil {
			return
		}
		if out := q.Append(nil); !bytes.Equal(out, b) {
			t.Errorf("%x is written as %x", b, out)
		}
	})
}

func FuzzResponse(f *testing.F) {
	for _, c := range goldenResponses() {
		f.Add(unhex(f, c.bytes))
	}
	f.Fuzz(func(t *testing.T, b []byte) {
		p, err := ParseResponse(b)
		if err != nil {
			return
		}
		if out := p.Append(nil); !bytes.Equal(out, b) {
			t.Errorf("%x is written as %x", b, out)
		}
		if len(p.Pages) > len(b) {
			t.Errorf("%d bytes of pages out of %d", len(p.Pages), len(b))
		}
	})
}
