package subscriptions

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"testing"
	"time"

	"github.com/tidemill/tidemill/commands/internal/fakelog"
	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/meta"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/webtest"
)

const (
	deadline = 20 * time.Second
	start    = int64(1_700_000_000_000)
)

var timing = follow.Timing{Retry: time.Millisecond, Patience: time.Millisecond, Poll: 100 * time.Microsecond, PollMost: 2 * time.Millisecond}

// world is a log with a processor, and subscriptions over it.
type world struct {
	t    *testing.T
	log  *fakelog.Log
	spec follow.Topics
}

func newWorld(t *testing.T, partitions int) *world {
	w := &world{t: t, log: fakelog.New(), spec: fakelog.Spec("app")}
	w.log.CreateTopics(w.spec, partitions)
	w.log.Marking(runtime.Gosched)
	return w
}

func (w *world) process(hold func()) *world {
	w.t.Cleanup(background(w.t, func(ctx context.Context) error {
		for ctx.Err() == nil {
			// A test may create its topics anew.
			_ = w.log.Process(ctx, &fakelog.Processor{Spec: w.spec, Batch: 4, Hold: hold})
		}
		return nil
	}))
	return w
}

// background runs f and returns how to end it.
func background(t *testing.T, f func(context.Context) error) func() {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	return func() {
		cancel()
		if err := <-done; err != nil {
			t.Errorf("it ended with %v", err)
		}
	}
}

func (w *world) config() Config {
	return Config{
		Commands: w.spec.Commands, Group: w.spec.Group, Events: w.spec.Events, Rejections: w.spec.Rejections,
		DeadLetters: w.spec.DeadLetters, EventID: w.spec.EventID, CommandID: w.spec.CommandID,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// instance is one running component with its server.
type instance struct {
	*Subscriptions
	url  string
	stop func()
}

func (w *world) start(engine store.Engine, change func(*Config)) *instance {
	w.t.Helper()
	config := w.config()
	if change != nil {
		change(&config)
	}
	config, err := config.withDefaults()
	if err != nil {
		w.t.Fatal(err)
	}
	s, err := assemble(config, engine, w.log, timing)
	if err != nil {
		w.t.Fatal(err)
	}
	end := background(w.t, s.Run)
	mux := http.NewServeMux()
	s.Mount(mux)
	server := httptest.NewServer(mux)
	stopped := false
	i := &instance{Subscriptions: s, url: server.URL, stop: func() {
		if stopped {
			return
		}
		stopped = true
		s.Stop()
		server.Close()
		end()
	}}
	w.t.Cleanup(i.stop)
	eventually(w.t, "the subscriptions are ready", s.Ready)
	return i
}

// send writes a command with a header for its fingerprint.
func (w *world) send(partition int32, key, id, do string) outcome.Position {
	w.t.Helper()
	return w.sendAt(partition, key, id, do, start)
}

func (w *world) sendAt(partition int32, key, id, do string, timestamp int64) outcome.Position {
	w.t.Helper()
	offset, err := w.log.Append(follow.Record{
		Topic: w.spec.Commands, Partition: partition, Key: []byte(key), Timestamp: timestamp,
		Value: fmt.Appendf(nil, `{"id":%q,"do":%q}`, id, do),
		Headers: []follow.Header{
			{Key: meta.Command, Value: []byte(id)}, {Key: meta.Fingerprint, Value: []byte(do)}, {Key: meta.Principal, Value: []byte("ada")},
		},
	})
	if err != nil {
		w.t.Fatal(err)
	}
	return outcome.Position{Topic: w.spec.Commands, Partition: partition, Offset: offset}
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !holds(); time.Sleep(100 * time.Microsecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

// get asks for a status.
func get(t *testing.T, url string, headers ...string) (int, outcome.Outcome, http.Header) {
	t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), 2*deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url, nil)
	if err != nil {
		t.Fatal(err)
	}
	for i := 0; i+1 < len(headers); i += 2 {
		request.Header.Set(headers[i], headers[i+1])
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	body, err := io.ReadAll(response.Body)
	if err != nil {
		t.Fatal(err)
	}
	var found outcome.Outcome
	if response.StatusCode == http.StatusOK {
		if err := json.Unmarshal(body, &found); err != nil {
			t.Fatalf("%s: %v", body, err)
		}
	}
	return response.StatusCode, found, response.Header
}

// event is one server-sent event, or a comment.
type event struct {
	id, name, data, comment string
}

func (e event) outcome(t *testing.T) outcome.Outcome {
	t.Helper()
	var found outcome.Outcome
	if err := json.Unmarshal([]byte(e.data), &found); err != nil {
		t.Errorf("%q: %v", e.data, err)
	}
	return found
}

// reader reads a stream.
type reader struct {
	*webtest.Events
	cancel context.CancelFunc
}

func connect(t *testing.T, url, last string) *reader {
	t.Helper()
	r, err := tryConnect(url, last)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(r.close)
	return r
}

func tryConnect(url, last string) (*reader, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*deadline)
	events, err := webtest.Follow(ctx, url, last)
	if err != nil {
		cancel()
		return nil, err
	}
	return &reader{events, cancel}, nil
}

func (r *reader) close() {
	r.cancel()
	r.Close()
}

// next returns the next event or comment; the advice to retry is passed over.
func (r *reader) next() (event, error) {
	e, err := r.Next()
	return event{e.ID, e.Name, e.Data, e.Comment}, err
}

// must returns the next event that is no comment.
func (r *reader) must(t *testing.T) event {
	t.Helper()
	for {
		e, err := r.next()
		if err != nil {
			t.Fatal(err)
		}
		if e.comment == "" {
			return e
		}
	}
}
