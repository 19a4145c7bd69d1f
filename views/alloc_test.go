package views_test

import (
	"net/http"
	"net/http/httptest"
	"testing"

	"github.com/tidemill/tidemill/internal/costtest"
	"github.com/tidemill/tidemill/internal/kafkatest"
)

// getBudget is how often answering a GET by key may allocate, without net/http's own part.
const getBudget = 10

// statusOnly is a response that keeps its header's map and its status.
type statusOnly struct {
	discard
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *statusOnly) WriteHeader(status int) { w.status = status }

func TestGetAllocations(t *testing.T) {
	f := newFixture(t, kafkatest.Embedded(t), 1)
	f.put(t, "3f2c8b1a", new(1.0))
	f.restored(t)
	handler := f.handler(t)
	request := httptest.NewRequest(http.MethodGet, "/values/3f2c8b1a", nil)
	w := &statusOnly{discard: discard{header: http.Header{}}}
	get := func() {
		clear(w.header)
		w.status = http.StatusOK
		handler.ServeHTTP(w, request)
		if w.status != http.StatusOK {
			t.Fatalf("status %d", w.status)
		}
	}
	costtest.Check(t, "request", 1, costtest.Budget{Name: "GET", Most: getBudget, Prepare: func(testing.TB) func() { return get }})
}
