package journal

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"redoubt/walbackup/names"
)

var id = names.ID{Tenant: "prod", Timeline: "main"}

func open2(t *testing.T, path, place string) *Journal {
	t.Helper()
	j, err := Open(path, place)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = j.Close() })
	return j
}

func TestJournalRemembers(t *testing.T) {
	path := filepath.Join(t.TempDir(), "sub", "j.db")
	f := File{Name: "000000010000000000000001", Size: 1 << 24, Modified: time.Unix(5, 7), Stored: 99}
	alarm := Alarm{Kind: "conflict", ID: id, Name: f.Name, Detail: "other content", Since: time.Unix(100, 0)}
	j := open2(t, path, "a")
	for range 2 {
		if err := j.Stored(t.Context(), id, f); err != nil {
			t.Fatal(err)
		}
		if err := j.Raise(t.Context(), alarm); err != nil {
			t.Fatal(err)
		}
		alarm.Since = time.Unix(200, 0)
	}
	// It is not closed: another one reads what a killed process left.
	j = open2(t, path, "a")
	got, ok, err := j.Lookup(t.Context(), id, f.Name)
	if err != nil || !ok || got.Size != f.Size || !got.Modified.Equal(f.Modified) || got.Stored != f.Stored {
		t.Errorf("%+v %v %v", got, ok, err)
	}
	if _, ok, err := j.Lookup(t.Context(), names.ID{Tenant: "prod", Timeline: "x"}, f.Name); ok || err != nil {
		t.Errorf("another timeline's: %v %v", ok, err)
	}
	alarms, err := j.Alarms(t.Context())
	if err != nil || len(alarms) != 1 || alarms[0].Since.Unix() != 100 || alarms[0].ID != id {
		t.Errorf("%+v, %v", alarms, err)
	}
	if err := j.Clear(t.Context(), alarm); err != nil {
		t.Fatal(err)
	}
	if alarms, err := j.Alarms(t.Context()); err != nil || len(alarms) != 0 {
		t.Errorf("%+v, %v", alarms, err)
	}
	if fi, err := os.Stat(path); err != nil || fi.Mode().Perm() != 0o600 {
		t.Errorf("%v %v", fi, err)
	}
	if err := j.Forget(t.Context(), time.Now().Add(time.Hour)); err != nil {
		t.Fatal(err)
	}
	if _, ok, _ := j.Lookup(t.Context(), id, f.Name); ok {
		t.Error("not forgotten")
	}
}

func TestAnotherPlaceForgets(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	f := File{Name: "000000010000000000000001"}
	if err := open2(t, path, "a").Stored(t.Context(), id, f); err != nil {
		t.Fatal(err)
	}
	if _, ok, err := open2(t, path, "b").Lookup(t.Context(), id, f.Name); ok || err != nil {
		t.Errorf("what is in one bucket is taken for being in another: %v", err)
	}
}

func TestDamagedJournalIsMadeAnew(t *testing.T) {
	path := filepath.Join(t.TempDir(), "j.db")
	if err := os.WriteFile(path, []byte(strings.Repeat("no database", 1000)), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := open2(t, path, "a").Stored(t.Context(), id, File{Name: "x"}); err != nil {
		t.Error(err)
	}
}
