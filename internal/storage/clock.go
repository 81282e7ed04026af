package storage

import (
	"context"
	"time"

	"github.com/aws/aws-sdk-go-v2/aws/middleware"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// clocked is a bucket whose service tells the time with its answers.
type clocked interface {
	skew(ctx context.Context, key string) (ahead time.Duration, known bool, err error)
}

var _ clocked = (*cloud)(nil)

// Skew reads a byte of an object and reports by how much the service's clock
// is ahead of this machine's. It is not known of a directory, and of services
// that don't tell.
func (s *Store) Skew(ctx context.Context, key string) (ahead time.Duration, known bool, err error) {
	c, ok := s.bucket.(clocked)
	if !ok {
		return 0, false, nil
	}
	if err := ValidateKey(key); err != nil {
		return 0, false, s.fail("open", key, err)
	}
	ahead, known, err = c.skew(ctx, s.prefix+key)
	if err != nil {
		return 0, false, s.fail("open", key, err)
	}
	return ahead, known, nil
}

func (c *cloud) skew(ctx context.Context, key string) (time.Duration, bool, error) {
	r, err := c.bucket.NewRangeReader(ctx, key, 0, 1, nil)
	if err != nil {
		return 0, false, c.fail(err)
	}
	defer func() { _ = r.Close() }() // its headers are what was wanted
	var out s3.GetObjectOutput
	if !r.As(&out) {
		return 0, false, nil
	}
	if ahead, known := middleware.GetAttemptSkew(out.ResultMetadata); known {
		return ahead, true, nil
	}
	// The SDK does not judge by an answer that took long; the check that asks
	// tolerates more than that.
	theirs, told := middleware.GetServerTime(out.ResultMetadata)
	ours, timed := middleware.GetResponseAt(out.ResultMetadata)
	return theirs.Sub(ours), told && timed, nil
}
