package views_test

import (
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net/http"
	"net/http/httptest"
	"slices"
	"strconv"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/views"
)

// mergedClient follows all rows of a shared view, at one instance after the other.
type mergedClient struct {
	fold    *fold
	last    string
	resets  int
	readied int
}

// hear takes in an event.
func (c *mergedClient) hear(t testing.TB, e event) error {
	if e.id != "" {
		c.last = e.id
	}
	switch e.name {
	case "row":
		row := e.told(t)
		return c.fold.put(row.ID, row.Value)
	case "deleted":
		delete(c.fold.rows, e.told(t).Key)
	case "reset":
		c.fold = newFold()
		c.resets++
	case "ready":
		c.readied++
	}
	return nil
}

// until hears events of one connection until a condition holds.
func (c *mergedClient) until(t *testing.T, connection *connection, holds func(event) bool) {
	t.Helper()
	for {
		e, err := connection.next()
		if err == nil {
			err = c.hear(t, e)
		}
		if err != nil {
			t.Fatal(err)
		}
		if holds(e) {
			return
		}
	}
}

func isReady(e event) bool { return e.name == "ready" }

// A stream of all rows comes from all instances together: the rows once, then what changes; who comes back at any instance goes on
// where it was, and where one partition cannot go on, all rows are told anew.
func TestSharingMergedStream(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		s := newShared(t, b, 4, 0)
		s.fill(t, 40)
		one, other := s.start(t, "one"), s.start(t, "other")
		s.settled(t, one, other)
		want := make(map[string]float64)
		for n := range 40 {
			want["k"+strconv.Itoa(n)] = float64(n)
		}
		c := &mergedClient{fold: newFold()}
		stream := follow(t, one.url+"/values", "")
		c.until(t, stream, isReady)
		if !maps.Equal(c.fold.rows, want) || c.resets > 0 {
			t.Fatalf("the stream begins with %v after %d resets, want %v", c.fold.rows, c.resets, want)
		}
		change := func(key string, value float64) {
			t.Helper()
			want[key] = value
			s.put(t, key, &value)
		}
		for n := range 20 {
			change("k"+strconv.Itoa(n), float64(100+n))
		}
		c.until(t, stream, func(event) bool { return maps.Equal(c.fold.rows, want) })
		stream.Close()
		for n := range 20 {
			change("k"+strconv.Itoa(n+10), float64(200+n))
		}
		delete(want, "k5")
		s.put(t, "k5", nil)
		stream = follow(t, other.url+"/values", c.last)
		c.until(t, stream, func(event) bool { return c.readied == 2 && maps.Equal(c.fold.rows, want) })
		if c.resets > 0 {
			t.Errorf("a client that comes back begins anew %d times", c.resets)
		}
		stream.Close()
		// By prefix, which is of all partitions too.
		prefixed := &mergedClient{fold: newFold()}
		prefixed.until(t, follow(t, other.url+"/values?prefix=k1", ""), isReady)
		if len(prefixed.fold.rows) != 11 {
			t.Errorf("with the prefix there are %v", prefixed.fold.rows)
		}
		// Of one partition it is not known where it was.
		ids := strings.Split(c.last, "~")
		if len(ids) != 4 {
			t.Fatalf("the id is %q", c.last)
		}
		for name, id := range map[string]string{"lost": strings.Join(append(slices.Clone(ids[:3]), "snapshot"), "~"), "other partitions": strings.Join(ids[:3], "~")} {
			lost := &mergedClient{fold: newFold()}
			stream := follow(t, one.url+"/values?last-event-id="+id, "")
			lost.until(t, stream, isReady)
			if lost.resets != 1 || !maps.Equal(lost.fold.rows, want) {
				t.Errorf("%s: after %d resets there are %v, want %v", name, lost.resets, lost.fold.rows, want)
			}
			stream.Close()
		}
		for _, id := range []string{"snapshot", "m1.x~y~z~w", ids[0][3:], "m1." + strings.Repeat(prefixed.last[3:strings.Index(prefixed.last, "~")]+"~", 3)} {
			response, body := one.get(t, "/values", "Accept", "text/event-stream", "Last-Event-Id", id)
			if response.StatusCode != http.StatusBadRequest {
				t.Errorf("after %q: %d, %s", id, response.StatusCode, body)
			}
		}
		for _, query := range []string{"?limit=1", "?from=a", "?partition=4", "?prefix=%zz"} {
			if response, body := one.get(t, "/values"+query, "Accept", "text/event-stream"); response.StatusCode != http.StatusBadRequest {
				t.Errorf("%s: %d, %s", query, response.StatusCode, body)
			}
		}
	})
}

