package check

import (
	"context"
	"errors"
	"strings"

	"redoubt/internal/config"
	"redoubt/internal/storage"
)

// cures are for words that stores and networks use; the first that fits.
var cures = []struct{ word, cure string }{
	{"no such bucket", "check the bucket's name, its region and the endpoint"},
	{"NoSuchBucket", "check the bucket's name, its region and the endpoint"},
	{"InvalidAccessKeyId", "the store does not know this access key: check the credentials (environment, profile or instance role) and that they are for this endpoint"},
	{"XAdminUserNotFound", "the store does not know this access key: check the credentials (environment, profile or instance role) and that they are for this endpoint"},
	{"SignatureDoesNotMatch", "the secret key is wrong: check the credentials (environment, profile or instance role)"},
	{"ExpiredToken", "the credentials have expired: renew them, or use a role that renews itself"},
	{"RequestTimeTooSkewed", "this machine's clock is wrong: set it, and let chrony or systemd-timesyncd keep it"},
	{"AccessDenied", "give these credentials list (s3:ListBucket, on the bucket) and get (s3:GetObject, on its objects)"},
	{"access is denied", "let the user that runs Redoubt list and read it"},
	{"get credentials", "there are no credentials: set AWS_ACCESS_KEY_ID and AWS_SECRET_ACCESS_KEY, a profile, or an instance role"},
	{"could not find default credentials", "there are no credentials: set GOOGLE_APPLICATION_CREDENTIALS, or run where there is a service account"},
	{"no such host", "the name does not resolve: check the endpoint and the resolver"},
	{"connection refused", "nothing listens there: check the endpoint's host and port"},
	{"i/o timeout", "the endpoint does not answer: check the network, proxies and firewalls on the way"},
	{": status 401", "no token was sent: set pageserver_token or safekeeper_token of the source's key neon"},
	{": status 403", "the token does not suffice: a pageserver wants one of scope pageserverapi, a safekeeper one of scope safekeeperdata (docs/neon.md)"},
	{"no token:", "the token cannot be read: see pageserver_token and safekeeper_token of the source's key neon"},
	{"the answer is not understood", "check that the address is the HTTP API of a server of that kind; if it is, its version is one that Redoubt does not know (docs/neon.md)"},
	{"no safekeeper has the timeline", "check that all safekeepers are named in the source's key neon"},
	{"certificate", "the endpoint's certificate is not trusted: install its CA on this machine, or mend the endpoint's name"},
	{"PermanentRedirect", "the bucket is in another region: set region in the location"},
	{"says nowhere where base backups are", "name the location of the base backups in the source's key backups"},
	{"neither WAL segments nor", "check the location, and that WAL is being archived there; or set the source's key layout"},
	{"there are no timelines", "check the location: it wants <tenant>/<timeline>/wal/ below it"},
}

// Cure is what to do about an error met at a source.
func Cure(err error) string {
	text := err.Error()
	for _, c := range cures {
		if strings.Contains(text, c.word) {
			return c.cure
		}
	}
	switch {
	case errors.Is(err, context.DeadlineExceeded):
		return "it took longer than --timeout: give more, or check the network and how many objects there are"
	case errors.Is(err, storage.ErrNotExist):
		return "check the location: the directory, or the bucket and prefix"
	case storage.Transient(err):
		return "try again; if it stays, look at the store and the network"
	}
	return "see docs/layouts.md for what can be read"
}

// Unreadable is the item of a source, or a part of one, that could not be read.
func Unreadable(subject string, err error) Item {
	return failed("source", subject, err, Cure(err))
}

// Loaded is the item of a configuration that was read and is valid.
func Loaded(c *config.Config, path string) Item {
	return ok("configuration", path, "valid; %d sources, %d jobs", len(c.Sources), len(c.Jobs))
}

// Readable is the item of a source that was listed and read.
func Readable(subject, detail string, args ...any) Item {
	return ok("source", subject, detail, args...)
}
