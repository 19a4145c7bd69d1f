package processors_test

import (
	"context"
	"encoding/json/v2"
	"fmt"
	"math/rand/v2"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/topology"
)

// The ledger is the application of most tests here: accounts that entries are posted to, never below zero.
type (
	entry struct {
		ID  string `json:"id"`
		Add int    `json:"add"`
	}
	posted struct {
		ID     string `json:"id"`
		Parent string `json:"parent"`
		Add    int    `json:"add"`
		Sum    int    `json:"sum"`
	}
	account struct {
		Sum     int `json:"sum"`
		Entries int `json:"entries"`
	}
)

// explosive is an amount at which the ledger's code panics.
const explosive = 1_000_000

// ledgerPartitions is how many partitions its topics have.
const ledgerPartitions = 4

func ledger(app string) (*topology.Topology, error) {
	b := topology.New(app)
	commands := topology.NewTopic(app+"-commands", codecs.String(), codecs.JSON[entry](), topology.Forever(), topology.Partitions(ledgerPartitions))
	decided := b.From(commands).Decide("accounts", topology.Decider[string, entry, posted, account]{
		ID: func(e entry) string { return e.ID },
		Decide: func(a account, _ bool, e entry) topology.Decision[posted] {
			if e.Add == explosive {
				panic("this code has a bug")
			}
			if a.Sum+e.Add < 0 {
				return topology.Reject[posted](topology.Conflict, fmt.Sprintf("%d is not covered", -e.Add))
			}
			return topology.Accept(posted{ID: topology.DeriveID(e.ID, 0), Parent: e.ID, Add: e.Add, Sum: a.Sum + e.Add})
		},
		Evolve: func(a account, _ bool, p posted) account { return account{Sum: p.Sum, Entries: a.Entries + 1} },
	})
	decided.Events.To(topology.NewTopic(app+"-events", codecs.String(), codecs.JSON[posted](), topology.Forever(), topology.Partitions(ledgerPartitions)))
	decided.Rejections.To(topology.NewTopic(app+"-rejections", codecs.String(), codecs.JSON[topology.Rejection]()))
	return b.Build()
}

func mustLedger(t testing.TB, app string) *topology.Topology {
	t.Helper()
	built, err := ledger(app)
	if err != nil {
		t.Fatal(err)
	}
	return built
}

// workload is a random list of commands, and what must become of them.
type workload struct {
	app      string
	commands []*kgo.Record
	events   map[string][]posted // by key, in order
	rejected map[string]bool     // by command
	accounts map[string]account
	random   *rand.Rand
	keys     int
}

func newWorkload(app string, seed uint64, keys int) *workload {
	return &workload{
		app: app, events: map[string][]posted{}, rejected: map[string]bool{}, accounts: map[string]account{},
		random: rand.New(rand.NewPCG(seed, 7)), keys: keys,
	}
}

// add appends n commands and returns them.
func (w *workload) add(n int) []*kgo.Record {
	for range n {
		key := fmt.Sprintf("account-%d", w.random.IntN(w.keys))
		w.post(key, entry{ID: fmt.Sprintf("c%d", len(w.commands)), Add: w.random.IntN(20) - 5})
	}
	return w.commands[len(w.commands)-n:]
}

// post appends one command and says what must become of it.
func (w *workload) post(key string, e entry) *kgo.Record {
	text, err := json.Marshal(e)
	if err != nil {
		panic(err)
	}
	w.commands = append(w.commands, &kgo.Record{Topic: w.app + "-commands", Key: []byte(key), Value: text})
	a := w.accounts[key]
	if a.Sum+e.Add < 0 {
		w.rejected[e.ID] = true
	} else {
		a = account{Sum: a.Sum + e.Add, Entries: a.Entries + 1}
		w.accounts[key] = a
		w.events[key] = append(w.events[key], posted{ID: topology.DeriveID(e.ID, 0), Parent: e.ID, Add: e.Add, Sum: a.Sum})
	}
	return w.commands[len(w.commands)-1]
}

func (w *workload) accepted() int { return len(w.commands) - len(w.rejected) }

// await waits until all outcomes of the commands so far can be read, and compares them with the model: one event or rejection
// a command, under its id, in its key's order.
func (w *workload) await(t testing.TB, b kafkatest.Broker, patience time.Duration) {
	t.Helper()
	var events, rejections []*kgo.Record
	for deadline := time.Now().Add(patience); ; time.Sleep(20 * time.Millisecond) {
		events, rejections = b.ReadAll(t, w.app+"-events", true), b.ReadAll(t, w.app+"-rejections", true)
		if len(events) >= w.accepted() && len(rejections) >= len(w.rejected) || time.Now().After(deadline) {
			break
		}
	}
	got := map[string][]posted{}
	for _, record := range events {
		var p posted
		if err := json.Unmarshal(record.Value, &p); err != nil {
			t.Fatalf("event %s: %v", record.Value, err)
		}
		got[string(record.Key)] = append(got[string(record.Key)], p)
	}
	for key, want := range w.events {
		if fmt.Sprint(got[key]) != fmt.Sprint(want) {
			t.Fatalf("%d events in all, want %d; of %s they are\n%v, want\n%v", len(events), w.accepted(), key, got[key], want)
		}
	}
	if len(events) != w.accepted() {
		t.Fatalf("%d events, want %d", len(events), w.accepted())
	}
	w.compareRejections(t, rejections)
}

