package main

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"net"
	"net/http"
	"runtime/debug"
	"time"

	"github.com/google/uuid"
	"github.com/prometheus/client_golang/prometheus"

	"github.com/tidemill/tidemill/internal/problem"
)

// The bounds of the HTTP servers. Streams set a deadline of their own for each write.
const (
	headerTimeout = 5 * time.Second
	bodyTimeout   = 45 * time.Second // to read a body; waits, which are shorter, happen under it
	writeTimeout  = time.Minute
	idleTimeout   = 2 * time.Minute
	maxHeader     = 64 << 10
)

// requestIDHeader carries an id by which a request is found again in the logs of all that it passes.
const requestIDHeader = "X-Request-Id"

// httpServer is one HTTP server: its address is taken when it is made, so that a wrong one is known before anything runs.
type httpServer struct {
	name     string
	flag     string // that sets its address
	listener net.Listener
	server   *http.Server
	cancel   context.CancelFunc // ends the requests that still wait
	waiting  func() bool        // whether some of those are worth waiting for; nil where none is
	served   chan error
}

// newHTTPServer listens on an address, unless it has a listener. The flag is named in the error.
func newHTTPServer(listener net.Listener, name, addr, flag string, handler http.Handler, logger *slog.Logger) (_ *httpServer, err error) {
	if listener == nil {
		listener, err = net.Listen("tcp", addr)
	}
	if err != nil {
		return nil, fmt.Errorf("listening for %s on %s: %w (choose another address with --%s, or stop what listens there)", name, addr, err, flag)
	}
	ctx, cancel := context.WithCancel(context.Background())
	return &httpServer{
		name: name, flag: flag, listener: listener, cancel: cancel, served: make(chan error, 1),
		server: &http.Server{
			Handler: handler, ReadHeaderTimeout: headerTimeout, WriteTimeout: writeTimeout, IdleTimeout: idleTimeout, MaxHeaderBytes: maxHeader,
			BaseContext: func(net.Listener) context.Context { return ctx },
			ErrorLog:    slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
		},
	}, nil
}

// addr is where the server listens.
func (s *httpServer) addr() string { return s.listener.Addr().String() }

// url is an address that a browser on this machine can use.
func (s *httpServer) url() string {
	_, port, _ := net.SplitHostPort(s.addr())
	if host, _, _ := net.SplitHostPort(s.addr()); !net.ParseIP(host).IsUnspecified() {
		return "http://" + s.addr()
	}
	return "http://localhost:" + port
}

// start serves until stop.
func (s *httpServer) start() {
	go func() {
		err := s.server.Serve(s.listener)
		if errors.Is(err, http.ErrServerClosed) {
			err = nil
		}
		s.served <- err
	}()
}

// stopPoll is between looks whether requests wait.
const stopPoll = 5 * time.Millisecond

// stop takes no more requests, and lets those finish that are there: for the grace, and up to a time as long as some wait for what other
// instances are about to do. Then it lets those that wait for something answer without it, and cuts the rest.
func (s *httpServer) stop(grace time.Duration, until time.Time) {
	defer s.cancel()
	ctx, cancel := context.WithCancel(context.Background())
	defer cancel()
	shut := make(chan error, 1)
	go func() { shut <- s.server.Shutdown(ctx) }()
	ticker := time.NewTicker(stopPoll)
	defer ticker.Stop()
	for left := time.Now().Add(grace); time.Now().Before(left); {
		select {
		case <-shut:
			return
		case <-ticker.C:
		}
		if now := time.Now(); s.waiting != nil && s.waiting() && now.Before(until) {
			left = now.Add(grace)
		}
	}
	s.cancel()
	timer := time.AfterFunc(2*grace, cancel)
	defer timer.Stop()
	if <-shut != nil {
		_ = s.server.Close() // whoever is cut off had three graces
	}
}

// httpMetrics counts requests of all servers.
type httpMetrics struct {
	requests *prometheus.CounterVec
	seconds  *prometheus.HistogramVec
	inFlight prometheus.Gauge
}

