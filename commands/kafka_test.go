package commands_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/commands"
	"github.com/tidemill/tidemill/commands/internal/fakelog"
	"github.com/tidemill/tidemill/commands/internal/follow"
	"github.com/tidemill/tidemill/commands/subscriptions"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

// cluster is an application on a broker: its topics, and a processor that writes in transactions.
type cluster struct {
	t       *testing.T
	broker  kafkatest.Broker
	spec    follow.Topics
	cluster log.Config
}

func newCluster(t *testing.T, b kafkatest.Broker) *cluster {
	t.Helper()
	c := &cluster{t: t, broker: b, spec: fakelog.Spec(b.Name(t)), cluster: log.Config{Brokers: b.Brokers()}}
	for _, name := range []string{c.spec.Commands, c.spec.Events[0], c.spec.Rejections[0], c.spec.DeadLetters[0]} {
		b.CreateTopic(t, name, 3, nil)
	}
	return c
}

// process decides until the test ends, over broken connections.
func (c *cluster) process() {
	opts, err := c.cluster.ClientOptions()
	if err != nil {
		c.t.Fatal(err)
	}
	kafka, err := follow.NewKafka(opts)
	if err != nil {
		c.t.Fatal(err)
	}
	run := func(ctx context.Context) error {
		producer, err := kgo.NewClient(append(opts, kgo.TransactionalID(c.spec.Group), kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0))...)
		if err != nil {
			return err
		}
		defer producer.Close()
		processor := &fakelog.Processor{Spec: c.spec, Batch: 100, Output: func(ctx context.Context, records []follow.Record, offsets map[int32]int64) error {
			return c.output(ctx, producer, records, offsets)
		}}
		return processor.Run(ctx, kafka, follow.Topic{Partitions: 3})
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan struct{})
	go func() {
		defer close(done)
		for ctx.Err() == nil {
			if err := run(ctx); err != nil {
				c.t.Logf("the processor begins anew after: %v", err)
				time.Sleep(20 * time.Millisecond)
			}
		}
	}()
	c.t.Cleanup(func() {
		cancel()
		<-done
		kafka.Close()
	})
}

// output writes one transaction and then commits the offsets: enough for a processor that nobody kills.
func (c *cluster) output(ctx context.Context, producer *kgo.Client, records []follow.Record, offsets map[int32]int64) error {
	ctx, cancel := context.WithTimeout(ctx, deadline)
	defer cancel()
	if len(records) > 0 {
		if err := producer.BeginTransaction(); err != nil {
			return err
		}
		var out []*kgo.Record
		for _, r := range records {
			record := &kgo.Record{Topic: r.Topic, Partition: r.Partition, Key: r.Key, Value: r.Value, Timestamp: time.UnixMilli(r.Timestamp)}
			for _, header := range r.Headers {
				record.Headers = append(record.Headers, kgo.RecordHeader(header))
			}
			out = append(out, record)
		}
		if err := producer.ProduceSync(ctx, out...).FirstErr(); err != nil {
			return errors.Join(err, producer.EndTransaction(ctx, kgo.TryAbort))
		}
		if err := producer.EndTransaction(ctx, kgo.TryCommit); err != nil {
			return err
		}
	}
	request := kmsg.NewPtrOffsetCommitRequest()
	request.Group, request.Generation = c.spec.Group, -1
	topic := kmsg.NewOffsetCommitRequestTopic()
	topic.Topic = c.spec.Commands
	for partition, offset := range offsets {
		p := kmsg.NewOffsetCommitRequestTopicPartition()
		p.Partition, p.Offset = partition, offset
		topic.Partitions = append(topic.Partitions, p)
	}
	request.Topics = append(request.Topics, topic)
	opts, err := c.cluster.ClientOptions() // which names topics, not their ids
	if err != nil {
		return err
	}
	client, err := kgo.NewClient(opts...)
	if err != nil {
		return err
	}
	defer client.Close()
	response, err := request.RequestWith(ctx, client)
	if err != nil {
		return err
	}
	for _, t := range response.Topics {
		for _, p := range t.Partitions {
			err = errors.Join(err, kerr.ErrorForCode(p.ErrorCode))
		}
	}
	return err
}

// serve runs a commander.
func (c *cluster) serve(change func(*config)) string {
	c.t.Helper()
	config := baseConfig(c.spec)
	config.Cluster = c.cluster
	if change != nil {
		change(&config)
	}
	commander, err := commands.New(config)
	if err != nil {
		c.t.Fatal(err)
	}
	return serve(c.t, commander)
}

