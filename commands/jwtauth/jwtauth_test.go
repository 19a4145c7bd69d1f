package jwtauth_test

import (
	"context"
	"crypto"
	"crypto/ecdsa"
	"crypto/ed25519"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/rsa"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/jwtauth"
)

var (
	now    = time.Unix(1_700_000_000, 0)
	secret = []byte(strings.Repeat("s", 32))
)

func clock() time.Time { return now }

func request(token string) *http.Request {
	r := httptest.NewRequest(http.MethodPost, "/values", nil)
	if token != "" {
		r.Header.Set("Authorization", "Bearer "+token)
	}
	return r
}

func good() jwt.MapClaims {
	return jwt.MapClaims{
		"sub": "ada", "iss": "https://issuer", "aud": "tidemill", "exp": now.Add(time.Minute).Unix(), "scope": "values:write values:read",
	}
}

func sign(t *testing.T, method jwt.SigningMethod, key crypto.PrivateKey, claims jwt.MapClaims, kid string) string {
	t.Helper()
	token := jwt.NewWithClaims(method, claims)
	if kid != "" {
		token.Header["kid"] = kid
	}
	text, err := token.SignedString(key)
	if err != nil {
		t.Fatal(err)
	}
	return text
}

func TestSecret(t *testing.T) {
	authorizer, err := jwtauth.New(jwtauth.Config{
		Secret: secret, Issuer: "https://issuer", Audience: "tidemill", Clock: clock, Leeway: 10 * time.Second, Realm: "calculator",
	})
	if err != nil {
		t.Fatal(err)
	}
	with := func(name string, value any) string {
		claims := good()
		if value == nil {
			delete(claims, name)
		} else {
			claims[name] = value
		}
		return sign(t, jwt.SigningMethodHS256, secret, claims, "")
	}
	principal, err := authorizer.Authorize(context.Background(), request(with("x", 1)))
	if err != nil || principal.ID != "ada" || principal.Issuer != "https://issuer" || !principal.Has("values:write", "values:read") || principal.Has("admin") {
		t.Fatalf("a good token: %+v, %v", principal, err)
	}
	if !principal.Expires.Equal(now.Add(70 * time.Second)) {
		t.Errorf("a minute and 10 s of leeway end at %s, and it is %s", principal.Expires, now)
	}
	for claim, by := range map[string]time.Duration{"exp": -5 * time.Second, "iat": 5 * time.Second, "nbf": 5 * time.Second} {
		if _, err := authorizer.Authorize(context.Background(), request(with(claim, now.Add(by).Unix()))); err != nil {
			t.Errorf("%s within the leeway: %v", claim, err)
		}
	}
	parts := strings.Split(with("x", 1), ".")
	forged := base64.RawURLEncoding.EncodeToString([]byte(`{"alg":"none","typ":"JWT"}`)) + "." + parts[1] + "."
	for name, token := range map[string]string{
		"nothing":           "",
		"expired":           with("exp", now.Add(-time.Hour).Unix()),
		"never expires":     with("exp", nil),
		"not yet":           with("nbf", now.Add(time.Hour).Unix()),
		"other issuer":      with("iss", "https://other"),
		"no issuer":         with("iss", nil),
		"other audience":    with("aud", "other"),
		"no audience":       with("aud", nil),
		"no subject":        with("sub", nil),
		"long subject":      with("sub", strings.Repeat("x", 2000)),
		"alg none":          forged,
		"alg none, signed":  forged + parts[2],
		"other secret":      sign(t, jwt.SigningMethodHS256, []byte(strings.Repeat("t", 32)), good(), ""),
		"other algorithm":   sign(t, jwt.SigningMethodHS512, secret, good(), ""),
		"tampered":          parts[0] + "." + parts[1] + "A." + parts[2],
		"no signature":      parts[0] + "." + parts[1] + ".",
		"two parts":         parts[0] + "." + parts[1],
		"not a token":       "abc",
		"far too long":      strings.Repeat("a", 20000),
		"scp is a number":   with("scp", 7),
		"exp is not a date": with("exp", "tomorrow"),
		"exp is a string":   with("exp", fmt.Sprint(now.Add(time.Minute).Unix())),
		"nbf is a string":   with("nbf", fmt.Sprint(now.Add(-time.Minute).Unix())),
		"iat is a string":   with("iat", fmt.Sprint(now.Add(-time.Minute).Unix())),
		"issued later":      with("iat", now.Add(time.Hour).Unix()),
	} {
		_, err := authorizer.Authorize(context.Background(), request(token))
		unauthorized, ok := errors.AsType[*auth.UnauthorizedError](err)
		if !ok || !strings.HasPrefix(unauthorized.Challenge, `Bearer realm="calculator"`) {
			t.Errorf("%s: %v", name, err)
		}
		if ok && (name == "nothing") == strings.Contains(unauthorized.Challenge, "invalid_token") {
			t.Errorf("%s: challenge %s", name, unauthorized.Challenge)
		}
	}
	basic := request("")
	basic.Header.Set("Authorization", "Basic YTpi")
	two := request(with("x", 1))
	two.Header.Add("Authorization", "Bearer x")
	for _, r := range []*http.Request{basic, two} {
		if _, err := authorizer.Authorize(context.Background(), r); err == nil {
			t.Errorf("%v was let in", r.Header)
		}
	}
}

