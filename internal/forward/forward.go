// Package forward sends an HTTP request on to another instance and its answer back: to the first of several candidates
// that answers. It keeps connections open, passes on headers, cancellation and streams, and guards against loops: a
// request is forwarded once, and whoever gets it so answers it or says that it cannot.
package forward

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httputil"
	"net/url"
	"sync"
	"time"
)

// The headers of this protocol.
const (
	// HeaderForwarded names, in a request, the instance that has forwarded it. Such a request is not forwarded again.
	HeaderForwarded = "Tidemill-Forwarded"
	// HeaderMisdirected says, in an answer of status 421, why this instance cannot answer: another one may.
	HeaderMisdirected = "Tidemill-Misdirected"
)

const (
	dialTimeout = 500 * time.Millisecond
	// suspected is for how long an instance that could not be reached is asked last.
	suspected = time.Second
	// maxBody is up to what size a request's body is kept, so that it can be sent to another candidate.
	maxBody = 64 << 10
	// maxAnswer is up to what length an answer is read whole before it is passed on, so that one that breaks off can be had
	// from another candidate.
	maxAnswer = 8 << 20
	// maxDrain is how much of an answer that is of no use is read, to use its connection again.
	maxDrain = 4 << 10
)

// The errors of forwarding, beside those of the network and of contexts.
var (
	// ErrMisdirected says that a candidate cannot answer.
	ErrMisdirected = errors.New("the instance cannot answer")
	// ErrNobody says that there is no candidate.
	ErrNobody = errors.New("no instance to ask is known")
)

// NewTransport returns a transport for requests between instances: no proxy, short dials, connections kept open.
func NewTransport() *http.Transport {
	return &http.Transport{
		DialContext:         (&net.Dialer{Timeout: dialTimeout, KeepAlive: 5 * time.Second}).DialContext,
		TLSHandshakeTimeout: 2 * time.Second,
		MaxIdleConnsPerHost: 256,
		IdleConnTimeout:     30 * time.Second,
		DisableCompression:  true, // bodies pass as they are
	}
}

// Forwarder sends requests on. It is safe for concurrent use.
type Forwarder struct {
	instance  string
	path      string
	transport http.RoundTripper
	proxy     *httputil.ReverseProxy
	probing   intervals

	mu     sync.Mutex
	known  map[string]standing // guarded by mu: base URL → what was found there a moment ago
	probes map[string]*probe   // guarded by mu: those that are being asked
}

// standing is what was last found of an instance.
type standing struct {
	at        time.Time
	reachable bool
}

// New returns a forwarder that names itself as instance. path is one that every instance answers at once, with 200.
func New(instance, path string, transport http.RoundTripper, logger *slog.Logger) *Forwarder {
	f := &Forwarder{instance: instance, path: path, transport: transport, probing: defaultIntervals, known: make(map[string]standing), probes: make(map[string]*probe)}
	f.proxy = &httputil.ReverseProxy{
		Rewrite: func(r *httputil.ProxyRequest) {
			r.Out.Host = r.In.Host // applications see the name that the client used
			r.Out.Header["X-Forwarded-For"] = r.In.Header["X-Forwarded-For"]
			r.SetXForwarded()
			r.Out.Header.Set(HeaderForwarded, instance)
		},
		Transport: attempts{f},
		ErrorHandler: func(_ http.ResponseWriter, r *http.Request, err error) {
			r.Context().Value(attemptKey{}).(*attempt).err = err
		},
		ErrorLog: slog.NewLogLogger(logger.Handler(), slog.LevelDebug),
	}
	return f
}

// Forwarded reports whether a request comes from another instance.
func Forwarded(r *http.Request) bool { return len(r.Header[HeaderForwarded]) > 0 }

// Suspect reports whether an instance could not be reached a moment ago.
func (f *Forwarder) Suspect(base string) bool {
	known, found := f.recent(base)
	return found && !known.reachable
}

