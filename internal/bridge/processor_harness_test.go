package bridge_test

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"maps"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/bridge"
	"github.com/tidemill/tidemill/internal/graph"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/tidemill/tidemill/internal/store"
	"github.com/tidemill/tidemill/internal/task"
)

// patience bounds how long a test waits for what must happen.
const patience = 30 * time.Second

// counting is a sub-topology that counts the records of each key: row and output are key=count. It is run as a processor.
type counting struct {
	t       *testing.T
	broker  kafkatest.Broker
	app     string
	sub     *graph.SubTopology
	config  bridge.ProcessorConfig
	options []kgo.Opt // of the transactional producers
	sent    int64     // records produced
	steps   atomic.Int64
	watch   *watch
}

// newCounting makes the topics of a counting sub-topology with some partitions.
func newCounting(t *testing.T, b kafkatest.Broker, partitions int32) *counting {
	t.Helper()
	c := &counting{t: t, broker: b, app: b.Name(t), watch: &watch{restored: map[string]int64{}}}
	source := &graph.Node{Name: "from in", Kind: graph.Source, Topic: &graph.Topic{Name: c.app + "-in"}, Start: c.start}
	c.sub = &graph.SubTopology{
		Name: "in", Group: c.app + "-in", Application: c.app, Nodes: []*graph.Node{source}, Sources: []*graph.Node{source},
		Stores: []*graph.Store{{Name: "counts", Changelog: c.changelog()}},
	}
	b.CreateTopic(t, c.app+"-in", partitions, nil)
	b.CreateTopic(t, c.changelog(), partitions, map[string]string{"cleanup.policy": "compact"})
	b.CreateTopic(t, c.app+"-out", partitions, nil)
	c.config = bridge.ProcessorConfig{
		Log: log.Config{Brokers: b.Brokers()}, SubTopology: c.sub, Dir: t.TempDir(), InstanceID: "one",
		Timeouts:       bridge.Timeouts{Session: 10 * time.Second, Heartbeat: 300 * time.Millisecond, Rebalance: 10 * time.Second},
		CommitInterval: 10 * time.Millisecond, CommitTimeout: 20 * time.Second, BufferBytes: 1 << 20,
		TombstoneAge: 7 * 24 * time.Hour, Logger: slog.New(slog.NewTextHandler(t.Output(), nil)), Observer: c.watch,
	}
	return c
}

func (c *counting) changelog() string { return c.app + "-counts-changelog" }

func (c *counting) start(*graph.Context) (graph.Entry, error) {
	return func(ctx *graph.Context, key, _ []byte) error {
		state := ctx.State("counts")
		c.steps.Add(1)
		value, _, err := state.Get(key)
		if err != nil {
			return err
		}
		n, _ := strconv.Atoi(string(value))
		next := strconv.AppendInt(nil, int64(n+1), 10)
		state.Put(key, next, nil)
		ctx.Emit(graph.Output{Topic: c.app + "-out", Partition: ctx.Partition, Key: key, Value: next, Timestamp: ctx.Timestamp})
		return nil
	}, nil
}

// running is a processor that runs.
type running struct {
	c    *counting
	done chan error
	stop func() error
}

// launch starts a processor without waiting for it.
func (c *counting) launch() *running {
	c.t.Helper()
	p := bridge.NewProcessor(c.config)
	p.AddProducerOptions(c.options...)
	ctx, cancel := context.WithCancel(context.Background())
	r := &running{c: c, done: make(chan error, 1)}
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		r.done <- p.Run(ctx)
	}()
	r.stop = sync.OnceValue(func() error {
		cancel()
		select {
		case err := <-r.done:
			return err
		case <-time.After(patience):
			return errors.New("the processor does not stop")
		}
	})
	c.t.Cleanup(func() {
		cancel()
		<-ended // it logs to the test
	})
	return r
}

// run starts a processor, waits until its tasks run, and returns the function that stops it.
func (c *counting) run() (stop func()) {
	c.t.Helper()
	sessions := c.watch.sessions()
	r := c.launch()
	c.await("the tasks run", func() bool {
		select {
		case err := <-r.done:
			c.t.Fatalf("the processor ended with: %v", err)
		default:
		}
		return c.watch.sessions() > sessions
	})
	return func() {
		c.t.Helper()
		if err := r.stop(); err != nil {
			c.t.Errorf("the processor ended with: %v", err)
		}
	}
}

