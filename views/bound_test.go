package views_test

import (
	"fmt"
	"net/http"
	"slices"
	"strconv"
	"strings"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/views"
	"github.com/twmb/franz-go/pkg/kgo"
)

// behindEvents puts a processor between events, which are returned, and the changelog: what commit commits is its from here on.
func (s *shared) behindEvents(t testing.TB, partitions int32) (events string) {
	t.Helper()
	events, query := s.broker.Name(t), s.broker.Name(t)
	s.broker.CreateTopic(t, events, partitions, nil)
	s.config.Processor.Then = []views.Hop{{Topics: []string{events}, Group: query}}
	s.commands, s.fixture.group = events, query
	return events
}

// notShared makes an instance one with a full copy.
func notShared(c *instanceConfig) { c.Group = "" }

// answers asks for a path and wants a status: 503 not before the query has waited.
func (i *instance) answers(t *testing.T, path string, status int, headers ...string) (*http.Response, string) {
	t.Helper()
	began := time.Now()
	response, body := i.get(t, path, headers...)
	if response.StatusCode != status {
		t.Fatalf("%s %v: %d %s, want %d", path, headers, response.StatusCode, body, status)
	}
	if took := time.Since(began); status == http.StatusServiceUnavailable && took < 200*time.Millisecond {
		t.Errorf("%s %v is refused after %v already", path, headers, took)
	}
	return response, string(body)
}

// waitsFor has queries with a bound wait for what has happened on a partition, which are answered as soon as it is processed.
func (s *shared) waitsFor(t *testing.T, full *instance, number int32) {
	t.Helper()
	type answered struct {
		status int
		body   []byte
	}
	answers := make(chan answered, 2)
	for _, path := range []string{"/values/k1", "/own/k1"} {
		go func() {
			response, body, err := full.try(path, []string{"Tidemill-Max-Staleness", "0", "Prefer", "wait=20"})
			if err != nil {
				answers <- answered{}
				return
			}
			answers <- answered{response.StatusCode, body}
		}()
	}
	s.put(t, "k1", new(100.0))
	s.commit(t, number, 1)
	for range cap(answers) {
		if got := <-answers; got.status != http.StatusOK || !strings.Contains(string(got.body), "100") {
			t.Errorf("a query that waited is answered with %d, %s", got.status, got.body)
		}
	}
}

