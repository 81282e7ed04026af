package reports

import (
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// The hand-made runs of the tests, one per verdict.

func ptr[T any](v T) *T { return &v }

var (
	began = time.Date(2026, 3, 14, 2, 0, 0, 0, time.UTC)
	ended = began.Add(41*time.Second + 300*time.Millisecond)
)

const mib = 1 << 20

func cleanSpan(from, to pg.LSN) finding.Verification {
	bytes := int64(to - from)
	return finding.Verification{
		Verdict: finding.Clean, Span: pg.Range{From: from, To: to}, Engine: "native",
		Postgres: finding.Postgres{Major: 17, SystemIdentifier: "7412345678901234567", Dialect: "postgres", DialectEvidence: 91_204, DialectProven: true},
		WAL:      finding.WAL{Segments: bytes/(16*mib) + 1, Bytes: bytes, Records: bytes / 107, FullPageImages: bytes / 9000},
		Coverage: finding.Coverage{
			Relations: 410, BlocksReplayed: 18233, BlocksCompared: 24110, BlocksUntouchedCompared: 5877, SLRUPagesCompared: 12,
			TaintedBy: map[string]int64{}, RelationsSkipped: map[string]int64{"fsm": 398, "unlogged": 2, "temporary": 0},
		},
		DiscrepancyCounts: finding.DiscrepancyCounts{Benign: 3},
		Timing:            finding.Timing{WallSeconds: 1.9, WALMBPerSecond: 412},
	}
}

func lostWrite() finding.Discrepancy {
	return finding.Discrepancy{
		ID: "3f9ac0d1e2b45a67", Kind: finding.LostWrite, Severity: finding.Critical,
		Relation: &finding.Relation{Tablespace: 1663, Database: 16384, RelFileNode: 16390, Name: "public.accounts"},
		Block:    ptr(int64(1204)), File: "base/16384/16390", Offset: 9863168,
		OfficialLSN: ptr(pg.LSN(0x5A3F5D8)), ReplayedLSN: ptr(pg.LSN(0x61C2A10)), FirstDivergentLSN: ptr(pg.LSN(0x5B00F40)),
		LastRecord: &finding.RecordRef{LSN: 0x61C2A10, Rmgr: "Heap", Op: "HOT_UPDATE", XID: 8812},
		ByteRanges: [][2]int{{4, 12}, {96, 104}, {7920, 8048}}, Blame: finding.BlameOfficial,
		Explanation: "the official page is the version of 0/5A3F5D8; 14 later records to it are missing: a lost write",
	}
}

func benign() finding.Discrepancy {
	return finding.Discrepancy{
		ID: "aa", Kind: finding.HintBits, Severity: finding.Benign, Block: ptr(int64(7)), File: "base/16384/16391",
		Relation:   &finding.Relation{Tablespace: 1663, Database: 16384, RelFileNode: 16391},
		ByteRanges: [][2]int{{8012, 8013}}, Blame: finding.BlameUnknown, Explanation: "hint bits of a tuple header",
	}
}

func cleanRun() finding.Run {
	return finding.Run{
		ID: "20260314T020000Z-7f3a", Job: "nightly", Seed: 4711, StartedAt: began, FinishedAt: &ended, Verdict: finding.Clean,
		Timelines: []finding.RunTimeline{{
			Tenant: "prod", Timeline: "main",
			Spans: []finding.Verification{cleanSpan(0x2000028, 0x5000060), cleanSpan(0x5000060, 0x9A3F5D8)},
			Scan:  &finding.ScanTimeline{Tenant: "prod", Timeline: "main", TLI: 1, From: 0x2000028, To: 0x9A3F5D8, SegmentSize: 16 * mib, Expected: 8, Present: 8},
		}},
	}
}

// staleImage is a lost write of the primary's.
func staleImage(block int64) finding.StaleImage {
	return finding.StaleImage{
		Relation: finding.Relation{Tablespace: 1663, Database: 16384, RelFileNode: 16391, Name: "public.tellers"}, Block: block,
		At: 0x5F00000, ImageLSN: 0x5100000, ExpectedLSN: 0x5E00040, LastRecord: finding.RecordRef{LSN: 0x5E00000, Rmgr: "Heap", Op: "HOT_UPDATE", XID: 8700},
		ID: "5e1a40b37c2f9d06",
	}
}

// findingsRun has one page that differs, a missing and a damaged segment, a
// tainted part and a span that could not be verified.
func findingsRun() finding.Run {
	bad := cleanSpan(0x5000060, 0x7000000)
	bad.Verdict = finding.Discrepancies
	bad.Discrepancies = []finding.Discrepancy{lostWrite(), benign()}
	bad.DiscrepancyCounts = finding.DiscrepancyCounts{Critical: 1, Benign: 1}
	bad.Coverage.BlocksTainted, bad.Coverage.TaintedBy = 312, map[string]int64{"Gin": 300, "BRIN": 12}
	bad.Coverage.BlocksOverwrittenByWAL = 41

	bad.LostWrites = []finding.StaleImage{staleImage(0)}
	bad.Audit = &finding.Audit{Images: 900, ImagesChecked: 600, LostWrites: 1}

	stuck := cleanSpan(0x7000000, 0xA000000)
	stuck.Verdict, stuck.DiscrepancyCounts = finding.Inconclusive, finding.DiscrepancyCounts{}
	stuck.Coverage, stuck.WAL = finding.Coverage{}, finding.WAL{}
	stuck.Reasons = []string{"WAL 0/8000000 to 0/9000000 is missing: 000000010000000000000008 is not in the archive"}
	stuck.Gaps = []finding.Gap{{From: 0x8000000, To: 0x9000000, Segments: []string{"000000010000000000000008"}}}

	return finding.Run{
		ID: "20260314T020000Z-7f3a", Job: "nightly", Seed: 4711, StartedAt: began, FinishedAt: &ended, Verdict: finding.Findings,
		Timelines: []finding.RunTimeline{
			{
				Tenant: "prod", Timeline: "main",
				Spans: []finding.Verification{cleanSpan(0x2000028, 0x5000060), bad, stuck},
				Scan: &finding.ScanTimeline{
					Tenant: "prod", Timeline: "main", TLI: 1, From: 0x1000000, To: 0xD000000, SegmentSize: 16 * mib, Expected: 12, Present: 11,
					Gaps:    []finding.Gap{{From: 0x8000000, To: 0x9000000, Segments: []string{"000000010000000000000008"}, Status: "missing"}},
					Damaged: []finding.Damaged{{Segment: "00000001000000000000000B", Reason: "record CRC at 0/B3F5D80"}},
				},
			},
			{
				Tenant: "acme", Timeline: "de200bd42b49cc1814412c7e592dd6e9",
				Spans: []finding.Verification{cleanSpan(0x1A2000028, 0x1A4000060), cleanSpan(0x1A4000060, 0x1A9A3F5D8)},
				Scan: &finding.ScanTimeline{
					Tenant: "acme", Timeline: "de200bd42b49cc1814412c7e592dd6e9", TLI: 3, From: 0x1A2000028, To: 0x1A9A3F5D8,
					SegmentSize: 16 * mib, Expected: 8, Present: 8, Unexpected: []string{"core.12345"},
				},
			},
		},
	}
}

func inconclusiveRun() finding.Run {
	r := findingsRun()
	r.Verdict = finding.Inconclusive
	tl := r.Timelines[0]
	tl.Spans = []finding.Verification{tl.Spans[0], tl.Spans[2]}
	tl.Scan = nil
	r.Timelines = []finding.RunTimeline{tl}
	r.Reasons = []string{"the time limit of 4h was reached: 2 of 4 spans were not started"}
	return r
}

// unfinishedRun was killed after its first span.
func unfinishedRun() finding.Run {
	r := cleanRun()
	r.FinishedAt, r.Verdict = nil, ""
	r.Timelines[0].Spans = r.Timelines[0].Spans[:1]
	r.Timelines[0].Scan = nil
	return r
}

// everyKind has one discrepancy of each kind.
func everyKind() finding.Run {
	r := findingsRun()
	v := &r.Timelines[0].Spans[1]
	v.Discrepancies = nil
	v.DiscrepancyCounts = finding.DiscrepancyCounts{}
	for i, k := range []finding.Kind{
		finding.MissingRelation, finding.ExtraRelation, finding.SizeMismatch, finding.ZeroedPage, finding.BitRot, finding.TornPage,
		finding.LostWrite, finding.PhantomWrite, finding.WrongRedo, finding.SLRUMismatch, finding.HintBits, finding.Unexplained,
	} {
		d := lostWrite()
		d.Kind, d.Block = k, ptr(int64(1204+i))
		switch k {
		case finding.MissingRelation, finding.ExtraRelation, finding.SizeMismatch:
			d.Block, d.ByteRanges, d.LastRecord, d.Severity = nil, nil, nil, finding.Warning
			d.OfficialLSN, d.ReplayedLSN, d.FirstDivergentLSN = nil, nil, nil
		case finding.SLRUMismatch:
			d.Relation, d.File = nil, "pg_xact/0000"
		case finding.HintBits:
			d.Severity = finding.Benign
		}
		v.Discrepancies = append(v.Discrepancies, d)
		v.DiscrepancyCounts.Add(d.Severity)
	}
	return r
}

func report(r finding.Run) Report {
	return Report{Run: r, Version: "0.2.0", Command: "redoubt run -c redoubt.yaml --seed 4711"}
}

var samples = []struct {
	name string
	in   Report
}{
	{"clean", report(cleanRun())},
	{"findings", report(findingsRun())},
	{"inconclusive", report(inconclusiveRun())},
	{"unfinished", report(unfinishedRun())},
	{"kinds", report(everyKind())},
	{"rich", richReport(noTest{})},
	{"verification", OfVerification(findingsRun().Timelines[0].Spans[1], ended)},
}

func summaries() []finding.RunSummary {
	var out []finding.RunSummary
	for i := range 24 {
		r := cleanRun()
		switch {
		case i == 0:
			r = findingsRun()
		case i%11 == 5:
			r = inconclusiveRun()
		case i == 14:
			r = unfinishedRun()
		}
		s := finding.Summarize(r)
		s.StartedAt = began.AddDate(0, 0, -i)
		if s.FinishedAt != nil {
			s.FinishedAt = ptr(s.StartedAt.Add(time.Duration(41+i) * time.Second))
		}
		s.ID = s.StartedAt.Format("20060102T150405Z") + "-7f3a"
		out = append(out, s)
		if i%6 == 0 {
			w := finding.Summarize(cleanRun())
			w.Job, w.StartedAt = "weekly-deep", s.StartedAt.Add(3*time.Hour)
			w.FinishedAt = ptr(w.StartedAt.Add(2 * time.Hour))
			w.ID = w.StartedAt.Format("20060102T150405Z") + "-91b0"
			out = append(out, w)
		}
	}
	return out
}
