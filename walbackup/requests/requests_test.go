package requests

import (
	"context"
	"errors"
	"log/slog"
	"os"
	"testing"
	"time"

	"redoubt/walbackup/coord"
	"redoubt/walbackup/names"
)

func start(t *testing.T) *Queue {
	t.Helper()
	dir, err := os.MkdirTemp("", "rdreq")
	if err != nil {
		t.Fatal(err)
	}
	e, err := coord.Embed(t.Context(), dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	c, err := coord.Dial(context.Background(), coord.Config{Endpoints: []string{coord.EmbeddedEndpoint(dir)}, Prefix: "/p"})
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = c.Close()
		e.Close()
		_ = os.RemoveAll(dir)
	})
	return New(c)
}

var key = Key{names.ID{Tenant: "prod", Timeline: "main"}, "000000010000000000000007"}

func open(t *testing.T, q *Queue) []Request {
	t.Helper()
	out, err := q.Open(t.Context(), func(err error) { t.Log(err) })
	if err != nil {
		t.Fatal(err)
	}
	return out
}

func TestLifeOfARequest(t *testing.T) {
	q := start(t)
	changed := make(chan struct{}, 100)
	go q.Watch(t.Context(), func() { changed <- struct{}{} })
	if _, there, err := q.Get(t.Context(), key); there || err != nil {
		t.Fatalf("there %v, %v", there, err)
	}
	for i := range 3 { // asking again changes nothing
		added, err := q.Ask(t.Context(), key, "scanner", "missing")
		if err != nil || added != (i == 0) {
			t.Errorf("asked for the %d. time: new %v, %v", i+1, added, err)
		}
	}
	select {
	case <-changed:
	case <-time.After(10 * time.Second):
		t.Error("nobody was told")
	}
	r := open(t, q)
	if len(r) != 1 || r[0].Key != key || r[0].By != "scanner" || r[0].Why != "missing" || r[0].RequestedAt.IsZero() {
		t.Fatalf("open: %+v", r)
	}
	claim, err := q.Claim(t.Context(), r[0], "a", time.Minute)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := q.Claim(t.Context(), r[0], "b", time.Minute); !errors.Is(err, ErrClaimed) {
		t.Errorf("claimed twice: %v", err)
	}
	if got, _, err := q.Get(t.Context(), key); err != nil || got.ClaimedBy != "a" || got.Done {
		t.Errorf("%+v, %v", got, err)
	}
	if err := claim.Release(t.Context()); err != nil {
		t.Error(err)
	}
	if claim, err = q.Claim(t.Context(), r[0], "b", time.Minute); err != nil {
		t.Fatal(err)
	}
	if err := claim.Complete(t.Context()); err != nil {
		t.Error(err)
	}
	if got, there, err := q.Get(t.Context(), key); err != nil || !there || !got.Done || got.DoneBy != "b" || got.ClaimedBy != "" || got.By != "scanner" {
		t.Errorf("%+v, %v", got, err)
	}
	if left := open(t, q); len(left) != 0 {
		t.Errorf("open: %+v", left)
	}
	if _, err := q.Claim(t.Context(), r[0], "a", time.Minute); !errors.Is(err, ErrClaimed) {
		t.Errorf("a completed request is claimed: %v", err)
	}
	if added, err := q.Ask(t.Context(), key, "scanner", "gone again"); err != nil || !added {
		t.Errorf("asked again after it was completed: %v, %v", added, err)
	}
}

func TestClaimEndsWithItsAgent(t *testing.T) {
	q := start(t)
	if _, err := q.Ask(t.Context(), key, "scanner", "missing"); err != nil {
		t.Fatal(err)
	}
	r := open(t, q)[0]
	if _, err := q.Claim(t.Context(), r, "a", time.Second); err != nil {
		t.Fatal(err)
	}
	for end := time.Now().Add(20 * time.Second); ; time.Sleep(100 * time.Millisecond) {
		_, err := q.Claim(t.Context(), r, "b", time.Second)
		if err == nil {
			return
		}
		if !errors.Is(err, ErrClaimed) || time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

func TestHostileKeys(t *testing.T) {
	q := start(t)
	for _, k := range []Key{
		{names.ID{Tenant: "..", Timeline: "main"}, key.Segment}, {names.ID{Tenant: "a/b", Timeline: "main"}, key.Segment},
		{key.ID, "../../x"}, {key.ID, ""}, {key.ID, key.Segment + ".partial"},
	} {
		if _, err := q.Ask(t.Context(), k, "scanner", ""); err == nil {
			t.Errorf("%q can be asked for", k)
		}
	}
	for name, value := range map[string]string{
		"/p/request/prod/main/../../x": `{}`, "/p/request/prod/main/" + key.Segment: `[]`, "/p/request/prod": `{}`,
	} {
		if _, err := q.client.Etcd().Put(t.Context(), name, value); err != nil {
			t.Fatal(err)
		}
	}
	bad := 0
	if out, err := q.Open(t.Context(), func(error) { bad++ }); err != nil || len(out) != 0 || bad != 3 {
		t.Errorf("%+v, %d bad, %v", out, bad, err)
	}
}
