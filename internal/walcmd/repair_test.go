package walcmd

import (
	"bytes"
	"encoding/binary"
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"redoubt/internal/compress"
	"redoubt/internal/compress/compresstest"
	"redoubt/internal/storage"
	"redoubt/internal/storage/storagetest"
)

func TestRepair(t *testing.T) {
	for _, c := range compress.Written() {
		b := newBench(t)
		name := b.names[1]
		system := binary.LittleEndian.Uint64(b.files[name][24:])
		data := slices.Clone(b.files[name])
		data[len(data)/2] ^= 1
		damaged := compresstest.As(t, c, data)
		place, err := b.store.Sub("ten/tl/wal")
		if err != nil {
			t.Fatal(err)
		}
		storagetest.Put(t, place, name+c.Suffix(), damaged)
		storagetest.Put(t, place, b.names[2]+c.Suffix(), damaged) // another segment: stays as it is
		if _, err := Repair(t.Context(), place, name, b.pgWAL, system+1); err == nil || !strings.Contains(err.Error(), "another cluster") {
			t.Errorf("a copy of another cluster: %v", err)
		}
		if _, err := Repair(t.Context(), place, name, t.TempDir(), system); err == nil {
			t.Error("repaired from nothing")
		}
		bad := t.TempDir()
		if err := os.WriteFile(filepath.Join(bad, name), data, 0o600); err != nil {
			t.Fatal(err)
		}
		if _, err := Repair(t.Context(), place, name, bad, system); err == nil || !strings.Contains(err.Error(), "no good") {
			t.Errorf("a copy that is damaged itself: %v", err)
		}
		if got := storagetest.Get(t, place, name+c.Suffix()); !bytes.Equal(got, damaged) {
			t.Error("a repair that failed changed the object")
		}

		done, err := Repair(t.Context(), place, name, b.pgWAL, system)
		if err != nil || len(done) != 1 || done[0].Key != name+c.Suffix() || done[0].Reason == "" {
			t.Fatalf("%+v, %v", done, err)
		}
		if got := storagetest.Get(t, place, done[0].Aside); !bytes.Equal(got, damaged) {
			t.Error("what is kept aside is not the damaged object")
		}
		if got := storagetest.Get(t, place, b.names[2]+c.Suffix()); !bytes.Equal(got, damaged) {
			t.Error("another object was changed")
		}
		b.wantGet(b.place(c), name)
		if done, err := Repair(t.Context(), place, name, b.pgWAL, system); err != nil || len(done) != 0 {
			t.Errorf("a sound object was repaired: %+v, %v", done, err)
		}
		if _, err := Repair(t.Context(), place, b.names[3], b.pgWAL, system); !errors.Is(err, storage.ErrNotExist) {
			t.Errorf("a missing object: %v", err)
		}
	}
}

// Whichever operation fails, the damaged bytes are still there under one name
// or the other.
func TestRepairUnderFaults(t *testing.T) {
	b := newBench(t)
	name := b.names[1]
	system := binary.LittleEndian.Uint64(b.files[name][24:])
	damaged := slices.Clone(b.files[name])
	damaged[len(damaged)/2] ^= 1
	for i := int64(0); ; i++ {
		store, err := storage.Open(t.Context(), t.TempDir())
		if err != nil {
			t.Fatal(err)
		}
		storagetest.Put(t, store, name, damaged)
		faulty, calls := storagetest.Inject(store, storagetest.From(i, false))
		_, err = Repair(t.Context(), faulty, name, b.pgWAL, system)
		kept := false
		for _, key := range storagetest.Keys(t, store, "", storage.ListOptions{}) {
			got := storagetest.Get(t, store, key)
			kept = kept || bytes.Equal(got, damaged)
			if key == name && !bytes.Equal(got, damaged) && !bytes.Equal(got, b.files[name]) {
				t.Fatalf("operation %d: the object is neither the old nor the new", i)
			}
		}
		if !kept {
			t.Fatalf("operation %d: the damaged bytes are gone (%v)", i, err)
		}
		if calls.Calls() <= i {
			if err != nil {
				t.Error(err)
			}
			return
		}
		i += calls.Calls() / 40 // reads are many
	}
}
