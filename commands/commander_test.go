package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"
	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/meta"
)

func TestAccepted(t *testing.T) {
	w := newWorld(t).process(nil)
	var mu sync.Mutex
	shown := map[outcome.Position]bool{}
	url := w.serve(func(c *config) {
		c.Clock = func() time.Time { return time.UnixMilli(1613068185765) }
		c.Positions = positions(func(_ context.Context, position outcome.Position) error {
			mu.Lock()
			defer mu.Unlock()
			shown[position] = true
			return nil
		})
	})
	got := send(t, "POST", url+"/values", `{"value": 3}`)
	if got.status != 201 || got.header.Get("Location") != "/values/"+got.member("value_id") || got.member("value") != "3" {
		t.Fatalf("got %v, Location %q", got, got.header.Get("Location"))
	}
	position, err := outcome.ParsePosition(got.header.Get(commands.TokenHeader))
	if err != nil || !shown[position] {
		t.Errorf("token %v, %v; waited for %v", position, err, shown)
	}
	records := w.log.All(w.spec.Commands)
	if len(records) != 1 || records[0].Timestamp != 1613068185765 || string(records[0].Key) != got.member("value_id") {
		t.Fatalf("in the log: %+v", records)
	}
	var written command
	if err := json.Unmarshal(records[0].Value, &written); err != nil || written.Timestamp != 1613068185765 || written.ID != got.header.Get(commands.CommandHeader) {
		t.Errorf("the command %s, %v", records[0].Value, err)
	}
	if _, err := uuid.Parse(written.ID); err != nil {
		t.Errorf("the command's id %q: %v", written.ID, err)
	}
	headers := map[string]string{}
	for _, header := range records[0].Headers {
		headers[header.Key] = string(header.Value)
	}
	if headers[meta.Command] != written.ID || len(headers[meta.Fingerprint]) != 8 {
		t.Errorf("headers %q", headers)
	}
	got = send(t, "PUT", url+"/values/a", `{"value":1,"do":"events:2"}`)
	if got.status != 200 || got.member("status") != "accepted" || !strings.Contains(got.body, `"offset"`) {
		t.Errorf("without Render: %v", got)
	}
	if got := send(t, "DELETE", url+"/values/a", ""); got.status != 204 || got.body != "" {
		t.Errorf("DELETE: %v", got)
	}
	if got := send(t, "PUT", url+"/values/a", `{"value":1,"do":"silence"}`); got.status != 200 || strings.Contains(got.body, "events") {
		t.Errorf("without an event: %v", got)
	}
}

func TestRejected(t *testing.T) {
	w := newWorld(t).process(nil)
	url := w.serve(nil)
	for kind, status := range map[string]int{
		"not-found": 404, "conflict": 409, "invalid": 422, "idempotency-conflict": 422, "out-of-stock": 422,
	} {
		got := send(t, "PUT", url+"/values/"+kind, `{"value":1,"do":"reject:`+kind+`"}`)
		if got.status != status || got.member("kind") != kind || got.member("detail") != "because" {
			t.Errorf("%s: %v", kind, got)
		}
		if got.header.Get("Content-Type") != "application/problem+json" || got.header.Get(commands.TokenHeader) == "" {
			t.Errorf("%s: headers %v", kind, got.header)
		}
	}
}

func TestPrefer(t *testing.T) {
	gate := make(chan struct{})
	w := newWorld(t).process(func() { <-gate })
	url := w.serve(func(c *config) { c.MaxWait, c.Wait = 30*time.Millisecond, 20*time.Millisecond })
	for preference, applied := range map[string]string{
		"": "", "respond-async": "respond-async", "wait=0": "wait=0", "wait=600": "wait=0.03", "respond-async, wait=0": "wait=0",
	} {
		got := send(t, "POST", url+"/values", `{"value":3}`, "Prefer", preference)
		if got.status != 202 || got.member("status") != "pending" || got.header.Get("Preference-Applied") != applied {
			t.Errorf("Prefer: %s: %v, applied %q", preference, got, got.header.Get("Preference-Applied"))
		}
		if got.header.Get("Location") != "/commands/"+got.header.Get(commands.CommandHeader) || got.header.Get(commands.TokenHeader) == "" {
			t.Errorf("Prefer: %s: headers %v", preference, got.header)
		}
	}
	close(gate)
}

// TestViewBehind: an accepted command that no view shows in time is answered 202, and tells that it is accepted.
func TestViewBehind(t *testing.T) {
	w := newWorld(t).process(nil)
	url := w.serve(func(c *config) {
		c.Wait = time.Second
		c.Positions = commands.AllPositions(positions(func(ctx context.Context, _ outcome.Position) error {
			<-ctx.Done()
			return ctx.Err()
		}))
	})
	if got := send(t, "POST", url+"/values", `{"value":3}`); got.status != 202 || got.member("status") != "accepted" {
		t.Errorf("accepted: %v", got)
	}
	if got := send(t, "PUT", url+"/values/a", `{"value":3,"do":"reject:conflict"}`); got.status != 409 {
		t.Errorf("a rejection waits for no view: %v", got)
	}
}

