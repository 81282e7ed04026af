package reports

import (
	"time"

	"redoubt/internal/finding"
	"redoubt/internal/pg"
)

// samplePlan has a bit of everything a plan can say.
func samplePlan() finding.Plan {
	at := time.Date(2026, 2, 3, 2, 0, 0, 0, time.UTC)
	span := func(order int, from, to pg.LSN) finding.PlanSpan {
		return finding.PlanSpan{Order: order, Span: pg.Range{From: from, To: to}, TLI: 1, Base: from.String(), Official: to.String(), WALBytes: int64(to - from)}
	}
	verified, vain, deferred := span(3, 0x1000000, 0x5000000), span(0, 0x5000000, 0x9000000), span(4, 0x9000000, 0x9F000000)
	verified.Attempts, verified.LastAttemptAt, verified.Verified, verified.Expected = 2, &at, true, &finding.Expected{WallSeconds: 75, ScratchBytes: 1 << 20}
	vain.Attempts, vain.LastAttemptAt = 1, &at
	deferred.Deferred = "not verified in this run: the job's limit of 200 GiB of WAL was reached"
	return finding.Plan{
		Job: "nightly", Seed: 42, Resumes: "20260203T020000Z-abcdef", Reasons: []string{"source old: no such bucket"},
		WALBytes: 128 << 20, Expected: &finding.Expected{WallSeconds: 4000, ScratchBytes: 3 << 30}, LearnedSpans: 1234,
		Timelines: []finding.PlanTimeline{
			{Source: "prod", Tenant: "acme", Timeline: "main", LastVerifiedAt: &at, RunsWaited: 12, Spans: []finding.PlanSpan{verified, vain}},
			{Source: "prod", Tenant: "globex\u202e", Timeline: "main", PicksInVain: 3, PutOff: true, Spans: []finding.PlanSpan{deferred},
				Reasons: []string{"snapshot B: backup_manifest lacks base.tar"}},
		},
	}
}
