package datadir

import (
	"bytes"
	"math/rand"
	"reflect"
	"testing"
	"testing/quick"
)

// TestEncodeControl writes pg_control of every major back as it was, and with
// other values, which are then read as written.
func TestEncodeControl(t *testing.T) {
	rnd := rand.New(rand.NewSource(1))
	for major, raw := range controlFixtures(t) {
		c, err := ParseControl(raw)
		if err != nil {
			t.Fatal(err)
		}
		same, err := EncodeControl(raw, c)
		if err != nil || !bytes.Equal(same, raw) {
			t.Fatalf("pg_control of %d does not come back as it was: %v", major, err)
		}
		for range 200 {
			want := otherControl(rnd, c)
			out, err := EncodeControl(raw, want)
			if err != nil {
				t.Fatal(err)
			}
			got, err := ParseControl(out)
			if err != nil || got != want {
				t.Fatalf("pg_control of %d: %v\nread    %+v\nwritten %+v", major, err, got, want)
			}
			back, err := EncodeControl(out, c)
			if err != nil || !bytes.Equal(back, raw) {
				t.Fatalf("pg_control of %d: more than its fields was changed: %v", major, err)
			}
		}
		c.SystemIdentifier++
		if _, err := EncodeControl(raw, c); err == nil {
			t.Error("the pg_control of another cluster was taken")
		}
	}
}

// otherControl is c with other values in all fields that are written.
func otherControl(rnd *rand.Rand, c Control) Control {
	from, ok := quick.Value(reflect.TypeFor[Control](), rnd)
	if !ok {
		panic("no value of Control can be made up")
	}
	out := c
	to := reflect.ValueOf(&out).Elem()
	for i := 3; i < from.NumField(); i++ { // behind identity and versions
		if from.Type().Field(i).Name == "MaxAlign" {
			break // from here on it is how the cluster was built
		}
		to.Field(i).Set(from.Field(i))
	}
	if c.Version < controlVersion17 {
		out.CheckPoint.WALLevel = 0
	}
	return out
}
