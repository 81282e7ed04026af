package scanner

import (
	"context"
	"errors"
	"fmt"
	"sync"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
	"redoubt/internal/storage/storagetest"
)

type damaged = finding.Damaged

type fakeMemory struct {
	mu   sync.Mutex
	seen map[string]Seen
	fail error
}

func (m *fakeMemory) Recall(_ context.Context, tenant, timeline, name string) (Seen, bool, error) {
	m.mu.Lock()
	defer m.mu.Unlock()
	s, ok := m.seen[tenant+"/"+timeline+"/"+name]
	return s, ok, m.fail
}

func (m *fakeMemory) Remember(_ context.Context, tenant, timeline string, seen []Seen) error {
	m.mu.Lock()
	defer m.mu.Unlock()
	if m.seen == nil {
		m.seen = map[string]Seen{}
	}
	for _, s := range seen {
		m.seen[tenant+"/"+timeline+"/"+s.Name] = s
	}
	return m.fail
}

// Night after night one segment more: each is read once, and the chain is
// checked all the way.
func TestMemoryReadsOnlyWhatIsNew(t *testing.T) {
	forMajors(t, func(t *testing.T, f *fixture) {
		s := memory(t, f.of(f.one[0]))
		m := &fakeMemory{}
		for i := range f.one {
			storagetest.Put(t, s, f.one[i], f.files[f.one[i]])
			r := scanStore(t, s, Options{Deep: true, Memory: m})
			want(t, r, fmt.Sprintf("clean: %d of %d", i+1, i+1))
			if wantRead := int64(1); i > 0 && (r.SegmentsRead != wantRead || r.Remembered != int64(i)) {
				t.Errorf("night %d: read %d, remembered %d", i, r.SegmentsRead, r.Remembered)
			}
		}
		storagetest.Put(t, s, "00000002.history", f.files["00000002.history"])
		for i, name := range f.two {
			storagetest.Put(t, s, name, f.files[name])
			r := scanStore(t, s, Options{Deep: true, Memory: m})
			n := len(f.one) + i + 1
			want(t, r, fmt.Sprintf("clean: %d of %d", n, n))
			if r.SegmentsRead != 1 {
				t.Errorf("TLI 2, night %d: read %d", i, r.SegmentsRead)
			}
		}
		r := scanStore(t, s, Options{Deep: true, Memory: m, Reread: true})
		if r.SegmentsRead != int64(len(f.one)+len(f.two)) {
			t.Errorf("asked to read all again, it read %d", r.SegmentsRead)
		}
	})
}

// A new segment is checked against the remembered one before it, whatever is
// wrong with it; and what was not valid is not remembered.
func TestMemorySeams(t *testing.T) {
	forMajors(t, func(t *testing.T, f *fixture) {
		found, tails := 0, 0
		for i := 1; i < len(f.one); i++ {
			s := memory(t, f.of(f.one[:i]...))
			m := &fakeMemory{}
			scanStore(t, s, Options{Deep: true, Memory: m})
			st, ok := decodeState(m.seen["default/main/"+f.one[i-1]].State, sysidOf(f))
			if !ok {
				t.Fatalf("%s is not remembered", f.one[i-1])
			}
			if st.Tail == nil {
				continue
			}
			tails++
			// A byte of the record that began in the remembered segment.
			storagetest.Put(t, s, f.one[i], flip(f.files[f.one[i]], 40))
			r := scanStore(t, s, Options{Deep: true, Memory: m})
			wantParts(t, r, "findings", "damaged "+f.one[i]+": record CRC at "+st.Tail.LSN.String())
			again := scanStore(t, s, Options{Deep: true, Memory: m})
			if summary(&again) != summary(&r) || again.SegmentsRead != 1 {
				t.Errorf("the night after: %s", summary(&again))
			}
			storagetest.Put(t, s, f.one[i], f.files[f.one[i]])
			want(t, scanStore(t, s, Options{Deep: true, Memory: m}), fmt.Sprintf("clean: %d of %d", i+1, i+1))
			found++
		}
		if tails == 0 {
			t.Error("no record crosses the end of a segment")
		}
	})
}

