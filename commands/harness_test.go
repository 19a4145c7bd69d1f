package commands_test

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"runtime"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/internal/fakelog"
	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/partition"
)

const deadline = 20 * time.Second

// command is what the tests' application writes; its processor does as Do says (see package fakelog).
type command struct {
	ID        string  `json:"id"`
	Do        string  `json:"do"`
	ValueID   string  `json:"value-id"`
	Value     float64 `json:"value"`
	Timestamp int64   `json:"timestamp"`
}

type body struct {
	Value float64 `json:"value"`
	Do    string  `json:"do,omitzero"`
}

const bodySchema = `{
	"type": "object",
	"properties": {
		"value": {"type": "number", "minimum": -1e300, "maximum": 1e300},
		"do": {"type": "string", "maxLength": 100},
		"when": {"type": "string", "format": "date-time"},
		"tags": {"type": "array", "items": {"type": "string"}, "maxItems": 3}
	},
	"required": ["value"],
	"additionalProperties": false
}`

func build(r *commands.Request, id string) (string, command, error) {
	b, err := r.JSON[body]()
	if b.Do == "" {
		b.Do = "events:1"
	}
	return id, command{ID: r.CommandID(), Do: b.Do, ValueID: id, Value: b.Value, Timestamp: r.Timestamp()}, err
}

func createRoute() commands.Route[string, command] {
	return commands.Route[string, command]{
		Method: http.MethodPost, Pattern: "/values", Schema: bodySchema, Status: http.StatusCreated,
		Build: func(r *commands.Request) (string, command, error) { return build(r, r.NewID("value-id")) },
		Location: func(_ *commands.Request, key string, _ command) string {
			return "/values/" + key
		},
		Render: func(_ context.Context, _ *commands.Request, key string, c command, _ commands.Outcome) ([]byte, error) {
			return fmt.Appendf(nil, `{"value_id":%q,"value":%g}`, key, c.Value), nil
		},
	}
}

func updateRoute() commands.Route[string, command] {
	return commands.Route[string, command]{
		Method: http.MethodPut, Pattern: "/values/{id}", Schema: bodySchema,
		Build: func(r *commands.Request) (string, command, error) { return build(r, r.PathValue("id")) },
	}
}

func deleteRoute() commands.Route[string, command] {
	return commands.Route[string, command]{
		Method: http.MethodDelete, Pattern: "/values/{id}", Status: http.StatusNoContent,
		Build: func(r *commands.Request) (string, command, error) {
			return r.PathValue("id"), command{ID: r.CommandID(), Do: "events:1", Timestamp: r.Timestamp()}, nil
		},
	}
}

type config = commands.Config[string, command]

func baseConfig(spec follow.Topics) config {
	return config{
		Application: "app",
		Topic: commands.Topic[string, command]{
			Name: spec.Commands, Key: codecs.String(), Value: codecs.JSON[command](),
		},
		Outputs: commands.Outputs{
			Group: spec.Group, Events: spec.Events, Rejections: spec.Rejections, DeadLetters: spec.DeadLetters, EventID: spec.EventID,
		},
		Wait:   deadline,
		Logger: slog.New(slog.NewTextHandler(io.Discard, nil)),
	}
}

// world is a commander over a fake log with a processor.
type world struct {
	t    *testing.T
	log  *fakelog.Log
	spec follow.Topics
	// fail, if set, is asked for the error of each write.
	fail func() error
}

func newWorld(t *testing.T) *world {
	w := &world{t: t, log: fakelog.New(), spec: fakelog.Spec("app")}
	w.log.CreateTopics(w.spec, 4)
	w.log.Marking(runtime.Gosched)
	return w
}

// process runs the processor until the test ends.
func (w *world) process(hold func()) *world {
	w.run(func(ctx context.Context) error {
		return w.log.Process(ctx, &fakelog.Processor{Spec: w.spec, Batch: 4, Hold: hold})
	})
	return w
}

