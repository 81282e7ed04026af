package auth

import (
	"crypto/ed25519"
	"crypto/hmac"
	"crypto/rand"
	"crypto/rsa"
	"crypto/sha256"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

var noon = time.Date(2026, 3, 14, 12, 0, 0, 0, time.UTC)

func clock() time.Time { return noon }

func publicPEM(t *testing.T, key any) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(key)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func sign(t *testing.T, m jwt.SigningMethod, key any, c jwt.MapClaims) string {
	t.Helper()
	s, err := jwt.NewWithClaims(m, c).SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

// signers are a private key of each kind and the checker of their public ones.
func signers(t *testing.T) (ed25519.PrivateKey, *rsa.PrivateKey, *Checker, []byte) {
	t.Helper()
	edPublic, ed, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, minRSA)
	if err != nil {
		t.Fatal(err)
	}
	both := slices.Concat(publicPEM(t, edPublic), publicPEM(t, &rs.PublicKey))
	keys, err := ParseKeys(both)
	if err != nil || len(keys) != 2 {
		t.Fatalf("%d keys, %v", len(keys), err)
	}
	return ed, rs, New(nil, keys, clock), publicPEM(t, &rs.PublicKey)
}

func TestSigned(t *testing.T) {
	ed, rs, c, _ := signers(t)
	const tenant = "0123456789abcdef0123456789abcdef"
	for what, k := range map[string]struct {
		claims  jwt.MapClaims
		err     error
		can     []Scope
		not     []Scope
		tenants []string
	}{
		"Neon's tenant":         {jwt.MapClaims{"scope": "tenant", "tenant_id": tenant}, nil, []Scope{Read, Recover}, []Scope{Admin}, []string{tenant}},
		"tenant without one":    {jwt.MapClaims{"scope": "tenant"}, ErrUnknown, nil, nil, nil},
		"Neon's control plane":  {jwt.MapClaims{"scope": "pageserverapi"}, nil, []Scope{Read, Recover}, []Scope{Admin}, nil},
		"admin":                 {jwt.MapClaims{"scope": "admin", "exp": noon.Add(time.Hour).Unix()}, nil, []Scope{Read, Recover, Admin}, nil, nil},
		"bound admin":           {jwt.MapClaims{"scope": "admin", "tenant_id": "prod"}, nil, []Scope{Admin}, nil, []string{"prod"}},
		"an empty tenant":       {jwt.MapClaims{"scope": "read", "tenant_id": ""}, nil, []Scope{Read}, []Scope{Recover}, []string{""}},
		"two scopes":            {jwt.MapClaims{"scope": "read recover"}, nil, []Scope{Read, Recover}, []Scope{Admin}, nil},
		"a foreign scope":       {jwt.MapClaims{"scope": "safekeeperdata"}, nil, nil, []Scope{Read, Recover, Admin}, nil},
		"no scope":              {jwt.MapClaims{}, nil, nil, []Scope{Read, Recover, Admin}, nil},
		"scopes as a list":      {jwt.MapClaims{"scope": []string{"admin"}}, ErrUnknown, nil, nil, nil},
		"a tenant that is none": {jwt.MapClaims{"scope": "read", "tenant_id": 7}, ErrUnknown, nil, nil, nil},
		"expired":               {jwt.MapClaims{"scope": "admin", "exp": noon.Add(-time.Minute).Unix()}, ErrExpired, nil, nil, nil},
		"just expired":          {jwt.MapClaims{"scope": "read", "exp": noon.Add(-leeway / 2).Unix()}, nil, []Scope{Read}, nil, nil},
		"not yet":               {jwt.MapClaims{"scope": "admin", "nbf": noon.Add(time.Hour).Unix()}, ErrUnknown, nil, nil, nil},
		"a time that is none":   {jwt.MapClaims{"scope": "admin", "exp": "soon"}, ErrUnknown, nil, nil, nil},
	} {
		for _, token := range []string{sign(t, jwt.SigningMethodEdDSA, ed, k.claims), sign(t, jwt.SigningMethodRS256, rs, k.claims)} {
			id, err := c.Check(token)
			if !errors.Is(err, k.err) || (err == nil) != (k.err == nil) {
				t.Errorf("%s: %v, want %v", what, err, k.err)
				continue
			}
			for _, s := range k.can {
				if !id.Can(s) {
					t.Errorf("%s: cannot %s", what, s)
				}
			}
			for _, s := range k.not {
				if id.Can(s) {
					t.Errorf("%s: can %s", what, s)
				}
			}
			if err == nil && (!slices.Equal(id.Tenants, k.tenants) || id.Sees("other") != (k.tenants == nil)) {
				t.Errorf("%s: bound to %v, want %v", what, id.Tenants, k.tenants)
			}
		}
	}
}

// part encodes a part of a token by hand.
func part(v any) string {
	b, _ := json.Marshal(v)
	return base64.RawURLEncoding.EncodeToString(b)
}

// TestForged has tokens that nobody with a private key has made.
func TestForged(t *testing.T) {
	ed, rs, c, rsaPEM := signers(t)
	_, other, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	all := jwt.MapClaims{"scope": "admin"}
	good := sign(t, jwt.SigningMethodEdDSA, ed, all)
	if _, err := c.Check(good); err != nil {
		t.Fatal(err)
	}
	// The public key taken for a secret: a checker that lets the token choose the algorithm believes it.
	confused := part(map[string]string{"alg": "HS256", "typ": "JWT"}) + "." + part(all)
	mac := hmac.New(sha256.New, rsaPEM)
	mac.Write([]byte(confused))
	parts := strings.Split(good, ".")
	critical := jwt.NewWithClaims(jwt.SigningMethodEdDSA, all)
	critical.Header["crit"] = []string{"b64"}
	crit, err := critical.SignedString(ed)
	if err != nil {
		t.Fatal(err)
	}
	for what, token := range map[string]string{
		"none":                 sign(t, jwt.SigningMethodNone, jwt.UnsafeAllowNoneSignatureType, all),
		"None":                 part(map[string]string{"alg": "None"}) + "." + part(all) + ".",
		"no algorithm":         part(map[string]string{}) + "." + part(all) + "." + parts[2],
		"public key as secret": confused + "." + base64.RawURLEncoding.EncodeToString(mac.Sum(nil)),
		"another key":          sign(t, jwt.SigningMethodEdDSA, other, all),
		"another algorithm":    sign(t, jwt.SigningMethodRS512, rs, all),
		"PSS":                  sign(t, jwt.SigningMethodPS256, rs, all),
		"other claims":         parts[0] + "." + part(jwt.MapClaims{"scope": "admin", "sub": "me"}) + "." + parts[2],
		"other header":         part(map[string]string{"alg": "RS256"}) + "." + parts[1] + "." + parts[2],
		"no signature":         parts[0] + "." + parts[1] + ".",
		"cut":                  good[:len(good)-4],
		"key in the header":    part(map[string]any{"alg": "EdDSA", "jwk": map[string]string{"kty": "OKP", "crv": "Ed25519"}}) + "." + parts[1] + "." + parts[2],
		"critical extension":   crit,
		"dots":                 "..",
		"empty":                "",
	} {
		if id, err := c.Check(token); !errors.Is(err, ErrUnknown) {
			t.Errorf("%s: %+v, %v", what, id, err)
		}
	}
}

func TestOpaque(t *testing.T) {
	sum := func(s string) [sha256.Size]byte { return sha256.Sum256([]byte(s)) }
	c := New([]Token{
		{Name: "reader", SHA256: sum("reader's token"), Scopes: []Scope{Read}, Tenants: []string{"prod"}},
		{Name: "old", SHA256: sum("old token"), Scopes: []Scope{Admin}, Expires: noon},
		{Name: "late", SHA256: sum("late token"), Scopes: []Scope{Recover}, Expires: noon.Add(time.Second)},
	}, nil, clock)
	id, err := c.Check("reader's token")
	if err != nil || id.Name != "reader" || !id.Can(Read) || id.Can(Recover) || id.Can(Admin) || !id.Sees("prod") || id.Sees("") || id.Sees("prod2") {
		t.Errorf("reader: %+v, %v", id, err)
	}
	if _, err := c.Check("old token"); !errors.Is(err, ErrExpired) {
		t.Errorf("old: %v", err)
	}
	if id, err := c.Check("late token"); err != nil || !id.Can(Recover) || id.Can(Admin) || !id.Sees("any") {
		t.Errorf("late: %+v, %v", id, err)
	}
	for _, wrong := range []string{"", "reader", "reader's token ", "Reader's token", "a.b.c"} {
		if _, err := c.Check(wrong); !errors.Is(err, ErrUnknown) {
			t.Errorf("%q: %v", wrong, err)
		}
	}
	if !(*Checker)(nil).Empty() || !New(nil, nil, nil).Empty() || c.Empty() || Single("x").Empty() {
		t.Error("empty")
	}
}

func TestParseKeys(t *testing.T) {
	_, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKCS8PrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	rs, err := rsa.GenerateKey(rand.Reader, minRSA)
	if err != nil {
		t.Fatal(err)
	}
	if k, err := ParseKeys(pem.EncodeToMemory(&pem.Block{Type: "RSA PUBLIC KEY", Bytes: x509.MarshalPKCS1PublicKey(&rs.PublicKey)})); err != nil || k[0].alg != algRSA {
		t.Errorf("PKCS 1: %v", err)
	}
	for what, c := range map[string]struct {
		data []byte
		want string
	}{
		"private": {pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: der}), "private key"},
		"nothing": {[]byte("hello"), "no public key"},
		"broken":  {pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte("x")}), "read public key"},
		"other":   {pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: []byte("x")}), "want PUBLIC KEY"},
	} {
		if _, err := ParseKeys(c.data); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("%s: %v, want %q", what, err, c.want)
		}
	}
}
