package api

import (
	"context"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/sha256"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"log/slog"
	"math/big"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"redoubt/internal/api/auth"
)

// scoped is a server with a token of each kind, and a key of JSON web tokens.
func scoped(t *testing.T, f *fake) (*Server, func(jwt.MapClaims) string) {
	t.Helper()
	public, private, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	keys, err := auth.ParseKeys(pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der}))
	if err != nil {
		t.Fatal(err)
	}
	token := func(name string, tenants []string, scopes ...auth.Scope) auth.Token {
		return auth.Token{Name: name, SHA256: sha256.Sum256([]byte(name)), Scopes: scopes, Tenants: tenants}
	}
	s := server(t, f, "", t.Output())
	s.Auth = auth.New([]auth.Token{
		token("reader", nil, auth.Read), token("recoverer", nil, auth.Recover), token("admin", nil, auth.Admin),
		token("reader of a", []string{"a"}, auth.Read), token("admin of a", []string{"a"}, auth.Admin), token("nobody", nil),
		{Name: "old", SHA256: sha256.Sum256([]byte("old")), Scopes: []auth.Scope{auth.Admin}, Expires: night},
	}, keys, nil)
	return s, func(c jwt.MapClaims) string {
		signed, err := jwt.NewWithClaims(jwt.SigningMethodEdDSA, c).SignedString(private)
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
}

func bearer(token string) func(*http.Request) { return header("Authorization", "Bearer "+token) }

func TestScopes(t *testing.T) {
	s, sign := scoped(t, newFake())
	tenantA := sign(jwt.MapClaims{"scope": "tenant", "tenant_id": "a"})
	control := sign(jwt.MapClaims{"scope": "pageserverapi"})
	for _, c := range []struct {
		token, method, path string
		status              int
	}{
		{"reader", "GET", "/v1/run", 200}, {"reader", "GET", "/", 200}, {"reader", "GET", "/metrics", 200},
		{"reader", "POST", "/v1/run", 403}, {"recoverer", "POST", "/v1/run", 403}, {"admin", "POST", "/v1/run", 202},
		{"reader", "POST", "/v1/discrepancy/1/ack", 403}, {"reader", "DELETE", "/v1/discrepancy/1/ack", 403},
		{"nobody", "GET", "/v1/run", 403}, {"nobody", "GET", "/v1/tenant", 403}, {"nobody", "GET", "/metrics", 403},
		{"old", "GET", "/v1/run", 401}, {"unknown", "GET", "/v1/run", 401},
		{"reader of a", "GET", "/v1/tenant", 200}, {"reader of a", "GET", "/v1/tenant/a/timeline", 200}, {"reader of a", "GET", "/v1/tenant/a/timeline/main", 200},
		{"reader of a", "GET", "/v1/tenant/b/timeline", 404}, {"reader of a", "GET", "/v1/tenant/b/timeline/%3Cscript%3E", 404},
		{"reader of a", "GET", "/v1/run", 403}, {"reader of a", "GET", "/metrics", 403}, {"reader of a", "GET", "/", 403},
		{"reader of a", "GET", "/tenant/a/timeline/main", 403}, {"reader of a", "GET", "/v1/discrepancy", 403},
		{"admin of a", "POST", "/v1/run", 403}, {"admin of a", "GET", "/v1/tenant/b/timeline", 404},
		{tenantA, "GET", "/v1/tenant/a/timeline", 200}, {tenantA, "GET", "/v1/tenant/b/timeline", 404}, {tenantA, "GET", "/v1/run", 403},
		{control, "GET", "/v1/run", 200}, {control, "POST", "/v1/run", 403},
		{sign(jwt.MapClaims{"scope": "admin", "exp": time.Now().Add(-time.Hour).Unix()}), "GET", "/v1/run", 401},
		{sign(jwt.MapClaims{"scope": "admin", "exp": time.Now().Add(time.Hour).Unix()}), "POST", "/v1/run", 202},
		{"", "GET", "/healthz", 200},
	} {
		w := ask(s, c.method, c.path, "", bearer(c.token))
		if w.Code != c.status {
			t.Errorf("%s: %s %s: status %d, want %d: %s", c.token, c.method, c.path, w.Code, c.status, w.Body)
		}
		if c.status >= 400 {
			wantError(t, c.token+" "+c.path, w, c.status)
		}
	}
	if w := ask(s, "GET", "/v1/run", "", bearer("old")); !strings.Contains(w.Body.String(), "expired") {
		t.Errorf("an expired token: %s", w.Body)
	}
	if w := ask(s, "GET", "/v1/tenant", "", bearer("reader of a")); strings.Contains(w.Body.String(), `"b"`) || !strings.Contains(w.Body.String(), `"a"`) {
		t.Errorf("tenants of a token that is bound to a: %s", w.Body)
	}
}