func (w *workload) compareRejections(t testing.TB, rejections []*kgo.Record) {
	t.Helper()
	seen := map[string]bool{}
	for _, record := range rejections {
		var r topology.Rejection
		if err := json.Unmarshal(record.Value, &r); err != nil {
			t.Fatalf("rejection %s: %v", record.Value, err)
		}
		if !w.rejected[r.CommandID] || seen[r.CommandID] {
			t.Fatalf("rejection of %s: want one of each rejected command", r.CommandID)
		}
		seen[r.CommandID] = true
	}
	if len(seen) != len(w.rejected) {
		t.Fatalf("%d rejections, want %d", len(seen), len(w.rejected))
	}
}

// compareState holds the fold of the changelog against the model.
func (w *workload) compareState(t testing.TB, b kafkatest.Broker) {
	t.Helper()
	state := map[string]account{}
	for _, record := range b.ReadAll(t, w.app+"-accounts-changelog", true) {
		if record.Value == nil {
			delete(state, string(record.Key))
			continue
		}
		var a account
		if err := json.Unmarshal(record.Value, &a); err != nil {
			t.Fatalf("changelog record %s: %v", record.Value, err)
		}
		state[string(record.Key)] = a
	}
	if fmt.Sprint(state) != fmt.Sprint(w.accounts) {
		t.Fatalf("the state is\n%v, want\n%v", state, w.accounts)
	}
}

// arrivals follows a topic, read_committed, and notes when each record of a partition could be read.
type arrivals struct {
	mu    sync.Mutex
	times map[int32][]time.Time
	done  chan struct{}
	stop  context.CancelFunc
}

func follow(t testing.TB, b kafkatest.Broker, topic string) *arrivals {
	t.Helper()
	client := b.Client(t, kgo.ConsumeTopics(topic), kgo.FetchIsolationLevel(kgo.ReadCommitted()), kgo.FetchMaxWait(50*time.Millisecond),
		kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	ctx, cancel := context.WithCancel(context.Background())
	a := &arrivals{times: map[int32][]time.Time{}, done: make(chan struct{}), stop: cancel}
	go func() {
		defer close(a.done)
		for ctx.Err() == nil {
			fetches, now := client.PollFetches(ctx), time.Now()
			a.mu.Lock()
			fetches.EachRecord(func(r *kgo.Record) { a.times[r.Partition] = append(a.times[r.Partition], now) })
			a.mu.Unlock()
		}
	}()
	t.Cleanup(func() { a.stop(); <-a.done })
	return a
}

func (a *arrivals) count() (n int) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, times := range a.times {
		n += len(times)
	}
	return n
}

// gap returns the longest time that any partition was without an arrival after since.
func (a *arrivals) gap(since time.Time) (longest time.Duration) {
	a.mu.Lock()
	defer a.mu.Unlock()
	for _, times := range a.times {
		last := since
		for _, at := range times {
			if at.After(since) {
				longest, last = max(longest, at.Sub(last)), at
			}
		}
		longest = max(longest, time.Since(last))
	}
	return longest
}

// feeder writes a workload's commands at a steady pace until it is stopped.
type feeder struct {
	stop chan struct{}
	done chan struct{}
}

func feed(t testing.TB, b kafkatest.Broker, w *workload, perSecond int) *feeder {
	t.Helper()
	client := b.Client(t)
	f := &feeder{stop: make(chan struct{}), done: make(chan struct{})}
	go func() {
		defer close(f.done)
		const interval = 10 * time.Millisecond
		ticker := time.NewTicker(interval)
		defer ticker.Stop()
		for {
			for _, record := range w.add(max(1, perSecond*int(interval)/int(time.Second))) {
				client.Produce(context.Background(), record, func(_ *kgo.Record, err error) {
					if err != nil {
						t.Errorf("producing a command: %v", err)
					}
				})
			}
			select {
			case <-ticker.C:
			case <-f.stop:
				if err := client.Flush(context.Background()); err != nil {
					t.Errorf("flushing commands: %v", err)
				}
				return
			}
		}
	}()
	return f
}

// end stops feeding; the workload is the caller's again.
func (f *feeder) end() {
	close(f.stop)
	<-f.done
}
