package pages

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"strings"
	"sync"
	"time"
)

// The bounds of forwarding.
const (
	dialTimeout   = time.Second      // to connect to a service
	answerTimeout = 45 * time.Second // for its first byte: waits for outcomes take up to 30 s
	streamWrite   = 30 * time.Second // for a browser to take what a stream has for it
	probeTimeout  = 2 * time.Second  // for a service to say whether it is ready
	probeFresh    = time.Second      // how long what it said holds
)

// OrderingConfig says where ordering's page finds what it needs.
type OrderingConfig struct {
	// CommandURL is the command service, such as "http://localhost:9001".
	CommandURL string
	// QueryURLs are instances of the query service, at least one: they take turns, and what cannot be reached is passed over.
	QueryURLs []string
	// Systems are linked by the start page and the navigation.
	Systems []System
	// Logger gets what goes wrong; nil discards it.
	Logger *slog.Logger
}

// Ordering serves ordering's page, and what it asks for, at one origin: each request goes to the service that answers it.
// Either may be away: its requests are answered 503 then. It is safe for concurrent use.
type Ordering struct {
	config         OrderingConfig
	command, query *service
}

// service is one of the two services.
type service struct {
	name      string
	instances *instances
	proxy     *httputil.ReverseProxy

	mu    sync.Mutex // held while probing: one probe serves all who ask
	asked time.Time  // guarded by mu
	state string     // guarded by mu: what is wrong with it, "" for nothing
}

// NewOrdering returns the page's server.
func NewOrdering(config OrderingConfig) (*Ordering, error) {
	if config.Logger == nil {
		config.Logger = slog.New(slog.DiscardHandler)
	}
	transport := &http.Transport{
		DialContext:           (&net.Dialer{Timeout: dialTimeout}).DialContext,
		ResponseHeaderTimeout: answerTimeout, MaxIdleConnsPerHost: 64, IdleConnTimeout: time.Minute,
	}
	o := &Ordering{config: config}
	var err, err2 error
	o.command, err = newService("the command service", []string{config.CommandURL}, transport, config.Logger)
	o.query, err2 = newService("the query service", config.QueryURLs, transport, config.Logger)
	return o, errors.Join(err, err2)
}

func newService(name string, bases []string, transport http.RoundTripper, logger *slog.Logger) (*service, error) {
	s := &service{name: name, instances: &instances{transport: transport, away: map[*url.URL]time.Time{}}}
	for _, base := range bases {
		parsed, err := url.Parse(base)
		if err != nil || parsed.Host == "" || parsed.Scheme != "http" && parsed.Scheme != "https" {
			return nil, fmt.Errorf("the address of %s: %q is not a URL of http or https, such as http://localhost:9001", name, base)
		}
		s.instances.bases = append(s.instances.bases, parsed)
	}
	if len(bases) == 0 {
		return nil, fmt.Errorf("the address of %s: none is given", name)
	}
	s.proxy = &httputil.ReverseProxy{
		Transport: s.instances,
		Rewrite: func(r *httputil.ProxyRequest) {
			r.SetURL(s.instances.bases[0]) // whom it goes to is seen when it goes
			r.SetXForwarded()
			r.Out.Host = r.In.Host // by which the service tells its own origin from others
		},
		ModifyResponse: func(r *http.Response) error {
			r.Header.Del("X-Request-Id") // this server has told it
			return nil
		},
		ErrorHandler: func(w http.ResponseWriter, r *http.Request, err error) {
			if r.Context().Err() == nil {
				logger.Warn("a service does not answer", "service", name, "at", bases, "error", err)
			}
			writeProblem(w, http.StatusServiceUnavailable, name+" does not answer")
		},
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return s, nil
}

// writeProblem answers with a problem document (RFC 9457).
func writeProblem(w http.ResponseWriter, status int, detail string) {
	body, err := json.Marshal(map[string]any{"type": "about:blank", "title": http.StatusText(status), "status": status, "detail": detail})
	if err != nil {
		body = []byte("{}") // texts and a number: there is nothing that JSON cannot hold
	}
	header := w.Header()
	header.Set("Content-Type", "application/problem+json")
	header.Set("Cache-Control", "no-store")
	header.Set("Retry-After", "1")
	w.WriteHeader(status)
	_, _ = w.Write(body) // the client is gone when this fails
}

// Mount adds the start page at /, ordering's at /ordering, their files, and everything that docs/format/ordering-http.md
// has, each forwarded to its service.
func (o *Ordering) Mount(mux *http.ServeMux) error {
	err := errors.Join(Mount(mux, Start, "/"), Mount(mux, OrderingPage, "/ordering"), Files(mux, o.config.Systems...))
	for _, pattern := range []string{"POST /orders", "DELETE /orders/{id}", "GET /commands/{id}", "GET /commands/{id}/outcomes", "GET /outcomes"} {
		mux.Handle(pattern, o.command)
	}
	for _, pattern := range []string{"GET /orders", "GET /customers/{id}/orders", "GET /customers/{id}/orders/{bucket}", "GET /customers/{id}/changes"} {
		mux.Handle(pattern, o.query)
	}
	mux.HandleFunc("GET /services.json", o.serveServices)
	return err
}

// ServeHTTP forwards a request.
func (s *service) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	if strings.Contains(r.Header.Get("Accept"), "text/event-stream") {
		w = &streaming{ResponseWriter: w, control: http.NewResponseController(w)}
	}
	s.proxy.ServeHTTP(w, r)
}

