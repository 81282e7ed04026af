package storage

import (
	"context"
	"net"
	"net/http"
	"time"

	awshttp "github.com/aws/aws-sdk-go-v2/aws/transport/http"
	"github.com/aws/aws-sdk-go-v2/feature/s3/transfermanager"
	"github.com/aws/aws-sdk-go-v2/service/s3"
)

// How objects are sent to S3: up to onePiece bytes in one request, as most
// segments are (the default would send one of 16 MiB in four), larger ones in
// parts, each held in memory until it is there.
const (
	onePiece = 64 << 20
	s3Part   = 16 << 20
	s3Parts  = 9000 // S3 takes 10,000 at most
	mebibyte = 1 << 20
)

// s3Patience is how often a request of an upload in parts is tried, with waits
// of up to 20 s: what was sent before is not sent again, so that a store that
// is away for a minute does not cost a base backup's worth of work.
const s3Patience = 12

// partSize is the size of the parts of an upload of about so many bytes, 0 for the default.
func (c *cloud) partSize(expect int64) int {
	var client *s3.Client
	if c.bucket.As(&client) {
		return int(partOf(expect))
	}
	return 0
}

func partOf(expect int64) int64 {
	return max(s3Part, (expect/s3Parts+mebibyte-1)/mebibyte*mebibyte)
}

// sending is called before a write. gocloud hands out its transfer manager,
// made for this write alone, but no way to set its options: it is replaced by
// one that has them.
func (c *cloud) sending(expect int64) func(as func(any) bool) error {
	return func(as func(any) bool) error {
		var (
			tm     *transfermanager.Client
			client *s3.Client
		)
		if !as(&tm) || !c.bucket.As(&client) {
			return nil
		}
		if expect > onePiece {
			client = s3.New(client.Options(), func(o *s3.Options) {
				o.RetryMaxAttempts = max(o.RetryMaxAttempts, s3Patience)
			})
		}
		*tm = *transfermanager.New(client, func(o *transfermanager.Options) {
			o.PartSizeBytes = partOf(expect)
			o.Concurrency = 2
			o.MultipartUploadThreshold = onePiece + 1
			o.RequestChecksumCalculation = client.Options().RequestChecksumCalculation
		})
		return nil
	}
}

// boundConnections has the connections of an S3 client fail when nothing moves
// on them for idle while it waits: how far an upload got is seen nowhere else.
// gocloud hands out its client, but no way to set its options.
func (c *cloud) boundConnections(idle time.Duration) {
	var client *s3.Client
	if !c.bucket.As(&client) {
		return
	}
	h, ok := client.Options().HTTPClient.(*awshttp.BuildableClient)
	if !ok {
		return
	}
	h = h.WithTransportOptions(func(tr *http.Transport) {
		dial := tr.DialContext
		tr.DialContext = func(ctx context.Context, network, addr string) (net.Conn, error) {
			conn, err := dial(ctx, network, addr)
			if err != nil {
				return nil, err
			}
			return &movingConn{conn, idle}, nil
		}
	})
	*client = *s3.New(client.Options(), func(o *s3.Options) {
		o.HTTPClient = h
		o.DisableLogOutputChecksumValidationSkipped = true // it would tell of each object that has none
	})
}

// movingConn is a connection on which no read or write takes longer than idle.
// An answer is waited for while a request is still being sent: what is sent
// puts that off, too.
type movingConn struct {
	net.Conn
	idle time.Duration
}

func (c *movingConn) Read(p []byte) (int, error) {
	if err := c.SetReadDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	return c.Conn.Read(p)
}

func (c *movingConn) Write(p []byte) (int, error) {
	if err := c.SetDeadline(time.Now().Add(c.idle)); err != nil {
		return 0, err
	}
	n, err := c.Conn.Write(p)
	if err == nil {
		err = c.SetReadDeadline(time.Now().Add(c.idle))
	}
	return n, err
}
