package forward

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"net"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"
)

const (
	probePath = "/alive"
	patient   = 20 * time.Second
)

// newForwarder returns a forwarder that loses its patience soon.
func newForwarder(t testing.TB) *Forwarder {
	t.Helper()
	transport := NewTransport()
	transport.DialContext = (&net.Dialer{Timeout: patient}).DialContext // on a busy machine a dial takes its time
	t.Cleanup(transport.CloseIdleConnections)
	f := New("here", probePath, transport, slog.New(slog.DiscardHandler))
	f.probing = intervals{first: 100 * time.Millisecond, answer: 100 * time.Millisecond, stream: 100 * time.Millisecond, life: 4 * time.Second}
	return f
}

// instance serves a handler, and answers probes.
func instance(t testing.TB, h http.HandlerFunc) *httptest.Server {
	t.Helper()
	mux := http.NewServeMux()
	mux.HandleFunc(probePath, func(http.ResponseWriter, *http.Request) {})
	mux.HandleFunc("/", h)
	server := httptest.NewServer(mux)
	t.Cleanup(func() {
		server.CloseClientConnections()
		server.Close()
	})
	return server
}

// says answers with a text.
func says(text string) http.HandlerFunc {
	return func(w http.ResponseWriter, _ *http.Request) { fmt.Fprint(w, text) }
}

// nowhere is a URL at which nobody listens.
func nowhere(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer listener.Close()
	return "http://" + listener.Addr().String()
}

// frozen is a URL at which connections are taken and nothing is answered.
func frozen(t testing.TB) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return "http://" + listener.Addr().String()
}

func get(f *Forwarder, limit time.Duration, bases ...string) (*httptest.ResponseRecorder, error) {
	recorder := httptest.NewRecorder()
	err := f.Serve(recorder, httptest.NewRequest(http.MethodGet, "/x?y=z", nil), limit, 0, bases...)
	return recorder, err
}

func TestServePassesTheRequestOn(t *testing.T) {
	f := newForwarder(t)
	var got *http.Request
	var body []byte
	there := instance(t, func(w http.ResponseWriter, r *http.Request) {
		got = r
		body, _ = io.ReadAll(r.Body)
		w.Header().Set("X-Answer", "yes")
		w.WriteHeader(http.StatusTeapot)
		fmt.Fprint(w, "tea")
	})
	request := httptest.NewRequest(http.MethodPost, "http://public.example/a%2Fb?c=d", strings.NewReader("leaves"))
	request.Header.Set("Authorization", "Bearer t")
	request.Header.Set("X-Forwarded-For", "1.2.3.4")
	request.Header.Set("Connection", "close, X-Hop")
	request.Header.Set("X-Hop", "not for others")
	recorder := httptest.NewRecorder()
	if err := f.Serve(recorder, request, time.Second, 0, there.URL); err != nil {
		t.Fatal(err)
	}
	if recorder.Code != http.StatusTeapot || recorder.Body.String() != "tea" || recorder.Header().Get("X-Answer") != "yes" {
		t.Fatalf("the answer is %d %q %v", recorder.Code, recorder.Body, recorder.Header())
	}
	for header, want := range map[string]string{
		HeaderForwarded: "here", "Authorization": "Bearer t", "X-Forwarded-For": "1.2.3.4, 192.0.2.1", "X-Hop": "",
	} {
		if value := got.Header.Get(header); value != want {
			t.Errorf("%s is %q there, want %q", header, value, want)
		}
	}
	if got.Method != http.MethodPost || got.URL.String() != "/a%2Fb?c=d" || got.Host != "public.example" || string(body) != "leaves" {
		t.Errorf("there came %s %s for %s with %q", got.Method, got.URL, got.Host, body)
	}
	if !Forwarded(got) || Forwarded(request) {
		t.Error("only what comes from another instance is forwarded")
	}
}

func TestServeAsksTheNext(t *testing.T) {
	short := instance(t, func(w http.ResponseWriter, _ *http.Request) {
		w.Header().Set("Content-Length", "100")
		fmt.Fprint(w, "broken off")
		panic(http.ErrAbortHandler)
	})
	misdirected := instance(t, func(w http.ResponseWriter, _ *http.Request) { Misdirect(w, "there", "it has moved") })
	slow := instance(t, func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() })
	good := instance(t, says("good"))
	for name, first := range map[string]string{
		"refuses connections": nowhere(t), "does not answer": frozen(t), "is slow": slow.URL, "is not right": misdirected.URL,
		"breaks off": short.URL, "has a URL that is none": "http://\x7f",
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			f := newForwarder(t)
			recorder, err := get(f, 300*time.Millisecond, first, good.URL)
			if err != nil || recorder.Body.String() != "good" {
				t.Fatalf("%q, %v", recorder.Body, err)
			}
			if suspect := f.Suspect(first); suspect != (first != misdirected.URL && first != "http://\x7f") {
				t.Errorf("it is suspected: %v", suspect)
			}
			if f.Suspect(good.URL) {
				t.Error("the good one is suspected")
			}
		})
	}
}

