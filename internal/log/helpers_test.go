package log_test

import (
	"fmt"
	"testing"
	"time"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/internal/log"
	"github.com/twmb/franz-go/pkg/kgo"
)

func TestMain(m *testing.M) { kafkatest.Main(m) }

func config(b kafkatest.Broker) log.Config { return log.Config{Brokers: b.Brokers()} }

func admin(t *testing.T, b kafkatest.Broker) *log.Admin {
	t.Helper()
	a, err := log.NewAdmin(config(b))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(a.Close)
	return a
}

// must fails the test on an error: must(f(x))(t).
func must[T any](v T, err error) func(t *testing.T) T {
	return func(t *testing.T) T {
		t.Helper()
		if err != nil {
			t.Fatal(err)
		}
		return v
	}
}

func ok(t *testing.T, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

// producer returns an initialised transactional producer.
func producer(t *testing.T, b kafkatest.Broker, id string) *log.TxnProducer {
	t.Helper()
	p, err := log.NewTxnProducer(config(b), id, 20*time.Second)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(p.Close)
	ok(t, p.Init(t.Context()))
	return p
}

// eventually polls until f returns true.
func eventually(t *testing.T, what string, f func() bool) {
	t.Helper()
	deadline := time.Now().Add(60 * time.Second)
	for !f() {
		if time.Now().After(deadline) {
			t.Fatalf("timed out waiting for %s", what)
		}
		time.Sleep(5 * time.Millisecond)
	}
}

func records(topic string, n int) []*kgo.Record {
	rs := make([]*kgo.Record, n)
	for i := range rs {
		rs[i] = &kgo.Record{Topic: topic, Key: fmt.Appendf(nil, "key-%d", i), Value: fmt.Appendf(nil, "value-%d", i)}
	}
	return rs
}

// member joins a group with a consumer of its own and returns its identity.
func member(t *testing.T, b kafkatest.Broker, group, instance, topic string) (log.Member, *kgo.Client) {
	t.Helper()
	opts := []kgo.Opt{
		kgo.ConsumerGroup(group), kgo.ConsumeTopics(topic), kgo.DisableAutoCommit(),
		kgo.SessionTimeout(10 * time.Second), kgo.HeartbeatInterval(200 * time.Millisecond), kgo.FetchMaxWait(100 * time.Millisecond),
		kgo.FetchIsolationLevel(kgo.ReadCommitted()),
	}
	if instance != "" {
		opts = append(opts, kgo.InstanceID(instance))
	}
	cl := b.Client(t, opts...)
	go func() {
		for {
			if f := cl.PollFetches(t.Context()); f.IsClientClosed() || t.Context().Err() != nil {
				return
			}
		}
	}()
	m := log.Member{Group: group, InstanceID: instance}
	eventually(t, "the group to be joined", func() bool {
		id, generation := cl.GroupMetadata()
		m.MemberID, m.Generation = id, generation
		return id != "" && generation > 0
	})
	return m, cl
}
