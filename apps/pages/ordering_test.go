package pages_test

import (
	"bufio"
	"io"
	"net/http"
	"net/http/httptest"
	"strings"
	"sync/atomic"
	"testing"
	"time"

	"github.com/tidemill/tidemill/apps/pages"
	"github.com/tidemill/tidemill/internal/webtest"
)

// echo is a service that tells what it was asked.
func echo(name string, ready *atomic.Bool) http.Handler {
	mux := http.NewServeMux()
	mux.HandleFunc("GET /readyz", func(w http.ResponseWriter, _ *http.Request) {
		if !ready.Load() {
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	})
	mux.HandleFunc("GET /customers/{id}/changes", func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "text/event-stream")
		_, _ = io.WriteString(w, "event: ready\n\n")
		_ = http.NewResponseController(w).Flush()
		<-r.Context().Done()
	})
	mux.HandleFunc("/", func(w http.ResponseWriter, r *http.Request) {
		body, _ := io.ReadAll(r.Body)
		w.Header().Set("Tidemill-Token", "t")
		_, _ = io.WriteString(w, name+" "+r.Method+" "+r.URL.RequestURI()+" "+r.Host+" "+r.Header.Get("Authorization")+" "+string(body))
	})
	return mux
}

// origin is a page server with its two services.
func origin(t *testing.T) (page, command *httptest.Server, ready *atomic.Bool) {
	t.Helper()
	ready = new(atomic.Bool)
	ready.Store(true)
	command, query := httptest.NewServer(echo("command", ready)), httptest.NewServer(echo("query", ready))
	served, err := pages.NewOrdering(pages.OrderingConfig{CommandURL: command.URL, QueryURLs: []string{query.URL}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	if err := served.Mount(mux); err != nil {
		t.Fatal(err)
	}
	page = httptest.NewUnstartedServer(mux)
	page.Config.WriteTimeout = time.Minute
	page.Start()
	t.Cleanup(func() {
		page.Close()
		command.Close()
		query.Close()
	})
	return page, command, ready
}

// ask returns status, token and body of an answer.
func ask(t *testing.T, method, url, body string) (int, string, string) {
	t.Helper()
	got, err := webtest.Ask(t.Context(), http.DefaultClient, method, url, body, "Authorization", "Bearer x")
	if err != nil {
		t.Fatal(err)
	}
	return got.Status, got.Header.Get("Tidemill-Token"), got.Body
}

func TestForwarding(t *testing.T) {
	page, command, ready := origin(t)
	host := strings.TrimPrefix(page.URL, "http://")
	for request, service := range map[string]string{
		"POST /orders": "command", "DELETE /orders/a%2Fb": "command", "GET /commands/1?token=x": "command", "GET /commands/1/outcomes": "command",
		"GET /outcomes?tag=a": "command", "GET /orders?customerId=a&price=CHEAP": "query", "GET /customers/a%20b/orders": "query",
		"GET /customers/a/orders/CHEAP?limit=3": "query",
	} {
		method, path, _ := strings.Cut(request, " ")
		body := ""
		if method == http.MethodPost {
			body = "{}"
		}
		status, token, got := ask(t, method, page.URL+path, body)
		if want := service + " " + request + " " + host + " Bearer x " + body; status != http.StatusOK || got != want || token != "t" {
			t.Errorf("%s: %d, %q, token %q; want %q", request, status, got, token, want)
		}
	}
	if status, _, _ := ask(t, http.MethodGet, page.URL+"/metrics", ""); status != http.StatusNotFound {
		t.Errorf("/metrics: %d; nothing is forwarded but what the page needs", status)
	}
	if _, _, got := ask(t, http.MethodGet, page.URL+"/services.json", ""); got != `{"command":"","query":""}` {
		t.Errorf("/services.json: %s", got)
	}
	command.Close()
	ready.Store(false)
	status, _, got := ask(t, http.MethodPost, page.URL+"/orders", "{}")
	if status != http.StatusServiceUnavailable || !strings.Contains(got, "the command service does not answer") {
		t.Errorf("without the command service: %d, %s", status, got)
	}
	if status, _, _ := ask(t, http.MethodGet, page.URL+"/customers/a/orders", ""); status != http.StatusOK {
		t.Errorf("without the command service orders are shown all the same: %d", status)
	}
	want := `{"command":"the command service does not answer","query":"the query service is not ready"}`
	for deadline := time.Now().Add(10 * time.Second); ; time.Sleep(20 * time.Millisecond) {
		if _, _, got = ask(t, http.MethodGet, page.URL+"/services.json", ""); got == want {
			break
		}
		if time.Now().After(deadline) {
			t.Fatalf("/services.json: %s, want %s", got, want)
		}
	}
}

// A stream's events come at once, and it ends at the service when its reader goes.
func TestForwardingStreams(t *testing.T) {
	page, _, _ := origin(t)
	request, err := http.NewRequestWithContext(t.Context(), http.MethodGet, page.URL+"/customers/a/changes", nil)
	if err != nil {
		t.Fatal(err)
	}
	request.Header.Set("Accept", "text/event-stream")
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		t.Fatal(err)
	}
	line, err := bufio.NewReader(response.Body).ReadString('\n')
	if err != nil || line != "event: ready\n" {
		t.Errorf("the first line is %q, %v", line, err)
	}
	response.Body.Close() // the servers' Close, at the end of the test, waits for handlers that do not return
}

// The instances of the query service take turns; what can be reached answers, and each is asked again once it is back.
func TestForwardingToInstances(t *testing.T) {
	ready := new(atomic.Bool)
	first, second := httptest.NewServer(echo("first", ready)), httptest.NewServer(echo("second", ready))
	defer first.Close()
	defer second.Close()
	served, err := pages.NewOrdering(pages.OrderingConfig{CommandURL: first.URL, QueryURLs: []string{"http://127.0.0.1:1", first.URL, second.URL}})
	if err != nil {
		t.Fatal(err)
	}
	mux := http.NewServeMux()
	if err := served.Mount(mux); err != nil {
		t.Fatal(err)
	}
	page := httptest.NewServer(mux)
	defer page.Close()
	by := func() map[string]int {
		answered := map[string]int{}
		for range 12 {
			status, _, got := ask(t, http.MethodGet, page.URL+"/customers/a/orders?limit=1", "")
			name, rest, _ := strings.Cut(got, " ")
			if answered[name]++; status != http.StatusOK || !strings.HasPrefix(rest, "GET /customers/a/orders?limit=1 "+page.Listener.Addr().String()) {
				t.Fatalf("%d, %s", status, got)
			}
		}
		return answered
	}
	if answered := by(); answered["first"] < 4 || answered["second"] < 4 {
		t.Errorf("answers came from %v; they are to take turns", answered)
	}
	if _, _, got := ask(t, http.MethodGet, page.URL+"/services.json", ""); got != `{"command":"the command service is not ready","query":"the query service is not ready"}` {
		t.Errorf("/services.json: %s", got)
	}
	first.Close()
	if answered := by(); answered["second"] != 12 {
		t.Errorf("answers came from %v; one instance is there", answered)
	}
	second.Close()
	if status, _, _ := ask(t, http.MethodGet, page.URL+"/customers/a/orders", ""); status != http.StatusServiceUnavailable {
		t.Errorf("without any instance: %d", status)
	}
}

func TestOrderingNeedsServices(t *testing.T) {
	_, err := pages.NewOrdering(pages.OrderingConfig{CommandURL: "localhost:9001", QueryURLs: []string{"http://localhost:9002"}})
	if err == nil || !strings.Contains(err.Error(), "the command service") {
		t.Errorf("a URL without a scheme: %v", err)
	}
}
