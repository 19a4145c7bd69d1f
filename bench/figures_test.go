package bench

import (
	"context"
	"flag"
	"fmt"
	"slices"
	"testing"
	"time"

	"github.com/google/uuid"
	"github.com/twmb/franz-go/pkg/kgo"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
)

var (
	commands = flag.Int("tidemill.commands", 0, "how many commands to measure the throughput with; 0 does not measure")
	keys     = flag.Int("tidemill.keys", 100_000, "over how many values")
	paced    = flag.Duration("tidemill.paced", 0, "how long to measure the latency for; 0 does not measure")
	kind     = flag.String("tidemill.broker", "", "embedded or kafka; empty measures on both")
)

// partitions of every topic.
const partitions = 4

func each(t *testing.T, f func(t *testing.T, b kafkatest.Broker)) {
	kafkatest.EachOwn(t, kafkatest.Options{}, func(t *testing.T, p *kafkatest.Process) {
		if *kind != "" && *kind != p.Kind() {
			t.Skip("another broker was asked for")
		}
		f(t, p.Broker)
	})
}

// record returns the i-th command of the load: each key is created first, then added to.
func record(i, n int) *kgo.Record {
	key := fmt.Sprintf("%08d-0000-4000-8000-000000000000", i%n)
	action := `"UpdateValue","data":{"value-id":"` + key + `","operation":"ADD","value":1.5}`
	if i < n {
		action = `"CreateValue","data":{"value-id":"` + key + `","value":3}`
	}
	value := fmt.Appendf(nil, `{"id":"%s","action":%s,"timestamp":%d}`, uuid.NewString(), action, 1_700_000_000_000+i)
	return &kgo.Record{Topic: "calculator-commands", Key: []byte(key), Value: value}
}

// produce writes the load and returns the bytes of one command.
func produce(t *testing.T, cl *kgo.Client, n, values int) int {
	t.Helper()
	size := 0
	for i := range n {
		r := record(i, values)
		size = len(r.Value)
		cl.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
			if err != nil {
				t.Error(err)
			}
		})
	}
	if err := cl.Flush(t.Context()); err != nil {
		t.Fatal(err)
	}
	return size
}

func TestThroughput(t *testing.T) {
	if *commands == 0 {
		t.Skip("measured on demand: -tidemill.commands=1000000")
	}
	each(t, func(t *testing.T, b kafkatest.Broker) {
		b.CreateTopic(t, "calculator-commands", partitions, map[string]string{"retention.ms": "-1", "retention.bytes": "-1"})
		cl, err := log.NewProducer(log.Config{Brokers: b.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		size := produce(t, cl, *commands, min(*keys, *commands))
		admin, err := log.NewAdmin(log.Config{Brokers: b.Brokers()})
		if err != nil {
			t.Fatal(err)
		}
		defer admin.Close()
		began := time.Now()
		c := startChild(t, b, stateDir(t))
		c.waitReady(t)
		ready := time.Since(began)
		waitCommitted(t, admin)
		wall := time.Since(began)
		u := c.stop(t)
		events := 0
		ends, err := admin.StableOffsets(t.Context(), "calculator-events")
		if err != nil {
			t.Fatal(err)
		}
		for _, end := range ends["calculator-events"] {
			events += int(end)
		}
		t.Logf("%s: %d commands of %d bytes, %d keys: ready %.2f s, wall %.2f s (%.0f/s), CPU %.2f s a million, peak memory %d MB, events and markers %d",
			b.Kind(), *commands, size, *keys, ready.Seconds(), wall.Seconds(), float64(*commands)/wall.Seconds(),
			u.cpu.Seconds()*1e6/float64(*commands), u.memory>>20, events)
		if events < *commands {
			t.Errorf("%d events of %d commands", events, *commands)
		}
	})
}

// waitCommitted waits until the group has committed every command.
func waitCommitted(t *testing.T, admin *log.Admin) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	ends, err := admin.EndOffsets(ctx, "calculator-commands")
	if err != nil {
		t.Fatal(err)
	}
	for {
		committed, err := admin.CommittedOffsets(ctx, "calculator-commands", false, "calculator-commands")
		if err != nil {
			t.Fatal(err)
		}
		done := true
		for partition, end := range ends["calculator-commands"] {
			done = done && committed["calculator-commands"][partition].Offset >= end
		}
		if done {
			return
		}
		time.Sleep(20 * time.Millisecond)
	}
}

func TestLatency(t *testing.T) {
	if *paced == 0 {
		t.Skip("measured on demand: -tidemill.paced=20s")
	}
	each(t, func(t *testing.T, b kafkatest.Broker) {
		c := startChild(t, b, stateDir(t))
		c.waitReady(t)
		cl, err := log.NewProducer(log.Config{Brokers: b.Brokers()}, kgo.ProducerLinger(0))
		if err != nil {
			t.Fatal(err)
		}
		defer cl.Close()
		consumer := b.Client(t, kgo.ConsumeTopics("calculator-events"), kgo.FetchIsolationLevel(kgo.ReadCommitted()),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()), kgo.FetchMaxWait(5*time.Second))
		const warmUp = 200
		n := warmUp + int(*paced/(10*time.Millisecond))
		sent := make([]time.Time, n)
		took := make([]time.Duration, 0, n)
		done := make(chan struct{})
		go func() {
			defer close(done)
			for len(took) < n && t.Context().Err() == nil {
				fetches := consumer.PollFetches(t.Context())
				now := time.Now()
				fetches.EachRecord(func(r *kgo.Record) {
					var i int
					if _, err := fmt.Sscanf(string(r.Key), "%d-", &i); err == nil {
						took = append(took, now.Sub(sent[i]))
					}
				})
			}
		}()
		ticker := time.NewTicker(10 * time.Millisecond)
		defer ticker.Stop()
		for i := range n {
			<-ticker.C
			r := record(i, n)
			sent[i] = time.Now()
			cl.Produce(t.Context(), r, func(_ *kgo.Record, err error) {
				if err != nil {
					t.Error(err)
				}
			})
		}
		select {
		case <-done:
		case <-time.After(20 * time.Second):
			t.Fatal("events are missing")
		}
		c.stop(t)
		measured := took[warmUp:]
		slices.Sort(measured)
		at := func(q float64) time.Duration {
			return measured[int(q*float64(len(measured)-1))].Round(10 * time.Microsecond)
		}
		t.Logf("%s: command written to event readable, 100/s: p50 %v, p90 %v, p99 %v, max %v", b.Kind(), at(0.5), at(0.9), at(0.99), at(1))
	})
}