// recent returns what was found of an instance within the last moment.
func (f *Forwarder) recent(base string) (known standing, found bool) {
	f.mu.Lock()
	defer f.mu.Unlock()
	known, found = f.known[base]
	return known, found && time.Since(known.at) <= suspected
}

// note notes what was found of an instance, and forgets what is old: instances come and go.
func (f *Forwarder) note(base string, reachable bool) {
	now := time.Now()
	f.mu.Lock()
	defer f.mu.Unlock()
	if _, found := f.known[base]; !found {
		for other, known := range f.known {
			if now.Sub(known.at) > suspected {
				delete(f.known, other)
			}
		}
	}
	f.known[base] = standing{at: now, reachable: reachable}
}

// attempt is one call of Serve.
type attempt struct {
	bases []string
	limit time.Duration // for the header of an answer, where there is another candidate; 0 for none
	last  time.Duration // the same for the last candidate
	err   error         // why nothing was written
}

type attemptKey struct{}

// Silence is how long an instance may give no sign of life to a request that has been sent to it while another one could be
// asked. One that is busy with the request says that it lives.
const Silence = 500 * time.Millisecond

// Serve has the first of the instances that answers serve the request. It returns an error if none did, and nothing has been
// written then. Only requests that may be repeated are sent to a second instance once the first has got them. limit bounds
// how long an answer may take to begin while there is another candidate, and last how long the last one's may; 0 is no bound. One
// that does not live any more is given up sooner: after Silence where the request may be repeated and there is a limit.
func (f *Forwarder) Serve(w http.ResponseWriter, r *http.Request, limit, last time.Duration, bases ...string) error {
	if len(bases) == 0 {
		return ErrNobody
	}
	a := &attempt{bases: bases, limit: limit, last: last}
	f.proxy.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), attemptKey{}, a)))
	return a.err
}

// hops are the headers that belong to one connection (RFC 9110, section 7.6.1).
var hops = []string{"Connection", "Keep-Alive", "Proxy-Connection", "Te", "Trailer", "Transfer-Encoding", "Upgrade"}

// Ask sends a request without a body to one instance, with the headers that it has. limit bounds how long its answer may take to
// begin, silence how long it may give no sign of life until then; 0 is none. The caller closes the answer's body.
func (f *Forwarder) Ask(r *http.Request, base string, limit, silence time.Duration) (*http.Response, error) {
	out := r.Clone(r.Context())
	for _, name := range hops {
		out.Header.Del(name)
	}
	out.Header.Set(HeaderForwarded, f.instance)
	out.Body, out.ContentLength, out.RequestURI, out.Close = http.NoBody, 0, "", false
	response, _, err := f.try(out, base, limit, silence)
	return response, err
}

// KeepBody reads a short body into memory, so that the request can be sent more than once.
func KeepBody(r *http.Request) error {
	if r.Body == nil || r.Body == http.NoBody || r.ContentLength <= 0 || r.ContentLength > maxBody {
		return nil
	}
	body, err := io.ReadAll(r.Body)
	if err != nil {
		return fmt.Errorf("reading the request's body: %w", err)
	}
	r.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	r.Body = io.NopCloser(bytes.NewReader(body))
	return nil
}

// attempts is the transport of the proxy.
type attempts struct{ f *Forwarder }

// RoundTrip asks one candidate after the other.
func (t attempts) RoundTrip(r *http.Request) (*http.Response, error) {
	a := r.Context().Value(attemptKey{}).(*attempt)
	var failures []error
	for i, base := range a.bases {
		limit := a.limit
		if i == len(a.bases)-1 {
			limit = a.last
		}
		silence := time.Duration(0)
		if limit > 0 && repeatable(r) {
			silence = Silence
		}
		response, sent, err := t.f.try(r, base, limit, silence)
		if err == nil {
			return response, nil
		}
		failures = append(failures, fmt.Errorf("asking %s: %w", base, err))
		if r.Context().Err() != nil || (sent && !repeatable(r)) {
			break
		}
		if r.GetBody != nil {
			if r.Body, err = r.GetBody(); err != nil {
				break
			}
		} else if r.Body != nil && r.Body != http.NoBody {
			break // it may be half read
		}
	}
	return nil, errors.Join(failures...)
}

