package jwtauth

import (
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"math/big"
	"slices"

	"github.com/golang-jwt/jwt/v5"
)

// minRSA is the least size of an RSA key, in bits (RFC 7518, section 3.3).
const minRSA = 2048

// errNoKey means that no key is there for a token; golang-jwt calls such a token unverifiable.
var errNoKey = errors.New("no key for this token")

// verifier is one key with the one algorithm that it verifies.
type verifier struct {
	id     string // kid; may be empty
	method string
	key    any // []byte or crypto.PublicKey, as golang-jwt takes it
}

func methods(keys []verifier) []string {
	var names []string
	for _, key := range keys {
		if !slices.Contains(names, key.method) {
			names = append(names, key.method)
		}
	}
	return names
}

// key finds the keys that may have signed a token.
func (a *Authorizer) key(token *jwt.Token) (any, error) {
	id, named := token.Header["kid"].(string)
	var set jwt.VerificationKeySet
	for _, key := range a.keys {
		if key.method != token.Method.Alg() || named && key.id != "" && key.id != id {
			continue
		}
		set.Keys = append(set.Keys, key.key)
	}
	if len(set.Keys) == 0 {
		return nil, errNoKey
	}
	return set, nil
}

func (c Config) verifiers() ([]verifier, error) {
	given := 0
	for _, source := range [][]byte{c.Secret, c.PEM, c.JWKS} {
		if len(source) > 0 {
			given++
		}
	}
	switch {
	case given != 1:
		return nil, errors.New("want exactly one of a secret, public keys in PEM and a JSON Web Key Set")
	case len(c.Secret) > 0 && len(c.Secret) < MinSecret:
		return nil, fmt.Errorf("the secret has %d bytes; want at least %d", len(c.Secret), MinSecret)
	case len(c.Secret) > 0:
		return []verifier{{method: "HS256", key: c.Secret}}, nil
	case len(c.PEM) > 0:
		return fromPEM(c.PEM)
	}
	return fromJWKS(c.JWKS)
}

func fromPEM(data []byte) ([]verifier, error) {
	var keys []verifier
	for {
		var block *pem.Block
		if block, data = pem.Decode(data); block == nil {
			break
		}
		public, err := parseBlock(block)
		if err != nil {
			return nil, fmt.Errorf("PEM: %w", err)
		}
		key, err := newVerifier("", public)
		if err != nil {
			return nil, fmt.Errorf("PEM: %w", err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, errors.New("PEM: there is no public key")
	}
	return keys, nil
}

func parseBlock(block *pem.Block) (crypto.PublicKey, error) {
	switch block.Type {
	case "PUBLIC KEY":
		return x509.ParsePKIXPublicKey(block.Bytes)
	case "RSA PUBLIC KEY":
		return x509.ParsePKCS1PublicKey(block.Bytes)
	case "CERTIFICATE":
		certificate, err := x509.ParseCertificate(block.Bytes)
		if err != nil {
			return nil, err
		}
		return certificate.PublicKey, nil
	}
	return nil, fmt.Errorf("a block of type %q is neither a public key nor a certificate", block.Type)
}

func newVerifier(id string, public crypto.PublicKey) (verifier, error) {
	switch key := public.(type) {
	case *rsa.PublicKey:
		if key.N.BitLen() < minRSA {
			return verifier{}, fmt.Errorf("an RSA key has %d bits; want at least %d", key.N.BitLen(), minRSA)
		}
		return verifier{id: id, method: "RS256", key: key}, nil
	case *ecdsa.PublicKey:
		if key.Curve != elliptic.P256() {
			return verifier{}, errors.New("an elliptic key is not on the curve P-256, which ES256 wants")
		}
		return verifier{id: id, method: "ES256", key: key}, nil
	case ed25519.PublicKey:
		return verifier{id: id, method: "EdDSA", key: key}, nil
	}
	return verifier{}, fmt.Errorf("a key of type %T verifies none of RS256, ES256 and EdDSA", public)
}

// jwk is one public key of a set (RFC 7517, RFC 7518 section 6, RFC 8037).
type jwk struct {
	Type      string `json:"kty"`
	ID        string `json:"kid"`
	Use       string `json:"use"`
	Algorithm string `json:"alg"`
	Curve     string `json:"crv"`
	N         string `json:"n"`
	E         string `json:"e"`
	X         string `json:"x"`
	Y         string `json:"y"`
}

func fromJWKS(data []byte) ([]verifier, error) {
	var set struct {
		Keys []jwk `json:"keys"`
	}
	if err := json.Unmarshal(data, &set); err != nil {
		return nil, fmt.Errorf("JSON Web Key Set: %w", err)
	}
	var keys []verifier
	for i, key := range set.Keys {
		if key.Use != "" && key.Use != "sig" {
			continue
		}
		public, err := key.public()
		if err != nil {
			return nil, fmt.Errorf("JSON Web Key Set: key %d (%q): %w", i, key.ID, err)
		}
		made, err := newVerifier(key.ID, public)
		if err == nil && key.Algorithm != "" && key.Algorithm != made.method {
			err = fmt.Errorf("its algorithm %q is not accepted here", key.Algorithm)
		}
		if err != nil {
			return nil, fmt.Errorf("JSON Web Key Set: key %d (%q): %w", i, key.ID, err)
		}
		keys = append(keys, made)
	}
	if len(keys) == 0 {
		return nil, errors.New("JSON Web Key Set: there is no key for signatures")
	}
	return keys, nil
}

func (k jwk) public() (crypto.PublicKey, error) {
	switch {
	case k.Type == "RSA":
		n, err := decode("n", k.N)
		if err != nil {
			return nil, err
		}
		e, err := decode("e", k.E)
		exponent := new(big.Int).SetBytes(e)
		if err != nil || !exponent.IsInt64() || exponent.Int64() < 3 || exponent.Int64() > 1<<31-1 {
			return nil, errors.New("its exponent e is out of range")
		}
		return &rsa.PublicKey{N: new(big.Int).SetBytes(n), E: int(exponent.Int64())}, nil
	case k.Type == "EC" && k.Curve == "P-256":
		x, err := decode("x", k.X)
		if err != nil {
			return nil, err
		}
		y, err := decode("y", k.Y)
		if err != nil {
			return nil, err
		}
		if len(x) != 32 || len(y) != 32 {
			return nil, errors.New("its coordinates are not 32 bytes long")
		}
		return ecdsa.ParseUncompressedPublicKey(elliptic.P256(), append(append([]byte{4}, x...), y...))
	case k.Type == "OKP" && k.Curve == "Ed25519":
		x, err := decode("x", k.X)
		if err != nil || len(x) != ed25519.PublicKeySize {
			return nil, errors.New("its x is not the 32 bytes of an Ed25519 key")
		}
		return ed25519.PublicKey(x), nil
	}
	return nil, fmt.Errorf("kty %q, crv %q: want RSA, EC with P-256, or OKP with Ed25519", k.Type, k.Curve)
}

func decode(name, text string) ([]byte, error) {
	data, err := base64.RawURLEncoding.DecodeString(text)
	if err != nil || len(data) == 0 {
		return nil, fmt.Errorf("its %s is not base64url", name)
	}
	return data, nil
}
