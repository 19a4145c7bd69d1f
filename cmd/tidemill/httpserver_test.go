package main

import (
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

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
