package storage_test

import (
	"context"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"go.uber.org/goleak"

	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

func TestMain(m *testing.M) {
	// The SDKs keep idle connections and caches of their own.
	goleak.VerifyTestMain(m,
		goleak.IgnoreTopFunction("internal/poll.runtime_pollWait"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).writeLoop"),
		goleak.IgnoreTopFunction("net/http.(*persistConn).readLoop"),
		goleak.IgnoreTopFunction("go.opencensus.io/stats/view.(*worker).start"))
}

func open(t testing.TB, location string) *storage.Store {
	t.Helper()
	s, err := storage.Open(context.Background(), location)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := s.Close(); err != nil {
			t.Error(err)
		}
	})
	return s
}

func TestDirectory(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) *storage.Store { return open(t, t.TempDir()) })
}

func TestFileURL(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) *storage.Store { return open(t, "file://"+t.TempDir()) })
}

func TestMemory(t *testing.T) {
	storagetest.Conformance(t, func(t *testing.T) *storage.Store { return open(t, "mem://") })
}

func TestS3(t *testing.T) {
	newBucket := storagetest.S3(t)
	n := 0
	storagetest.Conformance(t, func(t *testing.T) *storage.Store {
		n++
		loc := newBucket("bucket" + string(rune('a'+n)))
		if n%2 == 0 { // half of them below a prefix
			loc = strings.Replace(loc, "?", "/some/prefix?", 1)
		}
		return open(t, loc)
	})
	t.Run("no such bucket", func(t *testing.T) {
		loc := strings.Replace(newBucket("there"), "there", "elsewhere", 1)
		_, err := storage.Open(context.Background(), loc)
		if err == nil || errors.Is(err, storage.ErrNotExist) || !strings.Contains(err.Error(), "elsewhere") {
			t.Errorf("opening a missing bucket: %v", err)
		}
	})
	t.Run("wrong credentials", func(t *testing.T) {
		t.Setenv("AWS_SECRET_ACCESS_KEY", "not-it-at-all")
		_, err := storage.Open(context.Background(), newBucket("locked"))
		if err == nil || strings.Contains(err.Error(), "not-it-at-all") {
			t.Errorf("opening with wrong credentials: %v", err)
		}
	})
}

