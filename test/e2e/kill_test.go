package e2e

import (
	"context"
	"errors"
	"fmt"
	"math/rand/v2"
	"net/http"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/apps/calculator"
	"github.com/tidemill/tidemill/apps/calculator/calculatortest"
)

// arrivals notes when committed events become readable.
type arrivals struct {
	mu   sync.Mutex
	seen []arrival // guarded by mu
}

type arrival struct {
	partition int32
	offset    int64
	at        time.Time
}

// followEvents notes arrivals until the test ends.
func followEvents(t *testing.T, brokers string) *arrivals {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers), kgo.ConsumeTopics(calculator.Events.Name()), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
		kgo.MetadataMinAge(50*time.Millisecond), kgo.FetchMaxWait(50*time.Millisecond))
	if err != nil {
		t.Fatal(err)
	}
	a := &arrivals{}
	ctx, cancel := context.WithCancel(t.Context())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			fetches, now := client.PollFetches(ctx), time.Now()
			a.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) { a.seen = append(a.seen, arrival{r.Partition, r.Offset, now}) })
			a.mu.Unlock()
		}
	}()
	t.Cleanup(func() {
		cancel()
		<-done
		client.Close()
	})
	return a
}

// first returns when the first event at or beyond the given offsets arrived.
func (a *arrivals) first(from map[int32]int64) (time.Time, bool) {
	a.mu.Lock()
	defer a.mu.Unlock()
	var first time.Time
	for _, event := range slices.Backward(a.seen) {
		if event.offset >= from[event.partition] {
			first = event.at
		}
	}
	return first, !first.IsZero()
}

// after waits for the first event beyond the given offsets and returns how long after a time it came. It returns false if
// there is none because all commands were decided before; over is closed when the last one has been written.
func (a *arrivals) after(t *testing.T, began time.Time, from map[int32]int64, over <-chan struct{}) (took time.Duration, ok bool) {
	t.Helper()
	var last time.Time
	eventually(t, "an event arrives", func() bool {
		if at, found := a.first(from); found {
			took, ok = at.Sub(began), true
			return true
		}
		select {
		case <-over:
			if last.IsZero() {
				last = time.Now()
			}
		default:
		}
		return !last.IsZero() && time.Since(last) > 3*time.Second
	})
	return took, ok
}

// summary is the middle and the most of some times.
func summary(times []time.Duration) string {
	if len(times) == 0 {
		return "none"
	}
	slices.Sort(times)
	return fmt.Sprintf("p50 %s, max %s of %d", times[len(times)/2].Round(time.Millisecond), times[len(times)-1].Round(time.Millisecond), len(times))
}

// The processor is killed at random moments under load: nothing is lost and nothing is doubled.
func TestProcessorKilled(t *testing.T) {
	eachBroker(t, func(t *testing.T, brokers string) {
		moments, seed := random(t)
		n, kills := sizes()
		processor := launchProcessor(t, brokers, "processor")
		processor.awaitReady()
		events := followEvents(t, brokers)
		done := make(chan struct{})
		go func() {
			defer close(done)
			produce(t, producer(t, brokers), calculatortest.NewRandom(seed, 200, time.Now().UnixMilli()), n, time.Duration(kills)*650*time.Millisecond)
		}()
		var restarts []time.Duration
		for range kills {
			time.Sleep(time.Duration(50+moments.IntN(450)) * time.Millisecond)
			processor.kill9()
			decided := committedEvents(t, brokers)
			began := time.Now()
			processor.start()
			if took, ok := events.after(t, began, decided, done); ok {
				restarts = append(restarts, took)
			}
		}
		<-done
		found := check(t, brokers)
		t.Logf("seed %d: %d commands, %d events; from kill -9 to the first new event: %s", seed, found.commands, found.events, summary(restarts))
		if found.commands != n {
			t.Errorf("there are %d commands in the log, %d were acknowledged", found.commands, n)
		}
	})
}

// committedEvents returns how far the events are committed.
func committedEvents(t *testing.T, brokers string) map[int32]int64 {
	t.Helper()
	client, err := kgo.NewClient(kgo.SeedBrokers(brokers))
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	ctx, cancel := context.WithTimeout(t.Context(), patience)
	defer cancel()
	ends, err := lastStable(ctx, client, calculator.Events.Name())
	if err != nil {
		t.Fatal(err)
	}
	return ends
}

