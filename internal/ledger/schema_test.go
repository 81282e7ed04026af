package ledger

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"strings"
	"testing"
	"time"

	"redoubt/internal/finding"
)

// filled returns a T in which every field is set, each to another value.
func filled[T any](seed int) T {
	var v T
	fill(reflect.ValueOf(&v).Elem(), &seed)
	return v
}

// fullVerification has no field at zero and is consistent in itself.
func fullVerification(seed int) finding.Verification {
	v := filled[finding.Verification](seed)
	v.Verdict = finding.Discrepancies
	return v
}

func fill(v reflect.Value, n *int) {
	*n++
	switch v.Kind() {
	case reflect.Struct:
		if v.Type() == reflect.TypeFor[time.Time]() {
			v.Set(reflect.ValueOf(t0.Add(time.Duration(*n) * time.Hour)))
			return
		}
		for i := range v.NumField() {
			fill(v.Field(i), n)
		}
	case reflect.Pointer:
		if v.Type() == reflect.TypeFor[*finding.Acknowledgement]() {
			return // never stored with a finding
		}
		v.Set(reflect.New(v.Type().Elem()))
		fill(v.Elem(), n)
	case reflect.Slice:
		v.Set(reflect.MakeSlice(v.Type(), 2, 2))
		fill(v.Index(0), n)
		fill(v.Index(1), n)
	case reflect.Array:
		for i := range v.Len() {
			fill(v.Index(i), n)
		}
	case reflect.Map:
		v.Set(reflect.MakeMap(v.Type()))
		elem := reflect.New(v.Type().Elem()).Elem()
		fill(elem, n)
		v.SetMapIndex(reflect.ValueOf(fmt.Sprintf("k\x00'%d", *n)), elem)
	case reflect.String:
		v.SetString(fmt.Sprintf("text \"%d\"", *n))
	case reflect.Bool:
		v.SetBool(true)
	case reflect.Float64:
		v.SetFloat(float64(*n) + 0.1)
	case reflect.Int, reflect.Int64:
		v.SetInt(int64(*n)<<40 + 1)
	case reflect.Uint8:
		v.SetUint(uint64(*n) % 4)
	case reflect.Uint16:
		v.SetUint(uint64(*n) + 1<<15)
	case reflect.Uint32:
		v.SetUint(uint64(*n) + 1<<31)
	case reflect.Uint64:
		v.SetUint(uint64(*n) + 1<<63)
	default:
		panic("no rule for " + v.Kind().String())
	}
}

// leaves are the column names that the JSON of t asks for: nested keys are
// joined with an underscore, lists and maps stay whole.
func leaves(t reflect.Type, prefix string) []string {
	if t.Kind() == reflect.Pointer {
		t = t.Elem()
	}
	if t.Kind() != reflect.Struct || t == reflect.TypeFor[time.Time]() {
		return []string{strings.TrimSuffix(prefix, "_")}
	}
	var out []string
	for i := range t.NumField() {
		name, _, _ := strings.Cut(t.Field(i).Tag.Get("json"), ",")
		out = append(out, leaves(t.Field(i).Type, prefix+name+"_")...)
	}
	return out
}

func columns(t *testing.T, l *Ledger, table string) map[string]bool {
	t.Helper()
	rows, err := l.read.Query("SELECT name FROM pragma_table_xinfo(?)", table)
	must(t, err)
	defer rows.Close()
	out := map[string]bool{}
	for rows.Next() {
		var name string
		must(t, rows.Scan(&name))
		out[name] = true
	}
	must(t, rows.Err())
	return out
}

// TestColumnsAreTheKeysOfTheJSON fails when a key is added to the JSON and
// no migration adds its column.
func TestColumnsAreTheKeysOfTheJSON(t *testing.T) {
	l := openTest(t)
	for table, typ := range map[string]reflect.Type{
		"spans":         reflect.TypeFor[finding.Verification](),
		"discrepancies": reflect.TypeFor[finding.Discrepancy](),
		"timelines":     reflect.TypeFor[finding.ScanTimeline](),
		"runs":          reflect.TypeFor[finding.Run](),
	} {
		have := columns(t, l, table)
		for _, name := range leaves(typ, "") {
			if !have[name] && !(table == "runs" && name == "timelines") && !strings.HasPrefix(name, "acknowledged_") { // a table of their own
				t.Errorf("table %s has no column %s", table, name)
			}
		}
	}
}

