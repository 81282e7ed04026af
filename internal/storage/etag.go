package storage

import (
	"encoding/hex"
	"strings"

	gcs "cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	s3types "github.com/aws/aws-sdk-go-v2/service/s3/types"
	"gocloud.dev/blob"
)

// listedETag is the ETag that a listing gave for an object, in the spelling of
// Stat. gocloud itself passes on only those that are an MD5, which the parts
// of a multipart upload don't have.
func listedETag(o *blob.ListObject) string {
	var (
		s3  s3types.Object
		az  container.BlobItem
		gs  gcs.ObjectAttrs
		tag string
	)
	switch {
	case o.As(&s3) && s3.ETag != nil:
		tag = *s3.ETag
	case o.As(&az) && az.Properties != nil && az.Properties.ETag != nil:
		tag = string(*az.Properties.ETag)
	case o.As(&gs):
		tag = gs.Etag
	}
	if tag == "" {
		return hex.EncodeToString(o.MD5)
	}
	return strings.Trim(tag, `"`)
}
