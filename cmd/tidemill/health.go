package main

import (
	"context"
	"encoding/json"
	"errors"
	"log/slog"
	"net/http"
	"net/http/pprof"
	"sync/atomic"
	"time"

	"github.com/prometheus/client_golang/prometheus"
	"github.com/prometheus/client_golang/prometheus/promhttp"

	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/problem"
	"github.com/tidemill/tidemill/kafka"
)

// How the log is watched.
const (
	pingEvery   = time.Second
	pingTimeout = time.Second
	// awayAfter is how long the log is silent before requests that need it are refused at once.
	awayAfter = 2500 * time.Millisecond
)

var (
	errStopping = errors.New("shutting down")
	errLogAway  = errors.New("no broker answers")
)

// watch knows whether the log can be reached.
type watch struct {
	admin  *log.Admin
	logger *slog.Logger
	last   atomic.Int64 // when a broker last answered, in nanoseconds since the epoch; 0 before the first time
	since  time.Time
}

// newWatch connects to nothing yet.
func newWatch(config kafka.Config, registerer prometheus.Registerer, logger *slog.Logger) (*watch, error) {
	config.RequestTimeout, config.Logger = pingTimeout, nil // this one says itself what is wrong
	admin, err := log.NewAdmin(config)
	if err != nil {
		return nil, err
	}
	w := &watch{admin: admin, logger: logger, since: time.Now()}
	return w, registerer.Register(prometheus.NewGaugeFunc(prometheus.GaugeOpts{
		Name: "tidemill_log_reachable", Help: "Whether a broker has answered within the last seconds.",
	}, func() float64 {
		if w.away() {
			return 0
		}
		return 1
	}))
}

// run asks until ctx is done.
func (w *watch) run(ctx context.Context) {
	defer w.admin.Close()
	ticker := time.NewTicker(pingEvery)
	defer ticker.Stop()
	reachable := true
	for {
		err := w.admin.Ping(ctx)
		if ctx.Err() != nil {
			return
		}
		if err == nil {
			w.last.Store(time.Now().UnixNano())
		}
		switch {
		case err != nil && reachable:
			w.logger.Warn("no broker answers; work goes on when one does", "error", err)
		case err == nil && !reachable:
			w.logger.Info("a broker answers again")
		}
		reachable = err == nil
		select {
		case <-ctx.Done():
			return
		case <-ticker.C:
		}
	}
}

// away reports whether no broker has answered for a while.
func (w *watch) away() bool {
	last := w.since
	if nanoseconds := w.last.Load(); nanoseconds != 0 {
		last = time.Unix(0, nanoseconds)
	}
	return time.Since(last) > awayAfter
}

// guard refuses requests that write while the log is away, at once and not after a time-out.
func (w *watch) guard(next http.Handler) http.Handler {
	return http.HandlerFunc(func(rw http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodGet && r.Method != http.MethodHead && w.away() {
			problem.Write(rw, problem.Details{
				Status: http.StatusServiceUnavailable, RetryAfter: time.Second,
				Detail: "the log cannot be reached; nothing is written, send it again",
			})
			return
		}
		next.ServeHTTP(rw, r)
	})
}

// readyFunc is one thing that a process waits for.
type readyFunc struct {
	name  string
	ready func() error
}

// health answers /healthz and /readyz.
type health struct {
	parts    []readyFunc
	stopping atomic.Bool
}

// state returns what is not ready, by name.
func (h *health) state() (ready bool, parts map[string]string) {
	ready, parts = true, map[string]string{}
	for _, part := range h.parts {
		parts[part.name] = "ready"
		if err := part.ready(); err != nil {
			ready, parts[part.name] = false, err.Error()
		}
	}
	if h.stopping.Load() {
		ready, parts["process"] = false, errStopping.Error()
	}
	return ready, parts
}

func (h *health) mount(mux *http.ServeMux) {
	mux.HandleFunc("GET /healthz", func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		_, _ = w.Write([]byte("{\"status\":\"alive\"}\n"))
	})
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		ready, parts := h.state()
		body, err := json.Marshal(map[string]any{"ready": ready, "components": parts})
		if err != nil {
			body = []byte("{}") // strings and a boolean: there is nothing that JSON cannot hold
		}
		w.Header().Set("Content-Type", "application/json")
		w.Header().Set("Cache-Control", "no-store")
		if !ready {
			w.Header().Set("Retry-After", "1")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
		_, _ = w.Write(append(body, '\n'))
	})
}

// adminHandler serves what operators need.
func adminHandler(h *health, gatherer prometheus.Gatherer, withPprof bool) *http.ServeMux {
	mux := http.NewServeMux()
	h.mount(mux)
	mux.Handle("GET /metrics", promhttp.HandlerFor(gatherer, promhttp.HandlerOpts{EnableOpenMetrics: true}))
	if withPprof {
		mux.HandleFunc("/debug/pprof/", pprof.Index)
		mux.HandleFunc("/debug/pprof/cmdline", pprof.Cmdline)
		mux.HandleFunc("/debug/pprof/profile", pprof.Profile)
		mux.HandleFunc("/debug/pprof/symbol", pprof.Symbol)
		mux.HandleFunc("/debug/pprof/trace", pprof.Trace)
	}
	return mux
}