func sysidOf(f *fixture) uint64 {
	data := f.files[f.one[0]]
	var id uint64
	for i := range 8 {
		id |= uint64(data[24+i]) << (8 * i)
	}
	return id
}

// A remembered segment that changed under the remembered one behind it.
func TestMemoryNoticesChange(t *testing.T) {
	forMajors(t, func(t *testing.T, f *fixture) {
		s := memory(t, f.of(f.one...))
		m := &fakeMemory{}
		scanStore(t, s, Options{Deep: true, Memory: m})
		storagetest.Put(t, s, f.one[1], flip(f.files[f.one[1]], mib-100))
		r := scanStore(t, s, Options{Deep: true, Memory: m})
		if r.SegmentsRead > 1 || r.Remembered != int64(len(f.one)-1) {
			t.Errorf("read %d, remembered %d", r.SegmentsRead, r.Remembered)
		}
		wantParts(t, r, "findings", "damaged "+f.one[1])
	})
}

func TestMemoryThatFails(t *testing.T) {
	f := realWAL(t, 17)
	broken := errors.New("disk full")
	_, err := Timeline(context.Background(), timeline(t, memory(t, f.of(f.one...))), Options{Deep: true, Memory: &fakeMemory{fail: broken}})
	if !errors.Is(err, broken) {
		t.Errorf("%v", err)
	}
}

func TestSeam(t *testing.T) {
	a := &state{Last: 100}
	withTail := &state{Last: 100, Tail: &tail{LSN: 200}}
	for what, c := range map[string]struct {
		before, st *state
		bad        bool
		earlier    bool
	}{
		"goes on":                     {a, &state{First: 300, Prev: 100}, false, false},
		"another record before":       {a, &state{First: 300, Prev: 104}, true, false},
		"a record in between":         {withTail, &state{First: 300, Prev: 200}, false, false},
		"the record in between lost":  {withTail, &state{First: 300, Prev: 100}, true, false},
		"overwritten":                 {withTail, &state{First: 300, Prev: 100, Overwritten: 200}, false, false},
		"overwritten, but another":    {withTail, &state{First: 300, Prev: 100, Overwritten: 208}, true, false},
		"overwritten, but whole":      {a, &state{First: 300, Prev: 100, Overwritten: 200}, true, false},
		"nothing begins":              {withTail, &state{}, false, false},
		"nothing known":               {&state{}, &state{First: 300, Prev: 77}, false, false},
		"ended before":                {&state{Last: 100, Ended: 150}, &state{First: 300, Prev: 100}, true, true},
		"ended before, nothing begun": {&state{Last: 100, Ended: 150}, &state{}, true, true},
	} {
		if wrong, earlier := seam(c.before, c.st); (wrong != "") != c.bad || earlier != c.earlier {
			t.Errorf("%s: %q, earlier %v", what, wrong, earlier)
		}
	}
}

func FuzzDecodeState(f *testing.F) {
	st := &state{Version: stateVersion, SystemID: 7, Last: 5, Tail: &tail{LSN: 9, Total: 100, Have: 30, Header: make([]byte, 24)}}
	data, err := st.encode()
	if err != nil {
		f.Fatal(err)
	}
	f.Add(data)
	f.Add([]byte("{}"))
	f.Fuzz(func(t *testing.T, data []byte) {
		st, ok := decodeState(data, 7)
		if !ok || st.Tail == nil {
			return
		}
		page := make([]byte, 8192)
		st.Tail.feedPage(page)
		st.Tail.feed(page)
	})
}

func TestBehind(t *testing.T) {
	for _, c := range []struct {
		l    pg.LSN
		n    uint64
		want pg.LSN
	}{{8192 + 24, 24, 8192 + 48}, {2*8192 - 24, 24, 2 * 8192}, {2*8192 - 8, 24, 2*8192 + 24 + 16}, {8192 + 24, 8168 + 10, 2*8192 + 34}} {
		if got := behind(c.l, c.n); got != c.want {
			t.Errorf("behind(%s, %d) = %s, want %s", c.l, c.n, got, c.want)
		}
	}
}