// TestIdempotency: retries over two commanders land on one partition under one id, and are applied once.
func TestIdempotency(t *testing.T) {
	w := newWorld(t).process(nil)
	one, two := w.serve(nil), w.serve(nil)
	var first answer
	for i, url := range []string{one, two, one, two} {
		got := send(t, "POST", url+"/values", `{"value": 3, "do": "events:1"}`, "Idempotency-Key", `"k-1"`)
		if i == 0 {
			first = got
		}
		if got.status != 201 || got.body != first.body || got.header.Get(commands.CommandHeader) != first.header.Get(commands.CommandHeader) {
			t.Fatalf("attempt %d: %v, not %v", i, got, first)
		}
	}
	// White space and the order of members do not make another request, and neither does the bare form of the key.
	if got := send(t, "POST", two+"/values", `{"do":"events:1","value":3}`, "Idempotency-Key", "k-1"); got.body != first.body {
		t.Errorf("the same in other words: %v", got)
	}
	records := w.log.All(w.spec.Commands)
	for _, record := range records {
		if record.Partition != records[0].Partition || string(record.Key) != string(records[0].Key) {
			t.Errorf("a retry went elsewhere: %+v", record)
		}
	}
	if events := w.log.All(w.spec.Events[0]); len(events) != 1 || len(records) != 5 {
		t.Errorf("%d events of %d commands", len(events), len(records))
	}
	before := len(records)
	if got := send(t, "POST", one+"/values", `{"value":4}`, "Idempotency-Key", "k-1"); got.status != 422 || got.header.Get(commands.TokenHeader) != "" {
		t.Errorf("another body, refused here: %v", got)
	}
	if len(w.log.All(w.spec.Commands)) != before {
		t.Error("what was refused is in the log")
	}
	// A commander that knows nothing of the first attempt leaves it to the processor.
	if got := send(t, "POST", w.serve(nil)+"/values", `{"value":4}`, "Idempotency-Key", "k-1"); got.status != 422 || got.member("kind") != "idempotency-conflict" {
		t.Errorf("another body, rejected by the processor: %v", got)
	}
	other := send(t, "POST", one+"/values", `{"value": 3, "do": "events:1"}`, "Idempotency-Key", `"k-2"`)
	if other.body == first.body {
		t.Error("two keys gave one value")
	}
	// A retry of a rejected command stays rejected.
	for range 2 {
		if got := send(t, "PUT", one+"/values/x", `{"value":1,"do":"reject:conflict"}`, "Idempotency-Key", "k-3"); got.status != 409 {
			t.Errorf("a rejected command and its retry: %v", got)
		}
	}
	// Where neither knows of the first attempt, the answer claims nothing.
	if got := send(t, "PUT", w.serve(nil)+"/values/x", `{"value":1,"do":"reject:conflict"}`, "Idempotency-Key", "k-3"); got.status != 202 || got.member("status") != "settled" {
		t.Errorf("a retry at a commander that has seen nothing: %v", got)
	}
	// With a history to ask it does.
	history := outcomes(func(_ context.Context, command outcome.Command) (outcome.Outcome, error) {
		return outcome.Outcome{ID: command.ID, Status: outcome.Rejected, Kind: "conflict", Reason: "then already"}, nil
	})
	url := w.serve(func(c *config) { c.History = history })
	if got := send(t, "PUT", url+"/values/x", `{"value":1,"do":"reject:conflict"}`, "Idempotency-Key", "k-3"); got.status != 409 {
		t.Errorf("with a history: %v", got)
	}
}

// outcomes is an Outcomes of one function.
type outcomes func(ctx context.Context, command outcome.Command) (outcome.Outcome, error)

func (o outcomes) Await(ctx context.Context, command outcome.Command) (outcome.Outcome, error) {
	return o(ctx, command)
}