// streaming gives each write its own deadline: a stream lasts longer than any answer may, and a browser that takes nothing
// must not hold it for ever.
type streaming struct {
	http.ResponseWriter
	control *http.ResponseController
}

// Write implements io.Writer.
func (w *streaming) Write(data []byte) (int, error) {
	if err := w.control.SetWriteDeadline(time.Now().Add(streamWrite)); err != nil && !errors.Is(err, http.ErrNotSupported) {
		return 0, err
	}
	return w.ResponseWriter.Write(data)
}

// Unwrap lets http.ResponseController reach the writer.
func (w *streaming) Unwrap() http.ResponseWriter { return w.ResponseWriter }

// serveServices answers {"command":"","query":"the query service does not answer"}: what is wrong with each.
func (o *Ordering) serveServices(w http.ResponseWriter, r *http.Request) {
	var states [2]string
	var wait sync.WaitGroup
	for i, s := range []*service{o.command, o.query} {
		wait.Go(func() { states[i] = s.probe(r.Context()) })
	}
	wait.Wait()
	answer(w, map[string]string{"command": states[0], "query": states[1]})
}

// probe returns what is wrong with a service, "" for nothing. However many ask, it is asked once a second.
func (s *service) probe(ctx context.Context) string {
	s.mu.Lock()
	defer s.mu.Unlock()
	if time.Since(s.asked) < probeFresh {
		return s.state
	}
	ctx, cancel := context.WithTimeout(context.WithoutCancel(ctx), probeTimeout)
	defer cancel()
	s.state = s.ask(ctx)
	s.asked = time.Now()
	return s.state
}

// ask asks the instances until one is ready. If none is, one that answers at least has the word.
func (s *service) ask(ctx context.Context) (state string) {
	for _, base := range s.instances.order() {
		wrong, answers := s.askOne(ctx, base)
		if wrong == "" {
			return ""
		}
		if state == "" || answers {
			state = wrong
		}
	}
	return state
}

func (s *service) askOne(ctx context.Context, base *url.URL) (wrong string, answers bool) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, base.JoinPath("readyz").String(), nil)
	if err != nil {
		return err.Error(), false
	}
	response, err := s.instances.transport.RoundTrip(request)
	if err != nil {
		return s.name + " does not answer", false
	}
	defer response.Body.Close()
	_, _ = io.Copy(io.Discard, io.LimitReader(response.Body, 1<<16)) // so that the connection can be used again
	if response.StatusCode != http.StatusOK {
		return s.name + " is not ready", true
	}
	return "", true
}
