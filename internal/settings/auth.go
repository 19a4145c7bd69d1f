package settings

import (
	"bytes"
	"fmt"
	"os"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/jwtauth"
)

// Authorizer returns who checks tokens, nil where authorization is off. The error wraps ErrInvalid.
func (a Auth) Authorizer() (auth.Authorizer, error) {
	if a.KeyFile == "" {
		return nil, nil
	}
	key, err := os.ReadFile(a.KeyFile)
	if err != nil {
		return nil, fmt.Errorf("%w: auth.key-file: %w", ErrInvalid, err)
	}
	config := jwtauth.Config{Issuer: a.Issuer, Audience: a.Audience, Realm: "tidemill"}
	key = bytes.TrimSpace(key)
	switch {
	case bytes.HasPrefix(key, []byte("-----BEGIN")):
		config.PEM = key
	case bytes.HasPrefix(key, []byte("{")):
		config.JWKS = key
	default:
		config.Secret = key
	}
	authorizer, err := jwtauth.New(config)
	if err != nil {
		return nil, fmt.Errorf("%w: auth.key-file %s: %w", ErrInvalid, a.KeyFile, err)
	}
	return authorizer, nil
}