// A merged stream ends with what it was opened with.
func TestSharingMergedStreamExpires(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 4, 0)
	s.fill(t, 10)
	one, other := s.start(t, "one"), s.start(t, "other")
	s.settled(t, one, other)
	handler, err := one.view.Handler(calculatorHTTP)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		handler.ServeHTTP(w, views.Until(r, time.Now().Add(500*time.Millisecond)))
	}))
	defer server.Close()
	began := time.Now()
	stream := follow(t, server.URL+"/values", "")
	for err == nil {
		_, err = stream.next()
	}
	if took := time.Since(began); took < 400*time.Millisecond || took > patience/2 {
		t.Errorf("it ends after %v", took)
	}
}

// A merged stream ends with the instance that it comes from, which says so, also where that holds no row of it.
func TestSharingMergedStreamStops(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 2, 0)
	s.fill(t, 10)
	instances := []*instance{s.start(t, "a"), s.start(t, "b"), s.start(t, "c")}
	state := s.settled(t, instances...)
	one := instances[slices.IndexFunc(instances, func(i *instance) bool {
		return i.Name != state.Partitions[0].Owner && i.Name != state.Partitions[1].Owner
	})]
	for range 2 { // one that is begun afterwards as well
		stream := follow(t, one.url+"/values?prefix=k", "")
		one.view.EndWatches()
		began := time.Now()
		for {
			if _, err := stream.next(); err != nil {
				break
			}
		}
		if took := time.Since(began); took > patience/2 {
			t.Errorf("it ends after %v", took)
		}
	}
}

// An id that no header can hold is refused, and has nobody believe that an instance is gone.
func TestSharingMergedStreamMalformed(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 2, 0)
	s.fill(t, 10)
	one, other := s.start(t, "one"), s.start(t, "other")
	state := s.settled(t, one, other)
	ids := make([]string, 2) // what this instance has is begun anew: it has nothing to object
	for number, partition := range state.Partitions {
		if partition.Owner == other.Name {
			ids[number] = "a%0Ab"
		}
	}
	response, body := one.get(t, "/values?last-event-id=m1."+strings.Join(ids, "~"), "Accept", "text/event-stream")
	if response.StatusCode != http.StatusBadRequest {
		t.Errorf("%d, %s", response.StatusCode, body)
	}
}

// A merged stream is refused where not all that it is made of has room beside the other streams, and gives its room back.
func TestSharingMergedStreamsTooMany(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 4, 0)
	s.fill(t, 10)
	one := s.start(t, "one")
	s.settled(t, one)
	config := calculatorHTTP
	config.MaxWatches = 6
	handler, err := one.view.Handler(config)
	if err != nil {
		t.Fatal(err)
	}
	server := httptest.NewServer(handler)
	defer server.Close()
	first := follow(t, server.URL+"/values", "")
	(&mergedClient{fold: newFold()}).until(t, first, isReady)
	refused := func(path string) bool {
		ctx, cancel := context.WithTimeout(t.Context(), patience)
		defer cancel()
		stream, err := connect(ctx, server.URL+path, "")
		if err == nil {
			stream.Close()
		}
		return err != nil
	}
	if !refused("/values") {
		t.Fatal("there is a second merged stream, and no room for what it is made of")
	}
	follow(t, server.URL+"/values?partition=0", "")
	follow(t, server.URL+"/values?partition=1", "")
	if !refused("/values?partition=2") {
		t.Error("there are more streams than allowed")
	}
	first.Close()
	for deadline := time.Now().Add(patience); refused("/values"); time.Sleep(5 * time.Millisecond) {
		if time.Now().After(deadline) {
			t.Fatal("a merged stream that has ended leaves no room for another one")
		}
	}
}