func newHTTPMetrics(registerer prometheus.Registerer) (*httpMetrics, error) {
	m := &httpMetrics{
		requests: prometheus.NewCounterVec(prometheus.CounterOpts{
			Name: "tidemill_http_requests_total", Help: "Requests by method and status code.",
		}, []string{"method", "code"}),
		seconds: prometheus.NewHistogramVec(prometheus.HistogramOpts{
			Name: "tidemill_http_request_seconds", Help: "From a request's header to the end of its answer.",
			Buckets: prometheus.ExponentialBuckets(0.0005, 2, 16),
		}, []string{"method"}),
		inFlight: prometheus.NewGauge(prometheus.GaugeOpts{Name: "tidemill_http_requests_in_flight", Help: "Requests being answered."}),
	}
	return m, errors.Join(registerer.Register(m.requests), registerer.Register(m.seconds), registerer.Register(m.inFlight))
}

// answer remembers the status of an answer.
type answer struct {
	http.ResponseWriter
	status int
}

// WriteHeader implements http.ResponseWriter.
func (w *answer) WriteHeader(status int) {
	if w.status == 0 {
		w.status = status
	}
	w.ResponseWriter.WriteHeader(status)
}

// Write implements http.ResponseWriter.
func (w *answer) Write(data []byte) (int, error) {
	if w.status == 0 {
		w.status = http.StatusOK
	}
	return w.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController reach the writer.
func (w *answer) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// hardened gives requests an id, bodies a deadline, panics an answer, and counts and logs.
func hardened(next http.Handler, m *httpMetrics, logger *slog.Logger) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		began := time.Now()
		id := requestID(r)
		w.Header().Set(requestIDHeader, id)
		r.Header.Set(requestIDHeader, id) // for whom it is forwarded to
		recorded := &answer{ResponseWriter: w}
		m.inFlight.Inc()
		defer func() {
			m.inFlight.Dec()
			if fault := recover(); fault != nil {
				if fault == http.ErrAbortHandler {
					panic(fault)
				}
				logger.Error("answering a request panicked", "request", id, "method", r.Method, "path", r.URL.Path, "panic", fault, "stack", string(debug.Stack()))
				if recorded.status == 0 {
					problem.Write(recorded, problem.Details{Status: http.StatusInternalServerError, Detail: "the request could not be answered"})
				}
			}
			took := time.Since(began)
			m.requests.WithLabelValues(methodLabel(r.Method), codeLabel(recorded.status)).Inc()
			m.seconds.WithLabelValues(methodLabel(r.Method)).Observe(took.Seconds())
			logger.Debug("answered", "request", id, "method", r.Method, "path", r.URL.Path, "status", recorded.status, "took", took)
		}()
		if r.ContentLength != 0 {
			// Not every writer has deadlines; those of the server do.
			_ = http.NewResponseController(recorded).SetReadDeadline(began.Add(bodyTimeout))
		}
		next.ServeHTTP(recorded, r)
	})
}

// sameOrigin refuses what a browser sends for another site's page, unless it only reads: a page that somebody visits must not
// send commands to what they can reach. Reading by such a page is the browser's to refuse, since nothing here allows it.
func sameOrigin(next http.Handler) http.Handler {
	protection := http.NewCrossOriginProtection()
	protection.SetDenyHandler(http.HandlerFunc(func(w http.ResponseWriter, _ *http.Request) {
		problem.Write(w, problem.Details{Status: http.StatusForbidden, Detail: "a page of another origin may not send this"})
	}))
	return protection.Handler(next)
}

// requestID returns the id that a client or proxy gave the request, if it is one, or a new one.
func requestID(r *http.Request) string {
	given := r.Header.Get(requestIDHeader)
	if given == "" || len(given) > 128 {
		return uuid.NewString()
	}
	for i := range len(given) {
		if given[i] <= ' ' || given[i] > '~' {
			return uuid.NewString()
		}
	}
	return given
}

// methodLabel bounds the label's values: a method is what the client says.
func methodLabel(method string) string {
	switch method {
	case http.MethodGet, http.MethodHead, http.MethodPost, http.MethodPut, http.MethodPatch, http.MethodDelete, http.MethodOptions:
		return method
	}
	return "other"
}

func codeLabel(status int) string {
	if status < 100 || status > 599 {
		return "none"
	}
	return fmt.Sprint(status)
}
