package redo_test

import (
	"testing"

	"redoubt/internal/pg"
)

// TestGinCases redoes records that PostgreSQL 17 wrote.
func TestGinCases(t *testing.T) { replayCases(t, pg.RmgrGin) }

// TestGinMutations redoes damaged records on damaged pages.
func TestGinMutations(t *testing.T) { mutateCases(t, pg.RmgrGin, 300) }

// FuzzGinRedo redoes records that may hold anything on pages that may hold anything.
func FuzzGinRedo(f *testing.F) { fuzzCases(f, pg.RmgrGin) }

// TestSPGistCases redoes records that PostgreSQL 17 wrote.
func TestSPGistCases(t *testing.T) { replayCases(t, pg.RmgrSPGist) }

// TestSPGistMutations redoes damaged records on damaged pages.
func TestSPGistMutations(t *testing.T) { mutateCases(t, pg.RmgrSPGist, 300) }

// FuzzSPGistRedo redoes records that may hold anything on pages that may hold anything.
func FuzzSPGistRedo(f *testing.F) { fuzzCases(f, pg.RmgrSPGist) }

// fuzzCases begins with real records and pages. which chooses the page, and
// patch changes bytes of it: three bytes each, where and what. present says
// which block references the record has beside the one that is redone.
func fuzzCases(f *testing.F, rmgr pg.RmgrID) {
	f.Helper()
	cases := realCases(f, rmgr)
	for i, c := range cases {
		present := uint8(0)
		for j := range c.Record.Blocks {
			present |= 1 << (c.Record.Blocks[j].ID & 7)
		}
		ref := c.block()
		f.Add(uint8(i), c.Record.Info, uint8(c.Record.Major-pg.MinMajor), c.Record.Main, ref.Data, []byte{}, ref.ID, ref.WillInit, present)
	}
	f.Fuzz(func(t *testing.T, which, info, major uint8, main, data, patch []byte, id uint8, init bool, present uint8) {
		rec := record(rmgr, info, pg.MinMajor+int(major)%5, main, nil)
		rec.Blocks = nil
		for i := range uint8(7) {
			if present>>i&1 != 0 && i != id%7 {
				rec.Blocks = append(rec.Blocks, heapRef(i, heapBlock+pg.BlockNumber(i)))
			}
		}
		rec.Blocks = append(rec.Blocks, heapRef(id%7, 41000))
		ref := &rec.Blocks[len(rec.Blocks)-1]
		ref.Data, ref.HasData, ref.WillInit = data, len(data) > 0, init
		p := cases[int(which)%len(cases)].page()
		p.SetLSN(before)
		for ; len(patch) >= 3; patch = patch[3:] {
			p[(int(patch[0])<<8|int(patch[1]))%pg.BlockSize] = patch[2]
		}
		applyInside(t, rec, ref, p)
	})
}
