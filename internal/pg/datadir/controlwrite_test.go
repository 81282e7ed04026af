package datadir

import (
	"bytes"
	"errors"
	"math/rand"
	"os"
	"path/filepath"
	"reflect"
	"testing"
	"testing/quick"

	"redoubt/internal/pg"
	"redoubt/internal/pgtest"
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

// controlIsReadAsWritten has a server read, with the functions behind
// pg_controldata, what was written: they check the CRC first. The server must
// have no reason to write pg_control meanwhile.
func controlIsReadAsWritten(t *testing.T, c *pgtest.Cluster) {
	t.Helper()
	name := filepath.Join(c.Data, ControlPath)
	raw, own := readControl(t, c.Data)
	rnd := rand.New(rand.NewSource(int64(own.Version)))
	for range 5 {
		want := otherControl(rnd, own)
		// What SQL has types for.
		want.Time, want.CheckPoint.Time = int64(rnd.Int31()), int64(rnd.Int31())
		for _, tli := range []*pg.TLI{&want.CheckPoint.TLI, &want.CheckPoint.PrevTLI, &want.MinRecoveryPointTLI} {
			*tli &= 1<<31 - 1
		}
		// What the server says of these are its settings.
		want.WALLevel, want.WALLogHints, want.TrackCommitTimestamp = own.WALLevel, own.WALLogHints, own.TrackCommitTimestamp
		want.MaxConnections, want.MaxWorkerProcesses, want.MaxWALSenders = own.MaxConnections, own.MaxWorkerProcesses, own.MaxWALSenders
		want.MaxPreparedXacts, want.MaxLocksPerXact = own.MaxPreparedXacts, own.MaxLocksPerXact
		out, err := EncodeControl(raw, want)
		if err != nil {
			t.Fatal(err)
		}
		overwrite(t, name, out)
		said := c.Query(controlSQL)
		overwrite(t, name, raw)
		sameControl(t, &want, []byte(said))
	}
}

// overwrite replaces the content of a file and leaves it whose it is.
func overwrite(t *testing.T, name string, content []byte) {
	t.Helper()
	f, err := os.OpenFile(name, os.O_WRONLY, 0)
	if err == nil {
		_, err = f.WriteAt(content, 0)
		err = errors.Join(err, f.Close())
	}
	if err != nil {
		t.Fatal(err)
	}
}
