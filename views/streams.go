package views

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"runtime/debug"
	"sync/atomic"
	"time"

	"github.com/tidemill/tidemill/internal/problem"
)

// farewells are what a client is told as the last of a stream, where there is something to tell.
const (
	stoppedFarewell = ": the server is shutting down; go on by Last-Event-ID\n\n"
	expiredFarewell = ": what this stream was opened with has expired; go on by Last-Event-ID, with something newer\n\n"
)

// untilKey is the context key of when the streams that a request opens are to end.
type untilKey struct{}

// Until returns the request with an end to what it may open: a stream of changes ends at that moment, as one whose server
// stops, and its client comes back. Give it when the credentials expire that the request came with. The zero time is no end, and
// short answers know none.
func Until(r *http.Request, at time.Time) *http.Request {
	if at.IsZero() {
		return r
	}
	return r.WithContext(context.WithValue(r.Context(), untilKey{}, at))
}

// heldKey is the context key of the context that ends when this instance lets go of the partition that a request reads.
type heldKey struct{}

// outlast returns the context of a stream that may outlast its request. It ends when the instance lets the stream's partition
// go, and at the time that Until gave, then with context.DeadlineExceeded.
func outlast(r *http.Request) (context.Context, context.CancelFunc) {
	var ctx context.Context
	var cancel context.CancelFunc
	if at, limited := r.Context().Value(untilKey{}).(time.Time); limited {
		ctx, cancel = context.WithDeadline(context.Background(), at)
	} else {
		ctx, cancel = context.WithCancel(context.Background())
	}
	held, shared := r.Context().Value(heldKey{}).(context.Context)
	if !shared {
		return ctx, cancel
	}
	stop := context.AfterFunc(held, cancel)
	return ctx, func() {
		stop()
		cancel()
	}
}

// beginStream begins the answer of a stream. taking says that its connection may be taken over.
func beginStream(w http.ResponseWriter, r *http.Request) (taking bool) {
	taking = r.ProtoMajor == 1 && r.ProtoMinor == 1
	header := w.Header()
	header["Content-Type"] = []string{"text/event-stream"}
	header["Cache-Control"] = []string{"no-store"}
	header["X-Accel-Buffering"] = []string{"no"} // proxies are not to gather events
	if taking {
		header["Connection"] = []string{"close"}
	}
	w.WriteHeader(http.StatusOK)
	return taking
}

// retry has a client of a stream come back after a second (WHATWG HTML, section 9.2.6).
const retry = "retry: 1000\n\n"

// Streams serves the streams of server-sent events of an application's own handlers as a view's Handler serves its own: over
// HTTP/1.1 a stream takes its connection over from the server, which costs a fraction of the memory. It then ends with Streams,
// and http.Server.Shutdown does not wait for it. The zero value serves DefaultMaxWatches at a time. Its methods are safe for
// concurrent use.
type Streams struct {
	// Max bounds the open streams; more are answered 503. 0 means DefaultMaxWatches.
	Max int
	// WriteTimeout is how long a client may take for what is sent to it at once, which is to be 32 KiB at most; 0 means
	// DefaultWriteTimeout.
	WriteTimeout time.Duration
	// Logger is told of panics, which cost the stream alone; nil means slog's default.
	Logger *slog.Logger

	open        atomic.Int64
	connections connections
}

// Send sends a piece of a stream to its client. An error says that the client has gone, or takes too long.
type Send func(data []byte) error

// Serve begins a stream and has tell, in one goroutine, send the events; tell's return ends it. It may be called after Serve has
// returned. Its context ends with the client, at the time that Until gave, and when a shared view lets the partition of the request go.
// An error of tell that wraps ErrStopped is told the client as the server's end.
func (s *Streams) Serve(w http.ResponseWriter, r *http.Request, tell func(context.Context, Send) error) {
	if s.open.Add(1) > int64(cmp.Or(s.Max, DefaultMaxWatches)) {
		s.open.Add(-1)
		problem.Write(w, problem.Details{Status: http.StatusServiceUnavailable, RetryAfter: 5 * time.Second, Detail: "there are too many streams open"})
		return
	}
	ctx, cancel := outlast(r)
	serve := func(out outlet) {
		defer s.open.Add(-1)
		defer cancel()
		defer s.recover()
		s.tell(ctx, out, tell)
	}
	taking := beginStream(w, r)
	out := newResponseOutlet(w)
	if err := out.send([]byte(retry), s.within()); err != nil {
		cancel()
		s.open.Add(-1)
		return
	}
	if taking && s.connections.take(w, cancel, serve) {
		return
	}
	defer context.AfterFunc(r.Context(), cancel)()
	serve(out)
}

// recover does what net/http does for a handler.
func (s *Streams) recover() {
	if fault := recover(); fault != nil {
		cmp.Or(s.Logger, slog.Default()).Error("telling a stream of changes panicked", "panic", fault, "stack", string(debug.Stack()))
	}
}

func (s *Streams) within() time.Duration { return cmp.Or(s.WriteTimeout, DefaultWriteTimeout) }

func (s *Streams) tell(ctx context.Context, out outlet, tell func(context.Context, Send) error) {
	within := s.within()
	err := tell(ctx, func(data []byte) error {
		if len(data) == 0 {
			return nil
		}
		return out.send(data, within)
	})
	bidFarewell(ctx, err, out, within)
}

// bidFarewell tells a client why its stream ends, where it is still there to be told. Whether it arrives changes nothing.
func bidFarewell(ctx context.Context, err error, out outlet, within time.Duration) {
	switch {
	case errors.Is(err, ErrStopped):
		_ = out.send([]byte(stoppedFarewell), within)
	case errors.Is(ctx.Err(), context.DeadlineExceeded):
		_ = out.send([]byte(expiredFarewell), within)
	}
}

// Begin lets streams take connections over again after End.
func (s *Streams) Begin() { s.connections.begin() }

// End waits for the streams that have taken their connections over, whose tell functions have been brought to return, and cuts
// off those whose clients take too long.
func (s *Streams) End() { s.connections.end() }

// Open is the number of open streams.
func (s *Streams) Open() int { return int(s.open.Load()) }
