package config

import (
	"crypto/sha256"
	"encoding/hex"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"
)

func tokensFile(t *testing.T, text string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "tokens.yaml")
	if err := os.WriteFile(path, []byte(text), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestLoadTokens(t *testing.T) {
	zeros := strings.Repeat("0", 64)
	got, err := LoadTokens(tokensFile(t, `
tokens:
  - name: dashboard
    token: 0123456789abcdef
    scopes: [read]
  - {name: support, sha256: `+"'"+zeros+"'"+`, scopes: [recover, read], tenants: [prod, staging], expires: 2027-01-31}
`))
	if err != nil || len(got) != 2 {
		t.Fatalf("%d tokens, %v", len(got), err)
	}
	sum := sha256.Sum256([]byte("0123456789abcdef"))
	if got[0].SHA256 != hex.EncodeToString(sum[:]) || got[1].SHA256 != zeros || len(got[1].Tenants) != 2 {
		t.Errorf("%+v", got)
	}
	if at, err := got[1].Until(); err != nil || !at.Equal(time.Date(2027, 1, 31, 0, 0, 0, 0, time.UTC)) {
		t.Errorf("expires %v, %v", at, err)
	}
}

func TestLoadTokensRefuses(t *testing.T) {
	const good = "{name: a, token: 0123456789abcdef, scopes: [read]}"
	for text, want := range map[string]string{
		"":                                     "there is none",
		"tokens: []":                           "there is none",
		"token: x":                             "unknown key",
		"tokens: [" + good + ", " + good + "]": "stands twice",
		"tokens: [" + good + ", {name: b, token: 0123456789abcdef, scopes: [read]}]":   "the same token stands twice",
		"tokens: [{name: a, scopes: [read]}]":                                          "set one of token and sha256",
		"tokens: [{name: a, token: 0123456789abcdef, sha256: x, scopes: [read]}]":      "set one of token and sha256",
		"tokens: [{name: a, token: short, scopes: [read]}]":                            "too short",
		"tokens: [{name: a, token: '0123456789 abcdef', scopes: [read]}]":              "a header cannot carry it",
		"tokens: [{name: a, sha256: abc, scopes: [read]}]":                             "64 hex digits",
		"tokens: [{name: '', token: 0123456789abcdef, scopes: [read]}]":                "no name",
		"tokens: [{name: a, token: 0123456789abcdef}]":                                 "scopes: is empty",
		"tokens: [{name: a, token: 0123456789abcdef, scopes: [write]}]":                "not one of read, recover, admin",
		"tokens: [{name: a, token: 0123456789abcdef, scopes: [read], tenants: [a/b]}]": "no name of a tenant",
		"tokens: [{name: a, token: 0123456789abcdef, scopes: [read], expires: soon}]":  "no date",
	} {
		_, err := LoadTokens(tokensFile(t, text))
		if err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%s: %v, want %q", text, err, want)
		}
		if err != nil && strings.Contains(err.Error(), "0123456789abcdef") {
			t.Errorf("%s: the error shows the token: %v", text, err)
		}
	}
	if _, err := LoadTokens(filepath.Join(t.TempDir(), "none")); err == nil {
		t.Error("a file that is not there was read")
	}
}
