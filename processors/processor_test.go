package processors_test

import (
	"fmt"
	"log/slog"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/codecs"
	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/runtest"
	"github.com/tidemill/tidemill/kafka"
	"github.com/tidemill/tidemill/processors"
	"github.com/tidemill/tidemill/topology"
)

type command struct {
	ID  string `json:"id"`
	Add int    `json:"add"`
}

// sums is a decider that adds up; it refuses to go below zero.
func sums(t testing.TB, app string) *topology.Topology {
	t.Helper()
	b := topology.New(app)
	decided := b.From(topology.NewTopic(app+"-commands", codecs.String(), codecs.JSON[command](), topology.Forever(), topology.Partitions(4))).
		Decide("sums", topology.Decider[string, command, int, int]{
			ID: func(c command) string { return c.ID },
			Decide: func(sum int, _ bool, c command) topology.Decision[int] {
				if sum+c.Add < 0 {
					return topology.Reject[int](topology.Conflict, "not enough")
				}
				return topology.Accept(c.Add)
			},
			Evolve: func(sum int, _ bool, added int) int { return sum + added },
		})
	decided.Events.To(topology.NewTopic(app+"-events", codecs.String(), codecs.JSON[int]()))
	decided.Rejections.To(topology.NewTopic(app+"-rejections", codecs.String(), codecs.JSON[topology.Rejection]()))
	built, err := b.Build()
	if err != nil {
		t.Fatal(err)
	}
	return built
}

func config(t testing.TB, b kafkatest.Broker) processors.Config {
	return processors.Config{
		Kafka: kafka.Config{Brokers: b.Brokers()}, StateDir: t.TempDir(), CreateTopics: true, InstanceID: "one", HeartbeatInterval: 200 * time.Millisecond,
		Logger: slog.New(slog.NewTextHandler(t.Output(), nil)),
	}
}

// run starts a processor and returns the function that stops it and waits.
func run(t testing.TB, p *processors.Processor) (stop func()) {
	t.Helper()
	running := runtest.Start(t, "processor", 30*time.Second, p.Run)
	select {
	case <-p.Ready():
	case <-running.Ended():
		t.Fatal("the processor has ended")
	case <-time.After(30 * time.Second):
		t.Fatalf("the processor is not ready: %+v", p.Status())
	}
	return func() { _ = running.Stop() } // the test's end reports its error
}

func TestCommandsBecomeEventsOnce(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		app := b.Name(t)
		p, err := processors.New(sums(t, app), config(t, b))
		if err != nil {
			t.Fatal(err)
		}
		stop := run(t, p)
		const n = 1000
		var records []*kgo.Record
		for i := range n {
			records = append(records, &kgo.Record{Topic: app + "-commands", Key: fmt.Appendf(nil, "key-%d", i%10), Value: fmt.Appendf(nil, `{"id":"c%d","add":1}`, i)})
		}
		b.Produce(t, records...)
		deadline := time.Now().Add(20 * time.Second)
		var events []*kgo.Record
		for len(events) < n && time.Now().Before(deadline) {
			events = b.ReadAll(t, app+"-events", true)
		}
		stop()
		if len(events) != n {
			t.Fatalf("%d events of %d commands", len(events), n)
		}
	})
}