// Everything is killed at random moments, broker and all, while clients send commands and repeat them until they are
// answered: nothing acknowledged is lost, nothing is doubled, and what each client was told is true.
func TestUpKilled(t *testing.T) {
	moments, seed := random(t)
	n, kills := sizes()
	brokers := freeAddr(t)
	up := launch(t, "up", "up", "--broker-addr", brokers, "--data", dataDir(t), "--log-commands=false")
	up.awaitReady()
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	clients := newClients(ctx, t, up.url, seed, n, time.Duration(kills)*900*time.Millisecond)
	var restarts []time.Duration
	for range kills {
		time.Sleep(time.Duration(200+moments.IntN(600)) * time.Millisecond)
		before := clients.answered()
		up.kill9()
		began := time.Now()
		up.start()
		eventually(t, "a client is answered again", func() bool { return clients.answered() > before+16 || clients.over() })
		restarts = append(restarts, time.Since(began))
	}
	answers := clients.wait()
	up.awaitReady()
	found := check(t, brokers)
	checkView(t, up.url, found)
	t.Logf("seed %d: %d answers, %d commands in the log, %d events, %d repeated; from kill -9 to answers: %s", seed, len(answers),
		found.commands, found.events, found.repeated, summary(restarts))
	if len(answers) != n {
		t.Errorf("%d of %d requests were answered", len(answers), n)
	}
	for _, got := range answers {
		told(t, found, got)
	}
	t.Logf("up left in %s", up.terminate().Round(time.Millisecond))
}

// clients send commands over HTTP and repeat each, under its idempotency key, until it is answered.
type clients struct {
	t       *testing.T
	ctx     context.Context
	url     string
	workers sync.WaitGroup
	work    chan calculator.Command

	mu      sync.Mutex
	answers []answer // guarded by mu
	done    chan struct{}
}

// newClients starts 16 clients that share n random commands, spread over a time.
func newClients(ctx context.Context, t *testing.T, url string, seed uint64, n int, over time.Duration) *clients {
	t.Helper()
	c := &clients{t: t, ctx: ctx, url: url, work: make(chan calculator.Command), done: make(chan struct{})}
	for range 16 {
		c.workers.Go(c.worker)
	}
	go func() {
		defer close(c.done)
		from := calculatortest.NewRandom(seed, 200, 0)
		began := time.Now()
		for sent := 0; sent < n && ctx.Err() == nil; {
			command := from.Next()
			if _, _, _, ok := requestOf(command); !ok {
				continue
			}
			select {
			case c.work <- command:
			case <-ctx.Done():
			}
			if sent++; time.Until(began.Add(over*time.Duration(sent)/time.Duration(n))) > 5*time.Millisecond {
				time.Sleep(5 * time.Millisecond)
			}
		}
		close(c.work)
		c.workers.Wait()
	}()
	return c
}

func (c *clients) worker() {
	for command := range c.work {
		method, path, body, _ := requestOf(command)
		for c.ctx.Err() == nil {
			got, err := ask(c.ctx, method, c.url+path, body, "Idempotency-Key", command.ID+fmt.Sprint(command.Data.Value))
			if err == nil && got.status != http.StatusServiceUnavailable {
				c.mu.Lock()
				c.answers = append(c.answers, got)
				c.mu.Unlock()
				break
			}
			if err == nil && got.header.Get("Retry-After") == "" {
				c.t.Errorf("a 503 without Retry-After: %s", got.body)
			}
			if errors.Is(err, context.Canceled) {
				return
			}
			time.Sleep(time.Duration(10+rand.IntN(40)) * time.Millisecond)
		}
	}
}

func (c *clients) answered() int {
	c.mu.Lock()
	defer c.mu.Unlock()
	return len(c.answers)
}

func (c *clients) over() bool {
	select {
	case <-c.done:
		return true
	default:
		return false
	}
}

// wait returns all answers.
func (c *clients) wait() []answer {
	<-c.done
	return c.answers
}
