package api

import (
	"crypto/tls"
	"fmt"
	"log/slog"
	"os"
	"sync"
	"time"
)

// lookAgain is how often the files of a certificate are looked at, at most.
const lookAgain = time.Second

// certificates serve a certificate that is read anew once its files changed.
type certificates struct {
	certFile, keyFile string
	log               *slog.Logger

	mu     sync.Mutex
	cert   *tls.Certificate
	stamp  [2]stamp
	looked time.Time
}

// stamp tells one version of a file from another.
type stamp struct {
	at   time.Time
	size int64
}

// TLS serves the certificate (and its chain) of certFile with the key of
// keyFile, PEM both. When they change they are read again; files that do not
// fit together, as in the middle of a change, leave the old one in use.
func TLS(certFile, keyFile string, log *slog.Logger) (*tls.Config, error) {
	c := &certificates{certFile: certFile, keyFile: keyFile, log: log}
	if err := c.load(); err != nil {
		return nil, err
	}
	return &tls.Config{MinVersion: tls.VersionTLS12, NextProtos: []string{"http/1.1"}, GetCertificate: c.get}, nil
}

func (c *certificates) load() error {
	now := c.stamps()
	cert, err := tls.LoadX509KeyPair(c.certFile, c.keyFile)
	if err != nil {
		return fmt.Errorf("read certificate %s with key %s: %w", c.certFile, c.keyFile, err)
	}
	c.cert, c.stamp = &cert, now
	return nil
}

func (c *certificates) stamps() (out [2]stamp) {
	for i, name := range []string{c.certFile, c.keyFile} {
		if info, err := os.Stat(name); err == nil {
			out[i] = stamp{info.ModTime(), info.Size()}
		}
	}
	return out
}

func (c *certificates) get(*tls.ClientHelloInfo) (*tls.Certificate, error) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if time.Since(c.looked) < lookAgain {
		return c.cert, nil
	}
	c.looked = time.Now()
	if seen := c.stamps(); seen != c.stamp {
		if err := c.load(); err != nil {
			c.log.Warn("certificate changed and cannot be used; the one before stays", "error", err)
		} else {
			c.log.Info("certificate is read again", "file", c.certFile)
		}
	}
	return c.cert, nil
}
