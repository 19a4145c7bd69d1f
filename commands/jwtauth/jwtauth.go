// Package jwtauth authorizes requests by bearer tokens that are JSON Web Tokens (RFC 6750, RFC 7519, and the advice of
// RFC 8725): HS256 with a shared secret, or RS256, ES256 and EdDSA with public keys from a PEM file or a JSON Web Key Set
// (RFC 7517). Each key verifies one algorithm, so that no token can have a public key taken for a secret, and a token
// without a signature ("alg": "none") is never accepted.
//
// A token must expire and name its subject, which is the principal. exp, nbf and iat are numbers, as RFC 7519 has them, and a
// token that says it is issued in the future is refused. When a token expires, the streams that were opened with it end.
package jwtauth

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tidemill/tidemill/commands/auth"
)

// ErrConfig is wrapped round everything that is wrong with a Config.
var ErrConfig = errors.New("configuration of bearer tokens")

// Limits.
const (
	// MinSecret is the least length of a secret, in bytes: that of HS256's hash (RFC 7518, section 3.2).
	MinSecret = 32
	// MaxLeeway bounds how far clocks may be apart.
	MaxLeeway = 5 * time.Minute
	maxToken  = 16 << 10
	maxID     = 1024
)

// Config says which tokens are believed. Exactly one of Secret, PEM and JWKS must be given.
type Config struct {
	// Secret verifies HS256.
	Secret []byte
	// PEM holds one or more public keys or certificates in PEM; RSA keys verify RS256, P-256 keys ES256 and Ed25519 keys
	// EdDSA. A token's signature must be that of one of them.
	PEM []byte
	// JWKS holds a JSON Web Key Set of public keys. A token that names a key by kid is verified with that one.
	JWKS []byte
	// Issuer and Audience are what the token must name, if they are set.
	Issuer   string
	Audience string
	// Leeway is how far clocks may be apart; 0 means not at all.
	Leeway time.Duration
	// Scopes are what every request must have been granted, whatever the route asks for.
	Scopes []string
	// Realm is told to clients that come without a token.
	Realm string
	// Clock tells the time for expiry; nil means time.Now.
	Clock func() time.Time
}

// Authorizer believes tokens. It is safe for concurrent use.
type Authorizer struct {
	keys   []verifier
	parser *jwt.Parser
	leeway time.Duration
	scopes []string
	realm  string
}

var _ auth.Authorizer = (*Authorizer)(nil)

// New returns an Authorizer. The error lists all that is wrong.
func New(config Config) (*Authorizer, error) {
	var wrong []error
	keys, err := config.verifiers()
	if err != nil {
		wrong = append(wrong, err)
	}
	if config.Leeway < 0 || config.Leeway > MaxLeeway {
		wrong = append(wrong, fmt.Errorf("the leeway is %s; want 0 to %s", config.Leeway, MaxLeeway))
	}
	if strings.ContainsAny(config.Realm, "\"\\\r\n") {
		wrong = append(wrong, errors.New("the realm has quotes, backslashes or line breaks"))
	}
	if len(wrong) > 0 {
		return nil, fmt.Errorf("%w: %w", ErrConfig, errors.Join(wrong...))
	}
	options := []jwt.ParserOption{
		jwt.WithValidMethods(methods(keys)), jwt.WithExpirationRequired(), jwt.WithLeeway(config.Leeway),
		jwt.WithStrictDecoding(), jwt.WithJSONNumber(), jwt.WithIssuedAt(),
	}
	if config.Issuer != "" {
		options = append(options, jwt.WithIssuer(config.Issuer))
	}
	if config.Audience != "" {
		options = append(options, jwt.WithAudience(config.Audience))
	}
	if config.Clock != nil {
		options = append(options, jwt.WithTimeFunc(config.Clock))
	}
	return &Authorizer{keys: keys, parser: jwt.NewParser(options...), leeway: config.Leeway, scopes: config.Scopes, realm: config.Realm}, nil
}

// claims are what a token is read for.
type claims struct {
	jwt.RegisteredClaims
	Scope string  `json:"scope"` // RFC 8693, section 4.2: separated by spaces
	Scp   scopeOr `json:"scp"`   // as some issuers have it: a list, or separated by spaces
}

