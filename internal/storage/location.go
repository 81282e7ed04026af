package storage

import (
	"context"
	"fmt"
	"net/url"
	"regexp"
	"strings"
)

// schemes are the buckets that gocloud opens for us.
var schemes = map[string]bool{"s3": true, "gs": true, "azblob": true, "mem": true}

var schemeRE = regexp.MustCompile(`^[A-Za-z][A-Za-z0-9+.-]*://`)

// Open opens a location: s3://bucket/prefix?…, gs://…, azblob://… with the
// parameters of gocloud.dev/blob, mem:// (for tests), file:///dir or the path
// of a directory. The bucket or directory must be there. Of a bucket, the
// parameter idle_timeout says for how long it may be silent.
func Open(ctx context.Context, location string) (*Store, error) {
	if location == "" {
		return nil, fmt.Errorf("open location: it is empty; give a directory, or a URL such as s3://bucket/prefix?region=eu-central-1")
	}
	if !schemeRE.MatchString(location) {
		return openDirAt(ctx, location, location)
	}
	u, err := url.Parse(location)
	if err != nil {
		return nil, fmt.Errorf("open location %s: not a valid URL; write special characters as %%XX", Redacted(location))
	}
	switch scheme := strings.ToLower(u.Scheme); {
	case scheme == "file":
		if u.Host != "" && u.Host != "localhost" || u.Path == "" {
			return nil, fmt.Errorf("open location %s: write an absolute path with three slashes, such as file:///var/wal", Redacted(location))
		}
		return openDirAt(ctx, u.Path, location)
	case schemes[scheme]:
		return openCloud(ctx, u, location)
	}
	return nil, fmt.Errorf("open location %s: unknown scheme; want s3://, gs://, azblob://, file:// or the path of a directory", Redacted(location))
}

func openDirAt(ctx context.Context, path, location string) (*Store, error) {
	b, err := openDir(path)
	if err != nil {
		return nil, &Error{Op: "open", Location: Redacted(location), Err: err}
	}
	return New(observedIn(ctx, b), location), nil
}

func openCloud(ctx context.Context, u *url.URL, location string) (*Store, error) {
	prefix := strings.Trim(u.Path, "/")
	idle, err := takeIdle(u)
	if err != nil {
		return nil, &Error{Op: "open", Location: Redacted(location), Err: err}
	}
	b, err := newCloud(ctx, u, idle)
	if err != nil {
		return nil, &Error{Op: "open", Location: Redacted(location), Err: err}
	}
	bare := *u
	bare.Path, bare.RawPath = "", ""
	root := New(observedIn(ctx, withIdleTimeout(b, idle)), bare.String())
	if prefix == "" {
		return root, nil
	}
	s, err := root.Sub(prefix)
	if err != nil {
		_ = b.Close() // the prefix is what is wrong
		return nil, err
	}
	s.narrowed = false
	return s, nil
}
