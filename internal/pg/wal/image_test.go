package wal_test

import (
	"bytes"
	"math/rand/v2"
	"testing"

	"github.com/klauspost/compress/zstd"
	"github.com/pierrec/lz4/v4"

	"redoubt/internal/pg"
	"redoubt/internal/pg/wal"
)

// pglzLiterals encodes without any reference.
func pglzLiterals(p []byte) []byte {
	var out []byte
	for i, b := range p {
		if i%8 == 0 {
			out = append(out, 0)
		}
		out = append(out, b)
	}
	return out
}

func compress(t testing.TB, p []byte) map[wal.Compression][]byte {
	t.Helper()
	lz := make([]byte, lz4.CompressBlockBound(len(p)))
	var c lz4.Compressor
	n, err := c.CompressBlock(p, lz)
	if err != nil || n == 0 {
		t.Fatalf("lz4: %d bytes, %v", n, err)
	}
	z, err := zstd.NewWriter(nil)
	if err != nil {
		t.Fatal(err)
	}
	return map[wal.Compression][]byte{
		wal.NoCompression: p, wal.PGLZ: pglzLiterals(p), wal.LZ4: lz[:n], wal.Zstd: z.EncodeAll(p, nil),
	}
}

// TestRestore restores pages with holes and damages their images: cut, longer
// or for a page of another size they are errors.
func TestRestore(t *testing.T) {
	page := bytes.Repeat([]byte("0123456789abcdefghij"), 410)[:pg.BlockSize]
	for _, hole := range []int{0, 1, 5000, 8191} {
		at := min(100, pg.BlockSize-hole)
		if hole == 0 {
			at = 0
		}
		want := bytes.Clone(page)
		clear(want[at : at+hole])
		stored := append(bytes.Clone(page[:at]), page[at+hole:]...)
		if len(stored) < 100 {
			stored = append([]byte{}, stored...)
		}
		all := map[wal.Compression][]byte{wal.NoCompression: stored, wal.PGLZ: pglzLiterals(stored)}
		if len(stored) > 100 {
			all = compress(t, stored)
		}
		for method, b := range all {
			img := wal.Image{Bytes: b, Compression: method, HoleOffset: uint16(at), HoleLength: uint16(hole)}
			got := bytes.Repeat([]byte{0xEE}, pg.BlockSize)
			if err := img.Restore(got); err != nil || !bytes.Equal(got, want) {
				t.Errorf("%s with a hole of %d: %v, equal %t", method, hole, err, bytes.Equal(got, want))
			}
			if err := img.Restore(got[:100]); err == nil {
				t.Errorf("%s: a short target is accepted", method)
			}
			for _, damage := range []wal.Image{
				{Bytes: b[:len(b)-1], Compression: method, HoleOffset: img.HoleOffset, HoleLength: img.HoleLength},
				{Bytes: b, Compression: method, HoleOffset: img.HoleOffset, HoleLength: img.HoleLength ^ 1},
				{Bytes: nil, Compression: method, HoleOffset: img.HoleOffset, HoleLength: 8191},
				{Bytes: b, Compression: method, HoleOffset: 8000, HoleLength: 200},
			} {
				if hole == 8191 && damage.Bytes == nil {
					continue
				}
				if err := damage.Restore(got); err == nil {
					t.Errorf("%s with a hole of %d: %d of %d bytes are accepted", method, hole, len(damage.Bytes), len(b))
				}
			}
		}
	}
	if err := (&wal.Image{Compression: 9}).Restore(make([]byte, pg.BlockSize)); err == nil {
		t.Error("an unknown method is accepted")
	}
}

func TestPGLZ(t *testing.T) {
	fill := func(b []byte) wal.Image {
		return wal.Image{Bytes: b, Compression: wal.PGLZ, HoleOffset: 1, HoleLength: 8192 - 30}
	}
	page := make([]byte, pg.BlockSize)
	// "ab", then 28 bytes from 2 back: overlapping, with an extra length byte.
	img := fill([]byte{0b100, 'a', 'b', 0x0F, 2, 10})
	if err := img.Restore(page); err != nil || page[0] != 'a' || string(page[8163:]) != "babababababababababababababab" {
		t.Errorf("%v, %q", err, page[8163:])
	}
	for name, b := range map[string][]byte{
		"offset 0":               {0b100, 'a', 'b', 0x0F, 0, 10},
		"offset before the page": {0b100, 'a', 'b', 0x0F, 3, 10},
		"reference beyond":       {0b100, 'a', 'b', 0x0F, 2, 11},
		"too short":              {0b100, 'a', 'b', 0x0F, 2, 9},
		"reference cut":          {0b100, 'a', 'b', 0x0F},
		"extra length cut":       {0b100, 'a', 'b', 0x0F, 2},
		"bytes behind":           {0b100, 'a', 'b', 0x0F, 2, 10, 0},
		"nothing":                {},
	} {
		img := fill(b)
		if err := img.Restore(page); err == nil {
			t.Errorf("%s: accepted", name)
		}
	}
}

// TestRestoreLyingZstd gives frames that claim windows and sizes of gigabytes.
func TestRestoreLyingZstd(t *testing.T) {
	rnd := rand.New(rand.NewPCG(1, 2))
	page := make([]byte, pg.BlockSize)
	for range 2000 {
		b := []byte{0x28, 0xB5, 0x2F, 0xFD, byte(rnd.Uint32()), 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, 0xFF, byte(rnd.Uint32()), byte(rnd.Uint32())}
		img := wal.Image{Bytes: b, Compression: wal.Zstd}
		if n := testing.AllocsPerRun(1, func() {
			if img.Restore(page) == nil {
				t.Error("accepted")
			}
		}); n > 100 {
			t.Fatalf("%d allocations for %x", int(n), b)
		}
	}
}
