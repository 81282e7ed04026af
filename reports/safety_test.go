package reports

import (
	"encoding/json"
	"errors"
	"io"
	"os"
	"path/filepath"
	"reflect"
	"regexp"
	"strings"
	"testing"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// hostile names that come out of a bucket, a page or a configuration.
var hostile = []string{
	`<script>alert(1)</script>`, `"><img src=x onerror=alert(1)>`, `' onload='alert(1)`, `</style><style>*{display:none}</style>`,
	`</title><base href=//evil.example>`, `javascript:alert(1)`, `{{.Run}}`, "\x1b[2J\x1b[31mclean\x07", "a\u202egnp.exe", "zero\u200bwidth",
	"broken\xff\xfeutf8", "line\nbreak\rreturn\x00nul", `https://evil.example/x.png`, strings.Repeat("long", 5000),
}

// poison sets every string in v to s, whatever it means, and gives every
// empty list of strings one element.
func poison(v reflect.Value, s string) {
	switch v.Kind() {
	case reflect.String:
		v.SetString(s)
	case reflect.Pointer:
		if !v.IsNil() {
			poison(v.Elem(), s)
		}
	case reflect.Struct:
		for i := range v.NumField() {
			if v.Field(i).CanSet() {
				poison(v.Field(i), s)
			}
		}
	case reflect.Slice:
		for i := range v.Len() {
			poison(v.Index(i), s)
		}
	case reflect.Map:
		for _, k := range v.MapKeys() {
			v.SetMapIndex(reflect.ValueOf(s).Convert(k.Type()), v.MapIndex(k))
		}
	}
}

var (
	element   = regexp.MustCompile(`<([a-zA-Z][a-zA-Z0-9]*)((?:"[^"]*"|'[^']*'|[^>"'])*)>`)
	attribute = regexp.MustCompile(`([a-zA-Z:-]+)=(?:"([^"]*)"|'([^']*)'|([^\s>]+))`)
)

// checkPage refuses every element and attribute that could load, run or send
// something.
func checkPage(t *testing.T, page string) {
	t.Helper()
	checkElements(t, page, false)
}

// checkLive is checkPage for the pages of a server, which have forms and lead
// to each other.
func checkLive(t *testing.T, page string) {
	t.Helper()
	checkElements(t, page, true)
}

var (
	formElement = regexp.MustCompile(`^(form|input|button)$`)
	ownAddress  = regexp.MustCompile(`^(#|/$|/(run|discrepancy|finding|timeline|tenant)(/|\?|$))`)
	ownAction   = regexp.MustCompile(`^(/discrepancy|/finding/[^/?#]*/(un)?ack)$`)
)

func checkElements(t *testing.T, page string, live bool) {
	t.Helper()
	styles := 0
	for _, e := range element.FindAllStringSubmatch(page, -1) {
		if live && formElement.MatchString(e[1]) {
			e[1] = "span"
		}
		switch strings.ToLower(e[1]) {
		case "script", "img", "iframe", "object", "embed", "base", "form", "input", "button", "video", "audio", "source", "foreignobject", "image", "use", "animate", "set":
			t.Errorf("the page has an element %q", e[0])
		case "style":
			styles++
		}
		for _, a := range attribute.FindAllStringSubmatch(e[2], -1) {
			name, value := strings.ToLower(a[1]), a[2]+a[3]+a[4]
			switch {
			case live && name == "action" && ownAction.MatchString(value), live && name == "href" && ownAddress.MatchString(value):
			case strings.HasPrefix(name, "on"), name == "src", name == "srcset", name == "style", name == "action", name == "formaction", strings.Contains(name, ":"):
				t.Errorf("the page has an attribute %q", a[0])
			case name == "href" && !strings.HasPrefix(value, "#") && value != "data:," && !strings.HasPrefix(value, "/run/"):
				t.Errorf("the page links to %q", value)
			}
		}
	}
	if styles != 1 {
		t.Errorf("the page has %d style sheets, want 1", styles)
	}
	for _, r := range page {
		if r != '\n' && (r < ' ' || r == '\u202e' || r == '\u200b') {
			t.Errorf("the page has a raw %q", r)
			break
		}
	}
}

func TestHostileText(t *testing.T) {
	for _, bad := range hostile {
		in := report(findingsRun())
		poison(reflect.ValueOf(&in).Elem(), bad)
		checkPage(t, htmlOf(t, in))
		checkLive(t, textOf(t, func(w io.Writer) error {
			list := summaries()[:3]
			poison(reflect.ValueOf(&list).Elem(), bad)
			return Index(w, Listing{Runs: list, Version: bad})
		}))
		for _, text := range []string{
			textOf(t, func(w io.Writer) error { return Text(w, in.Run, TextOptions{All: true, Command: bad}) }),
			textOf(t, func(w io.Writer) error { return ScanText(w, scanOf(in.Run), TextOptions{}) }),
		} {
			if i := strings.IndexFunc(text, func(r rune) bool { return r != '\n' && r < ' ' || r == '\u202e' || r == '\uFFFD' }); i >= 0 {
				t.Errorf("%.20q: the text has a raw %q", bad, text[i:i+4])
			}
		}
	}
}

func TestHostileNumbers(t *testing.T) {
	in := report(everyKind())
	for i := range in.Run.Timelines {
		tl := &in.Run.Timelines[i]
		tl.Scan.From, tl.Scan.To, tl.Scan.SegmentSize, tl.Scan.Expected = ^pg.LSN(0), 0, -7, -1
		for j := range tl.Spans {
			v := &tl.Spans[j]
			v.Span = pg.Range{From: ^pg.LSN(0), To: pg.LSN(j)}
			v.WAL.Bytes, v.Coverage.BlocksCompared, v.Coverage.BlocksTainted = -1<<63, -5, 1<<62
			v.Timing = finding.Timing{WallSeconds: -3, WALMBPerSecond: 1e300}
			for k := range v.Discrepancies {
				v.Discrepancies[k].ByteRanges = [][2]int{{-5, 1 << 40}, {9, 3}, {8191, 8192}}
				v.Discrepancies[k].Block = ptr(int64(-1))
			}
		}
	}
	page := htmlOf(t, in)
	checkPage(t, page)
	for _, bad := range []string{"NaN", "Inf"} {
		if strings.Contains(page, bad) {
			t.Errorf("the page has %s", bad)
		}
	}
}

func TestNoExternalURL(t *testing.T) {
	for _, s := range samples {
		page := htmlOf(t, s.in)
		checkPage(t, page)
		for _, bad := range []string{"http:", "https:", "//", "@import", "url(h", `url("`, "url('"} {
			if i := strings.Index(page, bad); i >= 0 {
				t.Errorf("%s: the page has %q: …%s…", s.name, bad, page[max(0, i-40):min(len(page), i+40)])
			}
		}
		if !strings.Contains(page, `http-equiv="Content-Security-Policy"`) {
			t.Errorf("%s: the page has no policy", s.name)
		}
	}
}

func TestUnfinishedNeverLooksWhole(t *testing.T) {
	for name, r := range map[string]finding.Run{"clean so far": unfinishedRun(), "findings so far": findingsRun()} {
		r.FinishedAt = nil
		for _, running := range []bool{false, true} {
			in := report(r)
			in.Running = running
			page := readable(htmlOf(t, in))
			if !strings.Contains(page, "What follows is only what it ha") || strings.Contains(page, "Clean: ") || strings.Contains(page, "Everything that was asked for was checked") {
				t.Errorf("%s, running %v: the page looks whole:\n%s", name, running, page)
			}
		}
		text := textOf(t, func(w io.Writer) error { return Text(w, r, TextOptions{}) })
		if !strings.Contains(text, "NOT FINISHED") {
			t.Errorf("%s: the text looks whole:\n%s", name, text)
		}
	}
}

func TestWriteFileIsAtomic(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "report.html")
	write := func(s string, err error) error {
		return WriteFile(file, func(w io.Writer) error {
			if _, werr := io.WriteString(w, s); werr != nil {
				return werr
			}
			return err
		})
	}
	if err := write("first", nil); err != nil {
		t.Fatal(err)
	}
	broken := errors.New("disk full")
	if err := write("half of the sec", broken); !errors.Is(err, broken) {
		t.Fatalf("error %v, want it to wrap %v", err, broken)
	}
	got, err := os.ReadFile(file)
	if err != nil || string(got) != "first" {
		t.Errorf("the file holds %q (%v), want the first report untouched", got, err)
	}
	st, err := os.Stat(file)
	if err != nil || st.Mode().Perm() != 0o600 {
		t.Errorf("mode %v (%v), want 0600", st.Mode(), err)
	}
	if left, _ := os.ReadDir(dir); len(left) != 1 {
		t.Errorf("%d files in the directory, want 1: the temporary one stayed", len(left))
	}
	if err := WriteFile(filepath.Join(dir, "no", "such"), func(io.Writer) error { return nil }); err == nil {
		t.Error("no error for a directory that is not there")
	}
}

