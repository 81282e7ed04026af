package ledger

import (
	"errors"
	"slices"
	"testing"
	"time"

	"redoubt/internal/finding"
)

var made = TimelineKey{Source: "prod", Tenant: "ten", Timeline: "0123456789abcdef0123456789abcdef"}

func recoveryInto(k TimelineKey) Recovery {
	return Recovery{TimelineKey: k, Ancestor: "main", Base: "initdb", BaseLSN: 0x1000028, Directory: "/r/" + k.Timeline, CreatedAt: at(1)}
}

func wantState(t *testing.T, l *Ledger, k TimelineKey, want finding.State) Recovery {
	t.Helper()
	r, err := l.Recovery(ctx, k.Tenant, k.Timeline)
	must(t, err)
	if r.State != want {
		t.Errorf("state %s, want %s", r.State, want)
	}
	return r
}

func wantErr(t *testing.T, what string, got, want error) {
	t.Helper()
	if !errors.Is(got, want) {
		t.Errorf("%s: %v, want %v", what, got, want)
	}
}

// TestRecovery has the life of a timeline made by recovery, and what must not happen in it.
func TestRecovery(t *testing.T) {
	l := openTest(t)
	must(t, l.SeeTimelines(ctx, at(0), []Timeline{{TimelineKey: key}}))
	r := recoveryInto(made)
	r.ToTime = at(7)
	must(t, l.StartRecovery(ctx, r))
	all, err := l.Timelines(ctx, "")
	must(t, err)
	i := slices.IndexFunc(all, func(s TimelineState) bool { return s.TimelineKey == made })
	if i < 0 || !all[i].Shadow {
		t.Fatalf("the new timeline is not listed: %+v", all)
	}
	got := wantState(t, l, made, finding.StateRecovering)
	if want := r; got.LastRecordLSN != 0 || !got.ToTime.Equal(at(7)) || got.Base != want.Base || got.BaseLSN != want.BaseLSN || got.Ancestor != "main" || !got.StartedAt.IsZero() {
		t.Errorf("%+v", got)
	}
	wantErr(t, "a second one", l.StartRecovery(ctx, r), ErrUnderWay)
	wantErr(t, "delete under way", l.StartDelete(ctx, made.Tenant, made.Timeline), ErrUnderWay)
	own := recoveryInto(key)
	wantErr(t, "an official timeline", l.StartRecovery(ctx, own), ErrNotShadow)
	wantErr(t, "delete an official timeline", l.StartDelete(ctx, key.Tenant, key.Timeline), ErrNotFound)
	wantErr(t, "cancel an official timeline", l.CancelRecovery(ctx, key.Tenant, key.Timeline, at(2)), ErrNotFound)

	must(t, l.NoteRecovery(ctx, made.Tenant, made.Timeline, at(2), Reached{Last: 0x1500000, Trouble: "away"}))
	must(t, l.NoteRecovery(ctx, made.Tenant, made.Timeline, at(3), Reached{Target: 0x2000000, Durable: 0x1400000, Resumed: 0x1300000}))
	got = wantState(t, l, made, finding.StateRecovering)
	if got.LastRecordLSN != 0x1500000 || got.TargetLSN != 0x2000000 || !got.StartedAt.Equal(at(2)) {
		t.Errorf("%+v", got)
	}
	must(t, l.FinishRecovery(ctx, made.Tenant, made.Timeline, at(4), 0x2000000, 0x1ffff00, "a damaged page"))
	got = wantState(t, l, made, finding.StateActive)
	if got.AncestorLSN != 0x1ffff00 || got.TargetLSN != 0x2000000 || got.LastRecordLSN != 0x1ffff00 || !got.EndedAt.Equal(at(4)) || got.Reason != "a damaged page" {
		t.Errorf("%+v", got)
	}
	for what, err := range map[string]error{
		"note":   l.NoteRecovery(ctx, made.Tenant, made.Timeline, at(5), Reached{Last: 1}),
		"finish": l.FinishRecovery(ctx, made.Tenant, made.Timeline, at(5), 1, 1, ""),
		"fail":   l.FailRecovery(ctx, made.Tenant, made.Timeline, at(5), "x"),
		"cancel": l.CancelRecovery(ctx, made.Tenant, made.Timeline, at(5)),
	} {
		wantErr(t, what+" of an active one", err, ErrNotFound)
	}

	// Further from where it is, not from before.
	wantErr(t, "from the start", l.StartRecovery(ctx, r), ErrAdvanced)
	r.FromLSN = 0x1ffff00
	wantErr(t, "from where it is", l.StartRecovery(ctx, r), ErrAdvanced)
	r.FromLSN = 0x2500000
	must(t, l.StartRecovery(ctx, r))
	must(t, l.FailRecovery(ctx, made.Tenant, made.Timeline, at(6), "no WAL"))
	if got := wantState(t, l, made, finding.StateFailed); got.Reason != "no WAL" || got.FromLSN != 0x2500000 {
		t.Errorf("%+v", got)
	}

	must(t, l.StartDelete(ctx, made.Tenant, made.Timeline))
	must(t, l.StartDelete(ctx, made.Tenant, made.Timeline))
	r.FromLSN = 0x9000000
	wantErr(t, "into one that goes", l.StartRecovery(ctx, r), ErrUnderWay)
	open, err := l.Recoveries(ctx, finding.StateRecovering, finding.StateDeleting)
	must(t, err)
	if len(open) != 1 || open[0].State != finding.StateDeleting {
		t.Errorf("unfinished: %+v", open)
	}
	must(t, l.FinishDelete(ctx, made.Tenant, made.Timeline))
	wantErr(t, "deleted twice", l.StartDelete(ctx, made.Tenant, made.Timeline), ErrNotFound)
	wantErr(t, "an id used again", l.StartRecovery(ctx, r), ErrUsed)
	all, err = l.Timelines(ctx, "")
	must(t, err)
	if len(all) != 1 || all[0].TimelineKey != key {
		t.Errorf("timelines after deletion: %+v", all)
	}
}

