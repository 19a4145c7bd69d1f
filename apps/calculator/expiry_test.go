package calculator_test

import (
	"bufio"
	"context"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/commands/jwtauth"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

// patience bounds every wait for something that must happen.
const patience = 45 * time.Second

var secret = []byte(strings.Repeat("s", 32))

// guarded is a configuration with authorization.
func guarded(t *testing.T) calculator.Config {
	t.Helper()
	authorizer, err := jwtauth.New(jwtauth.Config{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	return calculator.Config{Config: service.Config{
		Kafka: kafka.Config{Brokers: kafkatest.Embedded(t).Brokers()}, Dir: t.TempDir(), Authorizer: authorizer,
		Processor: processors.Config{CreateTopics: true, Partitions: 2, Replication: 1},
	}}
}

// startAll runs components until the test ends, and returns where they are served once all are ready.
func startAll(t *testing.T, components []service.Component, err error) (url string) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, len(components))
	for _, component := range components {
		component.Mount(mux)
		go func() { done <- component.Run(ctx) }()
	}
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		for _, component := range components {
			component.Stopping()
		}
		server.CloseClientConnections()
		server.Close()
		cancel()
		var wrong []error
		for range components {
			wrong = append(wrong, <-done)
		}
		for _, component := range components {
			wrong = append(wrong, component.Close())
		}
		if err := errors.Join(wrong...); err != nil {
			t.Error(err)
		}
	})
	for end := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		var waiting []error
		for _, component := range components {
			waiting = append(waiting, component.Ready())
		}
		err := errors.Join(waiting...)
		if err == nil {
			return server.URL
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// ask sends a request as ann, with a token that lasts until then.
func ask(t *testing.T, method, url, body string, expires time.Time, headers ...string) *http.Response {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": "ann", "scope": calculator.ScopeRead + " " + calculator.ScopeWrite, "exp": expires.Unix(),
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	t.Cleanup(cancel)
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Authorization", "Bearer "+signed)
	for i := 0; i < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { response.Body.Close() })
	return response
}

// listen opens a stream with a token that lasts so long, and returns the status, when the token ends, and the body.
func listen(t *testing.T, url string, life time.Duration) (status int, expires time.Time, body io.ReadCloser) {
	t.Helper()
	expires = time.Now().Add(life).Truncate(time.Second)
	response := ask(t, http.MethodGet, url, "", expires, "Accept", "text/event-stream")
	return response.StatusCode, expires, response.Body
}

// Every stream of the calculator ends, in order, when the token expires that it was opened with.
func TestStreamsEndWithTheirToken(t *testing.T) {
	components, err := calculator.Everything(guarded(t))
	base := startAll(t, components, err)
	for _, path := range []string{"/values", "/values/" + valueID, "/outcomes?aggregate=" + valueID, "/commands/c/outcomes"} {
		t.Run(path, func(t *testing.T) {
			t.Parallel()
			status, expires, body := listen(t, base+path, 2*time.Second)
			for life := 4 * time.Second; status == http.StatusUnauthorized && life < patience; life *= 2 { // on a busy machine
				status, expires, body = listen(t, base+path, life)
			}
			if status != http.StatusOK {
				t.Fatalf("status %d", status)
			}
			last := ""
			lines := bufio.NewScanner(body)
			for lines.Scan() {
				if lines.Text() != "" {
					last = lines.Text()
				}
			}
			if early := time.Until(expires); lines.Err() != nil || early > 0 || !strings.HasPrefix(last, ": what this stream was opened with has expired") {
				t.Errorf("it ended %s early, with %q, %v", early, last, lines.Err())
			}
		})
	}
}

// A commander apart from the view shows it the client's own token, also for what it answers with.
func TestCommanderApartWithAuthorization(t *testing.T) {
	config := guarded(t)
	components, err := calculator.Everything(config)
	config.ViewURL = startAll(t, components, err)
	config.SubscriptionsURL, config.Dir = config.ViewURL, t.TempDir()
	commander, err := calculator.Commander(config)
	apart := startAll(t, []service.Component{commander}, err)
	id := ""
	for _, c := range []struct{ method, body, want string }{
		{http.MethodPost, `{"value":3}`, `"value":3.0}`},
		{http.MethodPut, `{"operation":"MULTIPLY","value":3}`, `"value":9.0}`},
	} {
		response := ask(t, c.method, apart+"/values"+id, c.body, time.Now().Add(time.Hour), "Content-Type", "application/json", "Prefer", "wait=20")
		body, err := io.ReadAll(response.Body)
		if err != nil || response.StatusCode/100 != 2 || !strings.HasSuffix(string(body), c.want) {
			t.Fatalf("%s: %s, %s, %v; want …%s", c.method, response.Status, body, err, c.want)
		}
		id = strings.Replace(response.Header.Get("Location"), "/values", "", 1)
	}
}