func TestOpenErrors(t *testing.T) {
	file := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(file, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	for loc, want := range map[string]string{
		"":                           "empty",
		"/no/such/place":             "check the path",
		file:                         "it is a file",
		"ftp://host/dir":             "unknown scheme",
		"file://relative/dir":        "three slashes",
		"s3://b?access_key=SECRET":   "access_key",
		"s3://u:%zzpw@b":             "not a valid URL",
		"s3://u:pass@b/../x":         "b",
		"s3://b?endpoint=http://[::": "endpoint",
	} {
		ctx, cancel := context.WithCancel(context.Background())
		cancel() // nothing here may wait for a network
		s, err := storage.Open(ctx, loc)
		if err == nil {
			_ = s.Close()
			t.Errorf("Open(%q) succeeded", loc)
			continue
		}
		if !strings.Contains(err.Error(), want) && !errors.Is(err, context.Canceled) {
			t.Errorf("Open(%q): %v; want %q in it", loc, err, want)
		}
		for _, secret := range []string{"SECRET", "pass", "zzpw"} {
			if strings.Contains(err.Error(), secret) {
				t.Errorf("Open(%q) shows a secret: %v", loc, err)
			}
		}
	}
}

func TestRedacted(t *testing.T) {
	for loc, want := range map[string]string{
		"/var/lib/wal": "/var/lib/wal",
		"s3://bucket/a/b?region=eu&endpoint=https://u:p@h:1/x": "s3://bucket/a/b?endpoint=https://h:1/x&region=eu",
		"s3://key:secret@bucket/p?session_token=abc":           "s3://bucket/p?session_token=REDACTED",
		"postgres://bob:hunter2@db/x?sslmode=require":          "postgres://db/x?sslmode=require",
		"postgres://db/x?password=hunter2&user=bob":            "postgres://db/x?password=REDACTED&user=REDACTED",
		"host=db user=bob password=hunter2 dbname=x":           "host=db user=bob password=REDACTED dbname=x",
		"host=db password='hunter 2'":                          "host=db password=REDACTED",
		"https://x/%zz?sig=abc":                                "https://REDACTED",
		"mem://":                                               "mem:",
	} {
		if got := storage.Redacted(loc); got != want {
			t.Errorf("Redacted(%q) = %q, want %q", loc, got, want)
		}
	}
}

// Nothing outside the directory is reached and no link is followed, whatever
// is in the directory.
func TestDirectoryIsHostile(t *testing.T) {
	outside, dir := t.TempDir(), t.TempDir()
	must := func(err error) {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
	}
	must(os.WriteFile(filepath.Join(outside, "secret"), []byte("secret"), 0o600))
	must(os.WriteFile(filepath.Join(dir, "real"), []byte("real"), 0o600))
	must(os.Mkdir(filepath.Join(dir, "sub"), 0o700))
	must(os.WriteFile(filepath.Join(dir, "sub", "in"), []byte("in"), 0o600))
	must(os.Symlink(outside, filepath.Join(dir, "out")))
	must(os.Symlink("sub", filepath.Join(dir, "alias")))
	must(os.Symlink("real", filepath.Join(dir, "link")))
	must(os.Symlink("..", filepath.Join(dir, "up")))
	must(syscall.Mkfifo(filepath.Join(dir, "pipe"), 0o600))

	link := filepath.Join(t.TempDir(), "root")
	must(os.Symlink(dir, link)) // the root itself may be a link
	s := open(t, link)

	for key, want := range map[string]error{
		"out/secret": storage.ErrIrregular, "alias/in": storage.ErrIrregular, "link": storage.ErrIrregular,
		"up/real": storage.ErrIrregular, "pipe": storage.ErrIrregular, "sub": storage.ErrNotExist,
	} {
		if rc, err := s.Open(context.Background(), key); !errors.Is(err, want) {
			if err == nil {
				_ = rc.Close()
			}
			t.Errorf("Open(%q): %v, want %v", key, err, want)
		}
		if _, err := s.Stat(context.Background(), key); !errors.Is(err, want) {
			t.Errorf("Stat(%q): %v, want %v", key, err, want)
		}
	}
	var regular, irregular []string
	for o, err := range s.List(context.Background(), "", storage.ListOptions{}) {
		must(err)
		if o.Irregular {
			irregular = append(irregular, o.Key)
		} else {
			regular = append(regular, o.Key)
		}
	}
	if !slices.Equal(regular, []string{"real", "sub/in"}) {
		t.Errorf("files: %q", regular)
	}
	if !slices.Equal(irregular, []string{"alias", "link", "out", "pipe", "up"}) {
		t.Errorf("irregular: %q", irregular)
	}
	for _, key := range []string{"out/new", "alias/new", "up/new"} {
		if err := s.Put(context.Background(), key, strings.NewReader("x"), storage.PutOptions{}); err == nil {
			t.Errorf("Put(%q) went through a link", key)
		}
	}
	// A link in the place of the object is replaced, not written through.
	must(s.Put(context.Background(), "link", strings.NewReader("new"), storage.PutOptions{}))
	if got, err := os.ReadFile(filepath.Join(dir, "real")); err != nil || string(got) != "real" {
		t.Errorf("real holds %q (%v)", got, err)
	}
}

func TestFaults(t *testing.T) {
	s := open(t, t.TempDir())
	storagetest.Put(t, s, "a", []byte("x"))
	f, calls := storagetest.Inject(s, storagetest.From(1, true))
	if _, err := f.Stat(context.Background(), "a"); err != nil {
		t.Fatal(err)
	}
	_, err := f.Stat(context.Background(), "a")
	if !errors.Is(err, storagetest.ErrInjected) || !storage.Transient(err) {
		t.Errorf("second Stat: %v", err)
	}
	if calls.Calls() != 2 {
		t.Errorf("%d calls", calls.Calls())
	}
}
