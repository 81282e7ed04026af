package snapshot

import (
	"fmt"
	"math/rand/v2"
	"path/filepath"
	"testing"

	"redoubt/internal/pg"
	"redoubt/internal/pg/datadir"
)

// nothing is a visitor that does nothing.
type nothing struct{}

func (nothing) Blocks(datadir.RelFile, pg.BlockNumber, []byte) error { return nil }
func (nothing) EndRelation(datadir.RelFile, int64) error             { return nil }
func (nothing) File(string, []byte) error                            { return nil }

// BenchmarkWalk reads 64 MiB of relations that compress about as well as
// tables do, from a directory and from tars, with and without a manifest.
func BenchmarkWalk(b *testing.B) {
	const size = 64 << 20
	dir := smallDir(b, datadir.InProduction, testLabel)
	r := rand.New(rand.NewPCG(1, 1))
	for i := range 8 {
		pages := make([]byte, size/8)
		for j := 0; j < len(pages); j += 4 {
			pages[j] = byte(r.Uint32())
		}
		write(b, filepath.Join(dir, fmt.Sprintf("base/5/%d", 40000+i)), pages)
	}
	run := func(name, loc string) {
		b.Run(name, func(b *testing.B) {
			s, err := Open(b.Context(), loc, Options{})
			if err != nil {
				b.Fatal(err)
			}
			defer func() { _ = s.Close() }()
			b.SetBytes(size)
			for b.Loop() {
				if err := s.Walk(b.Context(), nothing{}); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
	run("directory", dir)
	for _, suffix := range []string{".tar", ".tar.zst", ".tar.lz4", ".tar.gz"} {
		to := filepath.Join(b.TempDir(), "b"+suffix)
		packTar(b, dir, to)
		run(suffix[1:], to)
	}
	for _, a := range []datadir.ChecksumAlgorithm{datadir.ChecksumCRC32C, datadir.ChecksumSHA256} {
		writeManifest(b, dir, filepath.Join(dir, datadir.ManifestPath), a)
		run("directory with "+a.String(), dir)
	}
}
