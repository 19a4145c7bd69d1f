package browser

import (
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/chromedp/chromedp/kb"
	"github.com/golang-jwt/jwt/v5"
)

// guarded starts everything with authorization, and returns what signs tokens: ann's, with a scope, that last so long.
func guarded(t *testing.T) (s *server, token func(scope string, life time.Duration) string) {
	t.Helper()
	secret := strings.Repeat("secret", 8)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	s, dir := newServer(t)
	t.Cleanup(func() { s.cleanUp(dir) })
	s.process.Args = append(s.process.Args, "--auth-key-file", key)
	s.start()
	s.awaitReady()
	return s, func(scope string, life time.Duration) string {
		t.Helper()
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "ann", "scope": scope, "exp": time.Now().Add(life).Unix(),
		}).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return signed
	}
}

// signIn puts a token into the form that asks for one.
func (u *user) signIn(token string) {
	u.t.Helper()
	u.paste("Bearer token", token)
	u.press(kb.Enter)
}

// The server wants to know who asks: the form stays until it does, and then everything goes on by itself.
func TestAuthorization(t *testing.T) {
	chromium.start(t)
	s, token := guarded(t)
	t.Run("ordering", func(t *testing.T) {
		u := newUser(t)
		u.serverGone(true) // the browser logs answers that refuse something as well
		u.open(s.page + "/ordering#/customers/ann")
		u.shows(".sign-in", "The server wants a token")
		u.sees("the form outlives answers that anyone gets",
			`performance.getEntriesByType("resource").filter((one) => one.name.endsWith("/services.json") && one.responseEnd > 0).length > 2 && document.querySelector(".sign-in")`)
		u.shows("[role=alert]", "once you have signed in")
		u.sees("nothing is said to be tried again", `!document.body.innerText.includes("Trying again")`)
		u.screenshot("ordering-sign-in")
		u.readable()
		u.signIn("nonsense")
		u.shows(".sign-in", "The server wants a token")
		u.signIn(token("ordering:read ordering:write", time.Hour))
		u.shows("[data-connection]", "Live")
		u.sees("nothing is asked any more", `!document.querySelector(".sign-in") && !document.querySelector("[role=alert]")`)
		u.order("Tea", "4.99")
		u.shows(".outcomes li", "accepted")
		u.has("CHEAP", 1)
		u.open(s.page + "/ordering#/customers/ben")
		u.shows(".sign-in", "The server wants a token")
	})
	t.Run("calculator", func(t *testing.T) {
		u := newUser(t)
		u.serverGone(true) // as above
		u.open(s.calculator)
		u.shows(".sign-in", "The server wants a token")
		u.shows("[role=alert]", "once you have signed in")
		u.screenshot("calculator-sign-in")
		u.signIn(token("calculator:read calculator:write", time.Hour))
		u.shows("[data-connection]", "Live")
		u.create("3", "3.0")
		u.steps(1)
		u.sees("nothing is asked any more", `!document.querySelector(".sign-in") && !document.querySelector("[role=alert]")`)
	})
	// Nobody does anything: the streams end with the token, and the page asks for another one.
	t.Run("expiry", func(t *testing.T) {
		orders, values := newUser(t), newUser(t)
		const scopes = "ordering:read ordering:write calculator:read calculator:write"
		for _, u := range []*user{orders, values} {
			u.serverGone(true) // as above
		}
		orders.open(s.page + "/ordering#/customers/ann")
		values.open(s.calculator)
		for _, u := range []*user{orders, values} {
			u.shows(".sign-in", "The server wants a token")
			u.signIn(token(scopes, 10*time.Second))
			u.shows("[data-connection]", "Live")
			u.sees("nothing is asked", `!document.querySelector(".sign-in")`)
		}
		values.create("3", "3.0") // whose stream is open from now on
		values.steps(1)
		for _, u := range []*user{orders, values} {
			u.shows(".sign-in", "The server wants a token")
			u.signIn(token(scopes, time.Hour))
			u.shows("[data-connection]", "Live")
			u.sees("nothing is asked any more", `!document.querySelector(".sign-in") && !document.querySelector("[role=alert]")`)
		}
	})
}
