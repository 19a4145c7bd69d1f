package faulty_test

import (
	"context"
	"net"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kgo"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/tidemill/tidemill/internal/kafkatest"
	"github.com/tidemill/tidemill/test/torture/faulty"
)

func newProxy(t *testing.T, b kafkatest.Broker) *faulty.Proxy {
	t.Helper()
	proxy, err := faulty.New(b.Addr())
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := proxy.Close(); err != nil {
			t.Error(err)
		}
	})
	return proxy
}

func newClient(t *testing.T, proxy *faulty.Proxy, opts ...kgo.Opt) *kgo.Client {
	t.Helper()
	client, err := kgo.NewClient(append([]kgo.Opt{kgo.SeedBrokers(proxy.Addr()), kgo.MetadataMinAge(10 * time.Millisecond)}, opts...)...)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(client.Close)
	return client
}

func ping(t *testing.T, client *kgo.Client, within time.Duration) error {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	_, err := kmsg.NewPtrMetadataRequest().RequestWith(ctx, client)
	return err
}

// All connections of a client go through the proxy: the brokers' own address is never used.
func TestNamesItself(t *testing.T) {
	kafkatest.Each(t, func(t *testing.T, b kafkatest.Broker) {
		topic := b.Name(t)
		b.CreateTopic(t, topic, 2, nil)
		proxy := newProxy(t, b)
		var mu sync.Mutex
		dialled := map[string]bool{}
		dial := func(ctx context.Context, network, host string) (net.Conn, error) {
			mu.Lock()
			defer mu.Unlock()
			dialled[host] = true
			return new(net.Dialer).DialContext(ctx, network, host)
		}
		client := newClient(t, proxy, kgo.Dialer(dial), kgo.DefaultProduceTopic(topic), kgo.ConsumeTopics(topic), kgo.TransactionalID(b.Name(t)), kgo.ConsumerGroup(b.Name(t)),
			kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := client.BeginTransaction(); err != nil {
			t.Fatal(err)
		}
		if err := client.ProduceSync(ctx, kgo.StringRecord("one")).FirstErr(); err != nil {
			t.Fatal(err)
		}
		if err := client.EndTransaction(ctx, kgo.TryCommit); err != nil {
			t.Fatal(err)
		}
		if got := client.PollFetches(ctx).Records(); len(got) != 1 || string(got[0].Value) != "one" {
			t.Fatalf("read %v", got)
		}
		mu.Lock()
		defer mu.Unlock()
		if len(dialled) != 1 || !dialled[proxy.Addr()] || proxy.Counts().Connections < 3 {
			t.Errorf("%d connections, to %v; want all to %s", proxy.Counts().Connections, dialled, proxy.Addr())
		}
	})
}

func TestFaults(t *testing.T) {
	b := kafkatest.Embedded(t)
	proxy := newProxy(t, b)
	client := newClient(t, proxy, kgo.RequestRetries(0), kgo.RetryTimeout(time.Second))
	works := func(what string) {
		t.Helper()
		deadline := time.Now().Add(10 * time.Second)
		for ping(t, client, time.Second) != nil {
			if time.Now().After(deadline) {
				t.Fatalf("%s: it does not work again", what)
			}
		}
	}
	fails := func(what string, within time.Duration) {
		t.Helper()
		if err := ping(t, client, within); err == nil {
			t.Errorf("%s: a request went through", what)
		}
	}
	works("at first")
	if proxy.Cut() == 0 {
		t.Error("no connection was cut")
	}
	works("after a cut")
	proxy.Refuse(true)
	proxy.Cut()
	for deadline := time.Now().Add(10 * time.Second); proxy.Counts().Refused == 0 && time.Now().Before(deadline); {
		fails("refusing", time.Second)
	}
	proxy.Heal()
	works("after refusing")
	proxy.Hold(true)
	fails("held back", 300*time.Millisecond)
	proxy.Hold(false)
	works("after holding back")
	proxy.Delay(100 * time.Millisecond)
	began := time.Now()
	works("delayed")
	if took := time.Since(began); took < 200*time.Millisecond {
		t.Errorf("a request and its response took %s", took)
	}
	proxy.Heal()
	proxy.LoseReplies(3, 1)
	fails("without a reply", time.Second)
	works("after a lost reply")
	proxy.Tear(1)
	fails("torn", time.Second)
	works("after a torn request")
	if got := proxy.Counts(); got.RepliesLost != 1 || got.Torn != 1 || got.Refused == 0 || got.Cut == 0 {
		t.Errorf("it counts %+v", got)
	}
}

// A request whose reply is lost has been carried out.
func TestReplyLost(t *testing.T) {
	b := kafkatest.Embedded(t)
	topic := b.Name(t)
	b.CreateTopic(t, topic, 1, nil)
	proxy := newProxy(t, b)
	client := newClient(t, proxy, kgo.DefaultProduceTopic(topic), kgo.DisableIdempotentWrite(), kgo.RecordRetries(1), kgo.ProducerLinger(0))
	proxy.LoseReplies(faulty.Produce, 1)
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	if err := client.ProduceSync(ctx, kgo.StringRecord("twice")).FirstErr(); err != nil {
		t.Fatal(err)
	}
	reading := newClient(t, proxy, kgo.ConsumeTopics(topic), kgo.ConsumeResetOffset(kgo.NewOffset().AtStart()))
	read := 0
	for read < 2 && ctx.Err() == nil {
		read += len(reading.PollFetches(ctx).Records())
	}
	if read != 2 {
		t.Errorf("there are %d records, want that of the lost reply and that of the retry", read)
	}
}
