package ordering_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/apps/ordering"
	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/webtest"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
)

func TestMain(m *testing.M) {
	if text := os.Getenv(childVariable); text != "" {
		os.Exit(child(text))
	}
	kafkatest.Main(m)
}

const patience = 45 * time.Second

// running is a service with its HTTP server.
type running struct {
	t    *testing.T
	url  string
	stop func()
}

// config returns what services of a test are made from: a directory of their own on a broker.
func config(t *testing.T, broker kafkatest.Broker) ordering.Config {
	return ordering.Config{Config: service.Config{
		Kafka: kafka.Config{Brokers: broker.Brokers()}, Dir: t.TempDir(),
		Processor: processors.Config{CreateTopics: true, Partitions: 3, Replication: 1},
	}}
}

// startService runs components and waits until all are ready. It is stopped with the test, or before.
func startService(t *testing.T, make func(ordering.Config) ([]service.Component, error), config ordering.Config) *running {
	t.Helper()
	components, err := make(config)
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	ctx, cancel := context.WithCancel(context.Background())
	ended := map[string]chan error{}
	for _, component := range components {
		component.Mount(mux)
		done := ended[component.Name()]
		if done == nil {
			done = newDone()
			ended[component.Name()] = done
		}
		go func() { done <- component.Run(ctx) }()
	}
	server := httptest.NewServer(commands.Problems(mux))
	s := &running{t: t, url: server.URL}
	stopped := false
	s.stop = func() {
		if stopped {
			return
		}
		stopped = true
		for _, component := range components {
			component.Stopping()
		}
		server.CloseClientConnections()
		server.Close()
		cancel()
		for _, component := range components {
			select {
			case err := <-ended[component.Name()]:
				if err != nil {
					t.Errorf("the %s ended with: %v", component.Name(), err)
				}
			case <-time.After(patience):
				t.Fatalf("the %s does not end", component.Name())
			}
			if err := component.Close(); err != nil {
				t.Errorf("closing the %s: %v", component.Name(), err)
			}
		}
	}
	t.Cleanup(s.stop)
	eventually(t, "the service is ready", func() error {
		var wrong []error
		for _, component := range components {
			if err := component.Ready(); err != nil {
				wrong = append(wrong, fmt.Errorf("%s: %w", component.Name(), err))
			}
		}
		return errors.Join(wrong...)
	})
	return s
}

func newDone() chan error { return make(chan error, 1) }

// eventually polls until something holds.
func eventually(t *testing.T, what string, holds func() error) {
	t.Helper()
	eventuallyIn(t, patience, what, holds)
}

func eventuallyIn(t *testing.T, patience time.Duration, what string, holds func() error) {
	t.Helper()
	deadline := time.Now().Add(patience)
	for {
		err := holds()
		if err == nil {
			return
		}
		if time.Now().After(deadline) {
			t.Fatalf("%s: not within %s: %v", what, patience, err)
		}
		time.Sleep(20 * time.Millisecond)
	}
}

// answer is an HTTP answer.
type answer struct {
	status int
	header http.Header
	body   string
}

// ask sends a request; headers come as name and value in turn.
func (s *running) ask(method, path, body string, headers ...string) answer {
	s.t.Helper()
	got, err := s.send(method, path, body, headers...)
	if err != nil {
		s.t.Fatalf("%s %s: %v", method, path, err)
	}
	return got
}

// send is ask for any goroutine.
func (s *running) send(method, path, body string, headers ...string) (answer, error) {
	read, err := webtest.Ask(s.t.Context(), http.DefaultClient, method, s.url+path, body, headers...)
	return answer{read.Status, read.Header, read.Body}, err
}

// detail returns what a problem says.
func (a answer) detail(t *testing.T) string {
	t.Helper()
	var problem struct {
		Detail string `json:"detail"`
	}
	if err := json.Unmarshal([]byte(a.body), &problem); err != nil || a.header.Get("Content-Type") != "application/problem+json" {
		t.Fatalf("%d, %s is no problem: %v", a.status, a.body, err)
	}
	return problem.Detail
}

type event = webtest.Event

// stream opens a stream of server-sent events, which ends with the test.
func (s *running) stream(path string, headers ...string) <-chan event {
	s.t.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	stream, err := webtest.Follow(ctx, s.url+path, "", headers...)
	if err != nil {
		s.t.Fatalf("%s: %v", path, err)
	}
	events, done := make(chan event), make(chan struct{})
	go func() {
		defer close(done)
		defer close(events)
		for {
			got, err := stream.Named()
			if err != nil {
				return
			}
			select {
			case events <- got:
			case <-ctx.Done():
			}
		}
	}()
	s.t.Cleanup(func() {
		cancel()
		<-done
		stream.Close()
	})
	return events
}

// next returns the next event.
func next(t *testing.T, events <-chan event) event {
	t.Helper()
	select {
	case got, open := <-events:
		if !open {
			t.Fatal("the stream has ended")
		}
		return got
	case <-time.After(patience):
		t.Fatal("no event comes")
	}
	return event{}
}

// byName is an authorizer for tests: the bearer token is the principal's name, with all scopes.
var byName = auth.Func(func(_ context.Context, r *http.Request) (auth.Principal, error) {
	name, ok := strings.CutPrefix(r.Header.Get("Authorization"), "Bearer ")
	if !ok {
		return auth.Principal{}, &auth.UnauthorizedError{Detail: "say who you are"}
	}
	return auth.Principal{ID: name, Scopes: []string{ordering.ScopeRead, ordering.ScopeWrite}}, nil
})