// TestShadowStaysOne lists the archive of a shadow, which no catalog knows to be one.
func TestShadowStaysOne(t *testing.T) {
	l := openTest(t)
	must(t, l.StartRecovery(ctx, recoveryInto(made)))
	see := func(when int) {
		t.Helper()
		must(t, l.SeeTimelines(ctx, at(when), []Timeline{{TimelineKey: made}, {TimelineKey: key}}))
		all, err := l.Timelines(ctx, "")
		must(t, err)
		if len(all) != 2 {
			t.Fatalf("%+v", all)
		}
		for _, s := range all {
			if s.Shadow != (s.TimelineKey == made) {
				t.Errorf("%s: shadow %v", s.TimelineKey.Timeline, s.Shadow)
			}
		}
	}
	see(2)
	must(t, l.CancelRecovery(ctx, made.Tenant, made.Timeline, at(3)))
	must(t, l.StartDelete(ctx, made.Tenant, made.Timeline))
	must(t, l.FinishDelete(ctx, made.Tenant, made.Timeline))
	see(4) // its WAL is still in the archive
}

func TestRecoveriesAreSortedByAge(t *testing.T) {
	l := openTest(t)
	for i, id := range []string{"c", "a", "b"} {
		r := recoveryInto(TimelineKey{"prod", "ten", id})
		r.CreatedAt = t0.Add(time.Duration(i) * time.Second)
		must(t, l.StartRecovery(ctx, r))
	}
	all, err := l.Recoveries(ctx)
	must(t, err)
	var ids []string
	for _, r := range all {
		ids = append(ids, r.Timeline)
	}
	if !slices.Equal(ids, []string{"c", "a", "b"}) {
		t.Errorf("order %v", ids)
	}
}
