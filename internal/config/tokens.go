package config

import (
	"crypto/sha256"
	"encoding/hex"
	"fmt"
	"reflect"
	"regexp"
	"strings"
	"time"
)

// Tokens is the file http.tokens_file.
type Tokens struct {
	Tokens []Token `yaml:"tokens"`
}

// Token is one token with what it is good for. Either it or its hash is given.
type Token struct {
	Name    string   `yaml:"name"`
	Token   Secret   `yaml:"token"`
	SHA256  string   `yaml:"sha256"`  // of the token, 64 hex digits; LoadTokens sets it in any case
	Scopes  []string `yaml:"scopes"`  // read, recover, admin
	Tenants []string `yaml:"tenants"` // empty: all
	Expires string   `yaml:"expires"` // a date, as it begins in UTC; empty: never
}

// LoadTokens reads and validates a file of tokens.
func LoadTokens(path string) ([]Token, error) {
	data, err := readSmall(path)
	if err != nil {
		return nil, fmt.Errorf("read tokens: %w", err)
	}
	root, err := syntaxTree(path, data)
	if err != nil {
		return nil, err
	}
	d := &document{file: path, at: map[string]place{}}
	var file Tokens
	if root != nil {
		d.value(root, "", reflect.ValueOf(&file).Elem())
	}
	if len(d.faults) == 0 {
		validateTokens(file.Tokens, d)
	}
	return file.Tokens, join(d.faults)
}

func validateTokens(all []Token, d *document) {
	if len(all) == 0 {
		d.fail("tokens", "there is none: name at least one, or leave http.tokens_file out")
	}
	names, hashes := map[string]bool{}, map[string]bool{}
	for i := range all {
		t, path := &all[i], fmt.Sprintf("tokens[%d]", i)
		validateToken(t, d, path)
		if names[t.Name] {
			d.fail(path+".name", "%q stands twice: give each token a name of its own", t.Name)
		}
		if hashes[t.SHA256] {
			d.fail(path, "the same token stands twice: keep one")
		}
		names[t.Name], hashes[t.SHA256] = true, true
	}
}

var (
	sha256Form = regexp.MustCompile(`^[0-9a-f]{64}$`)
	tenantForm = regexp.MustCompile(`^[A-Za-z0-9._-]{1,64}$`)
)

func validateToken(t *Token, d *document, path string) {
	if !nameForm.MatchString(t.Name) {
		d.fail(path+".name", "%q is no name: %s", t.Name, nameRule)
	}
	secret := t.Token.Reveal()
	switch {
	case (t.SHA256 == "") == (secret == ""):
		d.fail(path, "set one of token and sha256")
	case t.SHA256 != "" && !sha256Form.MatchString(t.SHA256):
		d.fail(path+".sha256", "is not a SHA-256 in 64 hex digits: printf %%s TOKEN | sha256sum makes one")
	case secret != "" && (len(secret) < minToken || strings.ContainsFunc(secret, notInHeader)):
		d.fail(path+".token", "is too short, or a header cannot carry it: use at least %d random letters and digits", minToken)
	case secret != "":
		sum := sha256.Sum256([]byte(secret))
		t.SHA256 = hex.EncodeToString(sum[:])
	}
	if len(t.Scopes) == 0 {
		d.fail(path+".scopes", "is empty: name at least one of read, recover, admin")
	}
	for i, s := range t.Scopes {
		oneOf(d, fmt.Sprintf("%s.scopes[%d]", path, i), s, "read", "recover", "admin")
	}
	for i, s := range t.Tenants {
		if !tenantForm.MatchString(s) {
			d.fail(fmt.Sprintf("%s.tenants[%d]", path, i), "%q is no name of a tenant: use letters, digits, dot, dash and underscore, at most 64", s)
		}
	}
	if _, err := t.Until(); err != nil {
		d.fail(path+".expires", "%q is no date: write one such as 2027-01-31", t.Expires)
	}
}

// Until is when the token expires, zero for never.
func (t Token) Until() (time.Time, error) {
	if t.Expires == "" {
		return time.Time{}, nil
	}
	return time.Parse(time.DateOnly, t.Expires)
}

// notInHeader tells bytes that a token must not have.
func notInHeader(r rune) bool { return r <= ' ' || r > '~' }
