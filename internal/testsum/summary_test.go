package main

import (
	"errors"
	"fmt"
	"strings"
	"testing"
)

// events is a run with a pass, a failure, a skipped proof and a package that panics.
const events = `{"Action":"start","Package":"a"}
{"Action":"run","Package":"a","Test":"TestGood"}
{"Action":"output","Package":"a","Test":"TestGood","Output":"noise of a good test\n"}
{"Action":"pass","Package":"a","Test":"TestGood","Elapsed":2.1}
{"Action":"output","Package":"a","Test":"TestBad","Output":"    x_test.go:1: broken\n"}
{"Action":"fail","Package":"a","Test":"TestBad","Elapsed":0.1}
{"Action":"output","Package":"a","Test":"TestPG","Output":"=== RUN   TestPG\n"}
{"Action":"output","Package":"a","Test":"TestPG","Output":"    x_test.go:2: SKIPPED PROOF: no PostgreSQL 17\n"}
{"Action":"skip","Package":"a","Test":"TestPG"}
{"Action":"fail","Package":"a","Elapsed":1}
go: a word of its own
{"Action":"output","Package":"b","Test":"TestP","Output":"panic: oh\n"}
{"Action":"fail","Package":"b","Elapsed":1}
`

func TestSummary(t *testing.T) {
	var out strings.Builder
	s := newSummary(&out)
	if err := s.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	if s.close(false, errors.New("exit status 1")) {
		t.Error("a run with failures is good")
	}
	got := out.String()
	for _, want := range []string{
		"x_test.go:1: broken", "panic: oh", "go: a word of its own", "FAIL a 1.0s",
		"skipped: a TestPG: x_test.go:2: SKIPPED PROOF: no PostgreSQL 17", "1 skipped proofs\n1 passed, 2 failed, 1 skipped\n",
		"slow    2.1s a TestGood\n",
	} {
		if !strings.Contains(got, want) {
			t.Errorf("output has no %q:\n%s", want, got)
		}
	}
	if strings.Contains(got, "noise") {
		t.Error("output of a good test is shown")
	}
}

func TestClose(t *testing.T) {
	skip := `{"Action":"skip","Package":"a","Test":"TestPG"}` + "\n"
	pass := `{"Action":"pass","Package":"a","Test":"TestGood"}` + "\n"
	for _, c := range []struct {
		name   string
		events string
		noSkip bool
		err    error
		want   bool
	}{
		{"all pass", pass, true, nil, true},
		{"a skip is allowed", pass + skip, false, nil, true},
		{"a skip is forbidden", pass + skip, true, nil, false},
		{"go test failed without a word", pass, false, errors.New("exit status 2"), false},
		{"nothing ran", "", false, nil, false},
	} {
		s := newSummary(new(strings.Builder))
		if err := s.read(strings.NewReader(c.events)); err != nil {
			t.Fatal(err)
		}
		if got := s.close(c.noSkip, c.err); got != c.want {
			t.Errorf("%s: %t, want %t", c.name, got, c.want)
		}
	}
}

// TestPutOff: a proof that is put off is no skip; it makes a second run,
// without the race detector, of just its top-level test.
func TestPutOff(t *testing.T) {
	const events = `{"Action":"output","Package":"b","Test":"TestP/17","Output":"    x_test.go:1: PUT OFF to the pass without the race detector\n"}
{"Action":"skip","Package":"b","Test":"TestP/17"}
{"Action":"output","Package":"a","Test":"TestR","Output":"    x_test.go:1: PUT OFF to\n"}
{"Action":"skip","Package":"a","Test":"TestR"}
{"Action":"output","Package":"a","Test":"TestQ","Output":"    x_test.go:1: PUT OFF to\n"}
{"Action":"skip","Package":"a","Test":"TestQ"}
{"Action":"output","Package":"a","Test":"TestD","Output":"    x_test.go:1: SKIPPED, DATA: none\n"}
{"Action":"skip","Package":"a","Test":"TestD"}
{"Action":"pass","Package":"a","Test":"TestGood"}
`
	var out strings.Builder
	s := newSummary(&out)
	if err := s.read(strings.NewReader(events)); err != nil {
		t.Fatal(err)
	}
	got := fmt.Sprint(s.secondPass([]string{"-race", "-timeout", "15m", "./verify", "./..."}))
	if want := "[[-timeout 15m -run ^(TestQ|TestR)$ a] [-timeout 15m -run ^(TestP)$ b]]"; got != want {
		t.Errorf("second pass %s, want %s", got, want)
	}
	if !s.close(true, nil) {
		t.Error("skips for missing data fail the run")
	}
	if !strings.Contains(out.String(), "skipped: a TestD: x_test.go:1: SKIPPED, DATA: none") {
		t.Errorf("the missing data is not named:\n%s", out.String())
	}
}
