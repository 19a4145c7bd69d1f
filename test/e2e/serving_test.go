package e2e

import (
	"bufio"
	"context"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"
)

// Open streams and requests that wait do not hold up the end: they are answered, and the process leaves in time.
func TestStoppingWithOpenRequests(t *testing.T) {
	up := launch(t, "up", "up", "--broker-addr", "127.0.0.1:0", "--data", dataDir(t))
	up.awaitReady()
	id := session(t, up.url, up.url)
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, up.url+"/outcomes?aggregate="+id, nil)
	if err != nil {
		t.Fatal(err)
	}
	stream, err := webClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer stream.Body.Close()
	lines := bufio.NewScanner(stream.Body)
	events := 0
	for events < 3 && lines.Scan() {
		if strings.HasPrefix(lines.Text(), "event: ") {
			events++
		}
	}
	if events != 3 || stream.Header.Get("Content-Type") != "text/event-stream" {
		t.Fatalf("the stream has %d events, %v", events, stream.Header)
	}
	// A token from the future: nobody will ever reach it.
	const future = "MTowOjk5OTk5OTpjYWxjdWxhdG9yLWNvbW1hbmRz" // 1:0:999999:calculator-commands
	var wait sync.WaitGroup
	for range 4 {
		wait.Go(func() {
			// Answered or cut off: all that counts here is that the process does not wait for it.
			_, _ = ask(ctx, http.MethodGet, up.url+"/values/"+id, "", "Tidemill-Token", future, "Prefer", "wait=30")
		})
	}
	eventually(t, "the requests wait", func() bool {
		got := must(t, http.MethodGet, up.admin+"/metrics", "")
		return strings.Contains(got.body, "tidemill_http_requests_in_flight 6") // with the stream and this one
	})
	t.Logf("left in %s", up.terminate().Round(time.Millisecond))
	farewell := false
	for lines.Scan() {
		farewell = farewell || strings.Contains(lines.Text(), "shutting down")
	}
	if !farewell {
		t.Error("the stream does not say that it ends")
	}
	wait.Wait()
}

// With a key, requests need a token that grants what they do.
func TestAuthorization(t *testing.T) {
	secret := strings.Repeat("secret", 8)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(secret+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	up := launch(t, "up", "up", "--broker-addr", "127.0.0.1:0", "--data", dataDir(t), "--auth-key-file", key, "--auth-issuer", "us")
	up.awaitReady()
	token := tokens(t, secret)
	for _, c := range []struct {
		method, path, token string
		status              int
	}{
		{http.MethodPost, "/values", "", http.StatusUnauthorized},
		{http.MethodPost, "/values", "Bearer nonsense", http.StatusUnauthorized},
		{http.MethodPost, "/values", token("calculator:read"), http.StatusForbidden},
		{http.MethodPost, "/values", token("calculator:write"), http.StatusCreated},
		{http.MethodGet, "/values", "", http.StatusUnauthorized},
		{http.MethodGet, "/values", token("calculator:write"), http.StatusForbidden},
		{http.MethodGet, "/values", token("calculator:read calculator:write"), http.StatusOK},
		{http.MethodGet, "/outcomes?aggregate=x", "", http.StatusUnauthorized},
	} {
		if got := must(t, c.method, up.url+c.path, `{"value": 3}`, "Authorization", c.token); got.status != c.status {
			t.Errorf("%s %s with %.30q: %d, %s; want %d", c.method, c.path, c.token, got.status, got.body, c.status)
		}
	}
	if !strings.Contains(up.output.String(), "bearer tokens") {
		t.Errorf("up does not say that authorization is on:\n%s", up.output)
	}
}

// tokens returns what signs tokens with a scope.
func tokens(t *testing.T, secret string) func(scope string) string {
	return func(scope string) string {
		t.Helper()
		signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
			"sub": "ann", "iss": "us", "scope": scope, "exp": time.Now().Add(time.Hour).Unix(),
		}).SignedString([]byte(secret))
		if err != nil {
			t.Fatal(err)
		}
		return "Bearer " + signed
	}
}

// In processes of their own, view and subscriptions are asked with the client's token.
func TestAuthorizationOverProcesses(t *testing.T) {
	secret := strings.Repeat("secret", 8)
	key := filepath.Join(t.TempDir(), "key")
	if err := os.WriteFile(key, []byte(secret), 0o600); err != nil {
		t.Fatal(err)
	}
	brokers, _ := launchBroker(t)
	processor := launchProcessor(t, brokers, "processor")
	processor.awaitReady()
	guarded := func(part, name string, flags ...string) *process {
		p := launch(t, part, name, append(flags, "--brokers", brokers, "--data", dataDir(t), "--auth-key-file", key, "--auth-issuer", "us")...)
		p.awaitReady()
		return p
	}
	view, subscriptions := guarded("calculator view", "view"), guarded("calculator subscriptions", "subscriptions")
	commander := guarded("calculator commander", "commander", "--calculator-view-url", view.url, "--calculator-subscriptions-url", subscriptions.url)
	token := tokens(t, secret)
	if got := must(t, http.MethodPost, commander.url+"/values", `{"value": 3}`, "Authorization", token("calculator:read calculator:write")); got.status != http.StatusCreated {
		t.Errorf("who may read and write got %d, %s; want 201", got.status, got.body)
	}
	if got := must(t, http.MethodPost, commander.url+"/values", `{"value": 3}`, "Authorization", token("calculator:write")); got.status != http.StatusAccepted {
		t.Errorf("who may only write got %d, %s; want 202", got.status, got.body)
	}
}

