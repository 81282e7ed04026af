// Package auth says who asks: it knows bearer tokens, opaque ones whose
// SHA-256 is configured, and JSON web tokens that a configured public key signed.
//
// A token has scopes and may be bound to tenants. What a token may not be told
// of does not exist for it: that is for the HTTP server to keep.
package auth

import (
	"crypto/sha256"
	"crypto/subtle"
	"errors"
	"fmt"
	"slices"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Scope is what a token may be used for; each includes those before it.
type Scope string

// The scopes.
const (
	Read    Scope = "read"    // see
	Recover Scope = "recover" // make timelines by recovery, cancel and delete these
	Admin   Scope = "admin"   // start runs, acknowledge findings
)

// ParseScope reads a scope's name.
func ParseScope(s string) (Scope, error) {
	if sc := Scope(s); sc.rank() > 0 {
		return sc, nil
	}
	return "", fmt.Errorf("%q is no scope: use read, recover or admin", s)
}

func (s Scope) rank() int { return 1 + slices.Index([]Scope{Read, Recover, Admin}, s) }

// Identity is who asks.
type Identity struct {
	Name    string
	Scopes  []Scope
	Tenants []string // nil: all
}

// Everybody may do everything: a server that only its own machine reaches.
func Everybody() Identity { return Identity{Name: "local", Scopes: []Scope{Admin}} }

// Can reports whether the identity has a scope or one that includes it.
func (i Identity) Can(s Scope) bool {
	return s.rank() > 0 && slices.ContainsFunc(i.Scopes, func(own Scope) bool { return own.rank() >= s.rank() })
}

// Bound reports whether the identity is bound to tenants.
func (i Identity) Bound() bool { return i.Tenants != nil }

// Sees reports whether a tenant exists for the identity.
func (i Identity) Sees(tenant string) bool { return !i.Bound() || slices.Contains(i.Tenants, tenant) }

// Token is an opaque token.
type Token struct {
	Name    string
	SHA256  [sha256.Size]byte
	Scopes  []Scope
	Tenants []string  // nil: all
	Expires time.Time // zero: never
}

// Errors of Check.
var (
	ErrUnknown = errors.New("the token is not known here")
	ErrExpired = errors.New("the token has expired")
)

// Checker knows tokens and keys.
type Checker struct {
	tokens []Token
	keys   []Key
	now    func() time.Time
}

// New makes a checker; now is the clock, nil the system's.
func New(tokens []Token, keys []Key, now func() time.Time) *Checker {
	if now == nil {
		now = time.Now
	}
	return &Checker{tokens: tokens, keys: keys, now: now}
}

// Single makes a checker of one token that may do everything.
func Single(token string) *Checker {
	return New([]Token{{Name: "token", SHA256: sha256.Sum256([]byte(token)), Scopes: []Scope{Admin}}}, nil, nil)
}

// Empty reports whether nobody could be let in.
func (c *Checker) Empty() bool { return c == nil || len(c.tokens) == 0 && len(c.keys) == 0 }

// Check says whose token this is; ErrUnknown, ErrExpired.
func (c *Checker) Check(token string) (Identity, error) {
	if id, err := c.opaque(token); err != ErrUnknown {
		return id, err
	}
	if len(c.keys) > 0 && strings.Count(token, ".") == 2 {
		return c.signed(token)
	}
	return Identity{}, ErrUnknown
}

// opaque looks at every token: hashes are compared in constant time, so that
// neither bytes nor length nor place show in how long the answer takes.
func (c *Checker) opaque(token string) (Identity, error) {
	got := sha256.Sum256([]byte(token))
	at := -1
	for i := range c.tokens {
		if subtle.ConstantTimeCompare(got[:], c.tokens[i].SHA256[:]) == 1 {
			at = i
		}
	}
	if at < 0 || token == "" {
		return Identity{}, ErrUnknown
	}
	t := c.tokens[at]
	if !t.Expires.IsZero() && !c.now().Before(t.Expires) {
		return Identity{}, ErrExpired
	}
	return Identity{Name: t.Name, Scopes: t.Scopes, Tenants: t.Tenants}, nil
}

// leeway is by how much clocks may differ from those of who signs.
const leeway = 30 * time.Second

// claims are those of Neon's services: a scope, and the tenant it is for.
type claims struct {
	Scope    string  `json:"scope"`
	TenantID *string `json:"tenant_id"`
	jwt.RegisteredClaims
}

// signed reads a JSON web token. Which algorithm may be used follows from the
// kind of the key, never from the token alone.
func (c *Checker) signed(token string) (Identity, error) {
	var got claims
	parser := jwt.NewParser(jwt.WithValidMethods([]string{algEd25519, algRSA}), jwt.WithLeeway(leeway), jwt.WithTimeFunc(c.now), jwt.WithStrictDecoding())
	_, err := parser.ParseWithClaims(token, &got, c.keysFor)
	switch {
	case errors.Is(err, jwt.ErrTokenExpired):
		return Identity{}, ErrExpired
	case err != nil:
		return Identity{}, ErrUnknown
	}
	id := Identity{Name: got.Subject}
	if got.TenantID != nil {
		id.Tenants = []string{*got.TenantID}
	}
	for _, s := range strings.Fields(got.Scope) {
		switch s {
		case "tenant": // Neon's, of a compute: worth nothing without its tenant
			if got.TenantID == nil {
				return Identity{}, ErrUnknown
			}
			id.Scopes = append(id.Scopes, Recover)
		case "pageserverapi": // Neon's, of the control plane
			id.Scopes = append(id.Scopes, Recover)
		default:
			if own, err := ParseScope(s); err == nil {
				id.Scopes = append(id.Scopes, own)
			}
		}
	}
	return id, nil
}

func (c *Checker) keysFor(t *jwt.Token) (any, error) {
	if _, ok := t.Header["crit"]; ok {
		return nil, errors.New("the token has extensions that must be understood")
	}
	var set jwt.VerificationKeySet
	for _, k := range c.keys {
		if k.alg == t.Method.Alg() {
			set.Keys = append(set.Keys, k.public)
		}
	}
	if len(set.Keys) == 0 {
		return nil, errors.New("no key for this algorithm")
	}
	return set, nil
}
