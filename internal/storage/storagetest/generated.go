package storagetest

import (
	"encoding/xml"
	"fmt"
	"io"
	"net/http"
	"net/http/httptest"
	"path/filepath"
	"sort"
	"strconv"
	"strings"
	"testing"
	"time"
)

// Generated is a bucket of any number of objects that are nowhere: each is
// made up when it is asked for. The server speaks as much of S3 as reading
// takes (ListObjectsV2, GetObject, HeadObject), checks no signature and takes
// no writes. It is for lists of a length that no test could upload.
type Generated struct {
	Prefix string             // of all keys; empty, or with a slash at its end
	Count  int                // objects
	Name   func(i int) string // behind the prefix, ascending in i; plain ASCII without slashes
	Size   int64              // bytes of each
	Head   func(i int) []byte // what an object begins with; zeros follow
}

// generatedBucket is the name of the server's one bucket.
const generatedBucket = "generated"

// Serve answers until the test ends, and returns where: an s3:// location. The
// environment is set so that clients find credentials.
func (g *Generated) Serve(t testing.TB) (location string) {
	t.Helper()
	s := httptest.NewServer(g)
	t.Cleanup(s.Close)
	t.Setenv("AWS_ACCESS_KEY_ID", accessKey)
	t.Setenv("AWS_SECRET_ACCESS_KEY", secretKey)
	t.Setenv("AWS_EC2_METADATA_DISABLED", "true")
	t.Setenv("AWS_CONFIG_FILE", filepath.Join(t.TempDir(), "none"))
	t.Setenv("AWS_SHARED_CREDENTIALS_FILE", filepath.Join(t.TempDir(), "none"))
	return fmt.Sprintf("s3://%s?endpoint=%s&region=us-east-1&use_path_style=true", generatedBucket, s.URL)
}

// modified is when all objects were written.
var modified = time.Date(2026, 1, 2, 3, 4, 5, 0, time.UTC)

// ServeHTTP answers one request.
func (g *Generated) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	bucket, key, _ := strings.Cut(strings.TrimPrefix(r.URL.Path, "/"), "/")
	switch {
	case bucket != generatedBucket:
		refuse(w, http.StatusNotFound, "NoSuchBucket")
	case r.Method != http.MethodGet && r.Method != http.MethodHead:
		refuse(w, http.StatusForbidden, "AccessDenied")
	case key == "":
		g.list(w, r)
	default:
		g.object(w, r, key)
	}
}

func refuse(w http.ResponseWriter, status int, code string) {
	w.Header().Set("Content-Type", "application/xml")
	w.WriteHeader(status)
	fmt.Fprintf(w, "%s<Error><Code>%s</Code></Error>", xml.Header, code)
}

// from is the first object whose key is not before key.
func (g *Generated) from(key string) int {
	return sort.Search(g.Count, func(i int) bool { return g.Prefix+g.Name(i) >= key })
}

func (g *Generated) object(w http.ResponseWriter, r *http.Request, key string) {
	i := g.from(key)
	if i == g.Count || g.Prefix+g.Name(i) != key {
		refuse(w, http.StatusNotFound, "NoSuchKey")
		return
	}
	w.Header().Set("ETag", fmt.Sprintf(`"%x"`, i))
	w.Header().Set("Content-Type", "application/octet-stream")
	http.ServeContent(w, r, "", modified, io.NewSectionReader(zerosBehind(g.Head(i)), 0, g.Size))
}

// zerosBehind is some bytes, and zeros behind them without end.
type zerosBehind []byte

func (z zerosBehind) ReadAt(p []byte, off int64) (int, error) {
	clear(p)
	if off < int64(len(z)) {
		copy(p, z[off:])
	}
	return len(p), nil
}

// list answers ListObjectsV2; the only delimiter is the slash.
func (g *Generated) list(w http.ResponseWriter, r *http.Request) {
	q := r.URL.Query()
	most := 1000
	if n, err := strconv.Atoi(q.Get("max-keys")); err == nil {
		most = min(n, most)
	}
	prefix, after := q.Get("prefix"), max(q.Get("continuation-token"), q.Get("start-after"))
	b := fmt.Appendf(nil, `%s<ListBucketResult xmlns="http://s3.amazonaws.com/doc/2006-03-01/"><Name>%s</Name>`, xml.Header, generatedBucket)
	if rest, above := strings.CutPrefix(g.Prefix, prefix); above && rest != "" && q.Get("delimiter") == "/" {
		dir, _, _ := strings.Cut(rest, "/")
		b = fmt.Appendf(b, "<CommonPrefixes><Prefix>%s%s/</Prefix></CommonPrefixes><KeyCount>1</KeyCount><IsTruncated>false</IsTruncated>", prefix, dir)
	} else {
		b = g.page(b, prefix, after, most)
	}
	b = append(b, "</ListBucketResult>"...)
	w.Header().Set("Content-Type", "application/xml")
	_, _ = w.Write(b) // a client that went away misses it
}

// page appends up to most objects whose keys have a prefix, behind the key after.
func (g *Generated) page(b []byte, prefix, after string, most int) []byte {
	i := g.from(max(prefix, after))
	if after != "" && i < g.Count && g.Prefix+g.Name(i) == after {
		i++
	}
	tail := fmt.Sprintf("</ETag><Size>%d</Size><LastModified>%s</LastModified><StorageClass>STANDARD</StorageClass></Contents>", g.Size, modified.Format(time.RFC3339))
	n, last, more := 0, "", false
	for ; i < g.Count; i++ {
		key := g.Prefix + g.Name(i)
		if !strings.HasPrefix(key, prefix) {
			break
		}
		if more = n == most; more {
			break
		}
		n, last = n+1, key
		b = append(append(b, "<Contents><Key>"...), key...)
		b = strconv.AppendInt(append(b, "</Key><ETag>"...), int64(i), 16)
		b = append(b, tail...)
	}
	b = fmt.Appendf(b, "<KeyCount>%d</KeyCount><IsTruncated>%t</IsTruncated>", n, more)
	if more {
		b = fmt.Appendf(b, "<NextContinuationToken>%s</NextContinuationToken>", last)
	}
	return b
}
