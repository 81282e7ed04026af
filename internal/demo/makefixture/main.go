// Command makefixture remakes the fixture of `redoubt demo` from running
// PostgreSQL 17 servers: go run ./internal/demo/makefixture -o internal/demo/fixture.tar.zst
//
// It wants a PostgreSQL 17 (as the tests do) and the zstd command, whose
// highest levels our Go encoder does not have. System identifiers and times
// differ from run to run; the SQL does not.
package main

import (
	"flag"
	"fmt"
	"os"
)

func main() {
	out := flag.String("o", "", "`FILE` to write")
	flag.Parse()
	if *out == "" || flag.NArg() != 0 {
		flag.Usage()
		os.Exit(2)
	}
	if err := makeFixture(*out); err != nil {
		fmt.Fprintln(os.Stderr, "makefixture:", err)
		os.Exit(1)
	}
}

func makeFixture(out string) (err error) {
	scratch, err := os.MkdirTemp("", "makefixture")
	if err != nil {
		return err
	}
	defer func() { _ = os.RemoveAll(scratch) }()
	h := new(host)
	defer h.close()
	defer func() {
		if r := recover(); r != nil {
			f, ok := r.(failure)
			if !ok {
				panic(r)
			}
			err = f
		}
	}()
	f, err := makeTimelines(h, scratch)
	if err != nil {
		return err
	}
	return pack(f, scratch, out)
}