// Where nobody answers that is an error, and nothing is written.
func TestServeFails(t *testing.T) {
	misdirected := instance(t, func(w http.ResponseWriter, _ *http.Request) { Misdirect(w, "there", "it has moved") })
	for name, test := range map[string]struct {
		bases []string
		want  error
	}{
		"nobody to ask": {nil, ErrNobody},
		"moved":         {[]string{misdirected.URL, misdirected.URL}, ErrMisdirected},
		"frozen":        {[]string{frozen(t)}, ErrSilent},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			recorder, err := get(newForwarder(t), time.Second, test.bases...)
			if !errors.Is(err, test.want) || recorder.Body.Len() > 0 || len(recorder.Header()) > 0 {
				t.Fatalf("%v, want %v; %q %v", err, test.want, recorder.Body, recorder.Header())
			}
		})
	}
}

// An instance that is busy for long with one answer lives: it is not given up.
func TestServeWaitsForTheLiving(t *testing.T) {
	f := newForwarder(t)
	busy := instance(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(5 * f.probing.answer)
		fmt.Fprint(w, "at last")
	})
	if recorder, err := get(f, 0, busy.URL); err != nil || recorder.Body.String() != "at last" {
		t.Fatalf("%q, %v", recorder.Body, err)
	}
}

// A request that may have been acted on is not sent to a second instance; one that cannot have been is, with its body.
// Where another instance can be asked, one that gives no sign of life is given up long before its limit, and one that is
// busy is not.
func TestServeGivesUpTheSilent(t *testing.T) {
	good := instance(t, says("good"))
	busy := instance(t, func(w http.ResponseWriter, _ *http.Request) {
		time.Sleep(3 * Silence)
		fmt.Fprint(w, "at last")
	})
	for name, test := range map[string]struct{ first, want string }{"silent": {frozen(t), "good"}, "busy": {busy.URL, "at last"}} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			began := time.Now()
			recorder, err := get(newForwarder(t), patient, test.first, good.URL)
			if err != nil || recorder.Body.String() != test.want || time.Since(began) > patient/4 {
				t.Fatalf("%q, %v after %v", recorder.Body, err, time.Since(began))
			}
		})
	}
}

func TestServeRepeatsOnlyWhatItMay(t *testing.T) {
	var acted atomic.Int32
	fails := instance(t, func(_ http.ResponseWriter, r *http.Request) {
		_, _ = io.ReadAll(r.Body)
		acted.Add(1)
		panic(http.ErrAbortHandler)
	})
	good := instance(t, func(w http.ResponseWriter, r *http.Request) { _, _ = io.Copy(w, r.Body) })
	post := func(first string, keep bool) (string, error) {
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("body"))
		if keep {
			if err := KeepBody(request); err != nil {
				t.Fatal(err)
			}
		}
		recorder := httptest.NewRecorder()
		err := newForwarder(t).Serve(recorder, request, time.Second, 0, first, good.URL)
		return recorder.Body.String(), err
	}
	if got, err := post(fails.URL, true); err == nil || got != "" || acted.Load() != 1 {
		t.Fatalf("acted on %d times, then %q, %v", acted.Load(), got, err)
	}
	if got, err := post(nowhere(t), true); err != nil || got != "body" {
		t.Fatalf("%q, %v", got, err)
	}
}

// A long body is not kept, and so cannot be sent twice.
func TestKeepBody(t *testing.T) {
	for size, kept := range map[int]bool{0: false, 1: true, maxBody: true, maxBody + 1: false} {
		request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader(strings.Repeat("x", size)))
		if err := KeepBody(request); err != nil {
			t.Fatal(err)
		}
		if (request.GetBody != nil) != kept {
			t.Errorf("a body of %d bytes is kept: %v", size, !kept)
		}
		if data, err := io.ReadAll(request.Body); err != nil || len(data) != size {
			t.Errorf("of a body of %d bytes %d are left, %v", size, len(data), err)
		}
	}
	request := httptest.NewRequest(http.MethodPost, "/", io.MultiReader(strings.NewReader("x"), failing{}))
	request.ContentLength = 10
	if err := KeepBody(request); err == nil {
		t.Error("a body that cannot be read is no error")
	}
}

type failing struct{}

func (failing) Read([]byte) (int, error) { return 0, errors.New("the client is gone") }

