package main

import (
	"strings"
	"testing"
	"time"
)

func TestTable(t *testing.T) {
	c := contest{title: "decode", ours: "we", theirs: "they"}
	for _, s := range []time.Duration{3, 1, 2, 8} {
		c.add(sample{wall: s * time.Second, cpu: 3 * time.Second}, sample{wall: time.Second, cpu: 2 * time.Second})
	}
	var out strings.Builder
	printTable(&out, 5_000_000, 1_000_000, c)
	for _, want := range []string{"we                        2.500      1.000 – 8.000         2      0.40      3.00",
		"we takes 2.50 times the wall and 1.50 times the CPU time of they (medians of 4 runs)"} {
		if !strings.Contains(out.String(), want) {
			t.Errorf("no %q in\n%s", want, &out)
		}
	}
}

func TestServerLog(t *testing.T) {
	const log = `2026-01-02 03:04:05.600 LOG:  starting PostgreSQL 15.18 on x86_64
2026-01-02 03:04:06.100 LOG:  redo done at 0/9000028 system usage: CPU: user: 0.30 s, system: 0.08 s, elapsed: 0.40 s
2026-01-02 03:04:06.350 LOG:  archive recovery complete
`
	start, err := when(log, "starting PostgreSQL")
	if err != nil {
		t.Fatal(err)
	}
	end, err := when(log, "archive recovery complete")
	if took := end.Sub(start); err != nil || took != 750*time.Millisecond {
		t.Errorf("took %v, %v", took, err)
	}
	if _, err := when(log, "consistent recovery state"); err == nil {
		t.Error("a line was found that is not there")
	}
	m := redoDone.FindStringSubmatch(log)
	if len(m) != 4 || m[1] != "0/9000028" || m[2] != "0.30" || m[3] != "0.08" {
		t.Errorf("redo done: %q", m)
	}
}
