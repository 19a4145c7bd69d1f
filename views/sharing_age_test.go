package views_test

import (
	"context"
	"net/http"
	"strconv"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/twmb/franz-go/pkg/kgo"
)

// How old an answer may be, and is said to be, counts against what has happened: where a processor stands between the events
// and the changelog, what it has not done yet is missing in the copy however level that is with the changelog.
func TestStalenessCountsWhatHappened(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		s := newShared(t, b, 2, 1)
		events := s.behindEvents(t, 2)
		s.fill(t, 10)
		first, second := s.start(t, "first"), s.start(t, "second")
		s.settled(t, first, second)
		const path = "/values/k1"
		number, err := first.view.PartitionOf("k1")
		if err != nil {
			t.Fatal(err)
		}
		get := func(at *instance, status int, headers ...string) (stated float64) {
			t.Helper()
			response, body := at.get(t, path, headers...)
			for began := time.Now(); status == http.StatusOK && response.Header.Get("Tidemill-Staleness") == "" && time.Since(began) < patience; {
				response, body = at.get(t, path, headers...) // it is not known at first
			}
			if response.StatusCode != status {
				t.Fatalf("%v: %d %s, want %d", headers, response.StatusCode, body, status)
			}
			stated, err := strconv.ParseFloat(response.Header.Get("Tidemill-Staleness"), 64)
			if status == http.StatusOK && err != nil {
				t.Fatalf("%v: the staleness is told as %q", headers, response.Header.Get("Tidemill-Staleness"))
			}
			return stated
		}
		for _, at := range []*instance{first, second} {
			get(at, http.StatusOK)
			get(at, http.StatusOK, "Tidemill-Max-Staleness", "0")
		}
		// Something happens, and its processor does not come to it.
		b.Produce(t, &kgo.Record{Topic: events, Partition: number, Key: []byte("k1"), Value: []byte("e")})
		happened := time.Now()
		for _, at := range []*instance{first, second} {
			get(at, http.StatusServiceUnavailable, "Tidemill-Max-Staleness", "0", "Prefer", "wait=0.3")
		}
		get(first, http.StatusOK, "Tidemill-Max-Staleness", "1m")
		time.Sleep(time.Until(happened.Add(2500 * time.Millisecond)))
		for _, at := range []*instance{first, second} {
			if stated := get(at, http.StatusOK); stated < 2.4 {
				t.Errorf("%s says that its state is %v s old, and what happened longer ago is missing", at.Name, stated)
			}
			// Of a partition that nobody has asked for yet it may not be known at first.
			eventually(t, at.Name+" says how old all rows are", func() bool {
				response, _ := at.get(t, "/values")
				text := response.Header.Get("Tidemill-Staleness")
				stated, err := strconv.ParseFloat(text, 64)
				if err == nil && stated < 2.4 {
					t.Errorf("%s says of all rows that they are %s s old", at.Name, text)
				}
				return err == nil
			})
			get(at, http.StatusServiceUnavailable, "Tidemill-Max-Staleness", "1s", "Prefer", "wait=0.3")
		}
		// What waits is answered as soon as it is processed, and the copies are young again.
		answered := make(chan int, 1)
		go func() {
			response, _, err := first.try(path, []string{"Tidemill-Max-Staleness", "0", "Prefer", "wait=20"})
			if err != nil {
				answered <- 0
				return
			}
			answered <- response.StatusCode
		}()
		one := float64(100)
		s.put(t, "k1", &one)
		s.commit(t, number, 1)
		if status := <-answered; status != http.StatusOK {
			t.Errorf("a query that waited is answered with %d", status)
		}
		for _, at := range []*instance{first, second} {
			if stated := get(at, http.StatusOK, "Tidemill-Max-Staleness", "1s"); stated > 1 {
				t.Errorf("%s says that its state is %v s old, and that was not asked for", at.Name, stated)
			}
		}
	})
}

// Who takes a partition over can say how old its state is, also where nobody has asked it for long, and what is new waits for its
// processor: little more than what has happened since. So can a standby, and an instance that had no copy before.
func TestStalenessAfterTakeOver(t *testing.T) {
	for _, standbys := range []int{1, 0} {
		t.Run(strconv.Itoa(standbys)+"-standbys", func(t *testing.T) {
			kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) { testStalenessAfterTakeOver(t, newShared(t, b, 2, standbys)) })
		})
	}
}

func testStalenessAfterTakeOver(t *testing.T, s *shared) {
	events := s.behindEvents(t, 2)
	s.fill(t, 10)
	one, other := s.start(t, "one"), s.start(t, "other")
	state := s.settled(t, one, other)
	number, err := one.view.PartitionOf("k1")
	if err != nil {
		t.Fatal(err)
	}
	if state.Partitions[number].Owner == other.Name {
		one, other = other, one
	}
	stated := func() float64 {
		t.Helper()
		response, body := other.get(t, "/values/k1")
		stated, err := strconv.ParseFloat(response.Header.Get("Tidemill-Staleness"), 64)
		if response.StatusCode != http.StatusOK || err != nil || response.Header.Get("Tidemill-Instance") != other.Name {
			t.Fatalf("%d %s: its staleness is told as %q by %s", response.StatusCode, body, response.Header.Get("Tidemill-Staleness"), response.Header.Get("Tidemill-Instance"))
		}
		return stated
	}
	time.Sleep(6 * time.Second) // with nobody asking
	s.broker.Produce(t, &kgo.Record{Topic: events, Partition: number, Key: []byte("k1"), Value: []byte("e")})
	happened := time.Now()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	if err := one.sharing.Drain(ctx); err != nil {
		t.Fatal(err)
	}
	if err := one.stop(); err != nil {
		t.Fatal(err)
	}
	s.settled(t, other)
	for range 20 {
		before := time.Since(happened).Seconds()
		if got := stated(); got < before || got > time.Since(happened).Seconds()+4 {
			t.Errorf("its state is told to be %v s old, and what it lacks happened %v ago", got, time.Since(happened))
		}
		time.Sleep(50 * time.Millisecond)
	}
}