// A stream passes as it is written; it ends at once for the other instance when its reader goes, and for its reader when
// the other instance stops answering.
func TestServeStreams(t *testing.T) {
	f := newForwarder(t)
	gone := make(chan struct{}, 2)
	alive := &atomic.Bool{}
	alive.Store(true)
	there := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Path == probePath {
			if !alive.Load() {
				<-r.Context().Done()
			}
			return
		}
		w.Header().Set("Content-Type", "text/event-stream")
		fmt.Fprint(w, "data: first\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
		gone <- struct{}{}
	}))
	t.Cleanup(there.Close)
	proxy := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if err := f.Serve(w, r, time.Second, 0, there.URL); err != nil {
			t.Error(err)
		}
	}))
	t.Cleanup(proxy.Close)
	open := func() (lines *bufio.Reader, leave func()) {
		ctx, cancel := context.WithTimeout(t.Context(), patient)
		request, err := http.NewRequestWithContext(ctx, http.MethodGet, proxy.URL, nil)
		if err != nil {
			t.Fatal(err)
		}
		response, err := http.DefaultClient.Do(request)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { response.Body.Close() })
		lines = bufio.NewReader(response.Body)
		if line, err := lines.ReadString('\n'); err != nil || line != "data: first\n" {
			t.Fatalf("%q, %v", line, err)
		}
		return lines, cancel
	}
	_, leave := open()
	time.Sleep(3 * f.probing.stream) // it stays open while the instance lives
	select {
	case <-gone:
		t.Fatal("the stream has ended")
	default:
	}
	leave()
	<-gone
	lines, leave := open()
	defer leave()
	alive.Store(false)
	began := time.Now()
	if _, err := io.ReadAll(lines); err == nil || time.Since(began) > patient/2 {
		t.Fatalf("the stream of an instance that does not answer ended with %v after %v", err, time.Since(began))
	}
	<-gone
}

func TestAsk(t *testing.T) {
	f := newForwarder(t)
	there := instance(t, func(w http.ResponseWriter, r *http.Request) {
		if r.Method != http.MethodPost || r.Header.Get(HeaderForwarded) != "here" || r.Header.Get("X-Kept") != "kept" || r.Header.Get("Te") != "" || r.ContentLength != 0 {
			t.Errorf("there came %s %v", r.Method, r.Header)
		}
		fmt.Fprint(w, "part")
	})
	request := httptest.NewRequest(http.MethodPost, "/", strings.NewReader("not passed on"))
	request.Header.Set("X-Kept", "kept")
	request.Header.Set("Te", "trailers")
	response, err := f.Ask(request, there.URL, time.Second, 0)
	if err != nil {
		t.Fatal(err)
	}
	defer response.Body.Close()
	if body, err := io.ReadAll(response.Body); err != nil || string(body) != "part" {
		t.Fatalf("%q, %v", body, err)
	}
	if _, err := f.Ask(request, nowhere(t), time.Second, 0); err == nil {
		t.Error("nobody is there, and that is no error")
	}
}

func TestProbe(t *testing.T) {
	f := newForwarder(t)
	good := instance(t, says(""))
	other := httptest.NewServer(http.NotFoundHandler())
	defer other.Close()
	for base, want := range map[string]error{good.URL: nil, other.URL: ErrMisdirected, nowhere(t): ErrSilent, frozen(t): ErrSilent} {
		if err := f.Probe(t.Context(), base, 200*time.Millisecond); !errors.Is(err, want) {
			t.Errorf("%s: %v, want %v", base, err, want)
		}
	}
	good.Close()
	if err := f.Probe(t.Context(), good.URL, 200*time.Millisecond); err != nil {
		t.Errorf("what was reached a moment ago is asked again: %v", err)
	}
}

// Suspicion passes, and what is known of instances that are gone does not pile up.
func TestSuspicionPasses(t *testing.T) {
	f := newForwarder(t)
	for n := range 100 {
		f.note(fmt.Sprint("http://", n), false)
	}
	if !f.Suspect("http://7") {
		t.Fatal("it was not reachable a moment ago")
	}
	f.mu.Lock()
	for base := range f.known {
		f.known[base] = standing{at: time.Now().Add(-2 * suspected)}
	}
	f.mu.Unlock()
	if f.Suspect("http://7") {
		t.Fatal("it is suspected for ever")
	}
	f.note("http://new", true)
	f.mu.Lock()
	defer f.mu.Unlock()
	if len(f.known) != 1 {
		t.Fatalf("%d instances are remembered", len(f.known))
	}
}

// Many requests at once, to instances that come and go: each gets the answer that is its own.
func TestServeConcurrently(t *testing.T) {
	f := newForwarder(t)
	echo := func(w http.ResponseWriter, r *http.Request) { fmt.Fprint(w, r.URL.RawQuery) }
	var calls atomic.Int64
	flaky := instance(t, func(w http.ResponseWriter, r *http.Request) {
		switch calls.Add(1) % 4 {
		case 0:
			panic(http.ErrAbortHandler)
		case 1:
			Misdirect(w, "flaky", "in a moment")
		case 2:
			w.Header().Set("Content-Length", "50")
			fmt.Fprint(w, "x")
		default:
			echo(w, r)
		}
	})
	good := instance(t, echo)
	var group sync.WaitGroup
	for n := range 50 {
		group.Go(func() {
			for m := range 10 {
				recorder := httptest.NewRecorder()
				want := fmt.Sprint("n=", n, "&m=", m)
				if err := f.Serve(recorder, httptest.NewRequest(http.MethodGet, "/?"+want, nil), patient, 0, flaky.URL, good.URL); err != nil || recorder.Body.String() != want {
					t.Errorf("%q, want %q, %v", recorder.Body, want, err)
				}
			}
		})
	}
	group.Wait()
}