func (w *world) run(f func(context.Context) error) {
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- f(ctx) }()
	w.t.Cleanup(func() {
		cancel()
		if err := <-done; err != nil {
			w.t.Errorf("it ended with %v", err)
		}
	})
}

func (w *world) produce(_ context.Context, record *kgo.Record) (outcome.Position, error) {
	if w.fail != nil {
		if err := w.fail(); err != nil {
			return outcome.Position{}, err
		}
	}
	r := follow.Record{
		Topic: record.Topic, Key: record.Key, Value: record.Value, Timestamp: record.Timestamp.UnixMilli(),
		Partition: partition.ForKey(record.Key, int32(w.log.Partitions(record.Topic))),
	}
	for _, header := range record.Headers {
		r.Headers = append(r.Headers, follow.Header(header))
	}
	offset, err := w.log.Append(r)
	return outcome.Position{Topic: r.Topic, Partition: r.Partition, Offset: offset}, err
}

// serve runs a commander with the tests' routes until the test ends and returns its address.
func (w *world) serve(change func(*config)) string {
	w.t.Helper()
	config := baseConfig(w.spec)
	if change != nil {
		change(&config)
	}
	commander, err := commands.NewOver(config, w.produce, w.log)
	if err != nil {
		w.t.Fatal(err)
	}
	return serve(w.t, commander)
}

func serve(t *testing.T, commander *commands.Commander[string, command]) string {
	t.Helper()
	for _, route := range []commands.Route[string, command]{createRoute(), updateRoute(), deleteRoute()} {
		if err := commander.Handle(route); err != nil {
			t.Fatal(err)
		}
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- commander.Run(ctx) }()
	server := httptest.NewServer(commander.Handler())
	t.Cleanup(func() {
		server.Close()
		cancel()
		if err := <-done; err != nil {
			t.Errorf("the commander ended with %v", err)
		}
		commander.Close()
	})
	for end := time.Now().Add(deadline); !commander.Ready(); time.Sleep(time.Millisecond) {
		if time.Now().After(end) {
			t.Fatal("the commander does not become ready")
		}
	}
	return server.URL
}

// answer is a response read to its end.
type answer struct {
	status int
	header http.Header
	body   string
}

func (a answer) member(name string) string {
	var object map[string]json.RawMessage
	if json.Unmarshal([]byte(a.body), &object) != nil {
		return ""
	}
	return strings.Trim(string(object[name]), `"`)
}

func (a answer) String() string { return strconv.Itoa(a.status) + " " + a.body }

// send sends a request; headers are name, value, name, value….
func send(t *testing.T, method, url, body string, headers ...string) answer {
	t.Helper()
	got, err := trySend(method, url, body, headers...)
	if err != nil {
		t.Fatal(err)
	}
	return got
}

func trySend(method, url, body string, headers ...string) (answer, error) {
	ctx, cancel := context.WithTimeout(context.Background(), 2*deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, url, strings.NewReader(body))
	if err != nil {
		return answer{}, err
	}
	if body != "" {
		request.Header.Set("Content-Type", "application/json")
	}
	for i := 0; i+1 < len(headers); i += 2 {
		if headers[i+1] == "" {
			request.Header.Del(headers[i])
			continue
		}
		request.Header.Add(headers[i], headers[i+1])
		if headers[i] == "Content-Type" {
			request.Header[headers[i]] = []string{headers[i+1]}
		}
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return answer{}, err
	}
	defer response.Body.Close()
	var buffer bytes.Buffer
	_, err = buffer.ReadFrom(response.Body)
	return answer{status: response.StatusCode, header: response.Header, body: buffer.String()}, err
}

// positions is a view that shows what it was told.
type positions func(ctx context.Context, position outcome.Position) error

func (p positions) Await(ctx context.Context, position outcome.Position) error {
	return p(ctx, position)
}

var errTest = errors.New("as the test wants it")
