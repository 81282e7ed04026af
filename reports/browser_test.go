package reports

import (
	"bytes"
	"context"
	"flag"
	"io"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

var shots = flag.String("shots", "", "directory for screenshots of the sample pages, light, dark, wide and narrow")

// chromium runs the browser without a head on a page and returns what it
// prints and what its console said.
func chromium(t *testing.T, args ...string) (stdout, stderr string) {
	t.Helper()
	path, err := exec.LookPath("chromium")
	if err != nil {
		t.Skip("SKIPPED PROOF: how the report looks in a browser: chromium is not installed")
	}
	ctx, cancel := context.WithTimeout(t.Context(), 90*time.Second)
	defer cancel()
	common := []string{
		"--headless", "--no-sandbox", "--disable-gpu", "--no-first-run", "--disable-background-networking", "--disable-component-update",
		"--disable-sync", "--disable-dev-shm-usage", "--hide-scrollbars", "--enable-logging=stderr", "--user-data-dir=" + t.TempDir(),
	}
	cmd := exec.CommandContext(ctx, path, append(common, args...)...)
	var out, errs bytes.Buffer
	cmd.Stdout, cmd.Stderr = &out, &errs
	cmd.WaitDelay = 5 * time.Second
	if err := cmd.Run(); err != nil {
		t.Fatalf("run chromium: %v\n%s", err, errs.String())
	}
	return out.String(), errs.String()
}

// consoleErrors are the lines in which the browser's console complains.
func consoleErrors(stderr string) []string {
	var out []string
	for _, l := range strings.Split(stderr, "\n") {
		if strings.Contains(l, "CONSOLE") || strings.Contains(l, "Content Security Policy") || strings.Contains(l, "Refused to") {
			out = append(out, l)
		}
	}
	return out
}

func writePage(t *testing.T, in Report) string {
	t.Helper()
	file := filepath.Join(t.TempDir(), "report.html")
	if err := WriteFile(file, func(w io.Writer) error { return HTML(w, in) }); err != nil {
		t.Fatal(err)
	}
	return file
}

func TestBrowserShowsTheVerdict(t *testing.T) {
	file := writePage(t, richReport(t))
	png := filepath.Join(t.TempDir(), "report.png")
	dom, console := chromium(t, "--dump-dom", "--screenshot="+png, "--window-size=1280,2400", "file://"+file)
	for _, want := range []string{
		"4 findings: 1 page is not what the WAL says; 1 WAL segment is missing; 1 WAL segment is damaged; 1 write was lost by the primary's disk, by the images in the WAL.",
		"public.accounts", "000000010000000000000008", "312 blocks", "rows ctid (1204,3) to (1204,12)", "the histories part here",
	} {
		if !strings.Contains(dom, want) {
			t.Errorf("the rendered page lacks %q", want)
		}
	}
	if errs := consoleErrors(console); len(errs) > 0 {
		t.Errorf("the browser's console: %s", strings.Join(errs, "\n"))
	}
	if st, err := os.Stat(png); err != nil || st.Size() < 20_000 {
		t.Errorf("screenshot: %v, %v", st, err)
	}
}

// TestBrowserObeysThePolicy makes sure that the check above can see a
// complaint: a page with a second style sheet breaks its own policy.
func TestBrowserObeysThePolicy(t *testing.T) {
	var b bytes.Buffer
	if err := HTML(&b, report(cleanRun())); err != nil {
		t.Fatal(err)
	}
	file := filepath.Join(t.TempDir(), "report.html")
	page := strings.Replace(b.String(), "</head>", "<style>body{display:none}</style></head>", 1)
	if err := os.WriteFile(file, []byte(page), 0o600); err != nil {
		t.Fatal(err)
	}
	_, console := chromium(t, "--dump-dom", "file://"+file)
	if len(consoleErrors(console)) == 0 {
		t.Error("the browser did not complain about a style sheet the policy forbids")
	}
}

// TestShots writes screenshots for people to look at; it needs -shots DIR.
func TestShots(t *testing.T) {
	if *shots == "" {
		return
	}
	for _, s := range samples {
		t.Run(s.name, func(t *testing.T) { shoot(t, s.name, writePage(t, s.in)) })
	}
	t.Run("index", shootIndex)
}

func shootIndex(t *testing.T) {
	file := filepath.Join(t.TempDir(), "index.html")
	if err := WriteFile(file, func(w io.Writer) error { return Index(w, Listing{Runs: summaries(), Version: "0.2.0"}) }); err != nil {
		t.Fatal(err)
	}
	shoot(t, "index", file)
}

func shoot(t *testing.T, name, file string) {
	t.Helper()
	// The browser's window is never narrower than 500 pixels: a frame is.
	frame := filepath.Join(t.TempDir(), "frame.html")
	body := `<style>body{margin:0}</style><iframe style="border:0" width=400 height=5600 src="file://` + file + `"></iframe>`
	if err := os.WriteFile(frame, []byte(body), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, v := range []struct{ suffix, size, file, flag string }{
		{"wide", "1280,2800", file, ""}, {"narrow", "500,5600", frame, ""},
		{"dark", "1280,2800", file, "--blink-settings=preferredColorScheme=0"},
	} {
		args := []string{"--screenshot=" + filepath.Join(*shots, name+"-"+v.suffix+".png"), "--window-size=" + v.size}
		if v.flag != "" {
			args = append(args, v.flag)
		}
		chromium(t, append(args, "file://"+v.file)...)
	}
}
