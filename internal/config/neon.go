package config

import (
	"fmt"
	"net/url"
	"path"
	"regexp"
	"time"
)

// Neon says which servers know of a source's timelines, and which tenants are wanted.
type Neon struct {
	Pageservers     []string    `yaml:"pageservers"` // addresses of their HTTP APIs
	Safekeepers     []string    `yaml:"safekeepers"`
	PageserverToken NeonToken   `yaml:"pageserver_token"`
	SafekeeperToken NeonToken   `yaml:"safekeeper_token"`
	Tenants         NeonTenants `yaml:"tenants"`
	Timeout         Duration    `yaml:"timeout"`  // of one request
	Parallel        int         `yaml:"parallel"` // requests at the same time
}

// NeonToken says where a bearer token is: one of the two, or neither.
type NeonToken struct {
	File string `yaml:"file"`
	Env  string `yaml:"env"` // a variable of the environment
}

// NeonTenants are patterns of tenants' ids, as path.Match has them.
type NeonTenants struct {
	Include []string `yaml:"include"` // empty: all
	Exclude []string `yaml:"exclude"`
}

// Configured reports whether there is a server to ask.
func (n Neon) Configured() bool { return len(n.Pageservers) > 0 || len(n.Safekeepers) > 0 }

var variableForm = regexp.MustCompile(`^[A-Za-z_][A-Za-z0-9_]*$`)

func validateNeon(s *Source, d *document, at string) {
	n := &s.Neon
	at += ".neon"
	if n.Configured() && s.Layout != "neon" {
		d.fail(at, "is only for the layout neon: write layout: neon")
	}
	if (len(n.Pageservers) > 0) != (len(n.Safekeepers) > 0) {
		d.fail(at, "wants pageservers and safekeepers, both or neither: the ones know the timelines, the others which WAL should be there")
	}
	for key, list := range map[string][]string{".pageservers": n.Pageservers, ".safekeepers": n.Safekeepers} {
		for i, address := range list {
			u, err := url.Parse(address)
			if err != nil || u.Scheme != "http" && u.Scheme != "https" || u.Host == "" || u.User != nil || u.RawQuery != "" || u.Fragment != "" {
				d.fail(fmt.Sprintf("%s%s[%d]", at, key, i), "is no address of an HTTP API: write http://host:9898, without user and parameters")
			}
		}
	}
	for key, t := range map[string]NeonToken{".pageserver_token": n.PageserverToken, ".safekeeper_token": n.SafekeeperToken} {
		if t.File != "" && t.Env != "" {
			d.fail(at+key, "has file and env: keep one of them")
		}
		if t.Env != "" && !variableForm.MatchString(t.Env) {
			d.fail(at+key+".env", "is no name of a variable: write one such as NEON_AUTH_TOKEN, never the token itself")
		}
	}
	for key, list := range map[string][]string{".tenants.include": n.Tenants.Include, ".tenants.exclude": n.Tenants.Exclude} {
		for i, pattern := range list {
			if _, err := path.Match(pattern, ""); err != nil || pattern == "" {
				d.fail(fmt.Sprintf("%s%s[%d]", at, key, i), "%q is no pattern: write an id, or *, ? and [a-z] in it", pattern)
			}
		}
	}
	if n.Timeout < Duration(100*time.Millisecond) {
		d.fail(at+".timeout", "%v is too short: write a duration such as 10s", n.Timeout)
	}
	between(d, at+".parallel", n.Parallel, 1, 64)
}
