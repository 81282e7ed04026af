package storagetest

import (
	"context"
	"fmt"
	"net/url"
	"os"
	"path/filepath"

	"github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"golang.org/x/sync/errgroup"
)

// PlainCopy puts files of a directory into a bucket of S3, so many at a time,
// by the client that the storage uses and nothing else: one PutObject for each,
// no conditions, no look-ups. It is what uploads are measured against.
func PlainCopy(ctx context.Context, location, dir string, names []string, parallel int) error {
	u, err := url.Parse(location)
	if err != nil {
		return err
	}
	b, err := blob.OpenBucket(ctx, location)
	if err != nil {
		return fmt.Errorf("open %s: %w", location, err)
	}
	defer func() { _ = b.Close() }() // what was put was put
	var client *s3.Client
	if !b.As(&client) {
		return fmt.Errorf("copy to %s: it is no bucket of S3", location)
	}
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(parallel)
	for _, name := range names {
		g.Go(func() error {
			f, err := os.Open(filepath.Join(dir, name))
			if err != nil {
				return err
			}
			defer func() { _ = f.Close() }() // it was only read
			_, err = client.PutObject(ctx, &s3.PutObjectInput{Bucket: &u.Host, Key: &name, Body: f})
			return err
		})
	}
	return g.Wait()
}