// TestPrincipalsKeys: one key of two principals is two keys.
func TestPrincipalsKeys(t *testing.T) {
	w := newWorld(t).process(nil)
	url := w.serve(func(c *config) {
		c.Authorizer = auth.Func(func(_ context.Context, r *http.Request) (auth.Principal, error) {
			switch who := r.Header.Get("Authorization"); who {
			case "":
				return auth.Principal{}, &auth.UnauthorizedError{Challenge: `Bearer realm="x"`, Detail: "who are you?"}
			case "banned":
				return auth.Principal{}, fmt.Errorf("%w: go away", auth.ErrForbidden)
			case "broken":
				return auth.Principal{}, errTest
			default:
				return auth.Principal{ID: who}, nil
			}
		})
	})
	ids := map[string]bool{}
	for _, who := range []string{"ada", "bob"} {
		got := send(t, "POST", url+"/values", `{"value":3}`, "Idempotency-Key", "k", "Authorization", who)
		ids[got.header.Get(commands.CommandHeader)] = got.status == 201
	}
	if len(ids) != 2 {
		t.Errorf("ids %v", ids)
	}
	if got := w.log.All(w.spec.Commands)[0]; string(got.Headers[2].Value) != "ada" && string(got.Headers[2].Value) != "bob" {
		t.Errorf("headers %+v", got.Headers)
	}
	for who, status := range map[string]int{"": 401, "banned": 403, "broken": 503} {
		got := send(t, "POST", url+"/values", `{"value":3}`, "Authorization", who)
		if got.status != status || (status == 401) != (got.header.Get("WWW-Authenticate") == `Bearer realm="x"`) {
			t.Errorf("%q: %v %v", who, got, got.header)
		}
	}
}

func TestScopesAndAllow(t *testing.T) {
	w := newWorld(t).process(nil)
	config := baseConfig(w.spec)
	config.Authorizer = auth.Func(func(_ context.Context, r *http.Request) (auth.Principal, error) {
		return auth.Principal{ID: "ada", Scopes: strings.Fields(r.Header.Get("Authorization"))}, nil
	})
	commander, err := commands.NewOver(config, w.produce, w.log)
	if err != nil {
		t.Fatal(err)
	}
	route := createRoute()
	route.Pattern, route.Scopes = "/guarded", []string{"write"}
	route.Allow = func(principal commands.Principal, c command) error {
		if c.Value > 100 {
			return errors.New("that is too much for " + principal.ID)
		}
		return nil
	}
	if err := commander.Handle(route); err != nil {
		t.Fatal(err)
	}
	url := serve(t, commander)
	if got := send(t, "POST", url+"/guarded", `{"value":1}`, "Authorization", "read"); got.status != 403 || !strings.Contains(got.header.Get("WWW-Authenticate"), `scope="write"`) {
		t.Errorf("without the scope: %v", got)
	}
	if got := send(t, "POST", url+"/guarded", `{"value":101}`, "Authorization", "read write"); got.status != 403 || got.member("detail") != "that is too much for ada" {
		t.Errorf("not allowed: %v", got)
	}
	if got := send(t, "POST", url+"/guarded", `{"value":1}`, "Authorization", "read write"); got.status != 201 {
		t.Errorf("allowed: %v", got)
	}
	if records := w.log.All(w.spec.Commands); len(records) != 1 {
		t.Errorf("%d commands in the log", len(records))
	}
}

func TestLogTrouble(t *testing.T) {
	w := newWorld(t).process(nil)
	var fault error
	w.fail = func() error { return fault }
	url := w.serve(nil)
	for name, test := range map[string]struct {
		fault  error
		key    string
		status int
		says   string
	}{
		"timed out before it was sent": {commands.ClassifyWrite(kgo.ErrRecordTimeout), "", 503, "not written"},
		"buffer full":                  {commands.ClassifyWrite(kgo.ErrMaxBuffered), "", 503, "not written"},
		"no topic":                     {commands.ClassifyWrite(fmt.Errorf("x: %w", kerr.UnknownTopicOrPartition)), "", 503, "not written"},
		"unknown":                      {commands.ClassifyWrite(errTest), "", 503, "look at its status"},
		"unknown, with a key":          {commands.ClassifyWrite(errTest), "k", 503, "same Idempotency-Key"},
		"some other error":             {errTest, "k", 503, "same Idempotency-Key"},
		"too large":                    {commands.ClassifyWrite(kerr.MessageTooLarge), "", 413, "larger"},
	} {
		fault = test.fault
		got := send(t, "POST", url+"/values", `{"value":3}`, "Idempotency-Key", test.key)
		if got.status != test.status || !strings.Contains(got.member("detail"), test.says) || got.header.Get(commands.TokenHeader) != "" {
			t.Errorf("%s: %v", name, got)
		}
		if (got.header.Get("Retry-After") == "") == (test.status == 503) {
			t.Errorf("%s: Retry-After %q", name, got.header.Get("Retry-After"))
		}
	}
	fault = nil
	if got := send(t, "POST", url+"/values", `{"value":3}`); got.status != 201 {
		t.Errorf("after the trouble: %v", got)
	}
}

