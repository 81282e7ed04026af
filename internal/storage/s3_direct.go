package storage

import (
	"context"
	"io"

	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// unbuffered is called before a write in place of inOnePiece: it makes the
// client read the body itself, first to sign it and then to send it, where the
// transfer manager would read it into memory as it grows, which took a quarter
// of the client's time. It is nil for other stores, for what can be read only
// once, and for what is not sent in one request. What gocloud says of the
// object, such as how to encrypt it, holds.
func (c *cloud) unbuffered(r io.Reader) func(as func(any) bool) error {
	body, ok := r.(io.ReadSeeker)
	var client *s3.Client
	if !ok || !c.bucket.As(&client) {
		return nil
	}
	at, err := body.Seek(0, io.SeekCurrent)
	if err != nil {
		return nil
	}
	end, err := body.Seek(0, io.SeekEnd)
	if err != nil {
		return nil
	}
	if _, err := body.Seek(at, io.SeekStart); err != nil || end-at > onePiece {
		return nil
	}
	return func(as func(any) bool) error {
		var tm *transfermanager.Client
		if as(&tm) {
			*tm = *transfermanager.New(&direct{client, body, end - at}, func(o *transfermanager.Options) {
				o.RequestChecksumCalculation = client.Options().RequestChecksumCalculation
			})
		}
		return nil
	}
}

// direct is a client that sends a body of its own.
type direct struct {
	*s3.Client
	body io.ReadSeeker
	size int64
}

// PutObject sends the body in place of the empty one in the input.
func (d *direct) PutObject(ctx context.Context, in *s3.PutObjectInput, opts ...func(*s3.Options)) (*s3.PutObjectOutput, error) {
	in.Body, in.ContentLength = d.body, &d.size
	return d.Client.PutObject(ctx, in, opts...)
}