// selfSigned writes a certificate of a name and its key.
func selfSigned(t *testing.T, certFile, keyFile, name string) *x509.Certificate {
	t.Helper()
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: name}, DNSNames: []string{"localhost"},
		NotBefore: time.Now().Add(-time.Hour), NotAfter: time.Now().Add(time.Hour), IsCA: true, BasicConstraintsValid: true}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &key.PublicKey, key)
	if err != nil {
		t.Fatal(err)
	}
	private, err := x509.MarshalPKCS8PrivateKey(key)
	if err != nil {
		t.Fatal(err)
	}
	for file, block := range map[string]*pem.Block{certFile: {Type: "CERTIFICATE", Bytes: der}, keyFile: {Type: "PRIVATE KEY", Bytes: private}} {
		if err := os.WriteFile(file, pem.EncodeToMemory(block), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	cert, err := x509.ParseCertificate(der)
	if err != nil {
		t.Fatal(err)
	}
	return cert
}

// TestTLS asks over TLS, changes the certificate and asks again, and has a
// change that is not whole.
func TestTLS(t *testing.T) {
	dir := t.TempDir()
	certFile, keyFile := filepath.Join(dir, "tls.crt"), filepath.Join(dir, "tls.key")
	first := selfSigned(t, certFile, keyFile, "first")
	conf, err := TLS(certFile, keyFile, slog.New(slog.NewTextHandler(t.Output(), nil)))
	if err != nil {
		t.Fatal(err)
	}
	s := server(t, newFake(), "correct horse battery", t.Output())
	s.TLS = conf
	l := listen(t, "127.0.0.1:0")
	ctx, cancel := context.WithCancel(t.Context())
	served := make(chan error, 1)
	go func() { served <- s.Serve(ctx, l) }()
	defer func() {
		cancel()
		if err := <-served; err != nil {
			t.Error(err)
		}
	}()
	get := func(trust *x509.Certificate) (string, error) {
		roots := x509.NewCertPool()
		roots.AddCert(trust)
		client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, TLSClientConfig: &tls.Config{RootCAs: roots, ServerName: "localhost", MinVersion: tls.VersionTLS12}}}
		r, err := http.NewRequest(http.MethodGet, "https://"+l.Addr().String()+"/v1/run", nil)
		if err != nil {
			return "", err
		}
		bearer("correct horse battery")(r)
		resp, err := client.Do(r)
		if err != nil {
			return "", err
		}
		defer func() { _ = resp.Body.Close() }()
		return resp.TLS.PeerCertificates[0].Subject.CommonName + " " + resp.Status, nil
	}
	if got, err := get(first); err != nil || got != "first 200 OK" {
		t.Fatalf("%q, %v", got, err)
	}
	if err := os.WriteFile(keyFile, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	time.Sleep(lookAgain + 50*time.Millisecond)
	if got, err := get(first); err != nil || got != "first 200 OK" {
		t.Errorf("with half a key: %q, %v", got, err)
	}
	second := selfSigned(t, certFile, keyFile, "second")
	time.Sleep(lookAgain + 50*time.Millisecond)
	if got, err := get(second); err != nil || got != "second 200 OK" {
		t.Errorf("after the change: %q, %v", got, err)
	}
	if _, err := TLS(certFile, filepath.Join(dir, "none"), slog.New(slog.DiscardHandler)); err == nil {
		t.Error("a key that is not there was read")
	}
}
