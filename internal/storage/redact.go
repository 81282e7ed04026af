package storage

import (
	"net/url"
	"regexp"
	"strings"
)

// public are the query parameters whose values may be shown; the value of any
// other may be a secret.
var public = map[string]bool{
	"region": true, "use_path_style": true, "s3ForcePathStyle": true, "disable_https": true,
	"hostname_immutable": true, "profile": true, "anonymous": true, "dualstack": true, "fips": true,
	"accelerate": true, "ssetype": true, "request_checksum_calculation": true, "prefix": true,
	"response_checksum_validation": true, "rate_limiter_capacity": true, "awssdk": true,
	"grpc": true, "zonal": true, "domain": true, "protocol": true, "cdn": true, "localemu": true,
	"storage_account": true, idleParameter: true, "sslmode": true, "application_name": true,
}

// hidden stands where a secret was.
const hidden = "REDACTED"

var assignment = regexp.MustCompile(`(?i)\b(\w*(?:password|passwd|secret|token|key|signature|sig))=('[^']*'|[^\s&]+)`)

// Redacted is the location fit for logs and errors: without user names and
// passwords, and with the values of unknown query parameters hidden. It works
// for any URL and for PostgreSQL's keyword/value strings.
func Redacted(location string) string {
	if !schemeRE.MatchString(location) {
		return assignment.ReplaceAllString(location, "$1="+hidden)
	}
	u, err := url.Parse(location)
	if err != nil {
		scheme, _, _ := strings.Cut(location, "://")
		return scheme + "://" + hidden
	}
	u.User = nil
	q := u.Query()
	for name, values := range q {
		for i := range values {
			switch {
			case name == "endpoint":
				values[i] = Redacted(values[i])
			case !public[name]:
				values[i] = hidden
			}
		}
	}
	if u.RawQuery != "" {
		u.RawQuery = strings.NewReplacer("%2F", "/", "%3A", ":").Replace(q.Encode())
	}
	u.Fragment, u.RawFragment = "", ""
	return u.String()
}

// secrets lists the parts of a location that must not appear in an error's
// text, whoever wrote the text.
func secrets(u *url.URL) []string {
	var found []string
	add := func(s string) {
		if s != "" {
			found = append(found, s, url.QueryEscape(s))
		}
	}
	user := func(info *url.Userinfo) {
		if info == nil {
			return
		}
		if pw, ok := info.Password(); ok {
			add(pw)
		}
		add(info.String())
	}
	user(u.User)
	for name, values := range u.Query() {
		for _, v := range values {
			if name == "endpoint" {
				if e, err := url.Parse(v); err == nil {
					user(e.User)
				}
			} else if !public[name] {
				add(v)
			}
		}
	}
	return found
}

// redactText hides secrets in a text that someone else wrote.
func redactText(text string, secrets []string) string {
	for _, s := range secrets {
		text = strings.ReplaceAll(text, s, hidden)
	}
	return text
}
