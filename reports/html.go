package reports

import (
	"bytes"
	"embed"
	"fmt"
	"html/template"
	"io"
	"strings"
	"sync"
)

//go:embed web
var web embed.FS

// styleSheet is the one style sheet of all pages, inline in each.
var styleSheet = strings.TrimSpace(mustRead("web/style.css"))

// CSP is the Content-Security-Policy of the pages: nothing is fetched,
// nothing runs, one style sheet applies. A server adds "frame-ancestors
// 'none'", which a page cannot say of itself.
var CSP = "default-src 'none'; style-src 'sha256-" + hashOf(styleSheet) + "'; img-src data:; base-uri 'none'; form-action 'none'"

// pages are parsed when the first is made: most commands make none.
var pages = sync.OnceValue(func() *template.Template {
	return template.Must(template.New("pages").Funcs(template.FuncMap{
		"csp":   func() string { return CSP },
		"style": func() template.CSS { return template.CSS(styleSheet) }, //nolint:gosec // our own file, not input

		"livecsp":   func() string { return LiveCSP },
		"livestyle": func() template.CSS { return template.CSS(liveStyle) }, //nolint:gosec // our own file, not input
	}).ParseFS(web, "web/*.html"))
})

func mustRead(name string) string {
	b, err := web.ReadFile(name)
	if err != nil {
		panic(err) // embedded: only a build without the file can get here
	}
	return string(b)
}

// HTML writes the report as one self-contained page. Nothing is written
// unless the whole page could be made.
func HTML(w io.Writer, in Report) error {
	return render(w, "run", viewOf(&in))
}

func render(w io.Writer, name string, data any) error {
	var b bytes.Buffer
	if err := pages().ExecuteTemplate(&b, name, data); err != nil {
		return fmt.Errorf("make %s page: %w", name, err)
	}
	if _, err := w.Write(b.Bytes()); err != nil {
		return fmt.Errorf("write %s page: %w", name, err)
	}
	return nil
}
