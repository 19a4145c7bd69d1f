package commands_test

import (
	"context"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/costtest"
)

// postBudget is how often taking in a command may allocate until the log has acknowledged it, without net/http's and the
// producer's own parts.
const postBudget = 75

// discard is a response that keeps its header's map.
type discard struct {
	header http.Header
	status int
}

func (d *discard) Header() http.Header            { return d.header }
func (d *discard) Write(data []byte) (int, error) { return len(data), nil }
func (d *discard) WriteHeader(status int)         { d.status = status }

func TestPostAllocations(t *testing.T) {
	w := newWorld(t)
	acknowledge := func(_ context.Context, record *kgo.Record) (outcome.Position, error) {
		return outcome.Position{Topic: record.Topic, Offset: 1}, nil
	}
	commander, err := commands.NewOver(baseConfig(w.spec), acknowledge, w.log)
	if err != nil {
		t.Fatal(err)
	}
	defer commander.Close()
	if err := commander.Handle(createRoute()); err != nil {
		t.Fatal(err)
	}
	handler, body, response := commander.Handler(), strings.NewReader(""), &discard{header: http.Header{}}
	request := httptest.NewRequest(http.MethodPost, "/values", body)
	request.Header.Set("Content-Type", "application/json")
	request.Header.Set("Prefer", "respond-async")
	post := func() {
		body.Reset(`{"value":3}`)
		request.ContentLength = int64(body.Len())
		clear(response.header)
		handler.ServeHTTP(response, request)
		if response.status != http.StatusAccepted {
			t.Fatalf("status %d", response.status)
		}
	}
	costtest.Check(t, "request", 1, costtest.Budget{Name: "POST", Most: postBudget, Prepare: func(testing.TB) func() { return post }})
}
