package subscriptions

import (
	"context"
	"errors"
	"fmt"
	"io"
	"math/rand/v2"
	"net"
	"net/http"
	"net/http/httptest"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/tidemill/tidemill/commands/auth"
	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/outcome"
	"github.com/tidemill/tidemill/internal/partition"
	"github.com/tidemill/tidemill/internal/store"
)

func TestStreamOfACommand(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	s := w.start(store.NewMemory(), func(c *Config) { c.Heartbeat = 5 * time.Millisecond })
	r := connect(t, s.url+"/commands/a/outcomes", "")
	if e, err := r.next(); err != nil || e.comment != "still here" {
		t.Errorf("while nothing happens: %+v, %v", e, err)
	}
	w.send(0, "k", "a", "events:2")
	e := r.must(t)
	if found := e.outcome(t); e.name != "accepted" || len(found.Events) != 2 || found.ID != "a" || e.id != "0.1" {
		t.Errorf("%+v", e)
	}
	w.send(0, "k", "a", "events:2") // a retry has no outcome of its own
	w.send(0, "k", "b", "events:1")
	w.send(0, "k", "a", "events:3")
	if e := r.must(t); e.name != "rejected" || e.outcome(t).Kind != outcome.KindIdempotencyConflict || e.id != "0.4" {
		t.Errorf("a conflict under the same id: %+v", e)
	}
	if e := connect(t, s.url+"/commands/a/outcomes", e.id).must(t); e.id != "0.4" {
		t.Errorf("after a reconnect: %+v", e)
	}
	if e := connect(t, s.url+"/commands/a/outcomes?last-event-id="+e.id, "").must(t); e.id != "0.4" {
		t.Errorf("after a reconnect of a page: %+v", e)
	}
	// The log holds four commands in one partition.
	for _, bad := range []string{"x", "0", "0.", ".1", "-1.2", "0.1_0.2", "0.1_", "99999999999.1", strings.Repeat("1.1_", 5000), "0.5", "1.0", "0.1_1.0", "0.9223372036854775807"} {
		if _, err := tryConnect(s.url+"/commands/a/outcomes", bad); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("Last-Event-ID %.40q: %v", bad, err)
		}
	}
	for _, bad := range []string{"/outcomes", "/outcomes?aggregate=", "/outcomes?aggregate=a&aggregate=b"} {
		if _, err := tryConnect(s.url+bad, ""); err == nil || !strings.Contains(err.Error(), "400") {
			t.Errorf("%s: %v", bad, err)
		}
	}
}

// TestStreamFromWhereOthersAre connects with a position that this instance has not read yet: another one, which was
// further, gave it. Only the log can tell it from one made up, and where that is away the client is believed.
func TestStreamFromWhereOthersAre(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	s := w.start(store.NewMemory(), nil)
	w.send(0, "k", "a", "events:1")
	if e := connect(t, s.url+"/commands/a/outcomes", "").must(t); e.id != "0.1" {
		t.Fatalf("%+v", e)
	}
	if err := s.follower.Within(t.Context(), map[int32]int64{0: 2}); !errors.Is(err, follow.ErrBeyond) {
		t.Errorf("beyond the end: %v", err)
	}
	w.log.SetDown(true)
	if err := s.follower.Within(t.Context(), map[int32]int64{0: 1}); err != nil {
		t.Errorf("what was read needs no question: %v", err)
	}
	connect(t, s.url+"/commands/a/outcomes", "0.2").close()
	w.log.SetDown(false)
	w.send(0, "k", "b", "events:1")
	if err := s.follower.Within(t.Context(), map[int32]int64{0: 2}); err != nil {
		t.Errorf("the end itself: %v", err)
	}
}