func (c *counting) await(what string, condition func() bool) {
	c.t.Helper()
	for deadline := time.Now().Add(patience); !condition(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(deadline) {
			c.t.Fatalf("waited in vain: %s", what)
		}
	}
}

// produce writes n records under a few keys.
func (c *counting) produce(n int) {
	c.t.Helper()
	var records []*kgo.Record
	for range n {
		records = append(records, &kgo.Record{Topic: c.app + "-in", Key: fmt.Appendf(nil, "key-%d", c.sent%7), Value: []byte("x")})
		c.sent++
	}
	c.broker.Produce(c.t, records...)
}

// counted waits until everything produced has had its effect, and checks that it has had it once.
func (c *counting) counted() {
	c.t.Helper()
	var records []*kgo.Record
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		if records = c.broker.ReadAll(c.t, c.app+"-out", true); int64(len(records)) >= c.sent {
			break
		}
	}
	last := map[string]int{}
	for _, record := range records {
		key := string(record.Key)
		n, err := strconv.Atoi(string(record.Value))
		if err != nil || n != last[key]+1 {
			c.t.Fatalf("%s counts %s after %d", key, record.Value, last[key])
		}
		last[key] = n
	}
	if int64(len(records)) != c.sent {
		c.t.Fatalf("%d outputs of %d records", len(records), c.sent)
	}
	logged := map[string]int{}
	for deadline := time.Now().Add(patience); time.Now().Before(deadline); time.Sleep(10 * time.Millisecond) {
		for _, record := range c.broker.ReadAll(c.t, c.changelog(), true) {
			logged[string(record.Key)], _ = strconv.Atoi(string(record.Value))
		}
		if maps.Equal(logged, last) {
			break // a transaction's markers land on its partitions at different times
		}
	}
	if !maps.Equal(logged, last) {
		c.t.Fatalf("the changelog says %v, the outputs %v", logged, last)
	}
}

// engine opens the stores of a partition while no processor runs.
func (c *counting) engine(number int32) store.Engine {
	c.t.Helper()
	engine, err := store.OpenLevelDB(filepath.Join(c.config.Dir, strconv.Itoa(int(number))), store.Options{})
	if err != nil {
		c.t.Fatal(err)
	}
	return engine
}

// watch implements bridge.ProcessorObserver.
type watch struct {
	mu       sync.Mutex
	ran      int
	ended    []error
	restored map[string]int64 // records read in the last restore, by store/partition
	commits  int
	failures []error
}

func (w *watch) sessions() int {
	w.mu.Lock()
	defer w.mu.Unlock()
	return w.ran
}

// read returns how many changelog offsets the last restores have read in all.
func (w *watch) read() (n int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, done := range w.restored {
		n += done
	}
	return n
}

func (w *watch) failed() []error {
	w.mu.Lock()
	defer w.mu.Unlock()
	return slices.Clone(w.failures)
}

// Running implements bridge.ProcessorObserver.
func (w *watch) Running([]int32) { w.mu.Lock(); w.ran++; w.mu.Unlock() }

// SessionEnded implements bridge.ProcessorObserver.
func (w *watch) SessionEnded(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	clear(w.restored)
	if err != nil {
		w.ended = append(w.ended, err)
	}
}

// RecordFailed implements bridge.ProcessorObserver.
func (w *watch) RecordFailed(task.Record, *graph.RecordError) {}

// Measured implements bridge.ProcessorObserver.
func (w *watch) Measured(bridge.Measures) {}

// Restoring implements bridge.ProcessorObserver.
func (w *watch) Restoring(name string, partition int32, done, _ int64) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.restored[fmt.Sprint(name, "/", partition)] = done
}

// TransactionCommitted implements commit.Observer.
func (w *watch) TransactionCommitted(int, int, time.Duration) {
	w.mu.Lock()
	w.commits++
	w.mu.Unlock()
}

// TransactionFailed implements commit.Observer.
func (w *watch) TransactionFailed(err error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.failures = append(w.failures, err)
}