// repeatable reports whether a request may be sent to a second instance after the first may have acted on it.
func repeatable(r *http.Request) bool {
	return r.Method == http.MethodGet || r.Method == http.MethodHead || r.Method == http.MethodOptions
}

// try asks one instance. An answer that says it cannot answer is an error. sent tells whether it may have acted. Whether the
// instance lives is looked after until all of a short answer has come, and while a stream goes on.
func (f *Forwarder) try(r *http.Request, base string, limit, silence time.Duration) (response *http.Response, sent bool, err error) {
	target, err := url.Parse(base)
	if err != nil {
		return nil, false, err
	}
	ctx, cancel := context.WithCancelCause(r.Context())
	out := r.WithContext(ctx)
	location := *r.URL
	location.Scheme, location.Host = target.Scheme, target.Host
	out.URL = &location
	patient := f.watch(ctx, cancel, base, limit, silence)
	response, err = f.transport.RoundTrip(out)
	if errors.Is(err, context.Canceled) && ctx.Err() == nil && repeatable(r) {
		response, err = f.transport.RoundTrip(out) // it met the end of another request on its connection
	}
	if err == nil && ctx.Err() != nil && r.Context().Err() == nil {
		response.Body.Close() // given up in the moment that it came
		err = context.Cause(ctx)
	}
	if err != nil {
		patient.stop()
		if cause := context.Cause(ctx); cause != nil && r.Context().Err() == nil {
			err = cause
		}
		if r.Context().Err() == nil {
			f.note(base, false)
		}
		cancel(nil)
		return nil, !dialled(err), err
	}
	f.note(base, true)
	if response.StatusCode == http.StatusMisdirectedRequest && response.Header.Get(HeaderMisdirected) != "" {
		patient.stop()
		reason := response.Header.Get(HeaderMisdirected)
		// What is left of it is of no use, and neither is an error of reading it.
		_, _ = io.CopyN(io.Discard, response.Body, maxDrain)
		response.Body.Close()
		cancel(nil)
		return nil, false, fmt.Errorf("%w: %s", ErrMisdirected, reason)
	}
	patient.begun()
	if repeatable(r) && response.ContentLength > 0 && response.ContentLength <= maxAnswer && r.Method != http.MethodHead {
		body, err := io.ReadAll(response.Body)
		patient.stop()
		response.Body.Close()
		cancel(nil)
		if err != nil {
			f.note(base, false)
			return nil, true, fmt.Errorf("reading the answer: %w", err)
		}
		response.Body = io.NopCloser(bytes.NewReader(body))
		return response, true, nil
	}
	response.Body = &watched{response.Body, patient, cancel}
	return response, true, nil
}

// dialled reports whether an error says that no connection came about, so that nothing was sent.
func dialled(err error) bool {
	var operation *net.OpError
	return errors.As(err, &operation) && operation.Op == "dial"
}

// watched is the body of an answer whose request is looked after until it has been read.
type watched struct {
	io.ReadCloser
	patient *patience
	cancel  context.CancelCauseFunc
}

// Close closes the body.
func (w *watched) Close() error {
	w.patient.stop()
	defer w.cancel(nil)
	return w.ReadCloser.Close()
}

// Misdirect answers that this instance cannot answer, and another one may.
func Misdirect(w http.ResponseWriter, instance, reason string) {
	w.Header().Set(HeaderMisdirected, reason)
	http.Error(w, instance+" cannot answer: "+reason, http.StatusMisdirectedRequest)
}