// An instance that has too many streams is left alone for as long as it says.
func TestSharingMergedStreamRetries(t *testing.T) {
	s := newShared(t, kafkatest.Embedded(t), 2, 0)
	s.fill(t, 10)
	one, other := s.start(t, "one"), s.start(t, "other")
	state := s.settled(t, one, other)
	its := ""
	for number, partition := range state.Partitions {
		if partition.Owner == other.Name {
			its = strconv.Itoa(number)
		}
	}
	came := make(chan time.Time, 100)
	other.mux.HandleFunc("GET /values", func(w http.ResponseWriter, r *http.Request) {
		if r.URL.Query().Get("partition") == its {
			came <- time.Now()
		}
		w.Header().Set("Retry-After", "2")
		w.WriteHeader(http.StatusServiceUnavailable)
	})
	follow(t, one.url+"/values", "")
	var times []time.Time
	for deadline := time.After(patience); len(times) < 2; {
		select {
		case at := <-came:
			times = append(times, at)
		case <-deadline:
			t.Fatalf("it was asked %d times", len(times))
		}
	}
	if pause := times[1].Sub(times[0]); pause < 2*time.Second {
		t.Errorf("it is asked again after %v", pause)
	}
}

// Clients follow all rows while they change and instances come and go: each is told every row's changes in their order, none
// twice, and in the end has what there is.
func TestSharingMergedStreamMoves(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		seed := rand.Uint64()
		t.Logf("seed %d", seed)
		s := newShared(t, b, 4, 1)
		s.fill(t, 30)
		want := make(map[string]float64)
		for n := range 30 {
			want["k"+strconv.Itoa(n)] = float64(n)
		}
		var mu sync.Mutex
		up := []*instance{s.start(t, "a"), s.start(t, "b"), s.start(t, "c")} // guarded by mu
		s.settled(t, up...)
		ended := make(chan struct{})
		var clients sync.WaitGroup
		for number := range 4 {
			clients.Go(func() {
				c := &mergedClient{fold: newFold()}
				random := rand.New(rand.NewPCG(seed, uint64(number)))
				if err := c.roam(t, random, ended, want, func() string {
					mu.Lock()
					defer mu.Unlock()
					return up[random.IntN(len(up))].url
				}); err != nil {
					t.Errorf("client %d: %v", number, err)
				}
				t.Logf("client %d has come to be level %d times, after %d resets", number, c.readied, c.resets)
			})
		}
		random := rand.New(rand.NewPCG(seed, 100))
		value := 1000.0
		write := func(count int) {
			for range count {
				value++
				key := "k" + strconv.Itoa(random.IntN(30))
				if random.IntN(6) == 0 {
					delete(want, key)
					s.put(t, key, nil)
				} else {
					want[key] = value
					written := value
					s.put(t, key, &written)
				}
				time.Sleep(2 * time.Millisecond)
			}
		}
		write(60)
		for round := range 3 {
			mu.Lock()
			goes := up[0]
			up = up[1:]
			mu.Unlock()
			if round > 0 { // else its partitions move when it has gone
				ctx, cancel := context.WithTimeout(t.Context(), patience)
				if err := goes.sharing.Drain(ctx); err != nil {
					t.Error(err)
				}
				cancel()
			}
			stopped := make(chan error, 1)
			go func() { stopped <- goes.stop() }()
			write(60)
			if err := <-stopped; err != nil {
				t.Error(err)
			}
			comes := s.start(t, goes.Name+"-")
			mu.Lock()
			up = append(up, comes)
			mu.Unlock()
			s.settled(t, up...)
			write(40)
		}
		close(ended)
		clients.Wait()
	})
}

// roam follows the rows until it has those that are wanted, once no more are written. It is cut off now and then, or by an instance
// that goes.
func (c *mergedClient) roam(t *testing.T, random *rand.Rand, ended <-chan struct{}, want map[string]float64, url func() string) error {
	settled := func() bool {
		select {
		case <-ended:
			return maps.Equal(c.fold.rows, want)
		default:
			return false
		}
	}
	for deadline := time.Now().Add(2 * patience); !settled(); {
		if time.Now().After(deadline) {
			return fmt.Errorf("it has %v in the end, want %v", c.fold.rows, want)
		}
		if c.last == "" {
			c.fold = newFold()
		}
		ctx, cancel := context.WithTimeout(context.Background(), time.Duration(100+random.IntN(1500))*time.Millisecond)
		connection, err := connect(ctx, url()+"/values", c.last)
		if err != nil {
			cancel()
			time.Sleep(10 * time.Millisecond)
			continue // nobody listens there
		}
		for !settled() {
			e, err := connection.next()
			if err != nil {
				break
			}
			if err := c.hear(t, e); err != nil {
				connection.Close()
				cancel()
				return err
			}
		}
		connection.Close()
		cancel()
	}
	return nil
}