// subscribe runs subscriptions in a directory and returns them with their address.
func (c *cluster) subscribe(dir string) (*subscriptions.Subscriptions, string) {
	c.t.Helper()
	s, err := subscriptions.Open(subscriptions.Config{
		Cluster: c.cluster, Commands: c.spec.Commands, Group: c.spec.Group, Events: c.spec.Events, Rejections: c.spec.Rejections,
		DeadLetters: c.spec.DeadLetters, EventID: c.spec.EventID, CommandID: c.spec.CommandID, Dir: dir,
		Logger: baseConfig(c.spec).Logger,
	})
	if err != nil {
		c.t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	done := make(chan error, 1)
	go func() { done <- s.Run(ctx) }()
	mux := http.NewServeMux()
	s.Mount(mux)
	server := httptest.NewServer(mux)
	c.t.Cleanup(func() {
		s.Stop()
		server.Close()
		cancel()
		if err := errors.Join(<-done, s.Close()); err != nil {
			c.t.Errorf("the subscriptions ended with %v", err)
		}
	})
	eventually(c.t, "the subscriptions are ready", s.Ready)
	return s, server.URL
}

func eventually(t *testing.T, what string, holds func() bool) {
	t.Helper()
	for end := time.Now().Add(deadline); !holds(); time.Sleep(2 * time.Millisecond) {
		if time.Now().After(end) {
			t.Fatalf("it did not come about that %s", what)
		}
	}
}

func TestOnBrokers(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCluster(t, b)
		c.process()
		dir := filepath.Join(t.TempDir(), "outcomes")
		s, statuses := c.subscribe(dir)
		alone := c.serve(nil)
		beside := c.serve(func(config *config) { config.Outcomes = s })
		client, err := subscriptions.NewClient(statuses, nil)
		if err != nil {
			t.Fatal(err)
		}
		remote := c.serve(func(config *config) { config.Outcomes = client })
		first := send(t, "POST", alone+"/values", `{"value":3}`, "Idempotency-Key", `"one"`)
		if first.status != 201 {
			t.Fatalf("POST: %v", first)
		}
		for name, url := range map[string]string{"alone": alone, "beside": beside, "remote": remote} {
			if got := send(t, "POST", url+"/values", `{"value":3}`, "Idempotency-Key", `"one"`); got.status != 201 || got.body != first.body {
				t.Errorf("%s, a retry: %v", name, got)
			}
			if got := send(t, "POST", url+"/values", `{"value":4}`, "Idempotency-Key", `"one"`); got.status != 422 {
				t.Errorf("%s, another body: %v", name, got)
			}
			if got := send(t, "PUT", url+"/values/a", `{"value":3,"do":"reject:not-found"}`); got.status != 404 || got.member("detail") != "because" {
				t.Errorf("%s, a rejection: %v", name, got)
			}
			if got := send(t, "PUT", url+"/values/a", `{"value":3,"do":"nothing"}`); got.status != 200 {
				t.Errorf("%s, silence: %v", name, got)
			}
			got := send(t, "PUT", url+"/values/b", `{"value":3,"do":"events:2"}`, "Prefer", "respond-async")
			if got.status != 202 || got.header.Get(commands.TokenHeader) == "" {
				t.Errorf("%s, async: %v", name, got)
			}
			status := send(t, "GET", statuses+got.header.Get("Location"), "", "Prefer", "wait=20")
			if status.status != 200 || status.member("status") != "accepted" || strings.Count(status.body, `"offset"`) != 2 {
				t.Errorf("%s, its status: %v", name, status)
			}
		}
		records := b.ReadAll(t, c.spec.Commands, true)
		values := map[int32]int{}
		for _, record := range records {
			if string(record.Key) == first.member("value_id") {
				values[record.Partition]++
			}
		}
		if len(values) != 1 {
			t.Errorf("the retries lie in partitions %v", values)
		}
		events := 0
		for _, record := range b.ReadAll(t, c.spec.Events[0], true) {
			if string(record.Key) == first.member("value_id") {
				events++
			}
		}
		if events != 1 {
			t.Errorf("the retries led to %d events", events)
		}
		c.checkStream(statuses)
	})
}

// checkStream reads the outcomes of aggregate b: three commands, in order.
func (c *cluster) checkStream(url string) {
	c.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), deadline)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, url+"/outcomes?aggregate=b", nil)
	if err != nil {
		c.t.Fatal(err)
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		c.t.Fatal(err)
	}
	defer response.Body.Close()
	var text strings.Builder
	buffer := make([]byte, 4096)
	for strings.Count(text.String(), "\nid: ") < 3 {
		n, err := response.Body.Read(buffer)
		text.Write(buffer[:n])
		if err != nil {
			c.t.Fatalf("the stream ended with %v after %s", err, text.String())
		}
	}
	if strings.Count(text.String(), "event: accepted") != 3 {
		c.t.Errorf("the stream: %s", text.String())
	}
}

func TestBadInputNeverReachesABroker(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		c := newCluster(t, b)
		url := c.serve(nil)
		checkBadRequests(t, url)
		if records := b.ReadAll(t, c.spec.Commands, false); len(records) != 0 {
			t.Errorf("%d records reached the log: %s", len(records), records[0].Value)
		}
		if got := send(t, "POST", url+"/values", `{"value":3}`, "Prefer", "respond-async"); got.status != 202 {
			t.Errorf("a good one: %v", got)
		}
		if records := b.ReadAll(t, c.spec.Commands, false); len(records) != 1 {
			t.Errorf("%d records after a good one", len(records))
		}
	})
}