// TestStreamsAgainstModel has writers send random commands to a few aggregates, and readers who are cut off at random
// and go on by Last-Event-ID, now at one instance and now at another, one of which is restarted: each sees every outcome
// of its aggregate once and in the order of the log.
func TestStreamsAgainstModel(t *testing.T) {
	seed := uint64(time.Now().UnixNano())
	t.Logf("seed %d", seed)
	const aggregates, writers, each, partitions = 5, 3, 250, 2
	w := newWorld(t, partitions).process(nil)
	persistent := store.NewMemory()
	var mu sync.Mutex // guards urls
	instances := []*instance{w.start(persistent, nil), w.start(store.NewMemory(), nil)}
	urls := []string{instances[0].url, instances[1].url}

	var writing, reading sync.WaitGroup
	for writer := range writers {
		writing.Go(func() { w.write(rand.New(rand.NewPCG(seed, uint64(writer))), writer, each, aggregates, partitions) })
	}
	done := make(chan struct{})
	got := make([][]string, 2*aggregates)
	for i := range got {
		reading.Go(func() {
			random := rand.New(rand.NewPCG(seed, 1000+uint64(i)))
			got[i] = readFor(t, random, fmt.Sprint("/outcomes?aggregate=key", i%aggregates), done, func() string {
				mu.Lock()
				defer mu.Unlock()
				return urls[random.IntN(len(urls))]
			})
		})
	}
	time.Sleep(10 * time.Millisecond)
	instances[0].stop()
	restarted := w.start(persistent, nil)
	mu.Lock()
	urls[0] = restarted.url
	mu.Unlock()
	writing.Wait()
	want := w.model(aggregates)
	// The readers get a last connection each, which lasts to the end.
	close(done)
	reading.Wait()
	for i := range got {
		r := connect(t, urls[i%2]+"/outcomes?aggregate="+fmt.Sprint("key", i%aggregates), lastOf(got[i]))
		for len(got[i]) < len(want[i%aggregates]) {
			got[i] = append(got[i], r.must(t).line(t))
		}
		if !slices.Equal(got[i], want[i%aggregates]) {
			t.Errorf("reader %d saw\n%s\nnot\n%s", i, strings.Join(got[i], "\n"), strings.Join(want[i%aggregates], "\n"))
		}
	}
}

// write sends commands of random kinds to random aggregates.
func (w *world) write(random *rand.Rand, writer, count, aggregates int, partitions int32) {
	var id, key string
	for i := range count {
		if i == 0 || random.IntN(10) > 0 { // else it is a retry of the last, or a conflict with it
			id, key = fmt.Sprintf("%d-%d", writer, i), fmt.Sprint("key", random.IntN(aggregates))
		}
		do := []string{"events:1", "events:2", "reject:conflict", "nothing"}[random.IntN(4)]
		w.send(partition.ForKey([]byte(key), partitions), key, id, do)
		if random.IntN(4) == 0 {
			time.Sleep(time.Duration(random.IntN(1000)) * time.Microsecond)
		}
	}
}

// readFor reads a stream over connections that end at random, each at an address of its own, until done is closed.
func readFor(t *testing.T, random *rand.Rand, path string, done <-chan struct{}, address func() string) (lines []string) {
	var last string
	for {
		if r, err := tryConnect(address()+path, last); err == nil { // else it is being restarted
			timer := time.AfterFunc(time.Duration(random.IntN(30))*time.Millisecond, r.close)
			for {
				e, err := r.next()
				if err != nil {
					break
				}
				if e.comment == "" {
					last = e.id
					lines = append(lines, e.line(t))
				}
			}
			timer.Stop()
			r.close()
		}
		select {
		case <-done:
			return lines
		default:
		}
	}
}

// line is what the model says about an event, too.
func (e event) line(t *testing.T) string {
	found := e.outcome(t)
	return fmt.Sprint(found.Token, " ", e.name, " ", found.ID, len(found.Events))
}

// lastOf returns the event id behind the last of what a reader has: the next offset of the one partition.
func lastOf(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	position, err := outcome.ParsePosition(strings.Fields(lines[len(lines)-1])[0])
	if err != nil {
		return "malformed"
	}
	return cursor{position.Partition: position.Offset + 1}.String()
}

// model decides the log's commands in its order, as the processor does.
func (w *world) model(aggregates int) [][]string {
	want := make([][]string, aggregates)
	first := map[string]string{}
	for _, r := range w.log.All(w.spec.Commands) {
		id, do := string(r.Headers[0].Value), string(r.Headers[1].Value)
		line := outcome.Position{Topic: r.Topic, Partition: r.Partition, Offset: r.Offset}.String()
		known, again := first[id]
		switch {
		case again && known == do:
			continue
		case again:
			line += " rejected " + id + "0"
		case strings.HasPrefix(do, "events:"):
			line += " accepted " + id + do[len(do)-1:]
		case strings.HasPrefix(do, "reject:"):
			line += " rejected " + id + "0"
		default:
			line += " accepted " + id + "0"
		}
		if !again {
			first[id] = do
		}
		var n int
		fmt.Sscanf(string(r.Key), "key%d", &n)
		want[n] = append(want[n], line)
	}
	return want
}

