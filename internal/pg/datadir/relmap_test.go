package datadir

import (
	"bytes"
	"encoding/binary"
	"fmt"
	"hash/crc32"
	"os"
	"path/filepath"
	"testing"

	"redoubt/internal/pgtest"
)

// makeRelMap writes a relation map as PostgreSQL would.
func makeRelMap(size int, maps []RelMapping) []byte {
	slots := relMapSlots15
	if size == relMapSize16 {
		slots = relMapSlots16
	}
	b := make([]byte, size)
	binary.LittleEndian.PutUint32(b, relMapMagic)
	binary.LittleEndian.PutUint32(b[4:], uint32(len(maps)))
	for i, m := range maps {
		binary.LittleEndian.PutUint32(b[8+8*i:], uint32(m.Catalog))
		binary.LittleEndian.PutUint32(b[12+8*i:], uint32(m.Rel))
	}
	end := 8 + 8*slots
	binary.LittleEndian.PutUint32(b[end:], crc32.Checksum(b[:end], castagnoli))
	return b
}

func TestParseRelMap(t *testing.T) {
	want := []RelMapping{{1259, 16390}, {1249, 1249}}
	for _, size := range []int{relMapSize15, relMapSize16} {
		b := makeRelMap(size, want)
		got, err := ParseRelMap(b)
		if err != nil || len(got) != 2 || got[0] != want[0] || got[1] != want[1] {
			t.Errorf("%d bytes: %v, %v", size, got, err)
		}
		for i := range (size / 8 * 8) * 8 {
			d := bytes.Clone(b)
			d[i/8] ^= 1 << (i % 8)
			if m, err := ParseRelMap(d); err == nil && (size == relMapSize16 || i/8 < 508) {
				t.Fatalf("%d bytes: bit %d flipped and not noticed: %v", size, i, m)
			}
		}
		if _, err := ParseRelMap(b[:size-1]); err == nil {
			t.Errorf("%d bytes: a cut map is accepted", size)
		}
		many := makeRelMap(size, nil)
		binary.LittleEndian.PutUint32(many[4:], 65)
		end := 8 + 8*((size-8)/8)
		if size == relMapSize15 {
			end = 504
		}
		binary.LittleEndian.PutUint32(many[end:], crc32.Checksum(many[:end], castagnoli))
		if _, err := ParseRelMap(many); err == nil {
			t.Errorf("%d bytes: 65 mappings are accepted", size)
		}
	}
}

// TestRelMapAgainstServer compares the maps of a server with pg_relation_filenode
// after VACUUM FULL has moved mapped catalogs, and reads all other files of a
// data directory that have a decoder.
func TestRelMapAgainstServer(t *testing.T) {
	for _, major := range pgtest.Majors {
		t.Run(fmt.Sprint(major), func(t *testing.T) {
			t.Parallel()
			c := pgtest.Server(t, major)
			c.Exec("VACUUM FULL pg_class", "VACUUM FULL pg_proc", "VACUUM FULL pg_database")
			c.Checkpoint()
			db := c.Query("SELECT oid FROM pg_database WHERE datname = 'postgres'")
			for _, path := range []string{"global/pg_filenode.map", "base/" + db + "/pg_filenode.map"} {
				b, err := os.ReadFile(filepath.Join(c.Data, path))
				if err != nil {
					t.Fatal(err)
				}
				maps, err := ParseRelMap(b)
				if err != nil || len(maps) < 10 {
					t.Fatalf("%s: %d mappings, %v", path, len(maps), err)
				}
				for _, m := range maps {
					if got := c.Query("SELECT coalesce(pg_relation_filenode($1::int), 0)", int(m.Catalog)); got != fmt.Sprint(m.Rel) {
						t.Errorf("%s: catalog %d is stored in %d, the server says %s", path, m.Catalog, m.Rel, got)
					}
				}
			}
			classifyAll(t, c.Data, major)
		})
	}
}

// classifyAll walks a real data directory: what looks like a relation or an
// SLRU must be one, and the number of each is at least that of a new cluster.
func classifyAll(t *testing.T, data string, major int) {
	t.Helper()
	n := map[Class]int{}
	err := filepath.WalkDir(data, func(p string, d os.DirEntry, err error) error {
		if err != nil || d.IsDir() {
			return err
		}
		r, err := filepath.Rel(data, p)
		c := Classify(r)
		n[c.Class]++
		if c.Class == VersionFile {
			b, err := os.ReadFile(p)
			if v, perr := ParseVersion(b); err != nil || perr != nil || v != major {
				t.Errorf("%s: %d, %v, %v", r, v, err, perr)
			}
		}
		return err
	})
	if err != nil {
		t.Fatal(err)
	}
	if n[Relation] < 800 || n[SLRUSegment] != 3 || n[RelationMap] != 4 || n[VersionFile] != 4 || n[ControlFile] != 1 {
		t.Errorf("files by class: %v", n)
	}
}

func FuzzParseRelMap(f *testing.F) {
	f.Add(makeRelMap(relMapSize15, []RelMapping{{1, 2}}))
	f.Add(makeRelMap(relMapSize16, []RelMapping{{1259, 1259}, {3, 4}}))
	f.Fuzz(func(t *testing.T, b []byte) {
		maps, err := ParseRelMap(b)
		if err == nil && len(maps) > relMapSlots16 {
			t.Fatal("too many")
		}
		for _, size := range []int{relMapSize15, relMapSize16} {
			if len(b) >= size {
				d := bytes.Clone(b[:size])
				end := 8 + 8*relMapSlots15
				if size == relMapSize16 {
					end = 8 + 8*relMapSlots16
				}
				binary.LittleEndian.PutUint32(d, relMapMagic)
				binary.LittleEndian.PutUint32(d[end:], crc32.Checksum(d[:end], castagnoli))
				_, _ = ParseRelMap(d)
			}
		}
	})
}

func TestParseVersion(t *testing.T) {
	for _, s := range []string{"17\n", "17", "17\r\n", "14\n", "18\n"} {
		if _, err := ParseVersion([]byte(s)); err != nil {
			t.Errorf("%q: %v", s, err)
		}
	}
	for _, s := range []string{"", "\n", "13\n", "19\n", "9.6\n", "017\n", "17 \n", "x", "17\n17\n", "99999999999999999999"} {
		if v, err := ParseVersion([]byte(s)); err == nil {
			t.Errorf("%q: accepted as %d", s, v)
		}
	}
}
