package main

import (
	"path/filepath"
	"testing"

	"redoubt/internal/finding"
)

// TestPage asks for the history of the page that the demo lost a write of.
func TestPage(t *testing.T) {
	t.Parallel()
	bucket, _ := planted(t)
	acme := filepath.Join(bucket, "acme", "main")
	args := []string{
		"page", "--base", filepath.Join(acme, "snapshots", "nightly-2"), "--official", filepath.Join(acme, "snapshots", "nightly-3"),
		"--wal", filepath.Join(acme, "wal"), "--rel", "1663/5/16384", "--block", "13",
	}
	o := redoubt(t, append(args, "--diff", "official,end")...)
	o.want(t, exitFindings, "1663/5/16384 block 13, at byte 106496 of base/5/16384", "HOT_UPDATE", "whole",
		"a lost write", "the first record that it is without is Heap HOT_UPDATE of 0/1208C88", "pd_lower", "t_xmin")

	o = redoubt(t, append(args, "--diff", "0/1208C88,0/120A8D8", "--at", "base", "--format", "json")...)
	o.want(t, exitFindings)
	got := parse[pageJSON](t, o.stdout)
	if got.Official == nil || got.Official.Kind != finding.LostWrite || len(got.Records) < 40 || got.Base == nil || got.At == nil || len(got.At.Items) == 0 {
		t.Fatalf("%+v", got)
	}
	first := got.Records[0]
	if first.LSN.String() != "0/1208C88" || !first.Image || first.Page == nil || first.Page.LSN != first.End {
		t.Errorf("first record %+v", first)
	}
	if d := got.Diff; d == nil || len(d.Items) != 2 || d.Items[1].Fields[0].A != "" {
		t.Errorf("what the first record did: %+v", d)
	}

	// The same block in the WAL that lacks a segment.
	globex := filepath.Join(bucket, "globex", "main")
	o = redoubt(t, "page", "--base", filepath.Join(globex, "snapshots", "nightly-1"), "--wal", filepath.Join(globex, "wal"),
		"--rel", "1663/5/16384", "--block", "13")
	o.want(t, exitInconclusive, "The WAL is not all there", "000000010000000000000010", "there is WAL behind it")
}
