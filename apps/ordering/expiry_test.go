package ordering_test

import (
	"bufio"
	"io"
	"net/http"
	"strings"
	"testing"
	"time"

	"github.com/golang-jwt/jwt/v5"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/commands/jwtauth"
	"github.com/tidemill/tidemill/internal/kafkatest"
)

var secret = []byte(strings.Repeat("s", 32))

// bearer returns a customer's token.
func bearer(t *testing.T, customer string, expires time.Time) string {
	t.Helper()
	signed, err := jwt.NewWithClaims(jwt.SigningMethodHS256, jwt.MapClaims{
		"sub": customer, "scope": ordering.ScopeRead + " " + ordering.ScopeWrite, "exp": expires.Unix(),
	}).SignedString(secret)
	if err != nil {
		t.Fatal(err)
	}
	return "Bearer " + signed
}

// opened is a stream that was opened with a token.
type opened struct {
	what string
	body io.ReadCloser
	over chan struct{} // closed when it has ended; then the rest is known
	last string        // line
	at   time.Time
	err  error
}

// open opens a stream, and reads it until it ends, or the test does.
func open(t *testing.T, url, token string) (*opened, int) {
	t.Helper()
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	request.Header.Set("Authorization", token)
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	if response.StatusCode != http.StatusOK {
		response.Body.Close()
		return nil, response.StatusCode
	}
	o := &opened{what: url, body: response.Body, over: make(chan struct{})}
	t.Cleanup(func() {
		o.body.Close()
		<-o.over
	})
	go func() {
		defer close(o.over)
		lines := bufio.NewScanner(o.body)
		for lines.Scan() {
			if lines.Text() != "" {
				o.last = lines.Text()
			}
		}
		o.at, o.err = time.Now(), lines.Err()
	}()
	return o, http.StatusOK
}

// A stream ends, in order, when the token expires that it was opened with: those of outcomes, and those of changes at the instance
// that holds the customer and through another one. Who comes back with the same token is sent to sign in again.
func TestStreamsEndWithTheirToken(t *testing.T) {
	broker := kafkatest.EmbeddedOwn(t, kafkatest.Options{})
	c := config(t, broker.Broker)
	authorizer, err := jwtauth.New(jwtauth.Config{Secret: secret})
	if err != nil {
		t.Fatal(err)
	}
	c.Authorizer = authorizer
	commands := startService(t, ordering.CommandService, c)
	guarded := func(c *instanceConfig) { c.Secret = string(secret) }
	instances := []*instance{newInstance(t, broker.Broker, guarded), newInstance(t, broker.Broker, guarded)}
	for _, i := range instances {
		i.awaitReady()
	}
	customers := []string{"alice", "bob", "carol", "dave"}
	var urls []string
	for _, customer := range customers {
		urls = append(urls, commands.url+"/outcomes?tag="+customer, commands.url+"/commands/"+customer+"/outcomes")
		for _, i := range instances {
			urls = append(urls, i.url+"/customers/"+customer+"/changes")
		}
	}
	customer := func(at int) string { return customers[at/4] }
	var lasting, streams []*opened
	for at, url := range urls {
		stream, status := open(t, url, bearer(t, customer(at), time.Now().Add(time.Hour)))
		if stream == nil {
			t.Fatalf("%s: %d", url, status)
		}
		lasting = append(lasting, stream)
	}
	tokens, ends := map[string]string{}, map[*opened]time.Time{}
	for at, url := range urls {
		for life := 2 * time.Second; ; life *= 2 {
			expires := time.Now().Add(life).Truncate(time.Second)
			tokens[url] = bearer(t, customer(at), expires)
			stream, status := open(t, url, tokens[url])
			if stream != nil {
				ends[stream], streams = expires, append(streams, stream)
				break
			}
			if status != http.StatusUnauthorized || life > patience { // else the machine is slower than the token lasts
				t.Fatalf("%s: %d", url, status)
			}
		}
	}
	for _, stream := range streams {
		select {
		case <-stream.over:
		case <-time.After(patience):
			t.Fatalf("%s: does not end", stream.what)
		}
		early := ends[stream].Sub(stream.at)
		if stream.err != nil || early > 0 || !strings.HasPrefix(stream.last, ": what this stream was opened with has expired") {
			t.Errorf("%s: ended %s before its token with %q, %v", stream.what, early, stream.last, stream.err)
		}
		if again, status := open(t, stream.what, tokens[stream.what]); again != nil || status != http.StatusUnauthorized {
			t.Errorf("%s: with a token that has expired: %d", stream.what, status)
		}
	}
	for _, stream := range lasting {
		select {
		case <-stream.over:
			t.Errorf("%s: the stream of a token that holds ended with %q, %v", stream.what, stream.last, stream.err)
		default:
		}
	}
}
