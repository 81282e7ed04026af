package scanner

import (
	"context"
	"crypto/sha256"
	"errors"
	"fmt"
	"io"

	"redoubt/internal/pg/walfile"
)

// compareCopies checks that all stored copies of a segment hold the same.
func (r *segmentRun) compareCopies(ctx context.Context, s *segment) {
	want, err := digest(ctx, r.w, s.entry)
	if err != nil {
		s.doubt = fmt.Sprintf("could not be read again: %v", err)
		return
	}
	for _, e := range s.copies {
		got, err := digest(ctx, r.w, e)
		var d *walfile.DamagedError
		switch {
		case errors.As(err, &d):
			s.damage = fmt.Sprintf("its copy %s is damaged: %s", e.Key, d.Reason)
		case err != nil:
			s.doubt = fmt.Sprintf("its copy %s could not be read: %v", e.Key, err)
		case got != want:
			s.damage = fmt.Sprintf("it is stored twice with different contents: %s, %s", s.entry.Key, e.Key)
		}
	}
}

func digest(ctx context.Context, w WAL, e walfile.Entry) (sum [sha256.Size]byte, err error) {
	rc, err := w.OpenEntry(ctx, e)
	if err != nil {
		return sum, err
	}
	defer func() { _ = rc.Close() }() // it was only read
	h := sha256.New()
	if _, err := io.Copy(h, rc); err != nil {
		return sum, err
	}
	h.Sum(sum[:0])
	return sum, nil
}