func TestWriteRun(t *testing.T) {
	dir := filepath.Join(t.TempDir(), "reports")
	path, err := WriteRun(dir, report(findingsRun()))
	if err != nil {
		t.Fatal(err)
	}
	if want := filepath.Join(dir, "run-20260314T020000Z-7f3a.html"); path != want {
		t.Errorf("path %s, want %s", path, want)
	}
	b, err := os.ReadFile(strings.TrimSuffix(path, "html") + "json")
	if err != nil {
		t.Fatal(err)
	}
	var back finding.Run
	if err := json.Unmarshal(b, &back); err != nil || back.Seed != 4711 || len(back.Timelines) != 2 {
		t.Errorf("the JSON does not come back: %v %+v", err, back)
	}
	for _, id := range []string{"", "../../etc/passwd", "a/b", "a b", "a\x00b", strings.Repeat("x", 129)} {
		r := report(cleanRun())
		r.Run.ID = id
		if _, err := WriteRun(dir, r); err == nil {
			t.Errorf("run id %q became a file", id)
		}
	}
}

func TestJSONHasNoNullLists(t *testing.T) {
	for _, s := range []string{
		textOf(t, func(w io.Writer) error {
			return JSON(w, finding.Run{Timelines: []finding.RunTimeline{{Spans: []finding.Verification{{Discrepancies: []finding.Discrepancy{{}}}}, Scan: &finding.ScanTimeline{}}}})
		}),
		textOf(t, func(w io.Writer) error { return JSON(w, finding.Verification{}) }),
		textOf(t, func(w io.Writer) error { return JSON(w, finding.Scan{}) }),
	} {
		if n := strings.Count(strings.ReplaceAll(s, `"finished_at": null`, ""), "null"); n > 0 {
			t.Errorf("%d nulls in\n%s", n, s)
		}
	}
}
