package config

import (
	"fmt"
	"net"
	"strings"
)

func validateHTTP(c *Config, d *document) {
	_, port, err := net.SplitHostPort(c.HTTP.Listen)
	if err != nil || port == "" {
		d.fail("http.listen", "%q is no address: write host:port, such as 127.0.0.1:8480", c.HTTP.Listen)
		return
	}
	if c.HTTP.Token != "" && c.HTTP.TokenFile != "" {
		d.fail("http.token", "http.token_file is set too: keep one")
	}
	if !Loopback(c.HTTP.Listen) && !c.HTTP.Guarded() {
		d.fail("http.listen", "%q can be reached from other machines: set http.token_file, tokens_file or jwt_keys, or listen on 127.0.0.1", c.HTTP.Listen)
	}
	if c.HTTP.TokenFile == "" {
		checkToken(c, d)
	}
	for i, file := range c.HTTP.JWTKeys {
		if file == "" {
			d.fail(fmt.Sprintf("http.jwt_keys[%d]", i), "is empty: name the file of a public key")
		}
	}
	if (c.HTTP.TLS.CertFile == "") != (c.HTTP.TLS.KeyFile == "") {
		d.fail("http.tls", "a certificate and its key go together: set both cert_file and key_file, or none")
	}
}

const minToken = 16

// checkToken refuses tokens that can be guessed or that no header can carry.
func checkToken(c *Config, d *document) {
	t, path := c.HTTP.Token.Reveal(), "http.token"
	if c.HTTP.TokenFile != "" {
		path = "http.token_file"
	} else if t == "" {
		return
	}
	if len(d.faults) > 0 {
		return
	}
	if len(t) < minToken {
		d.fail(path, "the token has %d bytes: use at least %d random ones", len(t), minToken)
	}
	if strings.ContainsFunc(t, notInHeader) {
		d.fail(path, "the token has spaces or other bytes that a header cannot carry: use letters and digits")
	}
}