// TestColumnsHoldTheValues reads each generated column of a recorded span and finds it filled.
func TestColumnsHoldTheValues(t *testing.T) {
	l := openTest(t)
	startPlanned(t, l, "r1", t0, plannedSpan(0, "a", "b", 1, 2))
	must(t, l.FinishSpan(ctx, "r1", 0, at(1), fullVerification(1)))
	s := filled[finding.ScanTimeline](5)
	s.Tenant, s.Timeline = key.Tenant, key.Timeline
	must(t, l.FinishScan(ctx, "r1", at(2), s))
	for table, typ := range map[string]reflect.Type{
		"spans":         reflect.TypeFor[finding.Verification](),
		"discrepancies": reflect.TypeFor[finding.Discrepancy](),
		"timelines":     reflect.TypeFor[finding.ScanTimeline](),
	} {
		for _, name := range leaves(typ, "") {
			if strings.HasPrefix(name, "acknowledged_") {
				continue
			}
			var nulls int
			if err := l.read.QueryRow(fmt.Sprintf("SELECT count(*) FROM %s WHERE %q IS NULL", table, name)).Scan(&nulls); err != nil || nulls != 0 {
				t.Errorf("%s.%s: %d nulls, %v", table, name, nulls, err)
			}
		}
	}
}

func TestMigrations(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "ledger #1?.db")
	for range 2 { // the second finds all done
		l, err := Open(path)
		must(t, err)
		if l.Path() != path {
			t.Errorf("path %s", l.Path())
		}
		must(t, l.Close())
	}
	l, err := Open(path)
	must(t, err)
	steps := migrations()
	broken := slices.Concat(steps, []migration{{len(steps) + 1, "broken.sql", "CREATE TABLE x (y); CREATE TABLE x (y)"}})
	if err := l.migrate(ctx, broken); err == nil || !strings.Contains(err.Error(), "broken.sql") {
		t.Errorf("broken migration: %v", err)
	}
	if columns(t, l, "x")["y"] {
		t.Error("half of a broken migration is there")
	}
	better := slices.Concat(steps, []migration{{len(steps) + 1, "next.sql", "CREATE TABLE x (y)"}})
	must(t, l.migrate(ctx, better))
	must(t, l.Close())
	if _, err := Open(path); err == nil || !strings.Contains(err.Error(), "newer version of Redoubt") {
		t.Errorf("newer schema: %v", err)
	}
}

// TestMigrationKeepsDiscrepancies brings a ledger of the second schema up to date.
func TestMigrationKeepsDiscrepancies(t *testing.T) {
	path := filepath.Join(t.TempDir(), "ledger.db")
	must(t, createPrivate(path))
	db, err := connect(path, 1, url.Values{})
	must(t, err)
	old := &Ledger{write: db}
	must(t, old.migrate(ctx, migrations()[:2]))
	_, err = db.Exec("INSERT INTO runs (run_id, job, seed, started_at) VALUES ('r1', 'nightly', 1, ?)", timeText(t0))
	must(t, err)
	_, err = db.Exec(`INSERT INTO discrepancies (tenant, timeline, id, state, first_seen, first_run_id, last_seen, last_run_id, discrepancy)
		VALUES ('ten', 'main', 'a1', 'open', ?1, 'r1', ?1, 'r1', '{"kind": "bit_rot", "severity": "warning", "file": "base/5/16390", "relation": {"name": "public.T"}}')`, timeText(t0))
	must(t, err)
	must(t, db.Close())
	l, err := Open(path)
	must(t, err)
	defer func() { must(t, l.Close()) }()
	found, err := l.Discrepancies(ctx, DiscrepancyFilter{Kind: finding.BitRot, Severity: finding.Warning, Text: "a1 public.t base/5"})
	must(t, err)
	if len(found) != 1 || found[0].File != "base/5/16390" {
		t.Errorf("found %+v", found)
	}
	counts, err := l.OpenCounts(ctx)
	must(t, err)
	if !slices.Equal(counts, []OpenCount{{finding.BitRot, finding.Warning, 1}}) {
		t.Errorf("counts %v", counts)
	}
}

func TestColumnOffsetNeedsNoQuotes(t *testing.T) {
	l := openTest(t)
	var n int
	must(t, l.read.QueryRow("SELECT count(*) FROM discrepancies WHERE offset > 0 AND block > 0 AND kind = 'x'").Scan(&n))
}

// TestDocumentedQueriesRun takes the queries out of docs/ledger.md.
func TestDocumentedQueriesRun(t *testing.T) {
	l := openTest(t)
	doc, err := os.ReadFile("../../docs/ledger.md")
	must(t, err)
	_, rest, _ := strings.Cut(string(doc), "```sql\n")
	text, _, ok := strings.Cut(rest, "```")
	if !ok || strings.Count(text, "SELECT") != 5 {
		t.Fatalf("queries: %s", text)
	}
	for q := range strings.SplitSeq(strings.TrimSuffix(strings.TrimSpace(text), ";"), ";\n") {
		if _, err := l.read.Exec(q); err != nil {
			t.Errorf("%s: %v", q, err)
		}
	}
	for _, table := range []string{"runs", "picks", "spans", "discrepancies", "sightings", "timelines", "segments", "jobs", "acknowledgements", "pruned_runs", "recoveries"} {
		if !strings.Contains(string(doc), "| `"+table+"` |") || len(columns(t, l, table)) == 0 {
			t.Errorf("table %s is not there or not documented", table)
		}
	}
}