func TestScopes(t *testing.T) {
	authorizer, err := jwtauth.New(jwtauth.Config{Secret: secret, Clock: clock, Scopes: []string{"tidemill"}})
	if err != nil {
		t.Fatal(err)
	}
	claims := good()
	if _, err := authorizer.Authorize(context.Background(), request(sign(t, jwt.SigningMethodHS256, secret, claims, ""))); !errors.Is(err, auth.ErrForbidden) {
		t.Errorf("without the scope: %v", err)
	}
	for _, scp := range []any{"tidemill other", []string{"tidemill", "other"}} {
		claims["scp"] = scp
		principal, err := authorizer.Authorize(context.Background(), request(sign(t, jwt.SigningMethodHS256, secret, claims, "")))
		if err != nil || !principal.Has("tidemill", "other", "values:read") {
			t.Errorf("scp %v: %+v, %v", scp, principal, err)
		}
	}
}

// TestPublicKeys: each key verifies its own algorithm, from PEM and from a key set, and none another.
func TestPublicKeys(t *testing.T) {
	rsaKey, err := rsa.GenerateKey(rand.Reader, 2048)
	if err != nil {
		t.Fatal(err)
	}
	ecKey, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	edPublic, edKey, err := ed25519.GenerateKey(rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	tokens := map[string]string{
		"RS256": sign(t, jwt.SigningMethodRS256, rsaKey, good(), "r"),
		"ES256": sign(t, jwt.SigningMethodES256, ecKey, good(), "e"),
		"EdDSA": sign(t, jwt.SigningMethodEdDSA, edKey, good(), "d"),
	}
	publics := map[string]crypto.PublicKey{"RS256": &rsaKey.PublicKey, "ES256": &ecKey.PublicKey, "EdDSA": edPublic}
	var all []byte
	for method, public := range publics {
		text := publicPEM(t, public)
		all = append(all, text...)
		check(t, "PEM of "+method, jwtauth.Config{PEM: text}, tokens, method)
		// The classic confusion: the public key's own text as an HMAC secret.
		confused := sign(t, jwt.SigningMethodHS256, text, good(), "")
		check(t, "confusion with "+method, jwtauth.Config{PEM: text}, map[string]string{"HS256": confused})
	}
	check(t, "all in one PEM", jwtauth.Config{PEM: all}, tokens, "RS256", "ES256", "EdDSA")
	set := keySet(t, &rsaKey.PublicKey, &ecKey.PublicKey, edPublic)
	check(t, "key set", jwtauth.Config{JWKS: set}, tokens, "RS256", "ES256", "EdDSA")
	other := map[string]string{"RS256": sign(t, jwt.SigningMethodRS256, rsaKey, good(), "e")}
	check(t, "another key's kid", jwtauth.Config{JWKS: set}, other)
}

func check(t *testing.T, name string, config jwtauth.Config, tokens map[string]string, accepted ...string) {
	t.Helper()
	config.Clock = clock
	authorizer, err := jwtauth.New(config)
	if err != nil {
		t.Fatalf("%s: %v", name, err)
	}
	for method, token := range tokens {
		_, err := authorizer.Authorize(context.Background(), request(token))
		if slices.Contains(accepted, method) != (err == nil) {
			t.Errorf("%s: a token by %s: %v", name, method, err)
		}
	}
}

func publicPEM(t *testing.T, public crypto.PublicKey) []byte {
	t.Helper()
	der, err := x509.MarshalPKIXPublicKey(public)
	if err != nil {
		t.Fatal(err)
	}
	return pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: der})
}

