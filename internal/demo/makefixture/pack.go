package main

import (
	"archive/tar"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"path"
	"path/filepath"

	"redoubt/internal/demo"
)

// pack writes the bundle: the description, then each timeline's snapshots side
// by side, so that they share a window of the compression, then its WAL.
func pack(f *demo.Fixture, dir, out string) error {
	plain := filepath.Join(dir, "fixture.tar")
	if err := writeTar(f, dir, plain); err != nil {
		return fmt.Errorf("pack: %w", err)
	}
	cmd := exec.Command("zstd", "--ultra", "-22", "--long=26", "-T1", "-q", "-f", "-o", out, plain)
	cmd.Stderr = os.Stderr
	if err := cmd.Run(); err != nil {
		return fmt.Errorf("compress with zstd: %w", err)
	}
	return report(f, plain, out)
}

func writeTar(f *demo.Fixture, dir, to string) error {
	file, err := os.Create(to)
	if err != nil {
		return err
	}
	w := tar.NewWriter(file)
	return errors.Join(addAll(w, f, dir), w.Close(), file.Close())
}

func addAll(w *tar.Writer, f *demo.Fixture, dir string) error {
	about, err := json.MarshalIndent(f, "", "  ")
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: demo.DescriptionName, Mode: 0o644, Size: int64(len(about))}); err != nil {
		return err
	}
	if _, err := w.Write(about); err != nil {
		return err
	}
	for _, tl := range f.Timelines {
		for _, s := range tl.Snapshots {
			for _, name := range []string{"base.tar", "backup_manifest"} {
				if err := add(w, dir, path.Join(tl.Tenant, tl.Timeline, "snapshots", s.Name, name)); err != nil {
					return err
				}
			}
		}
		for _, name := range tl.Segments {
			if err := add(w, dir, path.Join(tl.Tenant, tl.Timeline, "wal", name)); err != nil {
				return err
			}
		}
	}
	return nil
}

func add(w *tar.Writer, dir, name string) error {
	file, err := os.Open(filepath.Join(dir, filepath.FromSlash(name)))
	if err != nil {
		return err
	}
	defer func() { _ = file.Close() }()
	st, err := file.Stat()
	if err != nil {
		return err
	}
	if err := w.WriteHeader(&tar.Header{Name: name, Mode: 0o644, Size: st.Size()}); err != nil {
		return err
	}
	_, err = io.Copy(w, file)
	return err
}

// report says what was made.
func report(f *demo.Fixture, plain, out string) error {
	a, err := os.Stat(plain)
	if err != nil {
		return err
	}
	b, err := os.Stat(out)
	if err != nil {
		return err
	}
	for _, tl := range f.Timelines {
		fmt.Printf("%s/%s: %d segments, checksums %t, snapshots %v\n", tl.Tenant, tl.Timeline, len(tl.Segments), tl.Checksums, tl.Snapshots)
	}
	fmt.Printf("lost write: %+v\nremoved: %+v\n%s: %d bytes, %d unpacked\n", f.LostWrite, f.Removed, out, b.Size(), a.Size())
	return nil
}
