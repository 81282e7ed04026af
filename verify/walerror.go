package verify

import (
	"errors"
	"fmt"

	"redoubt/internal/finding"
	"redoubt/internal/pg/wal"
)

// walError sorts errors of reading WAL: what lies in the data makes the span
// inconclusive, everything else is an error of the source.
func (r *run) walError(doing string, err error) error {
	var missing *wal.MissingError
	var end *wal.EndError
	switch {
	case err == nil:
		return nil
	case errors.As(err, &missing):
		r.out.Gaps = append(r.out.Gaps, finding.Gap{From: missing.Range.From, To: missing.Range.To, Segments: []string{missing.Segment}})
		return &inconclusive{fmt.Sprintf("%s: %v", doing, missing)}
	case errors.Is(err, wal.ErrDialect):
		r.misread(err)
		return &inconclusive{fmt.Sprintf("%s: %v", doing, err)}
	case errors.As(err, &end):
		return &inconclusive{fmt.Sprintf("%s: the WAL cannot be read on: %v", doing, err)}
	}
	return fmt.Errorf("%s: %w", doing, err)
}