// TestBrokerStopped: while the broker is away the answer is 503 with Retry-After; what was said to be written is there
// once, what was said not to be is not, and work goes on by itself.
func TestBrokerStopped(t *testing.T) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, p *kafkatest.Process) {
		c := newCluster(t, p.Broker)
		c.process()
		s, _ := c.subscribe("")
		url := c.serve(func(config *config) { config.ProduceTimeout = time.Second; config.Outcomes = s })
		alone := c.serve(func(config *config) { config.ProduceTimeout = time.Second })
		if got := send(t, "POST", url+"/values", `{"value":0}`); got.status != 201 {
			t.Fatalf("before: %v", got)
		}
		var mu sync.Mutex
		told := map[string]int{} // by command id
		var clients sync.WaitGroup
		stop := make(chan struct{})
		for client := range 4 {
			clients.Go(func() {
				for i := 0; ; i++ {
					select {
					case <-stop:
						return
					default:
					}
					key := fmt.Sprintf("%d-%d", client, i)
					for attempt := 0; ; attempt++ {
						got, err := trySend("POST", url+"/values", `{"value":3}`, "Idempotency-Key", key, "Prefer", "wait=5")
						if err != nil {
							t.Errorf("POST: %v", err)
							return
						}
						if got.status == 503 && got.header.Get("Retry-After") != "" && attempt < 100 {
							continue
						}
						if got.status != 201 && got.status != 202 {
							t.Errorf("POST: %v", got)
						}
						mu.Lock()
						told[got.header.Get(commands.CommandHeader)] = got.status
						mu.Unlock()
						break
					}
				}
			})
		}
		time.Sleep(100 * time.Millisecond)
		p.Kill9(t)
		got := send(t, "POST", url+"/values", `{"value":1}`)
		if got.status != 503 || got.header.Get("Retry-After") == "" {
			t.Errorf("while the broker is away: %v", got)
		}
		p.Start(t)
		eventually(t, "commands are taken again", func() bool {
			return send(t, "POST", url+"/values", `{"value":2}`, "Prefer", "wait=5").status == 201
		})
		eventually(t, "the other commander goes on too", func() bool {
			return send(t, "POST", alone+"/values", `{"value":2}`, "Prefer", "wait=5").status == 201
		})
		close(stop)
		clients.Wait()
		ids := map[string]int{}
		for _, record := range p.ReadAll(t, c.spec.Events[0], true) {
			var event struct {
				Parent string `json:"parent-id"`
			}
			if err := json.Unmarshal(record.Value, &event); err != nil {
				t.Fatal(err)
			}
			ids[event.Parent]++
		}
		// The tests' processor forgets what it has seen when it begins anew, so only what was promised is checked: each
		// command is there.
		for id, status := range told {
			if status == 201 && ids[id] == 0 {
				t.Errorf("command %s was answered 201 and has no event", id)
			}
		}
		t.Logf("%d commands", len(told))
	})
}

// TestPost64 measures, when asked to, what the commander costs beside a bare handler that produces with the same client.
func TestPost64(t *testing.T) {
	if os.Getenv("TIDEMILL_MEASURE") == "" {
		t.Skip("set TIDEMILL_MEASURE to measure")
	}
	c := newCluster(t, kafkatest.Real(t))
	url := c.serve(func(config *config) { config.Wait = -1 })
	opts, err := c.cluster.ClientOptions()
	if err != nil {
		t.Fatal(err)
	}
	client, err := kgo.NewClient(append(opts, kgo.ProducerLinger(0))...)
	if err != nil {
		t.Fatal(err)
	}
	defer client.Close()
	bare := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		body := make([]byte, 64)
		n, _ := r.Body.Read(body)
		record := &kgo.Record{Topic: c.spec.Commands, Key: []byte(r.RemoteAddr), Value: body[:n]}
		if err := client.ProduceSync(r.Context(), record).FirstErr(); err != nil {
			w.WriteHeader(http.StatusServiceUnavailable)
			return
		}
		w.WriteHeader(http.StatusAccepted)
	}))
	defer bare.Close()
	measure := func(url string) float64 {
		const seconds = 3
		var total sync.WaitGroup
		counts := make([]int, 64)
		end := time.Now().Add(seconds * time.Second)
		for i := range counts {
			total.Go(func() {
				http := &http.Client{Transport: &http.Transport{}}
				for time.Now().Before(end) {
					response, err := http.Post(url+"/values", "application/json", strings.NewReader(`{"value":3}`))
					if err != nil || response.StatusCode != 202 {
						t.Errorf("%v %v", response, err)
						return
					}
					response.Body.Close()
					counts[i]++
				}
			})
		}
		total.Wait()
		sum := 0
		for _, count := range counts {
			sum += count
		}
		return float64(sum) / seconds
	}
	for range 3 {
		plain, ours := measure(bare.URL), measure(url)
		t.Logf("bare %.0f/s, commander %.0f/s: %.2f", plain, ours, ours/plain)
	}
}
