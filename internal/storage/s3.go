package storage

import (
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// How objects are sent to S3: up to onePiece bytes in one request, as most
// segments are (the default would send one of 16 MiB in four), larger ones in
// parts.
const (
	onePiece = 64 << 20
	s3Part   = 16 << 20
)

// partSize is the size of the parts of an upload, 0 for the default.
func (c *cloud) partSize() int {
	var client *s3.Client
	if c.bucket.As(&client) {
		return s3Part
	}
	return 0
}

// inOnePiece is called before a write. gocloud hands out its transfer manager,
// made for this write alone, but no way to set its options: it is replaced by
// one that has them.
func (c *cloud) inOnePiece(as func(any) bool) error {
	var (
		tm     *transfermanager.Client
		client *s3.Client
	)
	if !as(&tm) || !c.bucket.As(&client) {
		return nil
	}
	*tm = *transfermanager.New(client, func(o *transfermanager.Options) {
		o.PartSizeBytes = s3Part
		o.Concurrency = 2
		o.MultipartUploadThreshold = onePiece + 1
		o.RequestChecksumCalculation = client.Options().RequestChecksumCalculation
	})
	return nil
}
