package main

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"redoubt/internal/config"
	"redoubt/walbackup/coord"
)

// etcdDir is where an agent without a cluster keeps its own etcd.
func etcdDir(c *config.Config) string { return filepath.Join(c.DataDir, "etcd") }

// dialEtcd makes a client of the cluster or, where none is configured, of the
// etcd that this machine's agent runs; log may be nil.
func dialEtcd(ctx context.Context, cfg *config.Config, log *slog.Logger) (*coord.Client, error) {
	e := &cfg.WALBackup.Agent.Etcd
	own := coord.Config{Endpoints: e.Endpoints, Prefix: e.Prefix, User: e.User, Log: log}
	if len(e.Endpoints) == 0 {
		own.Endpoints = []string{coord.EmbeddedEndpoint(etcdDir(cfg))}
	} else if err := secure(e, &own); err != nil {
		return nil, err
	}
	return coord.Dial(ctx, own)
}

// secure reads password and certificates.
func secure(e *config.Etcd, c *coord.Config) error {
	if e.PasswordFile != "" {
		b, err := os.ReadFile(e.PasswordFile)
		if err != nil {
			return fmt.Errorf("read walbackup.agent.etcd.password_file: %w", err)
		}
		c.Password = strings.TrimSpace(string(b))
	}
	if !strings.HasPrefix(e.Endpoints[0], "https://") {
		return nil
	}
	c.TLS = &tls.Config{MinVersion: tls.VersionTLS12}
	if e.CAFile != "" {
		b, err := os.ReadFile(e.CAFile)
		if err != nil {
			return fmt.Errorf("read walbackup.agent.etcd.ca_file: %w", err)
		}
		c.TLS.RootCAs = x509.NewCertPool()
		if !c.TLS.RootCAs.AppendCertsFromPEM(b) {
			return fmt.Errorf("read walbackup.agent.etcd.ca_file: %s holds no certificate", e.CAFile)
		}
	}
	if e.CertFile != "" {
		pair, err := tls.LoadX509KeyPair(e.CertFile, e.KeyFile)
		if err != nil {
			return fmt.Errorf("read walbackup.agent.etcd.cert_file: %w", err)
		}
		c.TLS.Certificates = []tls.Certificate{pair}
	}
	return nil
}
