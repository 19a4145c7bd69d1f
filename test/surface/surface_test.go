// Package surface sends raw requests through the HTTP handlers of the two reference systems, whole: make fuzz. Whatever comes,
// there is no panic and no answer 500, an error is a problem document, and a request that is refused leaves no record.
package surface

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"

	"github.com/tidemill/tidemill/apps/service"
	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/internal/kafkatest"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

const (
	patience    = 60 * time.Second
	requestTime = 150 * time.Millisecond // ends streams, and requests that wait
	produceTime = 4 * time.Second        // for so long an unanswered command may still reach the log
)

// surface is a system that runs, with its handlers.
type surface struct {
	admin   *kadm.Client
	topic   string
	handler http.Handler
	records int64
	unsure  time.Time // until then records of earlier requests may come
}

// start runs components until the test ends. Their commands go to a topic.
func start(f *testing.F, b kafkatest.Broker, topic string, components []service.Component) *surface {
	f.Helper()
	ctx, cancel := context.WithCancel(context.Background())
	var running sync.WaitGroup
	mux := http.NewServeMux()
	for _, c := range components {
		c.Mount(mux)
		running.Go(func() {
			if err := c.Run(ctx); err != nil {
				f.Errorf("a component has ended: %v", err)
			}
		})
	}
	f.Cleanup(func() {
		for _, c := range components {
			c.Stopping()
		}
		cancel()
		running.Wait()
		for _, c := range components {
			if err := c.Close(); err != nil {
				f.Error(err)
			}
		}
	})
	for deadline := time.Now().Add(patience); ; time.Sleep(5 * time.Millisecond) {
		var waiting error
		for _, c := range components {
			if err := c.Ready(); err != nil {
				waiting = err
			}
		}
		if waiting == nil {
			break
		}
		if time.Now().After(deadline) {
			f.Fatalf("not ready: %v", waiting)
		}
	}
	return &surface{admin: kadm.NewClient(b.Client(f)), topic: topic, handler: mux}
}

// count returns how many records the commands' topic has.
func (s *surface) count(t *testing.T) (total int64) {
	t.Helper()
	ends, err := s.admin.ListEndOffsets(t.Context(), s.topic)
	if err == nil {
		err = ends.Error()
	}
	if err != nil {
		t.Fatal(err)
	}
	ends.Each(func(o kadm.ListedOffset) { total += o.Offset })
	return total
}

// send serves one raw request and checks the answer.
func (s *surface) send(t *testing.T, raw []byte) {
	t.Helper()
	r, err := http.ReadRequest(bufio.NewReader(bytes.NewReader(raw)))
	if err != nil {
		return // net/http answers it with 400 itself
	}
	ctx, cancel := context.WithTimeout(t.Context(), requestTime)
	defer cancel()
	recorder := httptest.NewRecorder()
	s.handler.ServeHTTP(recorder, r.WithContext(ctx))
	got := recorder.Result()
	switch {
	case got.StatusCode == http.StatusServiceUnavailable || got.StatusCode == http.StatusGatewayTimeout || ctx.Err() != nil:
		s.unsure = time.Now().Add(produceTime)
	case got.StatusCode >= 500:
		t.Fatalf("answered %d: %s", got.StatusCode, recorder.Body)
	}
	if got.StatusCode >= 400 && r.Method != http.MethodHead && strings.HasPrefix(got.Header.Get("Content-Type"), "application/") && !json.Valid(recorder.Body.Bytes()) {
		t.Fatalf("answered %d with no JSON: %q", got.StatusCode, recorder.Body)
	}
	if r.Method == http.MethodGet || r.Method == http.MethodHead {
		return
	}
	before := s.records
	s.records = s.count(t)
	command := got.Header.Get(commands.TokenHeader) != ""
	if got.StatusCode >= 400 && got.StatusCode < 500 && !command && s.records != before && time.Now().After(s.unsure) {
		t.Fatalf("answered %d: %s; and the commands' topic has %d records, before it had %d", got.StatusCode, recorder.Body, s.records, before)
	}
	if got.StatusCode < 300 && !command {
		t.Fatalf("answered %d without a token: %s", got.StatusCode, recorder.Body)
	}
}