// A view that is not shared out keeps a bound as one does that is: the answer is not older, else it waits, and fails clearly.
func TestFullCopyKeepsBound(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		s := newShared(t, b, 2, 0)
		events := s.behindEvents(t, 2)
		s.fill(t, 10)
		full := s.start(t, "full", notShared)
		eventually(t, "the view is ready", func() bool {
			response, _ := full.get(t, "/values")
			return response.StatusCode == http.StatusOK
		})
		number, err := full.view.PartitionOf("k1")
		if err != nil {
			t.Fatal(err)
		}
		elsewhere := ""
		for n := 0; elsewhere == ""; n++ {
			key := "k" + strconv.Itoa(n)
			if other, err := full.view.PartitionOf(key); err != nil || other != number {
				elsewhere = key
			}
		}
		ask := func(path string, status int, headers ...string) (*http.Response, string) {
			t.Helper()
			return full.answers(t, path, status, headers...)
		}
		paths := []string{"/values/k1", "/values?key=k1", "/values", "/values?count", "/own/k1", "/values?partition=" + strconv.Itoa(int(number))}
		for n, path := range paths {
			headers := []string{"Tidemill-Max-Staleness", "0"}
			if n == len(paths)-1 {
				break // only streams know the parameter
			}
			response, _ := ask(path, http.StatusOK, headers...)
			if stated := response.Header.Get("Tidemill-Staleness"); stated != "0.000000" {
				t.Errorf("%s: its staleness is told as %q", path, stated)
			}
		}
		for _, path := range []string{"/values/k1", "/values", "/own/k1"} {
			if response, _ := ask(path, http.StatusOK); response.Header.Get("Tidemill-Staleness") != "" {
				t.Errorf("%s: a staleness is told that was not asked for, and not looked after", path)
			}
		}
		// Something happens, and its processor does not come to it.
		b.Produce(t, &kgo.Record{Topic: events, Partition: number, Key: []byte("k1"), Value: []byte("e")})
		for n, path := range paths {
			headers := []string{"Tidemill-Max-Staleness", "0", "Prefer", "wait=0.3"}
			if n == len(paths)-1 {
				headers = append(headers, "Accept", "text/event-stream")
			}
			response, body := ask(path, http.StatusServiceUnavailable, headers...)
			if response.Header.Get("Retry-After") == "" || !strings.Contains(body, `"urn:tidemill:partition-unavailable"`) {
				t.Errorf("%s: Retry-After %q, %s", path, response.Header.Get("Retry-After"), body)
			}
			want := fmt.Sprintf(`"partition":%d`, number)
			if n == 2 || n == 3 {
				want = `"missing":[0,1]`
			}
			if !strings.Contains(body, want) {
				t.Errorf("%s: %s, want %s in it", path, body, want)
			}
		}
		ask("/values/"+elsewhere, http.StatusOK, "Tidemill-Max-Staleness", "0", "Prefer", "wait=5") // nothing has happened there
		for _, path := range []string{"/values/k1?max_staleness=1m", "/own/k1?max_staleness=1m"} {
			response, _ := ask(path, http.StatusOK)
			if stated, err := strconv.ParseFloat(response.Header.Get("Tidemill-Staleness"), 64); err != nil || stated <= 0 || stated > 60 {
				t.Errorf("%s: its staleness is told as %q", path, response.Header.Get("Tidemill-Staleness"))
			}
		}
		response, _ := ask("/values?limit=1&max_staleness=1m", http.StatusOK)
		next := strings.TrimSuffix(strings.TrimPrefix(response.Header.Get("Link"), "<"), `>; rel="next"`)
		if !strings.Contains(next, "max_staleness=1m") {
			t.Errorf("the next page is %s", next)
		}
		ask("/values"+next, http.StatusOK)
		time.Sleep(500 * time.Millisecond)
		ask("/values/k1?max_staleness=0.4", http.StatusServiceUnavailable, "Prefer", "wait=0.3")
		s.waitsFor(t, full, number)
		for _, path := range []string{"/values/k1", "/values", "/own/k1"} {
			for _, wrong := range []string{"-1s", "soon", "NaN", "", "1&max_staleness=1"} {
				ask(path+"?max_staleness="+wrong, http.StatusBadRequest)
			}
			ask(path+"?max_staleness=1", http.StatusBadRequest, "Tidemill-Max-Staleness", "1")
		}
	})
}

// A staleness that is told with an answer is within the bound that was asked for, also where the bound is shorter than
// finding out takes.
func TestStatedStalenessIsWithinBound(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 2, 1)
	s.behindEvents(t, 2)
	s.fill(t, 10)
	first, second, full := s.start(t, "first"), s.start(t, "second"), s.start(t, "full", notShared)
	s.settled(t, first, second)
	for _, at := range []*instance{first, second, full} {
		for _, path := range []string{"/values/k1", "/values/k2", "/values", "/own/k1"} {
			eventually(t, at.Name+" answers", func() bool {
				response, _ := at.get(t, path, "Tidemill-Max-Staleness", "0")
				return response.StatusCode == http.StatusOK
			})
			for _, bound := range slices.Repeat([]float64{0, 0.0005, 0.001, 0.004, 0.02}, 10) {
				text := strconv.FormatFloat(bound, 'f', -1, 64)
				response, body := at.get(t, path, "Tidemill-Max-Staleness", text)
				stated, err := strconv.ParseFloat(response.Header.Get("Tidemill-Staleness"), 64)
				if response.StatusCode != http.StatusOK || err != nil || stated > bound {
					t.Errorf("%s, %s, at most %s s: %d, its staleness is told as %q, %s", at.Name, path, text, response.StatusCode, response.Header.Get("Tidemill-Staleness"), body)
				}
				time.Sleep(time.Duration(len(text)) * time.Millisecond / 2) // for what is known to age
			}
		}
	}
}