// TestSlowReader: a reader that does not read is cut off, and nothing else waits for it.
func TestSlowReader(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	s := w.start(store.NewMemory(), func(c *Config) { c.WriteTimeout = 50 * time.Millisecond })
	conn, err := net.Dial("tcp", strings.TrimPrefix(s.url, "http://"))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	if err := conn.(*net.TCPConn).SetReadBuffer(1024); err != nil {
		t.Fatal(err)
	}
	fmt.Fprintf(conn, "GET /outcomes?aggregate=k HTTP/1.1\r\nHost: x\r\n\r\n")
	eventually(t, "the stream is open", func() bool { return len(s.streams) == 1 })
	for i := 0; len(s.streams) == 1; i++ {
		if i > 100_000 {
			t.Fatal("the reader is not cut off")
		}
		id := fmt.Sprintf("%d-%s", i, strings.Repeat("x", 900))
		if position := w.send(0, "k", id, "events:1"); i%100 == 0 {
			// Others are told as ever.
			if _, got, _ := get(t, s.url+"/commands/"+id+"?token="+position.String(), "Prefer", "wait=20"); got.Status != outcome.Accepted {
				t.Fatalf("beside a slow reader: %+v", got)
			}
		}
	}
}

// sluggish is a writer whose every write after the first takes its time.
type sluggish struct {
	*httptest.ResponseRecorder
	pause  time.Duration
	writes int
}

func (w *sluggish) Write(data []byte) (int, error) {
	if w.writes++; w.writes == 2 {
		time.Sleep(w.pause)
	}
	return w.ResponseRecorder.Write(data)
}

// TestSluggishReader: one that reads too slowly is told so.
func TestSluggishReader(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	s := w.start(store.NewMemory(), func(c *Config) { c.WriteTimeout = 400 * time.Millisecond })
	w.send(0, "k", "a", "events:1")
	mux := http.NewServeMux()
	s.Mount(mux)
	recorder := &sluggish{ResponseRecorder: httptest.NewRecorder(), pause: 250 * time.Millisecond}
	mux.ServeHTTP(recorder, httptest.NewRequest("GET", "/outcomes?aggregate=k", nil))
	if body := recorder.Body.String(); !strings.Contains(body, "id: 0.1\n") || !strings.HasSuffix(body, ": you read too slowly and are disconnected; go on by Last-Event-ID\n\n") {
		t.Errorf("it was told: %s", body)
	}
}

func TestStopAndBound(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	s := w.start(store.NewMemory(), func(c *Config) { c.MaxStreams = 1 })
	r := connect(t, s.url+"/outcomes?aggregate=k", "")
	if _, err := tryConnect(s.url+"/outcomes?aggregate=k", ""); err == nil || !strings.Contains(err.Error(), "503") {
		t.Errorf("beyond the bound: %v", err)
	}
	s.Stop()
	if e, err := r.next(); err != nil || !strings.HasPrefix(e.comment, "the server is shutting down") {
		t.Errorf("at the end: %+v, %v", e, err)
	}
	if _, err := r.next(); err == nil {
		t.Error("it goes on after the end")
	}
}

// TestStreamExpires: a stream ends when what its client is known by expires; who is known for ever reads on.
func TestStreamExpires(t *testing.T) {
	w := newWorld(t, 1).process(nil)
	expires := make(chan time.Time, 1)
	s := w.start(store.NewMemory(), func(c *Config) {
		c.Authorizer = auth.Func(func(context.Context, *http.Request) (auth.Principal, error) {
			return auth.Principal{ID: "ada", Expires: <-expires}, nil
		})
	})
	expires <- time.Time{}
	endless := connect(t, s.url+"/outcomes?aggregate=k", "")
	end := time.Now().Add(300 * time.Millisecond)
	expires <- end
	ending := connect(t, s.url+"/outcomes?aggregate=k", "")
	w.send(0, "k", "a", "events:1")
	for _, r := range []*reader{endless, ending} {
		if e := r.must(t); e.id != "0.1" {
			t.Errorf("%+v", e)
		}
	}
	if e, err := ending.next(); err != nil || !strings.HasPrefix(e.comment, "what this stream was opened with has expired") {
		t.Errorf("at the end: %+v, %v", e, err)
	}
	if _, err := ending.next(); !errors.Is(err, io.EOF) || time.Now().Before(end) {
		t.Errorf("the end is %v, %s before its time", err, time.Until(end))
	}
	w.send(0, "k", "b", "events:1")
	if e := endless.must(t); e.id != "0.2" {
		t.Errorf("%+v", e)
	}
}
