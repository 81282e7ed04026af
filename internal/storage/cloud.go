package storage

import (
	"bytes"
	"context"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"iter"
	"net/url"
	"strings"
	"time"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	"gocloud.dev/blob"
	_ "gocloud.dev/blob/azureblob" // azblob://
	_ "gocloud.dev/blob/gcsblob"   // gs://
	_ "gocloud.dev/blob/memblob"   // mem://
	_ "gocloud.dev/blob/s3blob"    // s3://
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"
)

// cloud is a bucket behind gocloud.
type cloud struct {
	bucket  *blob.Bucket
	secrets []string
	memory  bool // memblob's ETags are not in its listings: its MD5s are used
}

var _ Bucket = (*cloud)(nil)

// newCloud opens the bucket of u and lists one object below its path, so that
// a wrong name or credential is an error here and not a thousand missing
// objects later. No more is listed: credentials may be for that path only.
func newCloud(ctx context.Context, u *url.URL, idle time.Duration) (*cloud, error) {
	bare := *u
	bare.Path, bare.RawPath = "", ""
	c := &cloud{secrets: secrets(u), memory: u.Scheme == "mem"}
	b, err := blob.OpenBucket(ctx, bare.String())
	if err != nil {
		// The text of such errors holds the URL: hide it all.
		text := strings.ReplaceAll(err.Error(), bare.String(), Redacted(bare.String()))
		return nil, errors.New(redactText(text, c.secrets))
	}
	c.bucket = b
	c.boundConnections(idle)
	prefix := strings.Trim(u.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	w := watch(ctx, idle) // the client may keep its own context: that one goes on
	defer w.end()
	_, _, err = b.ListPage(w.ctx, blob.FirstPageToken, 1, &blob.ListOptions{Prefix: prefix})
	if err != nil && !errors.Is(err, io.EOF) {
		_ = b.Close() // the listing is what failed
		return nil, w.explain(c.fail(err))
	}
	return c, nil
}

func (c *cloud) List(ctx context.Context, prefix string, opt ListOptions) iter.Seq2[Object, error] {
	return func(yield func(Object, error) bool) {
		o := &blob.ListOptions{Prefix: prefix}
		if opt.Dirs {
			o.Delimiter = "/"
		}
		for it := c.bucket.List(o); ; {
			if err := ctx.Err(); err != nil {
				yield(Object{}, err)
				return
			}
			obj, err := it.Next(ctx)
			if errors.Is(err, io.EOF) {
				return
			}
			if err != nil {
				yield(Object{}, c.fail(err))
				return
			}
			found := Object{Key: obj.Key, Dir: obj.IsDir}
			if !obj.IsDir {
				found.Size, found.ModTime, found.ETag = obj.Size, obj.ModTime, listedETag(obj)
			}
			if !yield(found, nil) {
				return
			}
		}
	}
}

func (c *cloud) Open(ctx context.Context, key string, offset, length int64) (io.ReadCloser, error) {
	r, err := c.bucket.NewRangeReader(ctx, key, offset, max(length, -1), nil)
	if err != nil {
		if c.behindEnd(err) {
			return io.NopCloser(bytes.NewReader(nil)), nil
		}
		return nil, c.fail(err)
	}
	return &cloudReader{r: r, c: c}, nil
}

// rangeNotSatisfiable is HTTP's status for such a range.
const rangeNotSatisfiable = 416

// behindEnd reports whether err is a service's answer to a range that starts
// at or behind the end of the object.
func (c *cloud) behindEnd(err error) bool {
	var (
		aws   smithy.APIError
		azure *azcore.ResponseError
		gcs   *googleapi.Error
	)
	switch {
	case c.bucket.ErrorAs(err, &aws):
		return aws.ErrorCode() == "InvalidRange"
	case c.bucket.ErrorAs(err, &azure):
		return azure.StatusCode == rangeNotSatisfiable
	case c.bucket.ErrorAs(err, &gcs):
		return gcs.Code == rangeNotSatisfiable
	}
	return false
}

func (c *cloud) Stat(ctx context.Context, key string) (Object, error) {
	a, err := c.bucket.Attributes(ctx, key)
	if err != nil {
		return Object{}, c.fail(err)
	}
	etag := a.ETag
	if etag == "" || c.memory {
		etag = hex.EncodeToString(a.MD5)
	}
	return Object{Key: key, Size: a.Size, ETag: strings.Trim(etag, `"`), ModTime: a.ModTime}, nil
}

// Put hands r itself to the driver. Writing to gocloud's Writer instead goes
// through a pipe, which azureblob (v0.47.0) closes and sets to nil in one
// goroutine while another looks at it, when an upload fails.
func (c *cloud) Put(ctx context.Context, key string, r io.Reader, opt PutOptions) error {
	if err := ctx.Err(); err != nil {
		return err
	}
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	src := &abortingReader{r: r, abort: cancel}
	w := &blob.WriterOptions{ContentType: "application/octet-stream", IfNotExist: opt.CreateOnly,
		BufferSize: c.partSize(opt.Expect), BeforeWrite: c.sending(opt.Expect)}
	body := withSeek(src, r, func(int64) {})
	if direct := c.unbuffered(body); direct != nil {
		w.BeforeWrite, body = direct, strings.NewReader("")
	}
	err := c.bucket.Upload(ctx, key, body, w)
	switch {
	case src.err != nil:
		return src.err
	case err != nil:
		return c.fail(err)
	}
	return nil
}

// abortingReader ends an upload when its source fails: gocloud closes a writer
// after a failed read too, and some stores would then keep what was sent.
type abortingReader struct {
	r     io.Reader
	abort func()
	err   error
}

func (a *abortingReader) Read(p []byte) (int, error) {
	n, err := a.r.Read(p)
	if err != nil && err != io.EOF {
		a.err = err
		a.abort()
	}
	return n, err
}

func (c *cloud) Caps() Caps { return Caps{} }

func (c *cloud) Close() error { return c.bucket.Close() }

// fail turns an error of gocloud into ours. The original is not wrapped: its
// text may hold a location with credentials.
func (c *cloud) fail(err error) error {
	text := redactText(firstLine(err.Error()), c.secrets)
	var api smithy.APIError
	if c.bucket.ErrorAs(err, &api) && api.ErrorCode() == "NoSuchBucket" {
		return errors.New("there is no such bucket: " + text) // not a missing object
	}
	if api != nil && api.ErrorCode() == "NotImplemented" {
		return fmt.Errorf("%w: %s", ErrUnsupported, text)
	}
	for _, ended := range []error{context.Canceled, context.DeadlineExceeded} {
		if errors.Is(err, ended) {
			return ended
		}
	}
	switch gcerrors.Code(err) {
	case gcerrors.NotFound:
		return ErrNotExist
	case gcerrors.FailedPrecondition, gcerrors.AlreadyExists:
		return fmt.Errorf("%w: %s", ErrExist, text)
	case gcerrors.Unimplemented:
		return fmt.Errorf("%w: %s", ErrUnsupported, text)
	case gcerrors.PermissionDenied:
		return fmt.Errorf("%w: %s", ErrPermission, text)
	case gcerrors.Canceled:
		return context.Canceled
	case gcerrors.DeadlineExceeded:
		return context.DeadlineExceeded
	}
	return errors.New(text)
}

func firstLine(s string) string {
	line, _, _ := strings.Cut(s, "\n")
	return line
}

// cloudReader gives the errors of reads our form.
type cloudReader struct {
	r *blob.Reader
	c *cloud
}

func (r *cloudReader) Read(p []byte) (int, error) {
	n, err := r.r.Read(p)
	if err != nil && err != io.EOF {
		err = r.c.fail(err)
	}
	return n, err
}

func (r *cloudReader) Close() error { return r.r.Close() }
