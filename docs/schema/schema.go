// Package schema holds the JSON Schemas (draft 2020-12) of what Redoubt
// prints: of a run, a verification and a scan. They are made from the types
// of internal/finding and their comments; this package's test remakes them
// (go test ./docs/schema -update) and fails where they are not those of the
// types.
//
// They say what is always there and of what form it is, and allow keys that
// they do not name: a later version may add some.
package schema

import "embed"

//go:embed run.json verify.json scan.json
var files embed.FS

// Names are the schemas that there are.
var Names = []string{"run", "verify", "scan"}

// Named is the text of a schema; ok is false if there is none of that name.
func Named(name string) (text []byte, ok bool) {
	text, err := files.ReadFile(name + ".json")
	return text, err == nil
}