// UnmarshalJSON implements json.Unmarshaler. golang-jwt takes dates in strings, too.
func (c *claims) UnmarshalJSON(data []byte) error {
	var dates struct {
		Exp, Nbf, Iat json.RawMessage
	}
	if err := json.Unmarshal(data, &dates); err != nil {
		return err
	}
	for _, date := range []json.RawMessage{dates.Exp, dates.Nbf, dates.Iat} {
		if bytes.HasPrefix(date, []byte{'"'}) {
			return fmt.Errorf("the date %.40s is not a number", date)
		}
	}
	type plain claims // without this method
	return json.Unmarshal(data, (*plain)(c))
}

// scopeOr reads a string or a list of strings.
type scopeOr []string

// UnmarshalJSON implements json.Unmarshaler.
func (s *scopeOr) UnmarshalJSON(data []byte) error {
	var list []string
	if json.Unmarshal(data, &list) == nil {
		*s = list
		return nil
	}
	var text string
	if err := json.Unmarshal(data, &text); err != nil {
		return errors.New("scp is neither a string nor a list of strings")
	}
	*s = strings.Fields(text)
	return nil
}

// Authorize implements auth.Authorizer.
func (a *Authorizer) Authorize(_ context.Context, r *http.Request) (auth.Principal, error) {
	text, err := a.bearer(r)
	if err != nil {
		return auth.Principal{}, err
	}
	var c claims
	if _, err := a.parser.ParseWithClaims(text, &c, a.key); err != nil {
		return auth.Principal{}, a.invalid(explain(err))
	}
	if c.Subject == "" || len(c.Subject) > maxID {
		return auth.Principal{}, a.invalid("the token names no subject, or one that is too long")
	}
	principal := auth.Principal{
		ID: c.Subject, Issuer: c.Issuer, Scopes: append(strings.Fields(c.Scope), c.Scp...), Expires: c.ExpiresAt.Add(a.leeway),
	}
	if !principal.Has(a.scopes...) {
		return auth.Principal{}, fmt.Errorf("%w: the token lacks a scope of: %s", auth.ErrForbidden, strings.Join(a.scopes, " "))
	}
	return principal, nil
}

// bearer returns the token's text.
func (a *Authorizer) bearer(r *http.Request) (string, error) {
	values := r.Header.Values("Authorization")
	if len(values) == 0 {
		// RFC 6750, section 3.1: no error code for who comes without credentials.
		return "", &auth.UnauthorizedError{Challenge: a.challenge(""), Detail: "send a bearer token in the Authorization header"}
	}
	scheme, text, _ := strings.Cut(values[0], " ")
	text = strings.TrimSpace(text)
	switch {
	case len(values) > 1:
		return "", a.invalid("there is more than one Authorization header")
	case !strings.EqualFold(scheme, "Bearer"):
		return "", &auth.UnauthorizedError{Challenge: a.challenge(""), Detail: "the Authorization must be of the scheme Bearer"}
	case text == "" || len(text) > maxToken:
		return "", a.invalid("the bearer token is empty or too long")
	}
	return text, nil
}

func (a *Authorizer) invalid(detail string) error {
	return &auth.UnauthorizedError{Challenge: a.challenge(detail), Detail: detail}
}

func (a *Authorizer) challenge(detail string) string {
	var parts []string
	if a.realm != "" {
		parts = append(parts, `realm="`+a.realm+`"`)
	}
	if detail != "" {
		parts = append(parts, `error="invalid_token"`, `error_description="`+strings.ReplaceAll(detail, `"`, "'")+`"`)
	}
	return strings.TrimSpace("Bearer " + strings.Join(parts, ", "))
}

// faults are told in this order; a token may have several.
var faults = []struct {
	sentinel error
	detail   string
}{
	{jwt.ErrTokenMalformed, "the token is malformed"},
	{jwt.ErrTokenSignatureInvalid, "the token's signature does not verify"},
	{jwt.ErrTokenUnverifiable, "the token's signature does not verify"},
	{jwt.ErrTokenExpired, "the token has expired"},
	{jwt.ErrTokenNotValidYet, "the token is not valid yet"},
	{jwt.ErrTokenUsedBeforeIssued, "the token is used before it was issued"},
	{jwt.ErrTokenInvalidIssuer, "the token is of another issuer"},
	{jwt.ErrTokenInvalidAudience, "the token is for another audience"},
}

// explain says what is wrong with a token, without telling more than its owner knows anyway.
func explain(err error) string {
	for _, fault := range faults {
		if errors.Is(err, fault.sentinel) {
			return fault.detail
		}
	}
	return "the token is not valid; it must expire and be signed by an algorithm that is accepted here"
}
