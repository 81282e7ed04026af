package main

import (
	"crypto/sha256"
	"crypto/tls"
	"encoding/hex"
	"fmt"
	"log/slog"
	"os"
	"time"

	"redoubt/internal/api"
	"redoubt/internal/api/auth"
	"redoubt/internal/config"
)

// checker knows the tokens and keys of a configuration.
func checker(h config.HTTP) (*auth.Checker, error) {
	var tokens []auth.Token
	if h.Token != "" {
		tokens = append(tokens, auth.Token{Name: "token", SHA256: sha256.Sum256([]byte(h.Token.Reveal())), Scopes: []auth.Scope{auth.Admin}})
	}
	if h.TokensFile != "" {
		all, err := config.LoadTokens(h.TokensFile)
		if err != nil {
			return nil, err
		}
		for _, t := range all {
			own, err := tokenOf(t)
			if err != nil {
				return nil, err
			}
			tokens = append(tokens, own)
		}
	}
	var keys []auth.Key
	for _, name := range h.JWTKeys {
		data, err := os.ReadFile(name)
		if err != nil {
			return nil, fmt.Errorf("http.jwt_keys: %w", err)
		}
		own, err := auth.ParseKeys(data)
		if err != nil {
			return nil, fmt.Errorf("http.jwt_keys: %s: %w", name, err)
		}
		keys = append(keys, own...)
	}
	return auth.New(tokens, keys, time.Now), nil
}

func tokenOf(t config.Token) (auth.Token, error) {
	out := auth.Token{Name: t.Name}
	if len(t.Tenants) > 0 {
		out.Tenants = t.Tenants
	}
	sum, err := hex.DecodeString(t.SHA256)
	if err != nil {
		return out, err
	}
	copy(out.SHA256[:], sum)
	for _, s := range t.Scopes {
		scope, err := auth.ParseScope(s)
		if err != nil {
			return out, err
		}
		out.Scopes = append(out.Scopes, scope)
	}
	out.Expires, err = t.Until()
	return out, err
}

// serverTLS is nil where no certificate is configured.
func serverTLS(c config.TLS, log *slog.Logger) (*tls.Config, error) {
	if c.CertFile == "" {
		return nil, nil
	}
	return api.TLS(c.CertFile, c.KeyFile, log)
}
