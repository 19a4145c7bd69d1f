package views_test

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/views"
)

// ends reads a stream to its end, which must be that of the body and not of the connection, and returns the comment that it was told last.
func (c *connection) ends(t *testing.T) (last string) {
	t.Helper()
	for {
		e, err := c.Next()
		if errors.Is(err, io.EOF) {
			return last
		}
		if err != nil {
			t.Fatalf("the stream ends with %v, after %q", err, last)
		}
		last = e.Comment
	}
}

// limited starts an instance whose every request has an end to its streams: that which until holds when the request comes.
func limited(t *testing.T, s *shared, name string, until *atomic.Pointer[time.Time], change func(*instanceConfig)) (i *instance, url string) {
	t.Helper()
	var started atomic.Pointer[instance]
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		i := started.Load()
		if i == nil {
			http.Error(w, "not yet", http.StatusServiceUnavailable)
			return
		}
		if at := until.Load(); at != nil {
			r = views.Until(r, *at)
		}
		i.mux.ServeHTTP(w, r)
	}))
	t.Cleanup(server.Close)
	i = s.start(t, name, func(c *instanceConfig) {
		c.URL = server.URL
		change(c)
	})
	started.Store(i)
	return i, server.URL
}

// A stream ends when what it was opened with expires, also one that another instance answers; others go on.
func TestStreamsEndInTime(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 6, 0)
	s.fill(t, 20)
	var until atomic.Pointer[time.Time]
	whole, wholeURL := limited(t, s, "whole", &until, func(c *instanceConfig) { c.Group = "" })
	a, aURL := limited(t, s, "a", &until, func(*instanceConfig) {})
	b, bURL := limited(t, s, "b", &until, func(*instanceConfig) {})
	s.settled(t, a, b)
	eventually(t, "the full copy is restored", whole.view.Recovered)
	var endless, ending []*connection
	open := func(streams *[]*connection) {
		for n := range 6 {
			for _, url := range []string{wholeURL, aURL, bURL} {
				*streams = append(*streams, follow(t, fmt.Sprintf("%s/values/k%d", url, n), ""))
			}
		}
	}
	open(&endless)
	end := time.Now().Add(2 * time.Second)
	until.Store(&end)
	open(&ending)
	ending = append(ending, follow(t, wholeURL+"/values", ""), follow(t, wholeURL+"/values?prefix=k1", ""))
	for _, stream := range ending {
		if last := stream.ends(t); !strings.HasPrefix(last, "what this stream was opened with has expired") {
			t.Errorf("at the end it was told %q", last)
		}
	}
	if now := time.Now(); now.Before(end) {
		t.Errorf("they ended %s too early", end.Sub(now))
	}
	if response, body := a.get(t, "/values/k1"); response.StatusCode != http.StatusOK {
		t.Errorf("a short answer knows no end: %s, %s", response.Status, body)
	}
	for n := range 6 {
		s.put(t, fmt.Sprint("k", n), number(100))
	}
	for _, stream := range endless {
		for e := stream.must(t); e.name != "row" || e.told(t).Value != 100; {
			e = stream.must(t)
		}
	}
}

// served is an application's own handler of streams over a server.
func served(t *testing.T, streams *views.Streams, tell func(context.Context, views.Send) error) *httptest.Server {
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) { streams.Serve(w, r, tell) }))
	t.Cleanup(server.Close)
	return server
}

// An application's own streams: what is sent arrives, as it is sent; the client's end is the context's, and tell's the client's.
func TestStreams(t *testing.T) {
	streams := views.Streams{Max: 2}
	left := make(chan error, 3)
	pieces := make(chan string)
	server := served(t, &streams, func(ctx context.Context, send views.Send) error {
		for {
			select {
			case <-ctx.Done():
				left <- ctx.Err()
				return nil
			case piece, more := <-pieces:
				if !more {
					return views.ErrStopped
				}
				if err := errors.Join(send(nil), send([]byte("event: said\ndata: "+piece+"\n\n"))); err != nil {
					return err
				}
			}
		}
	})
	first := follow(t, server.URL, "")
	pieces <- "one"
	if e := first.must(t); e.data != "one" {
		t.Errorf("told %+v", e)
	}
	second := follow(t, server.URL, "")
	eventually(t, "two are open", func() bool { return streams.Open() == 2 })
	if response, err := http.Get(server.URL); err != nil || response.StatusCode != http.StatusServiceUnavailable || response.Header.Get("Retry-After") == "" {
		t.Errorf("one too many: %v, %v", response, err)
	}
	first.Close()
	select {
	case err := <-left:
		if !errors.Is(err, context.Canceled) {
			t.Errorf("the stream of a client that left ended with %v", err)
		}
	case <-time.After(patience):
		t.Fatal("nobody noticed that the client left")
	}
	close(pieces)
	if last := second.ends(t); !strings.HasPrefix(last, "the server is shutting down") {
		t.Errorf("at the end it was told %q", last)
	}
	streams.End()
	if open := streams.Open(); open != 0 {
		t.Errorf("%d streams are left", open)
	}
	// Without connections to take over it is served on its request, and ends with it.
	if kept := follow(t, server.URL, ""); kept.ends(t) == "" {
		t.Error("after the end nothing is told")
	}
	streams.Begin()
}

// A panic costs the stream and no more, on the request's goroutine and on one of its own.
func TestStreamsSurviveAPanic(t *testing.T) {
	var log strings.Builder
	var mu sync.Mutex // guards log
	streams := views.Streams{Logger: slog.New(slog.NewTextHandler(writerFunc(func(p []byte) (int, error) {
		mu.Lock()
		defer mu.Unlock()
		return log.Write(p)
	}), nil))}
	server := served(t, &streams, func(context.Context, views.Send) error { panic("oh") })
	follow(t, server.URL, "").ends(t)
	streams.End()
	follow(t, server.URL, "").ends(t)
	mu.Lock()
	defer mu.Unlock()
	if text := log.String(); strings.Count(text, "panic=oh") != 2 || streams.Open() != 0 {
		t.Errorf("%d are open; logged was %s", streams.Open(), text)
	}
}

type writerFunc func([]byte) (int, error)

func (f writerFunc) Write(p []byte) (int, error) { return f(p) }
