package reports

import (
	"io"
	"time"

	"redoubt/internal/finding"
)

// ackWords says who acknowledged a finding, until when and why.
func ackWords(a *finding.Acknowledgement) string {
	if a == nil {
		return ""
	}
	return "acknowledged until " + minute(a.Until) + " by " + plain(a.By) + ": " + plain(a.Reason)
}

// AcksText lists acknowledgements for a terminal. now says which hold.
func AcksText(w io.Writer, acks []finding.AckRecord, now time.Time) error {
	p := printer{}
	if len(acks) == 0 {
		p.line("No acknowledgements.")
	}
	for i := range acks {
		a := &acks[i]
		p.line("%s  %s/%s  %s", plain(a.ID), plain(a.Tenant), plain(a.Timeline), plain(a.About))
		p.line("    %s", ackWords(&a.Acknowledgement))
		p.line("    made %s%s", minute(a.At), ackEnd(a, now))
	}
	_, err := io.WriteString(w, p.b.String())
	return err
}

// ackEnd says how an acknowledgement ended, nothing of one that holds.
func ackEnd(a *finding.AckRecord, now time.Time) string {
	switch {
	case a.EndedAt != nil:
		return ", ended " + minute(*a.EndedAt) + " by " + plain(a.EndedBy)
	case !a.Holds(now):
		return ", expired"
	}
	return ""
}
