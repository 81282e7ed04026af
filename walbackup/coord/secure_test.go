package coord

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"crypto/x509/pkix"
	"encoding/pem"
	"errors"
	"math/big"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"testing"
	"time"

	clientv3 "go.etcd.io/etcd/client/v3"
	"go.etcd.io/etcd/server/v3/embed"
)

// selfSigned makes a certificate for 127.0.0.1, which is its own authority.
func selfSigned(t *testing.T, dir string) (cert, key string, pool *x509.CertPool) {
	t.Helper()
	private, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	template := &x509.Certificate{
		SerialNumber: big.NewInt(1), Subject: pkix.Name{CommonName: "agent"}, NotAfter: time.Now().Add(time.Hour),
		IPAddresses: []net.IP{net.IPv4(127, 0, 0, 1)}, IsCA: true, BasicConstraintsValid: true,
		KeyUsage:    x509.KeyUsageDigitalSignature | x509.KeyUsageCertSign,
		ExtKeyUsage: []x509.ExtKeyUsage{x509.ExtKeyUsageServerAuth, x509.ExtKeyUsageClientAuth},
	}
	der, err := x509.CreateCertificate(rand.Reader, template, template, &private.PublicKey, private)
	if err != nil {
		t.Fatal(err)
	}
	keyDER, err := x509.MarshalECPrivateKey(private)
	if err != nil {
		t.Fatal(err)
	}
	cert, key = filepath.Join(dir, "cert.pem"), filepath.Join(dir, "key.pem")
	certPEM := pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: der})
	if err := os.WriteFile(cert, certPEM, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(key, pem.EncodeToMemory(&pem.Block{Type: "EC PRIVATE KEY", Bytes: keyDER}), 0o600); err != nil {
		t.Fatal(err)
	}
	pool = x509.NewCertPool()
	pool.AppendCertsFromPEM(certPEM)
	return cert, key, pool
}

// TestTLSAndAuthentication has an etcd that wants certificates, and a user who
// may touch nothing but what is below the prefix.
func TestTLSAndAuthentication(t *testing.T) {
	dir := t.TempDir()
	cert, key, pool := selfSigned(t, dir)
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := l.Addr().String()
	_ = l.Close()
	cfg := embed.NewConfig()
	cfg.Dir, cfg.LogLevel = filepath.Join(dir, "etcd"), "error"
	at := []url.URL{{Scheme: "https", Host: address}}
	cfg.ListenClientUrls, cfg.AdvertiseClientUrls = at, at
	peer, err := os.MkdirTemp("", "rdtls")
	if err != nil {
		t.Fatal(err)
	}
	defer func() { _ = os.RemoveAll(peer) }()
	cfg.ListenPeerUrls, cfg.AdvertisePeerUrls = unix(peer+"/p"), unix(peer+"/p")
	cfg.InitialCluster = cfg.InitialClusterFromName(cfg.Name)
	cfg.ClientTLSInfo.CertFile, cfg.ClientTLSInfo.KeyFile = cert, key
	cfg.ClientTLSInfo.TrustedCAFile, cfg.ClientTLSInfo.ClientCertAuth = cert, true
	e, err := embed.StartEtcd(cfg)
	if err != nil {
		t.Fatal(err)
	}
	defer e.Close()
	<-e.Server.ReadyNotify()
	pair, err := tls.LoadX509KeyPair(cert, key)
	if err != nil {
		t.Fatal(err)
	}
	secure := &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool, Certificates: []tls.Certificate{pair}}
	patience := 20 * time.Second
	login := func(user, password string, t2 *tls.Config) (*Client, error) {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		c, err := Dial(context.Background(), Config{Endpoints: []string{"https://" + address}, Prefix: "/redoubt", User: user, Password: password, TLS: t2})
		if err != nil {
			return nil, err
		}
		t.Cleanup(func() { _ = c.Close() })
		_, err = c.Identity(ctx)
		return c, err
	}
	open, err := login("", "", secure)
	if err != nil {
		t.Fatal(err)
	}
	for _, f := range []func(ctx context.Context) error{
		func(ctx context.Context) error { _, err := open.etcd.UserAdd(ctx, "root", "r"); return err },
		func(ctx context.Context) error { _, err := open.etcd.UserGrantRole(ctx, "root", "root"); return err },
		func(ctx context.Context) error { _, err := open.etcd.RoleAdd(ctx, "agents"); return err },
		func(ctx context.Context) error {
			_, err := open.etcd.RoleGrantPermission(ctx, "agents", "/redoubt/", "/redoubt0", clientv3.PermissionType(clientv3.PermReadWrite))
			return err
		},
		func(ctx context.Context) error { _, err := open.etcd.UserAdd(ctx, "agent1", "secret"); return err },
		func(ctx context.Context) error {
			_, err := open.etcd.UserGrantRole(ctx, "agent1", "agents")
			return err
		},
		func(ctx context.Context) error { _, err := open.etcd.AuthEnable(ctx); return err },
	} {
		if err := f(t.Context()); err != nil {
			t.Fatal(err)
		}
	}
	c, err := login("agent1", "secret", secure)
	if err != nil {
		t.Fatal(err)
	}
	s := join(t, c, "a")
	term, err := s.Campaign(t.Context(), line)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := term.Advance(t.Context(), 1, Recorded{}, State{SegmentSize: 1 << 24}); err != nil {
		t.Error(err)
	}
	if err := s.Leave(t.Context()); err != nil {
		t.Error(err)
	}
	if _, err := login("agent1", "wrong", secure); err == nil {
		t.Error("a wrong password is taken")
	}
	// No connection stands at all, so that nobody says that a user is needed.
	patience = time.Second
	if _, err := login("", "", &tls.Config{MinVersion: tls.VersionTLS12, RootCAs: pool}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("no certificate is asked for: %v", err)
	}
	if _, err := login("", "", &tls.Config{MinVersion: tls.VersionTLS12, Certificates: []tls.Certificate{pair}}); !errors.Is(err, context.DeadlineExceeded) {
		t.Errorf("any server is trusted: %v", err)
	}
}
