package storage

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"pgregory.net/rapid"
)

// However small the batches, a listing is complete and in the order of S3.
func TestWalkInBatches(t *testing.T) {
	rapid.Check(t, func(rt *rapid.T) {
		dir, err := os.MkdirTemp(t.TempDir(), "")
		if err != nil {
			rt.Fatal(err)
		}
		keys := rapid.SliceOfN(rapid.StringMatching(`[ab.0-]{1,2}(/[ab.0-]{1,2}){0,2}`), 0, 12).Draw(rt, "keys")
		for _, k := range keys {
			if ValidateKey(k) != nil || os.MkdirAll(filepath.Join(dir, filepath.Dir(k)), 0o700) != nil {
				continue
			}
			// Fails where a directory has the name already.
			_ = os.WriteFile(filepath.Join(dir, k), nil, 0o600)
		}
		var want []string
		err = filepath.WalkDir(dir, func(path string, e os.DirEntry, err error) error {
			if err == nil && !e.IsDir() {
				want = append(want, strings.TrimPrefix(path, dir+"/"))
			}
			return err
		})
		if err != nil {
			rt.Fatal(err)
		}
		slices.Sort(want)
		d, err := openDir(dir)
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = d.Close() }()
		var got []string
		w := &dirWalk{ctx: context.Background(), batch: rapid.IntRange(1, 4).Draw(rt, "batch"),
			yield: func(o Object, err error) bool { got = append(got, o.Key); return err == nil }}
		r, err := d.enter("")
		if err != nil {
			rt.Fatal(err)
		}
		defer func() { _ = r.Close() }()
		if _, err := w.walk(r, "", ""); err != nil {
			rt.Fatal(err)
		}
		if !slices.Equal(got, want) {
			rt.Fatalf("listed %q, want %q", got, want)
		}
	})
}

func FuzzValidateKey(f *testing.F) {
	for _, s := range []string{"", "a", "a/b", "../x", "a//b", "/a", "a/.", "a\x00", "a/..", "..."} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, key string) {
		if ValidateKey(key) != nil {
			return
		}
		if !filepath.IsLocal(key) || filepath.Clean(key) != key || len(key) > maxKey {
			t.Errorf("%q was accepted", key)
		}
	})
}

func FuzzRedacted(f *testing.F) {
	for _, s := range []string{"s3://u:hunter2@b?x=hunter2", "hunter2", "a://hunter2:x@", "password=hunter2", "s3://%zz:hunter2@b"} {
		f.Add(s)
	}
	f.Fuzz(func(t *testing.T, s string) {
		once := Redacted(s)
		if again := Redacted(once); again != once && !strings.Contains(once, hidden) {
			t.Errorf("Redacted(%q) = %q, and again %q", s, once, again)
		}
	})
}

func BenchmarkListDirectory(b *testing.B) {
	dir := b.TempDir()
	for i := range 2000 {
		if err := os.WriteFile(filepath.Join(dir, fmt.Sprintf("%024X", i)), nil, 0o600); err != nil {
			b.Fatal(err)
		}
	}
	d, err := openDir(dir)
	if err != nil {
		b.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	for b.Loop() {
		for _, err := range d.List(b.Context(), "", ListOptions{}) {
			if err != nil {
				b.Fatal(err)
			}
		}
	}
	b.ReportMetric(float64(2000*b.N)/b.Elapsed().Seconds(), "objects/s")
}

// TestSweep: what a killed writer left is removed, what is being written is not.
func TestSweep(t *testing.T) {
	path := t.TempDir()
	d, err := openDir(path)
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = d.Close() }()
	const left = tempPrefix + "LEFT" + tempSuffix
	for _, name := range []string{left, tempPrefix + "kept", "other" + tempSuffix} {
		if err := os.WriteFile(filepath.Join(path, name), []byte("x"), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	slow, writer := io.Pipe()
	done := make(chan error, 1)
	go func() { done <- d.Put(context.Background(), "slow", slow, PutOptions{CreateOnly: true}) }()
	if _, err := writer.Write([]byte("content")); err != nil { // its temporary file is there now
		t.Fatal(err)
	}
	if err := d.Put(context.Background(), "plain", strings.NewReader("x"), PutOptions{}); err != nil {
		t.Fatal(err)
	}
	if _, err := os.Stat(filepath.Join(path, left)); err != nil {
		t.Errorf("swept without being asked to: %v", err)
	}
	if err := d.Put(context.Background(), "quick", strings.NewReader("x"), PutOptions{Sweep: true}); err != nil {
		t.Fatal(err)
	}
	if err := writer.Close(); err != nil {
		t.Fatal(err)
	}
	if err := <-done; err != nil {
		t.Errorf("a Put whose file was not to be swept: %v", err)
	}
	entries, err := os.ReadDir(path)
	if err != nil {
		t.Fatal(err)
	}
	var names []string
	for _, e := range entries {
		names = append(names, e.Name())
	}
	if want := []string{tempPrefix + "kept", "other" + tempSuffix, "plain", "quick", "slow"}; !slices.Equal(names, want) {
		t.Errorf("there are %q, want %q", names, want)
	}
}
