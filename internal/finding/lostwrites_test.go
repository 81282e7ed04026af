package finding

import "testing"

// TestLostWritesAreCountedOnce that a span, the next one and the scan found.
func TestLostWritesAreCountedOnce(t *testing.T) {
	one := func(block int64) StaleImage {
		return StaleImage{Block: block, At: 0x500, ImageLSN: 0x300, ExpectedLSN: 0x400}
	}
	tl := RunTimeline{Tenant: "t", Timeline: "l",
		Spans: []Verification{
			{Verdict: Discrepancies, LostWrites: []StaleImage{one(1), one(2)}, Audit: &Audit{LostWrites: 2}},
			{Verdict: Discrepancies, LostWrites: []StaleImage{one(2)}, Audit: &Audit{LostWrites: 4}},
		},
		Scan: &ScanTimeline{Tenant: "t", Timeline: "l", LostWrites: []StaleImage{one(1), one(2), one(3)}, Audit: &Audit{LostWrites: 5}},
	}
	if n, known := tl.LostWrites(); n != 3+3 || known != 0 { // three of the second span are not listed, two of the scan
		t.Errorf("%d count, %d are known", n, known)
	}
	r := Run{Timelines: []RunTimeline{tl}}
	var acks Acknowledgements
	acks.MarkRun(&r)
	scanned, verified := r.Timelines[0].Scan.LostWrites, r.Timelines[0].Spans[0].LostWrites
	if scanned[0].ID == "" || scanned[0].ID != verified[0].ID || scanned[1].ID == scanned[0].ID {
		t.Fatalf("ids %q, %q and of the span %q", scanned[0].ID, scanned[1].ID, verified[0].ID)
	}
	acks.Add("t", "l", verified[0].ID, "", nil, Acknowledgement{})
	acks.Add("t", "l", verified[1].ID, "", nil, Acknowledgement{})
	acks.MarkRun(&r)
	if n, known := r.Timelines[0].LostWrites(); n != 1+3 || known != 2 {
		t.Errorf("with two acknowledged %d count, %d are known", n, known)
	}
	spans := r.Timelines[0].Spans
	if spans[0].Verdict != Clean || spans[1].Verdict != Discrepancies || spans[1].CountingLostWrites() != 3 {
		t.Errorf("verdicts %s, %s; %d of the second count", spans[0].Verdict, spans[1].Verdict, spans[1].CountingLostWrites())
	}
	if s := Summarize(r); s.LostWrites != 6 || s.Acknowledged != 2 {
		t.Errorf("summary %+v", s)
	}
}