func TestInFlightBound(t *testing.T) {
	gate := make(chan struct{})
	w := newWorld(t).process(nil)
	entered := make(chan struct{}, 2)
	w.fail = func() error { entered <- struct{}{}; <-gate; return nil }
	registry := prometheus.NewRegistry()
	url := w.serve(func(c *config) { c.MaxInFlight, c.Registerer = 1, registry })
	var first answer
	done := make(chan struct{})
	go func() {
		defer close(done)
		first, _ = trySend("POST", url+"/values", `{"value":3}`)
	}()
	<-entered
	if got := send(t, "POST", url+"/values", `{"value":3}`); got.status != 503 || got.header.Get("Retry-After") == "" {
		t.Errorf("beyond the bound: %v", got)
	}
	close(gate)
	<-done
	if first.status != 201 {
		t.Errorf("within the bound: %v", first)
	}
	families, err := registry.Gather()
	if err != nil {
		t.Fatal(err)
	}
	got := map[string]float64{}
	for _, family := range families {
		for _, metric := range family.GetMetric() {
			name := family.GetName()
			for _, label := range metric.GetLabel() {
				name += " " + label.GetValue()
			}
			got[name] = metric.GetCounter().GetValue() + metric.GetGauge().GetValue()
		}
	}
	for name, want := range map[string]float64{
		"tidemill_commands_requests_total 201 POST /values": 1, "tidemill_commands_requests_total 503 POST /values": 1,
		"tidemill_commands_outcomes_total accepted": 1, "tidemill_commands_in_flight": 0,
	} {
		if value, ok := got[name]; !ok || value != want {
			t.Errorf("%s = %v, %v; want %v", name, value, ok, want)
		}
	}
}

func TestBuildFaults(t *testing.T) {
	w := newWorld(t).process(nil)
	config := baseConfig(w.spec)
	commander, err := commands.NewOver(config, w.produce, w.log)
	if err != nil {
		t.Fatal(err)
	}
	faults := map[string]error{
		"plain": errTest, "invalid": commands.Invalid("/value", "too odd"),
		"gone": &commands.InvalidError{Detail: "it was here", Status: 410}, "odd": &commands.InvalidError{Detail: "d", Status: 200},
	}
	route := updateRoute()
	route.Pattern = "/faults/{name}"
	route.Build = func(r *commands.Request) (string, command, error) {
		if r.PathValue("name") == "panic" {
			panic("as the test wants it")
		}
		return "k", command{ID: r.CommandID()}, faults[r.PathValue("name")]
	}
	if err := commander.Handle(route); err != nil {
		t.Fatal(err)
	}
	url := serve(t, commander)
	for name, want := range map[string]string{
		"plain": "422 as the test wants it", "invalid": "422 too odd", "gone": "410 it was here", "odd": "422 d",
		"panic": "500 the command could not be made of the request",
	} {
		got := send(t, "PUT", url+"/faults/"+name, `{"value":1}`)
		if have := fmt.Sprint(got.status, " ", got.member("detail")); have != want {
			t.Errorf("%s: %s, want %s", name, have, want)
		}
		if name == "invalid" && !strings.Contains(got.body, `"pointer":"#/value"`) {
			t.Errorf("no pointer: %s", got.body)
		}
	}
	if records := w.log.All(w.spec.Commands); len(records) != 0 {
		t.Errorf("%d commands in the log", len(records))
	}
}

func TestConfig(t *testing.T) {
	if _, err := commands.New(config{}); !errors.Is(err, commands.ErrConfig) || strings.Count(err.Error(), "\n") < 3 {
		t.Errorf("an empty configuration: %v", err)
	}
	valid := baseConfig(newWorld(t).spec)
	if _, err := commands.New(valid); !errors.Is(err, commands.ErrConfig) {
		t.Errorf("no brokers: %v", err)
	}
	commander, err := commands.NewOver(valid, nil, newWorld(t).log)
	if err != nil {
		t.Fatal(err)
	}
	for name, change := range map[string]func(*commands.Route[string, command]){
		"method":       func(r *commands.Route[string, command]) { r.Method = "GET" },
		"pattern":      func(r *commands.Route[string, command]) { r.Pattern = "values" },
		"build":        func(r *commands.Route[string, command]) { r.Build = nil },
		"status":       func(r *commands.Route[string, command]) { r.Status = 302 },
		"schema":       func(r *commands.Route[string, command]) { r.Schema = "{" },
		"schema type":  func(r *commands.Route[string, command]) { r.Schema = `{"type":"nothing"}` },
		"schema loads": func(r *commands.Route[string, command]) { r.Schema = `{"$ref":"file:///etc/passwd"}` },
	} {
		route := createRoute()
		change(&route)
		if err := commander.Handle(route); !errors.Is(err, commands.ErrConfig) {
			t.Errorf("%s: %v", name, err)
		}
	}
}