func keySet(t *testing.T, r *rsa.PublicKey, e *ecdsa.PublicKey, d ed25519.PublicKey) []byte {
	t.Helper()
	point, err := e.Bytes()
	if err != nil {
		t.Fatal(err)
	}
	b64 := base64.RawURLEncoding.EncodeToString
	set, err := json.Marshal(map[string]any{"keys": []map[string]string{
		{"kty": "RSA", "kid": "r", "alg": "RS256", "use": "sig", "n": b64(r.N.Bytes()), "e": "AQAB"},
		{"kty": "EC", "kid": "e", "crv": "P-256", "x": b64(point[1:33]), "y": b64(point[33:])},
		{"kty": "OKP", "kid": "d", "crv": "Ed25519", "x": b64(d)},
		{"kty": "RSA", "kid": "enc", "use": "enc", "n": "AQ", "e": "AQ"},
	}})
	if err != nil {
		t.Fatal(err)
	}
	return set
}

func TestConfig(t *testing.T) {
	small, err := rsa.GenerateKey(rand.Reader, 1024)
	if err != nil {
		t.Logf("no small key to try: %v", err)
	}
	p384, err := ecdsa.GenerateKey(elliptic.P384(), rand.Reader)
	if err != nil {
		t.Fatal(err)
	}
	bad := map[string]jwtauth.Config{
		"nothing":         {},
		"two sources":     {Secret: secret, PEM: []byte("x")},
		"short secret":    {Secret: []byte("short")},
		"no PEM":          {PEM: []byte("x")},
		"private key":     {PEM: pem.EncodeToMemory(&pem.Block{Type: "PRIVATE KEY", Bytes: []byte{1}})},
		"broken key":      {PEM: pem.EncodeToMemory(&pem.Block{Type: "PUBLIC KEY", Bytes: []byte{1}})},
		"other curve":     {PEM: publicPEM(t, &p384.PublicKey)},
		"negative leeway": {Secret: secret, Leeway: -1},
		"long leeway":     {Secret: secret, Leeway: time.Hour},
		"realm":           {Secret: secret, Realm: `a"b`},
		"no set":          {JWKS: []byte("x")},
		"empty set":       {JWKS: []byte(`{"keys":[]}`)},
	}
	if small != nil {
		bad["small RSA key"] = jwtauth.Config{PEM: publicPEM(t, &small.PublicKey)}
	}
	for i, key := range []string{
		`{"kty":"oct","k":"c2VjcmV0"}`, `{"kty":"RSA","n":"!","e":"AQAB"}`, `{"kty":"RSA","n":"AQ","e":"AQ"}`,
		`{"kty":"EC","crv":"P-256","x":"AQ","y":"AQ"}`, `{"kty":"OKP","crv":"Ed25519","x":"AQ"}`,
	} {
		bad[fmt.Sprint("set ", i)] = jwtauth.Config{JWKS: []byte(`{"keys":[` + key + `]}`)}
	}
	for name, config := range bad {
		if _, err := jwtauth.New(config); !errors.Is(err, jwtauth.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func ExampleNew() {
	authorizer, err := jwtauth.New(jwtauth.Config{
		Secret: []byte("0123456789abcdef0123456789abcdef"), Issuer: "https://issuer.example", Audience: "calculator",
	})
	if err != nil {
		fmt.Println(err)
		return
	}
	_, err = authorizer.Authorize(context.Background(), httptest.NewRequest(http.MethodPost, "/values", nil))
	fmt.Println(err)
	// Output: send a bearer token in the Authorization header
}

func FuzzAuthorize(f *testing.F) {
	authorizer, err := jwtauth.New(jwtauth.Config{Secret: secret, Clock: clock})
	if err != nil {
		f.Fatal(err)
	}
	f.Add("Bearer eyJhbGciOiJub25lIn0.eyJzdWIiOiJhIn0.")
	f.Fuzz(func(t *testing.T, header string) {
		r := request("")
		r.Header["Authorization"] = []string{header}
		if principal, err := authorizer.Authorize(context.Background(), r); err == nil {
			t.Fatalf("%q was let in as %+v", header, principal)
		}
	})
}