// What every answer has, and what is refused before anything reaches the log.
func TestHTTPSurface(t *testing.T) {
	brokers := freeAddr(t)
	up := launch(t, "up", "up", "--broker-addr", brokers, "--data", dataDir(t))
	up.awaitReady()
	id := session(t, up.url, up.url)
	if got := must(t, http.MethodGet, up.url+"/values/"+strings.ToUpper(id), "", "X-Request-Id", "mine"); got.status != http.StatusOK || got.header.Get("X-Request-Id") != "mine" {
		t.Errorf("by an id in capitals: %d, %v", got.status, got.header)
	}
	if got := must(t, http.MethodGet, up.url+"/values?prefix="+id[:8]+"&count", ""); got.body != `{"count":1}` {
		t.Errorf("counting: %s", got.body)
	}
	before := readTopic(t, brokers, "calculator-commands")
	for _, c := range []struct {
		method, path, body string
		status             int
	}{
		{http.MethodPost, "/values", `{"value": "3"}`, 422},
		{http.MethodPost, "/values", `{"value": 1e999}`, 422},
		{http.MethodPost, "/values", `{"value": NaN}`, 400},
		{http.MethodPost, "/values", `{"value": 3, "other": 1}`, 422},
		{http.MethodPost, "/values", `{"value": 3, "value_id": "me"}`, 422},
		{http.MethodPost, "/values", `{}`, 422},
		{http.MethodPut, "/values/" + id, `{"operation": "DIVIDE", "value": 3}`, 422},
		{http.MethodPut, "/values/" + id, `{"value": 3}`, 422},
		{http.MethodPut, "/values/not-a-uuid", `{"operation": "ADD", "value": 3}`, 422},
		{http.MethodPut, "/values/urn:uuid:" + id, `{"operation": "ADD", "value": 3}`, 422},
		{http.MethodPut, "/values", `{"operation": "ADD", "value": 3}`, 405},
		{http.MethodDelete, "/values/" + id, ``, 405},
		{http.MethodGet, "/nothing", ``, 404},
		{http.MethodGet, "/values/" + unknownID, ``, 404},
		{http.MethodGet, "/values?limt=3", ``, 400},
	} {
		got := must(t, c.method, up.url+c.path, c.body)
		if got.status != c.status || got.header.Get("Content-Type") != "application/problem+json" || got.header.Get("X-Request-Id") == "" {
			t.Errorf("%s %s %s: %d, %s, %v; want a problem with %d", c.method, c.path, c.body, got.status, got.body, got.header, c.status)
		}
	}
	after := readTopic(t, brokers, "calculator-commands")
	for partition := range after {
		if len(after[partition]) != len(before[partition]) {
			t.Errorf("bad requests have reached partition %d of the log", partition)
		}
	}
}

// An address that is taken is told at once, with what to do, and nothing is left running.
func TestAddressTaken(t *testing.T) {
	up := launch(t, "up", "up", "--broker-addr", "127.0.0.1:0", "--data", dataDir(t))
	up.awaitReady()
	taken := strings.TrimPrefix(up.url, "http://")
	_, stderr, code := run(t, "up", "--broker-addr", "127.0.0.1:0", "--data", dataDir(t), "--admin-addr", "127.0.0.1:0", "--calculator-addr", taken)
	if code != 1 || !strings.Contains(stderr, taken) || !strings.Contains(stderr, "--calculator-addr") {
		t.Errorf("exit code %d, %s", code, stderr)
	}
}

// A data directory that is in use is refused without waiting, and whoever uses it notices nothing.
func TestDataDirectoryTaken(t *testing.T) {
	data := dataDir(t)
	up := launch(t, "up", "up", "--broker-addr", "127.0.0.1:0", "--data", data)
	up.awaitReady()
	for _, command := range []string{"up", "broker"} {
		_, stderr, code := run(t, command, "--broker-addr", "127.0.0.1:0", "--data", data)
		if code != 4 || !strings.Contains(stderr, data) || !strings.Contains(stderr, "--data") || strings.Contains(stderr, "waiting for the broker") {
			t.Errorf("tidemill %s: exit code %d, %s", command, code, stderr)
		}
	}
	up.awaitReady()
}
