package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"
	"time"

	"github.com/prometheus/client_golang/prometheus"
)

// hardenedTest serves a request through hardened.
func hardenedTest(t *testing.T, next http.HandlerFunc, id string) *httptest.ResponseRecorder {
	t.Helper()
	metrics, err := newHTTPMetrics(prometheus.NewRegistry())
	if err != nil {
		t.Fatal(err)
	}
	request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("{}"))
	request.Header.Set(requestIDHeader, id)
	recorder := httptest.NewRecorder()
	hardened(next, metrics, slog.New(slog.DiscardHandler)).ServeHTTP(recorder, request)
	return recorder
}

func TestAPanicIsAnswered(t *testing.T) {
	got := hardenedTest(t, func(http.ResponseWriter, *http.Request) { panic("secret") }, "mine")
	if got.Code != http.StatusInternalServerError || strings.Contains(got.Body.String(), "secret") || got.Header().Get(requestIDHeader) != "mine" {
		t.Errorf("%d, %s, %v", got.Code, got.Body, got.Header())
	}
}

func TestRequestIDs(t *testing.T) {
	ok := func(w http.ResponseWriter, _ *http.Request) { w.WriteHeader(http.StatusNoContent) }
	for given, kept := range map[string]bool{"mine": true, "": false, "two words": false, "a\x00": false, strings.Repeat("x", 129): false} {
		if got := hardenedTest(t, ok, given).Header().Get(requestIDHeader); (got == given) != kept || got == "" {
			t.Errorf("id %q becomes %q", given, got)
		}
	}
}

// The answer must stay reachable for http.ResponseController: streams flush and set deadlines through it.
func TestStreamsPassThrough(t *testing.T) {
	got := hardenedTest(t, func(w http.ResponseWriter, _ *http.Request) {
		if err := http.NewResponseController(w).Flush(); err != nil {
			t.Errorf("flushing: %v", err)
		}
	}, "mine")
	if !got.Flushed {
		t.Error("nothing was flushed")
	}
}

// A server that stops waits for requests that are worth it, up to a time, and for others no longer than the grace: those answer
// without what they waited for.
func TestServerStops(t *testing.T) {
	const grace, until = 50 * time.Millisecond, 2 * time.Second
	for name, c := range map[string]struct {
		worth       time.Duration // how long requests are worth waiting for; 0 where nobody can tell
		took        time.Duration // how long a request takes
		status      int
		least, most time.Duration // of the stop
	}{
		"nobody can tell":              {0, time.Hour, 503, grace, until},
		"it comes in time":             {time.Hour, 200 * time.Millisecond, 200, 150 * time.Millisecond, until},
		"it does not come in time":     {time.Hour, time.Hour, 503, until, time.Minute},
		"nobody waits for it any more": {150 * time.Millisecond, time.Hour, 503, 150 * time.Millisecond, until},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			arrived := make(chan struct{})
			handler := http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
				close(arrived)
				select {
				case <-time.After(c.took):
				case <-r.Context().Done():
					w.WriteHeader(http.StatusServiceUnavailable)
				}
			})
			server, err := newHTTPServer(nil, "test", "127.0.0.1:0", "addr", handler, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			server.start()
			statuses := make(chan int, 1)
			go func() {
				response, err := http.Get("http://" + server.addr())
				if err != nil {
					statuses <- 0
					return
				}
				response.Body.Close()
				statuses <- response.StatusCode
			}()
			<-arrived
			began := time.Now()
			if c.worth > 0 {
				server.waiting = func() bool { return time.Since(began) < c.worth }
			}
			server.stop(grace, began.Add(until))
			if took := time.Since(began); took < c.least || took > c.most {
				t.Errorf("it stops in %v, want %v to %v", took, c.least, c.most)
			}
			if status := <-statuses; status != c.status {
				t.Errorf("the request is answered with %d, want %d", status, c.status)
			}
			if err := <-server.served; err != nil {
				t.Error(err)
			}
		})
	}
}
