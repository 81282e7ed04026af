package auth

import (
	"crypto"
	"crypto/ed25519"
	"crypto/rsa"
	"crypto/x509"
	"encoding/pem"
	"errors"
	"fmt"
	"strings"
)

// The algorithms, one per kind of key (RFC 7518, RFC 8037).
const (
	algEd25519 = "EdDSA"
	algRSA     = "RS256"
)

// minRSA is the least length of an RSA key in bits.
const minRSA = 2048

// Key is a public key and the one algorithm it is used with.
type Key struct {
	public crypto.PublicKey
	alg    string
}

// ParseKeys reads public keys, PEM, one or several: Ed25519 or RSA.
func ParseKeys(data []byte) ([]Key, error) {
	var keys []Key
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		k, err := parseKey(block)
		if err != nil {
			return nil, err
		}
		keys = append(keys, k)
	}
	if len(keys) == 0 {
		return nil, errors.New("there is no public key: want PEM, -----BEGIN PUBLIC KEY-----")
	}
	return keys, nil
}

func parseKey(block *pem.Block) (Key, error) {
	if strings.Contains(block.Type, "PRIVATE") {
		return Key{}, errors.New("there is a private key: keep it where tokens are made, and give the public one (openssl pkey -pubout)")
	}
	var public crypto.PublicKey
	var err error
	switch block.Type {
	case "PUBLIC KEY":
		public, err = x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		public, err = x509.ParsePKCS1PublicKey(block.Bytes)
	default:
		return Key{}, fmt.Errorf("%s is no public key: want PUBLIC KEY", block.Type)
	}
	if err != nil {
		return Key{}, fmt.Errorf("read public key: %w", err)
	}
	switch k := public.(type) {
	case ed25519.PublicKey:
		return Key{k, algEd25519}, nil
	case *rsa.PublicKey:
		if k.N.BitLen() < minRSA {
			return Key{}, fmt.Errorf("an RSA key of %d bits is too short: use at least %d", k.N.BitLen(), minRSA)
		}
		return Key{k, algRSA}, nil
	}
	return Key{}, fmt.Errorf("a key of kind %T is not known: use Ed25519 or RSA", public)
}
